"""What need not run again: when a result on record or in the store stands for a unit's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptoss_flow.app.known import Finished, KnownResults, is_named
from gptoss_flow.events import Outcome
from gptoss_flow.plan.plan import Node
from gptoss_flow.record.results import ResultStore
from tests.flows import compile_text

KEY = {"step": "aa", "inputs": "bb"}
FINE = Outcome("succeeded", "fine", {"text": "fine"})


def node(keys: str = "") -> Node:
    return compile_text(f"version: 1\nsteps:\n  a: {{{keys}prompt: {{user: hi}}}}\n").nodes["a"]


def finished(key: dict[str, str] | None = KEY) -> dict[str, Finished]:
    return {"a": Finished(FINE, key, "before")}


def test_a_result_stands_under_the_same_key_and_once() -> None:
    known = KnownResults(run_id="now", finished=finished())
    hit = known.find("a", node(), KEY)
    assert hit is not None
    assert (hit.outcome, hit.run_id) == (FINE, "before")
    assert known.find("a", node(), KEY) is None


@pytest.mark.parametrize(
    ("keys", "key", "wanted"),
    [
        ("", {"step": "aa", "inputs": "cc"}, False),
        ("", {"step": "aa"}, False),
        ("", {}, False),
        ("cache: false, ", KEY, False),
        ("cache: false, effect: once, ", KEY, True),
    ],
)
def test_under_another_key_or_against_the_flows_word_it_does_not(
    keys: str, key: dict[str, str], wanted: bool
) -> None:
    assert (KnownResults(run_id="now", finished=finished()).find("a", node(keys), key) is not None) == wanted


def test_what_the_user_decided_stands_under_any_key() -> None:
    for keys in ("", "cache: false, "):
        assert KnownResults(run_id="now", finished=finished(None)).find("a", node(keys), {"step": "x"}) is not None


def test_what_changed_is_told_and_nothing_where_neither_has_a_key() -> None:
    told: list[tuple[str, list[str]]] = []
    for before, now in ((KEY, {"step": "aa", "inputs": "cc"}), ({}, {})):
        known = KnownResults(run_id="now", finished=finished(before), on_change=lambda *said: told.append(said))
        known.find("a", node(), now)
    assert told == [("a", ["inputs"])]


def test_the_store_is_for_steps_that_say_so_and_for_what_holds_no_secret(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for keys, clean, wanted in (("", True, False), ("cache: true, ", False, False), ("cache: true, ", True, True)):
        KnownResults(run_id="one", store=store, clean=lambda value, clean=clean: clean).keep(
            "a", node(keys), KEY, FINE
        )
        found = KnownResults(run_id="two", store=store).find("a", node("cache: true, "), KEY)
        assert (found is not None) == wanted
    assert KnownResults(run_id="two", store=store).find("a", node(), KEY) is None
    assert KnownResults(run_id="two", store=store, redo=["a"]).find("a", node("cache: true, "), KEY) is None
    assert KnownResults(run_id="two", store=store).find("a", node("cache: true, "), {}) is None


@pytest.mark.parametrize(
    ("unit", "wanted"),
    [("a", True), ("a[3]", True), ("a.b[1].c", True), ("ab", False), ("b.a", False), ("a[3].x", True)],
)
def test_a_name_means_a_step_its_items_and_what_is_within(unit: str, wanted: bool) -> None:
    assert is_named(unit, ["a"]) == wanted
