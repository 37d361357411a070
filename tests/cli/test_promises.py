"""The record before the claim: what is on stable storage at the time that something is done or told."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from gptoss_flow.events import Json
from gptoss_flow.ports import ToolContext
from gptoss_flow.record import append
from gptoss_flow.record.append import AppendFile
from gptoss_flow.tools import TOOLS
from gptoss_flow.ui.progress import PlainProgress
from tests.cli.taken_up import Runs
from tests.faults.effect import Append
from tests.faults.unbroken import FLOW, INNER, REPLIES

BOUNDARIES = {"run_started", "generation_finished", "tool_finished", "run_finished"}


@pytest.fixture
def done(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a run does, in order: `write TYPE STEP` of its journal, `sync`, `effect`, `told TYPE STEP`."""
    seen: list[str] = []
    real_append, real_sync, real_take = AppendFile.append, append._datasync, PlainProgress.take

    class Watched(Append):
        async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
            seen.append("effect")
            return await super().call(arguments, context)

    def written(self: AppendFile, line: bytes) -> None:
        if self.path.name == "events.jsonl":
            record = json.loads(line)
            seen.append(f"write {record['type']} {record.get('step', '')}".strip())
        real_append(self, line)

    def synced(descriptor: int) -> None:
        seen.append("sync")
        real_sync(descriptor)

    def told(self: PlainProgress, stamped: Any) -> None:
        if stamped.seq:
            seen.append(f"told {stamped.event.type} {getattr(stamped.event, 'step', '')}".strip())
        real_take(self, stamped)

    monkeypatch.setitem(TOOLS, "append", Watched())
    monkeypatch.setattr(AppendFile, "append", written)
    monkeypatch.setattr(append, "_datasync", synced)
    monkeypatch.setattr(PlainProgress, "take", told)
    runs.write("flow.yaml", FLOW)
    runs.write("inner.yaml", INNER)
    runs.write("replies.yaml", REPLIES)
    assert runs.run().code == 0
    return seen


def test_each_boundary_is_synced_before_anything_else_is_written_or_told(done: list[str]) -> None:
    boundaries = [
        at for at, what in enumerate(done) if what.startswith("write ") and what.split()[1] in BOUNDARIES
    ]
    assert len(boundaries) > 8
    assert {done[at + 1] for at in boundaries} == {"sync"}
    for at in boundaries:
        assert done[at + 2] == done[at].replace("write", "told") or done[at + 2] == "sync", done[at : at + 3]


def test_what_is_done_once_begins_only_when_that_is_on_stable_storage(done: list[str]) -> None:
    begun = done.index("write tool_started send")
    assert done[begun + 1] == "sync"
    assert begun + 1 < done.index("effect") < done.index("write tool_finished send")
    started = done.index("write step_started send")
    assert done[started + 1] == "sync"


def test_nothing_is_told_that_is_not_written(done: list[str]) -> None:
    written = set[str]()
    for what in done:
        if what.startswith("write "):
            written.add(what.removeprefix("write "))
        elif what.startswith("told "):
            assert what.removeprefix("told ") in written


def test_what_waits_is_synced_though_nothing_more_happens(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of `a` is free to repeat: it waits for 50 ms at most, though `b` is thought about for long."""
    when: list[tuple[str, float]] = []
    real_append, real_sync = AppendFile.append, append._datasync

    def written(self: AppendFile, line: bytes) -> None:
        when.append((line.decode(), time.monotonic()))
        real_append(self, line)

    def synced(descriptor: int) -> None:
        when.append(("sync", time.monotonic()))
        real_sync(descriptor)

    monkeypatch.setattr(AppendFile, "append", written)
    monkeypatch.setattr(append, "_datasync", synced)
    runs.write("flow.yaml", "version: 1\nsteps:\n  a: {set: {x: 1}}\n  b: {needs: [a], prompt: {user: hi}}\n")
    runs.write("replies.yaml", "replies: [{text: fine, delay: 1}]\n")
    assert runs.run().code == 0
    (ended,) = (at for what, at in when if '"step_finished","step":"a"' in what)
    synced_at = min(at for what, at in when if what == "sync" and at > ended)
    assert synced_at - ended < 0.6
