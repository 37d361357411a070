"""The other forms of a report: Markdown and JUnit's XML as they were last looked at, text, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from gptoss_flow.escape import is_unsafe
from gptoss_flow.events import RunFinished
from gptoss_flow.ui.report import FORMATS
from gptoss_flow.ui.report.markdown import LONGEST, code_span, fenced, plain
from gptoss_flow.ui.report.view import Report
from tests.record.samples import run_started
from tests.ui.report.made import HOSTILE, done, hostile, ordinary, report_of, thousand

GOLDEN = Path(__file__).parents[2] / "data" / "report"


@pytest.mark.parametrize("form", ["md", "junit", "text"])
def test_a_form_is_as_it_was_last_looked_at(form: str) -> None:
    """Where the change is meant: write the file anew, and look at it."""
    assert FORMATS[form](report_of(ordinary())) == (GOLDEN / f"ordinary.{form}").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", FORMATS)
def test_no_form_lets_a_hostile_text_steer_who_reads_it(form: str) -> None:
    drawn = FORMATS[form](report_of(hostile()))
    assert not [hex(ord(char)) for char in set(drawn) if is_unsafe(char) and char not in "\n\t"]
    assert drawn.encode()


# --- Markdown ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", HOSTILE)
def test_a_text_in_a_cell_is_no_markup_and_no_other_cell(said: str) -> None:
    shown = code_span(said).removeprefix("<code>").removesuffix("</code>")
    assert not set(shown) & set("|<>*`[]!@~\\\n:\"'")
    assert "&" not in shown.replace("&#", "")


def test_words_and_names_stay_as_they_are() -> None:
    assert plain("read_file (3 of 4), well-known") == "read_file (3 of 4), well-known"
    assert plain("latency is 74.4 ms: 9.5% worse (+1%)") == "latency is 74.4 ms: 9.5% worse (+1%)"
    assert set(plain(":x: www.a.b 1. + a")) & set(".:+") == {":"}  # the one that no name begins with


def test_a_table_has_the_same_number_of_cells_in_every_row() -> None:
    drawn = FORMATS["md"](report_of(hostile()))
    rows = [line for line in drawn.split("\n") if line.startswith("| ")]
    table = [row for row in rows if "</code>" in row or "**all**" in row or row.startswith("| step")]
    assert {row.count("|") for row in table} == {10}
    assert len(table) == len(HOSTILE) + 4


@pytest.mark.parametrize("text", ["```\n# out\n```", "``````", "a", ""])
def test_a_block_cannot_be_ended_from_within(text: str) -> None:
    fence, *_, last = fenced(text).split("\n")
    assert fence == last
    assert len(fence) >= 3
    assert fence not in text


def test_a_long_value_is_cut_and_says_so() -> None:
    assert f"({LONGEST * 3:,} characters)" in fenced("x" * LONGEST * 3)
    assert len(FORMATS["md"](report_of(hostile()))) < 1_000_000, "what GitHub takes"


def test_a_summary_of_a_thousand_items_is_short() -> None:
    assert len(FORMATS["md"](report_of(thousand())).split("\n")) < 100


# --- JUnit ------------------------------------------------------------------------------------------------------


def suite(report: Report) -> ElementTree.Element:
    return ElementTree.fromstring(FORMATS["junit"](report))


def test_each_item_is_a_test_case_and_its_step_is_not() -> None:
    names = [case.get("name") for case in suite(report_of(thousand())).iter("testcase")]
    assert len(names) == 1000
    assert "each" not in names


def failed_run(status: Any) -> Report:
    error = {"kind": "check", "message": "2 is not 3", "at": "a.yaml:3:1"}
    ended = RunFinished(status=status, exit_code=0, outputs={}, tokens={}, duration_s=1.0)
    return report_of([run_started(steps={"a": "check"}), done("a", outcome="failed", error=error), ended])


def test_a_failure_is_a_failure_with_its_kind_and_place() -> None:
    found = suite(failed_run("failed"))
    assert (found.get("tests"), found.get("failures"), found.get("skipped")) == ("1", "1", "0")
    failure = found.find("testcase/failure")
    assert failure is not None
    assert (failure.get("type"), failure.get("message"), failure.text) == (
        "check",
        "check: 2 is not 3",
        "a.yaml:3:1",
    )


def test_a_failure_that_the_run_got_over_breaks_no_build() -> None:
    found = suite(failed_run("succeeded"))
    assert (found.get("failures"), found.get("skipped")) == ("0", "1")
    skipped = found.find("testcase/skipped")
    assert skipped is not None
    assert skipped.get("message") == "check: 2 is not 3"


def test_a_step_without_an_end_is_an_error() -> None:
    found = suite(report_of(ordinary()[:8]))
    assert int(found.get("errors", "0")) > 0
    assert len(found.findall("testcase/error")) == int(found.get("errors", "0"))


def test_what_xml_cannot_hold_is_made_visible() -> None:
    assert suite(report_of(hostile())).get("tests") == str(len(HOSTILE) + 2)


# --- JSON and text ----------------------------------------------------------------------------------------------


def test_json_has_what_show_has_and_the_history_of_each_step() -> None:
    report = report_of(ordinary())
    told = json.loads(FORMATS["json"](report))
    shown = json.loads(json.dumps(report.facts))
    assert {**told, "steps": [], "notices": []} == {**shown, "steps": [], "notices": []}
    steps = {step["step"]: step for step in told["steps"]}
    assert [step["step"] for step in shown["steps"]] == list(steps)
    assert [happened["type"] for happened in steps["polish"]["history"]] == ["turn", "round_finished", "turn"]
    failed = steps["each"]["item_steps"][1]
    assert (failed["step"], failed["outcome"]) == ("each[1]", "failed")
    assert [happened["type"] for happened in failed["history"]] == ["turn", "step_retried", "turn"]
    assert steps["tree"]["history"][0]["result"] == ["a.py", "b.py"]


def test_text_holds_every_prompt_and_answer_whole() -> None:
    drawn = FORMATS["text"](report_of(thousand()))
    assert drawn.count("answer:\n    It is ") == 1000
    assert "What is 999 times two?" in drawn
