"""What ends a run from outside: signals, and a caller that is cancelled."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from gptoss_flow.errors import ExitCode
from gptoss_flow.run.ends import RunResult
from gptoss_flow.run.executor import Executor
from gptoss_flow.run.journal import Journal

LAST_CLOSE_S = 0.5
"""How long the last signal waits for those who see the run's events."""
SIGNALS = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.TERMINATED,
}


async def to_its_end(executor: Executor, close: Callable[[], Awaitable[None]]) -> RunResult:
    """A run is not dropped where its caller is cancelled: it is ended in order first."""
    run = asyncio.create_task(executor.run(close))
    try:
        return await asyncio.shield(run)
    except asyncio.CancelledError:
        executor.interrupt(ExitCode.INTERRUPTED)
        await asyncio.wait([run])
        run.result()
        raise


@contextmanager
def heeding_signals(executor: Executor, journal: Journal) -> Iterator[None]:
    """Signals interrupt the run; the last one ends the process at once (its servers lose their lease with it)."""
    loop = asyncio.get_running_loop()
    first: list[ExitCode] = []

    def arrived(code: ExitCode) -> None:
        first.append(code)
        if executor.interrupt(code):
            return
        with suppress(Exception):  # whatever goes wrong now, the user wants out
            executor.abort()
        closing = threading.Thread(target=_closed, args=(journal,), daemon=True)
        closing.start()  # the record first; whoever watches too may take longer than the user wants to wait
        closing.join(LAST_CLOSE_S)
        os._exit(first[0])

    for number, code in SIGNALS.items():
        loop.add_signal_handler(number, arrived, code)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def _closed(journal: Journal) -> None:
    with suppress(Exception):
        journal.close()
