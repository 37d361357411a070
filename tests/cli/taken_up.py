"""A project in which runs are broken off and taken up again, with the commands in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.cli.main import main
from gptoss_flow.events import Event, StepFinished, StepStarted, Warned
from gptoss_flow.record.folder import list_runs
from gptoss_flow.record.journal_file import read_journal

SCRIPTED = ("--model", "scripted:replies.yaml")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


class Runs:
    """The current folder is the project's."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self.write("replies.yaml", "default: fine\n")

    def write(self, path: str, text: str) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def change(self, path: str, before: str, after: str) -> None:
        text = (self.folder / path).read_text()
        assert before in text
        self.write(path, text.replace(before, after))

    def do(self, *args: str) -> Done:
        self._capsys.readouterr()
        code = main([*args])
        said = self._capsys.readouterr()
        return Done(code, said.out, said.err)

    def run(self, *args: str, flow: str = "flow.yaml") -> Done:
        return self.do("run", flow, *SCRIPTED, "--json", *args)

    @property
    def newest(self) -> Path:
        return list_runs(self.folder)[-1]

    def events(self, run: Path | None = None) -> list[Event]:
        return [stamped.event for stamped in read_journal((run or self.newest) / "events.jsonl")]

    def cut(self, is_last: Callable[[Event], bool], *, left: bytes = b"") -> None:
        """Leave the newest record as a kill -9 after the first such event does; `left`: of the next line."""
        journal = self.newest / "events.jsonl"
        events = self.events()
        number = next(n for n, event in enumerate(events, start=1) if is_last(event))
        journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:number]) + left)

    def started(self) -> list[str]:
        """The units that really ran in the newest run since it was last begun or resumed, fan-outs not counted."""
        ran = list[str]()
        for event in self.events():
            if event.type == "run_resumed":
                ran.clear()
            elif isinstance(event, StepStarted) and event.items is None:
                ran.append(event.step)
        return ran

    def reused(self) -> list[str]:
        return [event.step for event in self.events() if isinstance(event, StepFinished) and event.reused]

    def warnings(self) -> list[str]:
        return [f"{event.step}: {event.message}" for event in self.events() if isinstance(event, Warned)]


def outputs(done: Done) -> Mapping[str, Any]:
    return json.loads(done.out)["outputs"]  # type: ignore[no-any-return]


def ended(step: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, StepFinished) and event.step == step


def of_type(name: str, step: str) -> Callable[[Event], bool]:
    return lambda event: event.type == name and getattr(event, "step", "") == step
