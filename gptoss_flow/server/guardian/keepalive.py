"""Keeps the model of an idle server warm: now and then it asks for a token that costs no user anything.

When a touch is due, the server is let alone if it has worked by itself since the last look (its processor time
tells; `/slots` is never polled while work runs), if a slot is busy, or if a user has said `pause`. Else one short
prompt is repeated in a slot where it lies already: every request of ours, the warm-up included, bears a seed that
nobody else has, and `/slots` shows whose request was a slot's last. Users' requests go to the slots that were used
least recently, so ours remains ours, but for many requests at once. Where none is left, the oldest of the users'
prompts makes room, and that only where the server keeps in memory what it drops, and so has it back (`displaces`).
The only slot of a server is never taken.
"""

# ruff: noqa: PTH105, PTH108, PTH118, PTH123
from __future__ import annotations

import contextlib
import os
import select
import time

from gptoss_flow.server.guardian.child import worked_ticks
from gptoss_flow.server.guardian.exchange import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from typing import Any

    Json = dict[str, Any]
    Wanted = Mapping[str, Any]  # `every_s` (0: off), `max_tokens`, `prompt`, `displaces`, `pid_file`

ANSWER_S = 30.0
OFF: Wanted = {"every_s": 0.0, "max_tokens": 1, "prompt": "warmup", "displaces": False, "pid_file": ""}
IDLE_TICKS = 2
"""Processor time (of 10 ms) that questions like `/health` may take of a server that does nothing."""


def mark_of(nonce: str) -> int:
    """The seed that tells requests of ours from all others."""
    return int(nonce[:7], 16)


def slot_to_touch(slots: Sequence[Mapping[str, Any]], mark: int, *, displaces: bool) -> int | str:
    """The slot (`/slots`) in which a touch costs no user anything, or why there is none."""
    if any(slot["is_processing"] for slot in slots):
        return "a request runs"
    if len(slots) < 2:
        return "its only slot is left to its users"
    unused = [slot for slot in slots if slot.get("id_task", -1) == -1]
    ours = [slot for slot in slots if slot not in unused and slot.get("params", {}).get("seed") == mark]
    if ours:
        return int(max(ours, key=_task)["id"])
    if unused:
        return int(unused[-1]["id"])
    return int(min(slots, key=_task)["id"]) if displaces else "every slot holds a prompt of its users"


def _task(slot: Mapping[str, Any]) -> int:
    return int(slot["id_task"])


