"""A run of ten steps that is broken off in every way, and what has to hold of it when it was resumed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from gptoss_flow.events import StepFinished, StepStarted
from gptoss_flow.record.journal_file import JournalDamage, read_journal
from tests.faults.effect import FILE
from tests.faults.warm import CALLS, Ended, Warm

FLOW = """\
version: 1
inputs: {topic: {type: string, default: tides}}
steps:
  words: {set: {list: [sun, moon]}}
  files: {tool: list_files, with: {pattern: "*.yaml"}}
  each:
    foreach: ${{ steps.words.output.list }}
    prompt: {user: "Say ${{ item }} of ${{ inputs.topic }}"}
  enough: {check: ["steps.each.output | length == 2"]}
  send: {tool: append, with: {line: "${{ steps.each.output | length }}"}}
  grid:
    matrix: {x: [1, 2], y: [3]}
    set: {sum: "${{ matrix.x + matrix.y }}"}
  inside: {flow: ./inner.yaml, with: {word: "${{ steps.each.output[0] }}"}}
  again:
    repeat: {max: 3, until: loop.index == 2}
    prompt: {user: "Round ${{ loop.index }}"}
  weak:
    prompt: {user: fail}
    on_error: {fallback: {set: {instead: "${{ error.message }}"}}}
  last:
    needs: [send]
    set:
      all: "${{ steps.each.output }} ${{ steps.grid.output }} ${{ steps.inside.output }} ${{ steps.weak.output }}"
finally:
  bye: {set: {status: "${{ run.status }}"}}
outputs:
  all: ${{ steps.last.output.all }}
  again: ${{ steps.again.output }}
  files: ${{ steps.files.output }}
"""
INNER = """\
version: 1
inputs: {word: {type: string}}
steps:
  ask: {prompt: {user: "What is ${{ inputs.word }}?"}}
  note: {set: {noted: "${{ steps.ask.output }}"}}
outputs: {said: "${{ steps.note.output.noted }}"}
"""
SEND = """\
  send: {tool: append, with: {line: "${{ steps.each.output | length }}"}}
"""
LOOP = FLOW.replace(SEND, "  send: {needs: [enough], prompt: {user: Send., tools: [append, list_files]}}\n")
"""The same run, but that a model does what is to be done once, in a conversation of three turns."""
REPLIES = """\
default: fine
replies:
  - {step: weak, error: {message: too weak}}
  - {step: send, turn: 1, tool_calls: [{tool: list_files}, {tool: append, arguments: {line: x}}]}
  - {step: send, turn: 2, tool_calls: [{tool: list_files}]}
"""
RUN = ("run", "flow.yaml", "--model", "scripted:replies.yaml", "--json")
RESUME = ("resume", "--json")


@dataclass
class Project:
    """A folder with the flow. `folder` may be made anew for each break."""

    folder: Path
    warm: Warm
    redone: Counter[str] = field(default_factory=Counter)

    @property
    def journal(self) -> Path | None:
        return max(self.folder.glob(".gptoss-flow/runs/*/events.jsonl"), default=None)

    def effects(self) -> int:
        path = self.folder / FILE
        return len(path.read_text().splitlines()) if path.exists() else 0

    def break_off(self, *command: str, inject: str) -> Ended:
        return self.warm.run(self.folder, *command, inject=inject)

    def resume(self, inject: str = "", *, may_redo: bool = True) -> Ended:
        """Resume, with the decision that is asked for: whether it happened can be seen in the file."""
        ended = self.warm.run(self.folder, *RESUME, inject=inject)
        if ended.code == 2 and "--redo send" in ended.err:
            happened = self.effects() > self.redone["send"]
            decision = "--assume-done" if happened and not may_redo else "--redo"
            self.redone["send"] += decision == "--redo"
            ended = self.warm.run(self.folder, *RESUME, decision, "send", inject=inject)
        return ended

    def fault(self, ended: Ended, wanted: object) -> str:
        """What is not as in the unbroken run; empty where all is."""
        if ended.code != 0:
            return f"exit {ended.code}: {ended.err[-200:]!r}"
        if (found := outputs(ended)) != wanted:
            return f"other outputs: {found}"
        if again := self.ran_again():
            return f"{again} ran again though it had finished"
        if self.effects() > 1 + self.redone["send"]:
            return f"send happened {self.effects()} times, redone {self.redone['send']}"
        return self.torn()

    def ran_again(self) -> str:
        """A step that was started though its end was on record, and that nobody asked for."""
        journal = self.journal
        assert journal is not None
        done: set[str] = set()
        for stamped in read_journal(journal):
            event = stamped.event
            if isinstance(event, StepFinished) and event.outcome == "succeeded":
                done.add(event.step)
            # A flow inside a step, like a fan-out, is gone through again: its steps are what is not run again.
            elif isinstance(event, StepStarted) and event.kind != "flow" and event.items is None:
                is_wanted = event.step not in done or self.redone[event.step]
                if not is_wanted:
                    return event.step
        return ""

    def torn(self) -> str:
        """Whatever of the record is damaged but for a line that was being written."""
        journal = self.journal
        if journal is None:
            return ""
        damage = JournalDamage()
        numbers = [stamped.seq for stamped in read_journal(journal, damage)]
        if damage.count > 1:
            return f"{damage.count} damaged lines"
        return "" if numbers == [*range(1, len(numbers) + 1)] else "a record is missing, or not in its order"


def outputs(ended: Ended) -> object:
    return json.loads(ended.out)["outputs"]


@contextmanager
def project(warm: Warm, flow: str = FLOW) -> Iterator[Project]:
    with TemporaryDirectory(prefix="record-") as name:
        folder = Path(name, "project")
        folder.mkdir()
        for path, text in {"flow.yaml": flow, "inner.yaml": INNER, "replies.yaml": REPLIES}.items():
            (folder / path).write_text(text)
        yield Project(folder, warm)


def unbroken(warm: Warm, flow: str = FLOW) -> tuple[object, list[tuple[str, int]]]:
    """The outputs of a run that nothing breaks, and each call that it makes on its files: name, number."""
    with project(warm, flow) as one:
        ended = warm.run(one.folder, *RUN, trace=True)
        assert ended.code == 0, ended
        calls = [
            (call, number)
            for call in CALLS
            for number, line in enumerate(_lines(ended, call), start=1)
            if call != "openat" or "O_CREAT" in line
        ]
        return outputs(ended), calls


def _lines(ended: Ended, call: str) -> list[str]:
    """Those of the thread that does nearly all of it: each thread's calls are counted on their own."""
    main = Counter(line.split()[0] for line in ended.trace).most_common(1)[0][0]
    return [line for line in ended.trace if re.match(rf"{main} +{call}\(", line)]
