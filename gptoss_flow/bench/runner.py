"""Carries out a bench: its trials one after the other, each on record as it ends, then judges them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from gptoss_flow.bench import baseline, gate
from gptoss_flow.bench.cases import Trial, case_of
from gptoss_flow.bench.fingerprint import MACHINE, differences, machine
from gptoss_flow.bench.load import MAX_REQUESTS, Amounts
from gptoss_flow.bench.matrix import Trial as Planned
from gptoss_flow.bench.matrix import overlay, trials_of
from gptoss_flow.bench.prompts import MOST, prepare
from gptoss_flow.bench.target import OpenTarget, Target
from gptoss_flow.bench.trial import run_trial
from gptoss_flow.errors import FlowError, Mismatch, StepError
from gptoss_flow.events import BenchJudged, Event, Json, PromptRendered, TrialFinished, Warned
from gptoss_flow.trials import Baseline, BenchRequest, BenchResult, Recorded, metric_of, value_of

Emit = Callable[[Event], None]
Share = Callable[[str, Mapping[str, Json], str], str]
"""A server of the flow, what its profile has beside, and what is said of that: as the YAML of a profile."""
Earlier = Mapping[str, Mapping[int, Trial]]
"""Trials that are on record already, by step and number."""


class BenchRunner:
    """`trials.Bench` over real servers; one bench at a time, as two would measure each other.

    `earlier` trials are not run again where they are what is asked for; without `open_target` all must be.
    `folder` is the flow's, where baselines are. `keep_baselines`: they are written, and not held against. `judged`
    is how a run on record was judged: in its replay a baseline, which may be another by now, is not read again;
    `apart` says of a step what is not as it was.
    """

    def __init__(
        self,
        *,
        open_target: OpenTarget | None,
        recorded: Callable[[Recorded], Sequence[PromptRendered]],
        identity: Callable[[str], Mapping[str, str]],
        folder: Path,
        share: Share,
        earlier: Earlier,
        judged: Mapping[str, BenchJudged] | None = None,
        apart: Callable[[str, str], Mismatch] = lambda step, said: Mismatch(f"step {step}: {said}"),
        keep_baselines: bool = False,
    ) -> None:
        self._open_target = open_target
        self._recorded = recorded
        self._identity = identity
        self._folder = folder
        self._share = share
        self._earlier = earlier
        self._judged_before = judged or {}
        self._apart = apart
        self._keep_baselines = keep_baselines
        self._lock = asyncio.Lock()

    async def measure(self, asked: BenchRequest, emit: Emit) -> BenchResult:
        planned = trials_of(asked)
        before = self._baseline(asked.baseline)
        recorded: Sequence[PromptRendered] = ()
        if isinstance(asked.prompts, Recorded) and self._open_target is not None:
            recorded = self._recorded(asked.prompts)
        trials: dict[int, Trial] = {}
        async with self._lock:
            for one in planned:
                trials[one.number] = await self._trial(asked, one, recorded)
                emit(
                    TrialFinished(
                        step=asked.step, attempt=asked.attempt, number=one.number, trial=trials[one.number]
                    )
                )
                if (error := trials[one.number].get("error")) and not one.cell:
                    raise StepError("server", f"{one.label}: {error}", retryable=False)
                said = (trials[one.number].get("lag") or {}).get("said")
                if said and not trials[one.number].get("reused"):
                    emit(Warned(step=asked.step, message=f"{one.label}: {said}"))
        cases = [
            case_of([trials[one.number] for one in sorted(planned, key=_number) if one.case == case], asked.levels)
            for case in sorted({one.case for one in planned})
        ]
        return self._judged(asked, cases, before, emit)

    # --- trials -------------------------------------------------------------------------------------------------

    async def _trial(self, asked: BenchRequest, planned: Planned, recorded: Sequence[PromptRendered]) -> Trial:
        facts = _facts(asked, planned)
        identity = dict(self._identity(asked.server))
        before = self._earlier.get(asked.step, {}).get(planned.number)
        is_same = before is not None and before.get("key") == facts["key"]
        if is_same and before is not None and identity in ({}, before.get("identity")):
            return {**before, "reused": True}
        if self._open_target is None:
            raise self._apart(asked.step, f"{planned.label}: {_difference(facts, before)}")
        facts["identity"] = identity
        try:
            async with self._open_target(asked.server, overlay(planned.cell), planned.number) as target:
                return facts | await self._measured(asked, planned, recorded, target)
        except (FlowError, StepError) as error:
            if not planned.cell:
                raise
            said = error.message if isinstance(error, StepError) else str(error)
            return facts | _nothing(said)  # what cannot run is a result too: the others are still to be measured

    async def _measured(
        self, asked: BenchRequest, planned: Planned, recorded: Sequence[PromptRendered], target: Target
    ) -> Trial:
        load, requests = planned.load, asked.requests
        if requests is None and asked.duration_s is None:
            requests = len(recorded)
        warmup = asked.warmup
        if warmup is None:
            warmup = load.concurrency or max(1, target.endpoint.slots)
        amounts = Amounts(warmup=warmup, requests=requests, duration_s=asked.duration_s, cooldown=asked.cooldown)
        wanted = min(MAX_REQUESTS, warmup + (requests or MOST) + (load.concurrency or 1))
        prompts = await prepare(asked, target, recorded, wanted)
        trial = await run_trial(target, load, amounts, prompts, asked.request_timeout_s, asked.seed)
        endpoint = target.endpoint
        server: dict[str, Json] = {
            "model": endpoint.model,
            "engine": endpoint.engine,
            "build": endpoint.build,
            "slots": endpoint.slots,
            "context_tokens": endpoint.context_tokens,
            "mode": prompts[0].mode,
        }
        fingerprint = {**machine(), **target.fingerprint}
        return trial | {"server": server, "fingerprint": fingerprint, "changes": dict(target.changes)}

    # --- judging ------------------------------------------------------------------------------------------------

    def _baseline(self, asked: Baseline | None) -> list[dict[str, Json]] | None:
        """The trials to be held against, looked at before anything is measured."""
        if asked is None or self._keep_baselines or self._open_target is None:
            return None
        before = baseline.read_baseline(self._folder / asked.file, asked.mark)
        other = differences(before[0]["fingerprint"], machine(), MACHINE) if before else []
        if other and asked.on_other == "refuse":
            raise _foreign(asked, other)
        return before

    def _judged(
        self, asked: BenchRequest, cases: list[Trial], before: list[dict[str, Json]] | None, emit: Emit
    ) -> BenchResult:
        verdicts: list[dict[str, Json]] = []
        for case in cases:
            verdicts += gate.judge_levels(case, asked.levels)
        if asked.step in self._judged_before:
            verdicts += [each for each in self._judged_before[asked.step].verdicts if each.get("kind") != "slo"]
        if before is not None and asked.baseline is not None:
            now: Mapping[str, Json] = next((case["fingerprint"] for case in cases if "fingerprint" in case), {})
            if other := baseline.foreign(before, now):
                if asked.baseline.on_other == "refuse":
                    verdicts.append(_other_verdict(asked.baseline, other))
                emit(Warned(step=asked.step, message=f"the baseline is from elsewhere: {'; '.join(other)}"))
            for case in cases:
                was = baseline.counterpart(before, case)
                verdicts += gate.judge_regressions(case, was, asked.baseline.max_regression)
        if self._keep_baselines and asked.baseline is not None:
            self._keep(asked, cases)
        best = self._best(asked, cases)
        shown = [{name: value for name, value in case.items() if name != "samples"} for case in cases]
        emit(BenchJudged(step=asked.step, trials=shown, verdicts=verdicts, best=best))
        return BenchResult(shown, verdicts, best)

    def _best(self, asked: BenchRequest, cases: Sequence[Trial]) -> dict[str, Json] | None:
        """The case whose figure is the best; None where there is none to choose."""
        objective = asked.objective
        found = [(value, case) for case in cases if objective and (value := value_of(case, objective)) is not None]
        if not found or objective is None:
            return None
        choose = min if metric_of(objective)[0].better == "lower" else max
        value, case = choose(found, key=lambda pair: pair[0])
        said = f"Of {len(cases)} trials the best {objective}: {gate.shown(objective, value)} at {case['label']}."
        yaml = self._share(asked.server, case["changes"], said)
        best = {"objective": objective, "value": value, "trial": case["label"], "yaml": yaml}
        return {"profile": case["profile"], **best}

    def _keep(self, asked: BenchRequest, cases: list[Trial]) -> None:
        assert asked.baseline is not None
        path = self._folder / asked.baseline.file
        if not all(case["n"] for case in cases):
            raise StepError(
                "check", f"{path} is not written: a trial has no request that succeeded", mark=asked.baseline.mark
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f"{path.name}.new")
            beside.write_text(baseline.to_json(asked.step, cases), encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            said = f"the baseline {path} cannot be written: {error.strerror}"
            raise StepError("check", said, mark=asked.baseline.mark, retryable=False) from None


def _number(planned: Planned) -> int:
    return planned.number


def _facts(asked: BenchRequest, planned: Planned) -> Trial:
    """What a trial is: what is asked, by a hash, and by what a reader knows it."""
    load = asdict(planned.load)
    prompts = asked.prompts if isinstance(asked.prompts, tuple) else asdict(asked.prompts)
    of_load: Json = [asked.mode, _plain(prompts), asked.reasoning, dict(asked.params), load]
    amounts = [asked.requests, asked.duration_s, asked.warmup, asked.cooldown, asked.request_timeout_s, asked.seed]
    return {
        "label": planned.label,
        **{name: value for name, value in load.items() if value is not None},
        "profile": dict(planned.cell),
        "round": planned.round,
        "load": _hash(of_load),
        "key": _hash([of_load, amounts, dict(planned.cell), planned.round]),
    }


def _difference(now: Trial, before: Trial | None) -> str:
    """What a trial asks for that the one on record did not; its prompts are there as a hash alone."""
    if before is None:
        return "the record has no such trial"
    if now["label"] != before.get("label"):
        return f"the record has {before.get('label')} in its place"
    if now["load"] != before.get("load"):
        return "its prompts, their mode or their params are not those on record"
    return "its requests, duration, warm-up, cool-down, time limit or seed are not those on record"


def _plain(prompts: Json) -> Json:
    if isinstance(prompts, dict):
        return prompts
    return [[[message.role, message.content] for message in messages] for messages in prompts]


def _hash(value: Json) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _nothing(error: str) -> Trial:
    """A trial of a server that would not run."""
    return {
        "n": 0, "errors": 0, "error_kinds": {error: 1}, "window_s": 0.0, "window_tokens": 0,
        "metrics": {}, "samples": {"columns": [], "rows": []}, "itl": [], "dropped": {}, "usage": {}, "lag": None,
        "error": error,
    }  # fmt: skip


def _foreign(asked: Baseline, other: Sequence[str]) -> StepError:
    return StepError("check", _elsewhere(asked, other), mark=asked.mark, retryable=False)


def _elsewhere(asked: Baseline, other: Sequence[str]) -> str:
    hint = "make one here with --save-baseline, or write `on_other: mark`"
    return f"the baseline {asked.file} is from another machine or build ({'; '.join(other)}); {hint}"


def _other_verdict(asked: Baseline, other: Sequence[str]) -> dict[str, Json]:
    return {"kind": "baseline", "figure": "", "trial": "", "ok": False, "said": _elsewhere(asked, other)}
