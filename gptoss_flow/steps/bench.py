"""The kind `bench`: a load on a server, whose answers are timed and held against service levels and a baseline."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic.functional_validators import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.fields import (
    RENDERED,
    Duration,
    Expression,
    Identifier,
    Strict,
    Templated,
    Text,
    contradiction,
    parse_duration,
)
from gptoss_flow.ports import Message
from gptoss_flow.sampling import Params
from gptoss_flow.steps.base import CommonKeys, Result, StepContext, StepKeys
from gptoss_flow.trials import (
    FIGURES,
    GATED,
    Baseline,
    BenchRequest,
    Comparison,
    Level,
    Load,
    Recorded,
    Synthetic,
    metric_of,
    missed,
)
from gptoss_flow.words import suggest

MAX_REQUESTS = 100_000
DEFAULT_REQUESTS = 30
DEFAULT_MAX_TOKENS = 64
DEFAULT_REGRESSION = "10%"
DEFAULT_OBJECTIVE = "decode_tps_p50"

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/\s*(s|m|h))?")
_PER_S = {"s": 1.0, "m": 60.0, "h": 3600.0}
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_LEVEL = re.compile(r"(?P<comparison><=|>=|<|>)?\s*(?P<value>\S.*)")
_NUMBER = re.compile(r"\d+(\.\d+)?")


def _rate(value: Any) -> Any:
    match = _RATE.fullmatch(str(value)) if isinstance(value, str | int | float) else None
    if isinstance(value, bool) or match is None or float(match[1]) <= 0:
        raise PydanticCustomError("rate", "is not a rate; write one like 2/s or 30/m")
    return float(match[1]) / _PER_S[match[2] or "s"]


def _percent(value: Any) -> Any:
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError("percent", "is not a percentage; write one like 10%")
    return value


def _figure(name: str) -> str:
    if name not in FIGURES:
        raise PydanticCustomError("figure", "is no figure; {hint}", {"hint": suggest(name, FIGURES)})
    return name


def read_level(figure: str, value: str | int | float) -> tuple[Comparison, float]:
    """A service level's comparison and number. Raises `ValueError` with what is allowed for this figure."""
    metric, _ = metric_of(figure)
    match = _LEVEL.fullmatch(str(value))
    assert match is not None or not str(value)
    comparison: Any = (match and match["comparison"]) or ("<=" if metric.better == "lower" else ">=")
    text = match["value"] if match else ""
    if metric.unit == "s":
        try:
            return comparison, parse_duration(text if not _NUMBER.fullmatch(text) else float(text))
        except PydanticCustomError:
            raise ValueError("is a time: write one like 500ms") from None
    if metric.unit == "share" and (percent := _PERCENT.fullmatch(text)):
        return comparison, float(percent[1]) / 100
    if not _NUMBER.fullmatch(text):
        raise ValueError(
            "is a share: write 0, or one like 1%" if metric.unit == "share" else 'is a rate: write one like "> 20"'
        )
    return comparison, float(text)


Count = Annotated[int, Field(ge=1, le=1024)]
Rate = Annotated[
    float, BeforeValidator(_rate, json_schema_input_type=str | float), Field(examples=["2/s", "30/m"])
]
Percent = Annotated[str, AfterValidator(_percent), Field(examples=["10%"])]
Figure = Annotated[str, AfterValidator(_figure), Field(json_schema_extra={"enum": [*FIGURES]})]
_NAMES = Field(json_schema_extra={"propertyNames": {"enum": [*FIGURES]}})


class BenchMessages(Strict):
    """One prompt, in the words of a prompt step."""

    system: Text | None = None
    """The instructions."""
    user: Text
    """The question."""


class SyntheticKeys(Strict):
    """Prompts made of random words: no two begin alike."""

    input_tokens: Templated[Annotated[int, Field(ge=1, le=1_000_000)]]
    """How many tokens each prompt has, exactly, as the server sees it."""
    output_tokens: Templated[Annotated[int, Field(ge=1, le=1_000_000)]]
    """How many tokens each answer has, exactly: the end token is passed over."""


class RecordedKeys(Strict):
    """Prompts of a run on record."""

    run: str
    """The run's id or the beginning of it, `latest`, or its folder."""
    step: Identifier | None = None
    """One of its steps; the default is all of them."""


class BaselineKeys(Strict):
    """An earlier measurement, kept by `gptoss-flow bench --save-baseline`."""

    file: Annotated[str, Field(min_length=1)]
    """Where it is, relative to the flow's folder."""
    on_other: Literal["refuse", "mark"] = "refuse"
    """What if it is from another machine or another build of the engine: the step fails, or it is only marked."""


