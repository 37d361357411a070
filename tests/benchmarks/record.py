"""What recording costs: microseconds an event for each part, and how fast a journal is read.

Run it with `python -m tests.benchmarks.record`. Nothing here is a test: the figures are those of the machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from gptoss_flow.events import Event, Stamped, StepFinished, StepStarted
from gptoss_flow.record import append
from gptoss_flow.record.codec import encode
from gptoss_flow.record.journal_file import JournalFile, read_journal
from gptoss_flow.record.rlog import Rlog
from gptoss_flow.record.state import fold
from tests.peak import peak_mb
from tests.record.samples import START, generation, run_started

ROUNDS = 7
EVENTS = 4000


def best_us(act: Callable[[Stamped], object], events: list[Stamped]) -> float:
    """Microseconds an event: the best of some rounds, because the machine may have other work."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for event in events:
            act(event)
        rounds.append(time.perf_counter() - began)
    return min(rounds) / len(events) * 1e6


def writing(base: Path, steps: list[Stamped], answers: list[Stamped]) -> None:
    print(f"{'microseconds an event':26}{'an empty step':>16}{'an answer of 80 tokens':>26}")
    synced = best_us(JournalFile(base / "synced.jsonl").take, answers)
    append._datasync = lambda descriptor: None
    journal, rlog = JournalFile(base / "events.jsonl"), Rlog(base / "run.rlog")
    for name, act in (("encode", encode), ("journal, fsync apart", journal.take), ("rlog", rlog.take)):
        print(f"{name:26}{best_us(act, steps):16.1f}{best_us(act, answers):26.1f}")
    print(f"{'journal with fsync':26}{'':16}{synced:26.1f}")


def reading(path: Path) -> None:
    print(f"\n{'a journal of a million':26}{'wall s':>10}{'CPU s':>10}{'MiB more':>10}")
    for name, act in (
        ("bare lines", lambda: exhaust(path.open("rb"))),
        ("read", lambda: exhaust(read_journal(path))),
        ("read and fold", lambda: fold(read_journal(path))),
    ):
        memory = peak_mb()
        wall, cpu = time.perf_counter(), time.process_time()
        act()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        memory = peak_mb() - memory
        print(f"{name:26}{wall:10.2f}{cpu:10.2f}{memory:10.0f}")


def exhaust(items: Iterable[object]) -> None:
    for _ in items:
        pass


def main() -> None:
    events: list[Event] = []
    for n in range(EVENTS // 2):
        events.append(StepStarted(step=f"s{n}", kind="set"))
        events.append(StepFinished(step=f"s{n}", outcome="succeeded", output={"x": n}))
    steps = [Stamped(seq, START + seq * 1e-4, event) for seq, event in enumerate(events, start=1)]
    answer = generation("each[12]", "A sentence of an answer.\n" * 12, tokens=list(range(80)))
    with tempfile.TemporaryDirectory() as folder:
        writing(Path(folder), steps, [Stamped(seq, START + seq, answer) for seq in range(1, 200)])
        path = Path(folder) / "long.jsonl"
        lines = b"".join(map(encode, [Stamped(1, START, run_started()), *steps[1:]]))
        with path.open("wb") as file:
            for _ in range(1_000_000 // EVENTS):
                file.write(lines)
        reading(path)


if __name__ == "__main__":
    main()