class Keepalive:
    """To be served whenever something may have changed, at its `deadline`, and when its socket `fd` is ready."""

    def __init__(self, spec: Json, pid: int, poll: select.poll) -> None:
        record = spec["record"]
        self._address = record.get("host", ""), record.get("port", 0)
        self._key_file = os.path.join(spec["folder"], "key")
        self._mark = mark_of(record["nonce"])
        self._pid, self._poll = pid, poll
        self._wanted: Wanted = OFF
        self._is_by_hand = False
        self._tokens: list[int] = []
        self._exchange: Exchange | None = None
        self._touch: Generator[tuple[str, Any], Any, None] | None = None
        self._due: float | None = None
        self._ticks: int | None = None
        self._touches = 0
        self._last_at: float | None = None
        self._took_s: float | None = None
        self._waits = ""

    # --- what is wanted ---

    def offer(self, wanted: Wanted | None) -> None:
        """What a user's profile says: the most frequent counts, but none against what was said by hand."""
        now_s = self._wanted["every_s"]
        if wanted and not self._is_by_hand and wanted["every_s"] and (not now_s or wanted["every_s"] < now_s):
            self._want(wanted)

    def order(self, every_s: float, max_tokens: int) -> None:
        """What was said by hand."""
        self._is_by_hand = True
        self._want({**self._wanted, "every_s": every_s, "max_tokens": max_tokens})

    def _want(self, wanted: Wanted) -> None:
        self._drop()
        self._remove_pid_file()
        if wanted["prompt"] != self._wanted["prompt"]:
            self._tokens = []
        self._wanted, self._due, self._waits = wanted, None, ""
        self._write_pid_file()

    def told(self) -> Json:
        """How it does: times in seconds, `last_at` since 1970; `waits` says what it waits for, if it waits."""
        return {
            "every_s": self._wanted["every_s"],
            "max_tokens": self._wanted["max_tokens"],
            "touches": self._touches,
            "last_at": self._last_at,
            "last_took_s": self._took_s,
            "waits": self._waits,
        }

    # --- when ---

    @property
    def fd(self) -> int:
        """The socket of the question that is under way, else -1."""
        return self._exchange.socket.fileno() if self._exchange else -1

    def deadline(self) -> float | None:
        return self._due

    def serve(self, *, may_touch: bool, why_not: str = "") -> None:
        """Begin what is due, end what takes too long, or what may not be any more."""
        every_s, now = self._wanted["every_s"], time.monotonic()
        if not every_s or not may_touch:
            self._drop()
            self._due, self._waits = None, why_not if every_s else ""
        elif self._due is None:
            self._due, self._waits, self._ticks = now + every_s, "", worked_ticks(self._pid)
        elif now >= self._due:
            if self._exchange:
                self._wait_for(f"it gave no answer in {ANSWER_S:.0f} s")
            elif self._has_worked():
                self._wait_for("it has worked since")
            else:
                self._due = now + ANSWER_S
                self._touch = self._steps()
                self._go_on(None)

    def close(self) -> None:
        self._drop()
        self._due = None
        self._remove_pid_file()

    def _has_worked(self) -> bool:
        before, self._ticks = self._ticks, worked_ticks(self._pid)
        return self._ticks is not None and before is not None and self._ticks - before > IDLE_TICKS

    def _wait_for(self, what: str) -> None:
        self._drop()
        self._waits = what
        self._due = time.monotonic() + self._wanted["every_s"]
        self._ticks = worked_ticks(self._pid)

    # --- one touch ---

    def _steps(self) -> Generator[tuple[str, Any], Any, None]:
        """The questions of one touch; each `yield` gives the answer."""
        slots = yield "/slots", None
        slot = slot_to_touch(slots, self._mark, displaces=self._wanted["displaces"])
        if isinstance(slot, str):
            self._waits = slot
            return
        if not self._tokens:
            self._tokens = (yield "/tokenize", {"content": self._wanted["prompt"]})["tokens"]
        began = time.monotonic()
        yield "/completion", warm_request(self._tokens, self._wanted["max_tokens"], slot, self._mark)
        self._touches += 1
        self._last_at, self._took_s = time.time(), round(time.monotonic() - began, 4)
        self._waits = ""

    def on_ready(self) -> None:
        """Its socket can be written to, or read."""
        exchange = self._exchange
        if exchange is None:
            return
        try:
            if not exchange.go_on():
                self._poll.modify(exchange.socket.fileno(), exchange.events)
                return
            answer = exchange.answer()
        except (OSError, ValueError) as error:
            self._wait_for(f"it cannot be asked: {error}")
            return
        self._hang_up()
        self._go_on(answer)

    def _go_on(self, answer: Any) -> None:
        assert self._touch is not None
        try:
            path, body = self._touch.send(answer)
            self._exchange = Exchange(*self._address, self._key(), path, body)
            self._poll.register(self._exchange.socket.fileno(), self._exchange.events)
        except StopIteration:
            self._wait_for(self._waits)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._wait_for(f"it cannot be asked: {type(error).__name__}: {error}")

    def _key(self) -> str:
        with contextlib.suppress(OSError), open(self._key_file, encoding="utf-8") as file:
            return file.read()
        return ""

    def _drop(self) -> None:
        self._hang_up()  # which ends a stream, and frees its slot
        self._touch = None

    def _hang_up(self) -> None:
        if self._exchange:
            self._poll.unregister(self._exchange.socket.fileno())
            self._exchange.close()
            self._exchange = None

    # --- the file that says who does it ---

    def _write_pid_file(self) -> None:
        if self._wanted["every_s"] and self._wanted["pid_file"]:
            path = self._wanted["pid_file"]
            with contextlib.suppress(OSError):
                beside = f"{path}.{os.getpid()}"
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                with open(os.open(beside, flags, 0o644), "w", encoding="ascii") as file:
                    file.write(f"{os.getpid()}\n")
                os.replace(beside, path)

    def _remove_pid_file(self) -> None:
        if self._wanted["pid_file"]:
            with contextlib.suppress(OSError, ValueError):
                with open(self._wanted["pid_file"], encoding="ascii") as file:
                    is_ours = int(file.read()) == os.getpid()
                if is_ours:
                    os.unlink(self._wanted["pid_file"])


def warm_request(tokens: list[int], max_tokens: int, slot: int, mark: int) -> Json:
    """The body of a completion that warms a slot."""
    # Streamed although nobody reads along: a request that is not keeps its slot when it is abandoned.
    request = {"prompt": tokens, "n_predict": max_tokens, "id_slot": slot, "temperature": 0.0, "seed": mark}
    return {**request, "stream": True}
