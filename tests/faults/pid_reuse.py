"""Gives the pid of a recorded server to another program, again and again: run in a pid namespace of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from gptoss_flow.server import verbs
from gptoss_flow.server.record import ServerRecord, list_servers, start_ticks
from tests.faults.identity import forge
from tests.faults.managed import refusal, stand_in, state_folder

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
FOREIGN = """
import signal
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, lambda number, frame: print(number, flush=True))
print("up", flush=True)
input()
"""


def foreign_with(pid: int) -> subprocess.Popen[str]:
    """A program with this very pid, which tells of every signal that it gets."""
    while True:
        LAST_PID.write_text(str(pid - 1))
        pipe = subprocess.PIPE
        process = subprocess.Popen([sys.executable, "-I", "-S", "-c", FOREIGN], stdin=pipe, stdout=pipe, text=True)
        assert process.stdout
        process.stdout.readline()
        if process.pid == pid:
            return process
        process.communicate("\n")


async def once(folder: Path, record: ServerRecord, number: int) -> str:
    foreign = foreign_with(record.pid)
    changes = {"start_ticks": start_ticks(foreign.pid)} if number % 2 else {}  # the nonce alone tells then
    forge(Path(record.folder), dataclasses.asdict(record) | changes)
    listed = await verbs.ps(folder / "state")
    await verbs.stop_server(list_servers(folder / "state")[0])
    said = await refusal(stand_in(folder)) if number % 10 < 2 else ""
    heard, _ = await asyncio.to_thread(foreign.communicate, "\n")
    if heard or foreign.returncode:
        return f"it got the signals {heard.split()} and ended with {foreign.returncode}"
    return "it was listed" if listed else said


async def main(rounds: int) -> int:
    with tempfile.TemporaryDirectory(prefix="scene-") as name:
        folder = Path(name)
        async with state_folder(folder) as root:
            first = stand_in(folder, idle_timeout=-1)
            await first.ensure_ready()
            (record,) = list_servers(root)
            await first.stop()
            faults = [fault for number in range(rounds) if (fault := await once(folder, record, number))]
    print(f"{len(faults)}/{rounds} foreign programs signalled or believed{'; ' + faults[0] if faults else ''}")
    return 1 if faults else 0


if __name__ == "__main__":
    os.environ.pop("LD_PRELOAD", None)
    sys.exit(asyncio.run(main(int(sys.argv[1]))))
