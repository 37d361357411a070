"""The record under kill -9, full disks and failing storage: what is promised of it holds, and a run goes on.

Needs strace; a scene that can't be played says so. Commands run in forks of one warm process (see `warm`).
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from gptoss_flow.events import StepFinished
from gptoss_flow.record.journal_file import JournalDamage, read_journal
from tests.faults.effect import FILE
from tests.faults.stage import Figure, Scene, Stage, Tally
from tests.faults.unbroken import FLOW, RESUME, RUN, Project, outputs, project, unbroken
from tests.faults.warm import Ended, Warm

KILL = "{}:signal=SIGKILL:when={}"
NO_BEGINNING = "has no beginning"


@contextmanager
def warmed(stage: Stage) -> Iterator[Warm]:
    with tempfile.TemporaryDirectory(prefix="home-") as home:
        private = dict.fromkeys(("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), home)
        with Warm(private) as warm:
            yield warm


def with_strace(play: Callable[[Stage, Warm], Figure]) -> Scene:
    def scene(stage: Stage) -> Figure:
        if shutil.which("strace") is None:
            return Figure("not played: needs strace", True)
        with warmed(stage) as warm:
            return play(stage, warm)

    return scene


def go_on(one: Project, wanted: object, *, may_redo: bool) -> str:
    """Resume a run that was broken off, or begin anew where it had not begun: what is wrong, else ''."""
    if one.journal is None:
        return one.fault(one.warm.run(one.folder, *RUN), wanted)
    if fault := one.torn():
        return fault
    ended = one.resume(may_redo=may_redo)
    if ended.code == 7 and NO_BEGINNING in ended.err:
        if one.effects():
            return "something has happened, and is not on record"
        ended = one.warm.run(one.folder, *RUN)
    return one.fault(ended, wanted)


def killed_once(warm: Warm, wanted: object, call: str, number: int, flow: str = FLOW) -> str | None:
    """What is wrong after kill -9 at that call and a resume; None where that call was not made."""
    with project(warm, flow) as one:
        ended = one.break_off(*RUN, inject=KILL.format(call, number))
        if not ended.was_hit:
            return None if ended.code == 0 else f"exit {ended.code}"
        return go_on(one, wanted, may_redo=number % 2 == 0)


def killed_twice(warm: Warm, wanted: object, first: tuple[str, int], second: tuple[str, int]) -> str:
    with project(warm) as one:
        one.break_off(*RUN, inject=KILL.format(*first))
        if one.journal is not None:
            one.resume(inject=KILL.format(*second))
        return go_on(one, wanted, may_redo=sum(map(ord, str(first + second))) % 2 == 0)


def kill_at_every_call(stage: Stage, warm: Warm) -> Figure:
    """C01: kill -9 at every call that a run makes on its files; resumed, it gives what it would have given."""
    wanted, calls = unbroken(warm)
    tally = Tally()
    for call, number in random.sample(calls, min(stage.rounds or len(calls), len(calls))):
        fault = killed_once(warm, wanted, call, number)
        if fault is not None:
            tally.add(f"{call} {number}: {fault}" if fault else "")
    return tally.figure()


def kill_the_resume_too(stage: Stage, warm: Warm) -> Figure:
    """C02: kill -9 of a run, and again of its resume."""
    wanted, calls = unbroken(warm)
    tally, chance = Tally(), random.Random(2)
    for _ in stage.times(150):
        first, second = chance.choice(calls), chance.choice(calls)
        fault = killed_twice(warm, wanted, first, second)
        tally.add(f"{first}, {second}: {fault}" if fault else "")
    return tally.figure()


def no_false_end(one: Project, ended: Ended) -> str:
    """A step that was said to have ended and that the record does not have."""
    journal = one.journal
    events = list(read_journal(journal)) if journal else []
    recorded = {stamped.event.step for stamped in events if isinstance(stamped.event, StepFinished)}
    claimed = set(re.findall(r"^step (\S+): succeeded", ended.err, re.MULTILINE))
    return "".join(f"{step} is claimed, and not on record" for step in sorted(claimed - recorded)[:1])


def failing(call: str, error: str, said: str, *, after: str = "") -> Scene:
    """Each call of that name fails once: exit 7, no claim that is not on record, and the run goes on later.

    `after`: what the trace must not show behind it, as a pattern.
    """

    def play(stage: Stage, warm: Warm) -> Figure:
        wanted, calls = unbroken(warm)
        tally = Tally()
        for name, number in calls:
            if name != call or (stage.rounds and number > stage.rounds):
                continue
            with project(warm) as one:
                ended = one.break_off(*RUN, inject=f"{call}:error={error}:when={number}")
                at = next((i for i, line in enumerate(ended.trace) if "(INJECTED)" in line), None)
                if at is None:
                    continue
                hit = ended.trace[at]
                if ".gptoss-flow" not in hit or "/lock>" in hit:  # the command's own output, the tool's own file
                    continue
                fault = "" if ended.code == 7 and said in ended.err else f"exit {ended.code}: {ended.err[-200:]!r}"
                fault = fault or no_false_end(one, ended) or one.torn()
                fault = fault or next(
                    (line for line in ended.trace[at + 1 :] if after and re.search(after, line)), ""
                )
                fault = fault or go_on(one, wanted, may_redo=False)
                tally.add(f"{call} {number} ({hit[:90]}): {fault}" if fault else "")
        return tally.figure()

    return with_strace(play)


def tried_again(stage: Stage, warm: Warm) -> Figure:
    """C10: EINTR and EAGAIN at every write are no failures."""
    wanted, calls = unbroken(warm)
    tally = Tally()
    for error in ("EINTR", "EAGAIN"):
        for name, number in calls:
            if name != "write" or (stage.rounds and number > stage.rounds):
                continue
            with project(warm) as one:
                ended = one.break_off(*RUN, inject=f"write:error={error}:when={number}")
                hit = next((line for line in ended.trace if "(INJECTED)" in line), "")
                if re.search(r"events\.jsonl|run\.rlog", hit):
                    fault = one.fault(ended, wanted)
                    tally.add(f"{error} at {number}: {fault}" if fault else "")
    return tally.figure()


def short_writes(stage: Stage) -> Figure:
    """C08: each write takes half of what it is given; nothing of the record is lost."""
    tally = Tally()
    with warmed(stage) as warm:
        with project(warm) as one:
            wanted = outputs(warm.run(one.folder, *RUN))
        for number in stage.times(120):
            with project(warm) as one:
                fault = one.fault(warm.run(one.folder, *RUN, short=number + 1), wanted)
                tally.add(f"write {number + 1}: {fault}" if fault else "")
    return tally.figure()


def full_disk(stage: Stage) -> Figure:
    """C07: the record on a file system of 64 KiB that gets full: exit 7, then room, then a resume."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return Figure("not played: needs the right to mount", True)
    tally = Tally()
    with warmed(stage) as warm:
        with project(warm) as one:
            wanted = outputs(warm.run(one.folder, *RUN))
        for kilobytes in list(range(0, 64, 4))[: stage.rounds]:
            with project(warm) as one, small_disk(one.folder / ".gptoss-flow") as disk:
                (disk / "ballast").write_bytes(bytes(kilobytes * 1024))
                ended = warm.run(one.folder, *RUN)
                if ended.code == 0:
                    tally.add(one.fault(ended, wanted))
                    continue
                said = "No space left on device" in ended.err
                fault = "" if ended.code == 7 and said else f"exit {ended.code}: {ended.err[-200:]!r}"
                fault = fault or no_false_end(one, ended) or one.torn()
                (disk / "ballast").unlink()
                fault = fault or go_on(one, wanted, may_redo=False)
                tally.add(f"{64 - kilobytes} KiB left: {fault}" if fault else "")
    return tally.figure()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def flipped_bits(stage: Stage) -> Figure:
    """C04: a bit of a record that a boundary ends is flipped, at every byte of it: it is seen."""
    tally, chance = Tally(), random.Random(4)
    with warmed(stage) as warm, project(warm) as one:
        warm.run(one.folder, *RUN)
        journal = one.journal
        assert journal is not None
        lines = journal.read_bytes().splitlines(keepends=True)
        for at, line in enumerate(lines):
            if b'"crc":"' not in line:
                continue
            for byte in range(len(line) - 1):
                flipped = bytearray(line)
                flipped[byte] ^= 1 << chance.randrange(8)
                journal.write_bytes(b"".join([*lines[:at], flipped, *lines[at + 1 :]]))
                damage = JournalDamage()
                found = [stamped.seq for stamped in read_journal(journal, damage)]
                seen = damage.count >= 1 and len(found) <= len(lines) - 1 and damage.lines[0].line == at + 1
                tally.add("" if seen else f"line {at + 1}, byte {byte}")
    return tally.figure()