class BenchKeys(Strict):
    """The keys of a bench, each of which `defaults` may set too."""

    server: Identifier | None = None
    """One of the flow's `servers`; the default is the only one."""
    mode: Literal["auto", "harmony", "chat", "raw"] = "auto"
    """As of a prompt step."""
    prompts: list[Text | BenchMessages] | SyntheticKeys | Expression | None = None
    """What is asked, in turn: texts, or `{system, user}`; or `{input_tokens, output_tokens}` for made-up ones."""
    prompts_from: str | RecordedKeys | None = None
    """A run on record, whose prompts are asked again in their order."""
    reasoning: Literal["low", "medium", "high"] | None = None
    """How long a Harmony model thinks."""
    params: Params = Params()
    """Sampling parameters. `max_tokens` is 64 where nobody says; `cache_prompt` is off but for `prompts_from`."""
    requests: Templated[Annotated[int, Field(ge=1, le=MAX_REQUESTS)]] | None = None
    """How many requests each trial measures; the default is 30, of `prompts_from` as many as there are."""
    duration: Templated[Annotated[Duration, Field(gt=0)]] | None = None
    """How long each trial measures, in place of `requests`."""
    concurrency: Templated[Count | list[Count]] | None = None
    """Closed loop: so many requests at once, one of several trials for each number; the default is 1."""
    rate: Templated[Rate | list[Rate]] | None = None
    """Open loop: requests come at random (Poisson, seeded), so many a second, however long answers take."""
    warmup: Templated[Annotated[int, Field(ge=0, le=MAX_REQUESTS)]] | None = None
    """Requests before the measured ones; the default is as many as run at once."""
    cooldown: Templated[Annotated[int, Field(ge=0, le=MAX_REQUESTS)]] | None = None
    """Requests after the measured ones at most, so that the load stays; what then still runs is cancelled."""
    request_timeout: Templated[Annotated[Duration, Field(gt=0)]] = 300.0
    """After which a request is an error."""
    matrix: dict[str, list[Any] | Expression] | None = None
    """Keys of the server's profile (`quant`, `kv_cache.k`, `batch` …) with the values to try: each trial starts a
    server of its own; `include` and `exclude` as of a step's matrix."""
    rounds: Templated[Annotated[int, Field(ge=1, le=100)]] = 1
    """How often each trial is run: all of them once, then all of them again, so that none has the better hour."""
    order: Literal["shuffled", "file"] = "shuffled"
    """The trials' order within a round; shuffled by `seed`."""
    seed: Templated[Annotated[int, Field(ge=0, le=2**32 - 1)]] = 0
    """Decides the order, the arrivals and the made-up prompts."""
    slo: Annotated[dict[Annotated[str, AfterValidator(_figure)], str | int | float], _NAMES] = {}
    """Service levels: `{ttft_p95: 500ms, decode_tps_p50: "> 20", error_rate: 0}`; each trial must meet them."""
    baseline: Annotated[str, Field(min_length=1)] | BaselineKeys | None = None
    """The file of an earlier measurement, relative to the flow's folder, that this one is held against."""
    max_regression: Percent | Annotated[dict[Annotated[str, AfterValidator(_figure)], Percent], _NAMES] | None = (
        None
    )
    """By how much a figure may be worse than the baseline's (10%): p50 of ttft, tpot and latency, or by name."""
    objective: Figure | None = None
    """The figure by which the best profile of the matrix is chosen; the default is decode_tps_p50."""


class BenchDefaults(BenchKeys, CommonKeys):
    """What `defaults.bench` may set: a bench's keys and the common ones."""


