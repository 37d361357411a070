"""Writes of the record that fail, one at each place of a run: exit 7, no false claim, and the run goes on."""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Iterator

import pytest

from gptoss_flow.events import StepFinished
from gptoss_flow.record.append import AppendFile
from gptoss_flow.tools import TOOLS
from tests.cli.taken_up import Runs, outputs
from tests.faults.effect import APPEND, FILE
from tests.faults.unbroken import FLOW, INNER, REPLIES

LONGEST_S = 20


@pytest.fixture
def ten(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    """A flow of ten steps of all kinds. A run that hangs is ended."""
    monkeypatch.setitem(TOOLS, "append", APPEND)
    runs.write("flow.yaml", FLOW)
    runs.write("inner.yaml", INNER)
    runs.write("replies.yaml", REPLIES)
    yield runs
    signal.alarm(0)


def test_a_write_that_fails_anywhere_ends_the_run_and_it_can_be_resumed(
    ten: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made, failing = AppendFile._write, 0, 0

    def write(self: AppendFile, data: bytes) -> int:
        nonlocal made
        made += 1
        if made == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, data)

    monkeypatch.setattr(AppendFile, "_write", write)
    wanted = outputs(ten.run())
    effects = ten.folder / FILE
    for failing in range(2, made, 5):
        signal.alarm(LONGEST_S)
        made = 0
        effects.unlink()
        done = ten.run()
        assert (done.code, "No space left on device" in done.err) == (7, True), (failing, done.err)
        recorded = {event.step for event in ten.events() if isinstance(event, StepFinished)}
        assert set(re.findall(r"^step (\S+): succeeded", done.err, re.MULTILINE)) <= recorded
        made = -(10**6)
        done = ten.do("resume", "--json")
        if done.code == 2:
            happened = effects.exists()
            done = ten.do("resume", "--json", "--assume-done" if happened else "--redo", "send")
        assert (done.code, outputs(done)) == (0, wanted), (failing, done.err)
        assert len(effects.read_text().splitlines()) == 1