def power_loss(stage: Stage) -> Figure:
    """C05, C06: the record as a power loss may leave it, behind each line: half of the next one, then NUL bytes.

    What is to be done once has happened as far as its start is on record: that is synced before it is done.
    """
    tally = Tally()
    with warmed(stage) as warm:
        with project(warm) as one:
            wanted = outputs(warm.run(one.folder, *RUN))
            assert one.journal is not None
            lines = one.journal.read_bytes().splitlines(keepends=True)
        for kept in range(1, len(lines))[: stage.rounds]:
            with project(warm) as one:
                warm.run(one.folder, *RUN)
                assert one.journal is not None
                mine = one.journal.read_bytes().splitlines(keepends=True)
                left = b"".join(mine[:kept])
                one.journal.write_bytes(left + mine[kept][: len(mine[kept]) // 2] + bytes(4096))
                if b'"tool":"append"' not in left:
                    (one.folder / FILE).unlink()
                fault = go_on(one, wanted, may_redo=False)
                tally.add(f"from line {kept + 1} on: {fault}" if fault else "")
    return tally.figure()


def two_resumes(stage: Stage, warm: Warm) -> Figure:
    """C12: two resumes of one run at once: one goes on with it, the other is refused."""
    wanted, calls = unbroken(warm)
    writes = [number for call, number in calls if call == "write"]
    tally, codes = Tally(), list[tuple[int, int]]()
    for round_ in stage.times(50):
        with project(warm) as one:
            number = writes[len(writes) // 4 + round_ % (len(writes) // 2)]
            one.break_off(*RUN, inject=KILL.format("write", number))
            decision = ("--redo", "send") if "--redo" in warm.run(one.folder, "resume", "--redo", "x").err else ()
            one.redone["send"] += bool(decision)
            both = [warm.start(one.folder, *RESUME, *decision) for _ in range(2)]
            ended = [warm.wait(running) for running in both]
            codes.append(tuple(sorted(each.code for each in ended)))  # type: ignore[arg-type]
            refused = [each for each in ended if each.code == 7]
            fault = "" if all("is being written by process" in each.err for each in refused) else refused[0].err
            winners = [each for each in ended if each.code == 0]
            fault = fault or (one.fault(winners[0], wanted) if winners else f"nobody: {ended}")
            tally.add(fault)
    at_once = sum(code == (0, 7) for code in codes)
    figure = tally.figure()
    return Figure(f"{figure.said}; refused {at_once}, one after the other {len(codes) - at_once}", figure.met)


def once_in_flight(stage: Stage, warm: Warm) -> Figure:
    """C14: killed at each call: whether a `once` step has happened is asked where it is not known."""
    wanted, calls = unbroken(warm)
    tally, asked = Tally(), 0
    for call, number in calls:
        if call not in ("write", "fdatasync", "openat"):
            continue
        with project(warm) as one:
            one.break_off(*RUN, inject=KILL.format(call, number))
            if one.journal is None:
                continue
            before = one.effects()
            ended = warm.run(one.folder, *RESUME)
            if ended.code == 2 and "--redo send or --assume-done send" in ended.err:
                asked += 1
                tally.add("" if one.effects() == before else f"{call} {number}: it was done before the answer")
                done = one.resume(may_redo=False)
                fault = one.fault(done, wanted)
                tally.add(f"{call} {number}: {fault}" if fault else "")
    figure = tally.figure()
    return Figure(f"{figure.said}; asked {asked} times", figure.met and asked > 0)


def folder_removed(stage: Stage) -> Figure:
    """C22: the run's folder is removed while it runs: exit 7 at the next promise, and an end."""
    flow = (
        "version: 1\nsteps:\n  gone: {tool: remove_record}\n"
        "  after: {needs: [gone], prompt: {user: hi}}\n  late: {needs: [after], set: {x: 1}}\n"
    )
    tally = Tally()
    with warmed(stage) as warm:
        for _ in stage.times(5):
            with project(warm, flow) as one:
                ended = warm.run(one.folder, *RUN)
                fault = "" if ended.code == 7 and "deleted" in ended.err else f"exit {ended.code}: {ended.err!r}"
                tally.add(fault)
    return tally.figure()


def few_files(stage: Stage) -> Figure:
    """C23: so many files may be open and no more: an error of ours, or success, never a bug; and nothing leaks."""
    tally = Tally()
    with warmed(stage) as warm:
        with project(warm) as one:
            wanted = outputs(warm.run(one.folder, *RUN))
        for limit in count(4):
            with project(warm) as one:
                ended = warm.run(one.folder, *RUN, files=limit)
                if ended.code == 0:
                    tally.add(one.fault(ended, wanted))
                    break
                well = ended.code in (1, 2, 3, 7) and "bug" not in ended.err and "Traceback" not in ended.err
                tally.add("" if well else f"{limit} files: exit {ended.code}, {ended.err[-300:]!r}")
        figure = tally.figure()
    return Figure(f"{figure.said}; {limit} files are enough", figure.met and limit <= 32)


SCENES: dict[str, Scene] = {
    "flipped-bits": flipped_bits,
    "power-loss": power_loss,
    "full-disk": full_disk,
    "no-space-once": failing("write", "ENOSPC", "No space left on device"),
    "quota": failing("write", "EDQUOT", "quota"),
    "failed-sync": failing("fdatasync", "EIO", "Input/output error", after=r"fdatasync\(.*events\.jsonl"),
    "failed-folder-sync": failing("fsync", "EIO", "Input/output error"),
    "failed-open": failing("openat", "EMFILE", "Too many open files"),
    "interrupted-writes": with_strace(tried_again),
    "short-writes": short_writes,
    "folder-removed": folder_removed,
    "few-files": few_files,
    "two-resumes": with_strace(two_resumes),
    "once-in-flight": with_strace(once_in_flight),
    "kill-every-call": with_strace(kill_at_every_call),
    "kill-resume-too": with_strace(kill_the_resume_too),
}