class BenchBody(BenchKeys):
    """A load on a server: `prompts` or `prompts_from`, with `concurrency` or `rate`."""

    @model_validator(mode="after")
    def _one_of_each(self) -> BenchBody:
        for one, other in (("prompts", "prompts_from"), ("requests", "duration"), ("concurrency", "rate")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise contradiction(f'"{one}" and "{other}" exclude each other')
        if self.prompts is None and self.prompts_from is None:
            raise contradiction('needs "prompts" or "prompts_from"')
        if self.prompts == []:
            raise contradiction('"prompts" is empty')
        if self.max_regression is not None and self.baseline is None:
            raise contradiction('"max_regression" needs a "baseline"')
        if self.objective is not None and self.matrix is None:
            raise contradiction('"objective" chooses among the profiles of a "matrix", and there is none')
        return self


class BenchStep(StepKeys):
    """Measure a server under load."""

    kind: ClassVar[str] = "bench"
    body_keys: ClassVar[tuple[str, ...]] = ("bench",)
    nested_body: ClassVar[bool] = True
    result_fields: ClassVar[tuple[str, ...]] = ("trials", "verdicts", "best")
    runs_on: ClassVar = "server"

    bench: BenchBody
    """What is measured, and what it must be like."""

    def server_name(self) -> str | None:
        return self.bench.server

    async def run(self, context: StepContext) -> Result:
        body = BenchBody.model_validate((await context.body())["bench"], context=RENDERED)
        asked = request_of(body, context)
        result = await context.bench.measure(asked, context.emit)
        if not any(trial["n"] for trial in result.trials):
            told = next((error for trial in result.trials for error in trial["error_kinds"]), "")
            raise StepError("server", f"no request succeeded{f': {told}' if told else ''}", retryable=False)
        if false := missed(result.verdicts):
            marks = {level.figure: level.mark for level in asked.levels}
            mark = marks.get(str(false[0]["figure"]), asked.baseline.mark if asked.baseline else None)
            raise StepError("check", "; ".join(str(one["said"]) for one in false), mark=mark, retryable=False)
        output: dict[str, Json] = {"trials": result.trials, "verdicts": result.verdicts, "best": result.best}
        return Result(output, dict(output))


def request_of(body: BenchBody, context: StepContext) -> BenchRequest:
    """The bench that a rendered body means. Raises `StepError` for a service level that is none."""
    given = body.params.model_dump(exclude_none=True)
    prompts: tuple[tuple[Message, ...], ...] | Synthetic | Recorded
    if body.prompts_from is not None:
        recorded = body.prompts_from
        prompts = Recorded(recorded) if isinstance(recorded, str) else Recorded(recorded.run, recorded.step)
        params = given
    elif isinstance(body.prompts, SyntheticKeys):
        prompts = Synthetic(int(body.prompts.input_tokens), int(body.prompts.output_tokens))
        params = {"cache_prompt": False, **given, "max_tokens": prompts.output_tokens, "ignore_eos": True}
    else:
        assert isinstance(body.prompts, list)
        prompts = tuple(_messages(prompt) for prompt in body.prompts)
        params = {"cache_prompt": False, "max_tokens": DEFAULT_MAX_TOKENS, **given}
    requests = body.requests
    if requests is None and body.duration is None and not isinstance(prompts, Recorded):
        requests = DEFAULT_REQUESTS
    return BenchRequest(
        step=context.step_id,
        attempt=context.attempt,
        server=context.server,
        mode=body.mode,
        prompts=prompts,
        reasoning=body.reasoning,
        params=params,
        loads=_loads(body),
        requests=None if requests is None else int(requests),
        duration_s=None if body.duration is None else float(body.duration),
        warmup=None if body.warmup is None else int(body.warmup),
        cooldown=None if body.cooldown is None else int(body.cooldown),
        request_timeout_s=float(body.request_timeout),
        matrix=body.matrix,
        rounds=int(body.rounds),
        order=body.order,
        seed=int(body.seed),
        date=context.date,
        levels=tuple(_level(figure, value, context) for figure, value in body.slo.items()),
        baseline=_baseline(body, context),
        objective=(body.objective or DEFAULT_OBJECTIVE) if body.matrix is not None else None,
    )


def _messages(prompt: str | BenchMessages) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    system = () if prompt.system is None else (Message("system", prompt.system),)
    return (*system, Message("user", prompt.user))


def _loads(body: BenchBody) -> tuple[Load, ...]:
    if body.rate is not None:
        rates = body.rate if isinstance(body.rate, list) else [body.rate]
        return tuple(Load(rate=float(rate)) for rate in rates)
    numbers = body.concurrency if isinstance(body.concurrency, list) else [body.concurrency or 1]
    return tuple(Load(concurrency=int(number)) for number in numbers)


def _level(figure: str, value: str | float, context: StepContext) -> Level:
    mark = context.place("bench", "slo", figure)
    try:
        return Level(figure, *read_level(figure, value), mark)
    except ValueError as error:
        raise StepError(
            "expression", f"slo: {figure} {error}, not {value!r}", mark=mark, retryable=False
        ) from None


def _baseline(body: BenchBody, context: StepContext) -> Baseline | None:
    given = body.baseline
    if given is None:
        return None
    file, on_other = (given, "refuse") if isinstance(given, str) else (given.file, given.on_other)
    allowed = body.max_regression or DEFAULT_REGRESSION
    named = dict.fromkeys(GATED, allowed) if isinstance(allowed, str) else allowed
    shares = {figure: float(percent.rstrip("% ")) / 100 for figure, percent in named.items()}
    return Baseline(file, shares, "mark" if on_other == "mark" else "refuse", context.place("bench", "baseline"))
