"""One trial: a load on a server that is ready. Answers are read once all are in, so that nothing is late."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gptoss_flow.bench.cases import Trial, add_start, measured
from gptoss_flow.bench.load import Amounts, Driven, Driver, Shot, lag_of
from gptoss_flow.bench.prompts import Prepared
from gptoss_flow.bench.samples import Sample, sample
from gptoss_flow.bench.target import FinalFinder, Target
from gptoss_flow.events import Json
from gptoss_flow.llama.timed import NotAnswered, Received, arrivals_in, read
from gptoss_flow.server.readiness import NEWS_S
from gptoss_flow.trials import Load

MOST_KINDS = 10
"""Different errors that are told."""
KEPT_BYTES = 64 * 2**20
"""Of answers that are read only at the end; beyond that each is read as it ends."""


@dataclass
class _Answers:
    """What came of each request, by its number."""

    target: Target
    prompts: Sequence[Prepared]
    requests: Sequence[bytes]
    timeout_s: float
    finders: Mapping[str, FinalFinder]
    received: dict[int, Received] = field(default_factory=dict)
    samples: dict[int, Sample] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    sent: dict[int, float] = field(default_factory=dict)
    _bytes: int = 0

    async def ask(self, shot: Shot) -> bool:
        received = self.received[shot.number] = Received()
        try:
            await self.target.client.ask(self.requests[shot.number % len(self.requests)], self.timeout_s, received)
        except NotAnswered as error:
            self.errors[shot.number] = str(error)
            return False
        finally:
            self.sent[shot.number] = received.sent
        self._bytes += sum(len(data) for _, data in received.pieces)
        if received.status != 200 or self._bytes > KEPT_BYTES:
            self.read(shot.number)
        return received.status == 200

    def read(self, number: int) -> None:
        """What an answer says, once."""
        received = self.received.get(number)
        if received is None or number in self.samples or number in self.errors:
            return
        try:
            timed = read(received)
        except NotAnswered as error:
            self.errors[number] = str(error)
            return
        finally:
            self._bytes -= sum(len(data) for _, data in received.pieces)
        finder = self.finders[self.prompts[number % len(self.prompts)].mode]
        arrivals = [(chunk.arrived, n) for chunk, n in timed.chunks]
        self.samples[number] = sample(
            timed.sent, arrivals, finder([chunk for chunk, _ in timed.chunks]), timed.final
        )
        received.pieces.clear()

    def tokens_between(self, began: float, ended: float) -> int:
        """Of whatever came in this time, the answers that were called off too."""
        found = 0
        for number, received in self.received.items():
            if number in self.errors:
                continue
            each = self.samples.get(number)
            arrivals = each.arrivals if each is not None else arrivals_in(received)
            found += sum(n for at, n in arrivals if began < at <= ended)
        return found


async def run_trial(
    target: Target, load: Load, amounts: Amounts, prompts: Sequence[Prepared], timeout_s: float, seed: int
) -> Trial:
    """The trial's result: n, errors, error_kinds, window_s, metrics, samples, lag, dropped …"""
    requests = [target.client.request(prompt.tokens, prompt.params) for prompt in prompts]
    finders = {mode: await target.final_finder(mode) for mode in {prompt.mode for prompt in prompts}}
    answers = _Answers(target, prompts, requests, timeout_s, finders)
    driver = Driver(amounts, answers.ask)
    gc.collect()
    gc.disable()  # a search for garbage would be a lag of our own making
    try:
        with target.busy():
            work = asyncio.create_task(
                driver.closed(load.concurrency) if load.concurrency else driver.open(load.rate or 1.0, seed)
            )
            try:
                await asyncio.wait({work, target.died}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                work.cancel()
                await asyncio.wait({work})
    finally:
        gc.enable()
    if not work.cancelled() and (error := work.exception()) is not None:
        raise error
    if answers.errors:  # a server's connections end before the news of its death comes
        await asyncio.wait({target.died}, timeout=NEWS_S)
    for shot in driver.driven.shots:
        if shot.ended:
            answers.read(shot.number)
    trial = _result(driver.driven, answers, is_open=load.rate is not None)
    add_start(trial, target.start)
    if target.died.done() and not target.died.cancelled():
        trial["error"] = str(target.died.result())
    return trial


def _result(driven: Driven, answers: _Answers, *, is_open: bool) -> Trial:
    shots = [shot for shot in driven.shots if shot.phase == "measured" and shot.ended]
    samples = [answers.samples[shot.number] for shot in shots if shot.number in answers.samples]
    errors = Counter(answers.errors[shot.number] for shot in shots if shot.number in answers.errors)
    began = min((each.sent for each in samples), default=0.0)
    ended = max((each.last for each in samples), default=0.0)
    window = {
        "began": began,
        "s": ended - began,
        "tokens": answers.tokens_between(began, ended),
    }
    trial = measured(samples, window, {"errors": errors.total()})
    ttft: Any = trial["metrics"].get("ttft", {}).get("p50")
    dropped: dict[str, Json] = {
        phase: sum(shot.phase == phase for shot in driven.shots) for phase in ("warmup", "cooldown")
    }
    dropped["errors"] = sum(s.number in answers.errors for s in driven.shots if s.phase != "measured")
    usage = {
        "prompt_tokens": sum(each.prompt_tokens for each in answers.samples.values()),
        "cached_tokens": sum(each.cached_tokens for each in answers.samples.values()),
        "completion_tokens": sum(each.tokens for each in answers.samples.values()),
    }
    return trial | {
        "usage": usage,
        "error_kinds": dict(errors.most_common(MOST_KINDS)),
        "dropped": dropped,
        "lag": lag_of(driven, answers.sent, is_open, ttft),
    }
