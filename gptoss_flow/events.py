"""Everything that can happen in a run: the closed union `Event`, and the `Outcome` that ends a step.

Whoever wants to know (the journal file, the rlog, progress, tests) folds this one stream. Events are
facts in the past tense, made of plain JSON values; only the journal numbers and stamps them.
Attribute docstrings become the descriptions in `schemas/event.schema.json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

Json = Any
"""A JSON value: None, bool, int, float, str, or a list or str-keyed dict of such."""

OutcomeWord = Literal["succeeded", "failed", "skipped", "cancelled"]
RunStatus = Literal["succeeded", "failed", "cancelled", "limited"]
ServerState = Literal["stopped", "starting", "loading", "ready", "stopping", "crashed"]
Channel = Literal["analysis", "commentary", "final"]
Permission = Literal["", "granted", "allowed", "approved", "declined", "unasked", "denied", "refused"]
"""Why a call of a tool was made or not. Made: the flow's own (empty), `granted` by the step, `allowed` by a rule,
`approved` by a person. Not made: `declined` by a person, `unasked` because there was none, `denied` by a rule,
`refused` because it could not be read, or names no tool that the step grants, or has wrong arguments."""
NOT_MADE = frozenset({"declined", "unasked", "denied", "refused"})
"""The permissions of calls that were not made."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The single end of a step or of an item of one.

    `output` and `fields` (the kind's other result fields) are JSON values; `error` is null unless it failed:
    `{kind, message, attempts}` and, where the file is to blame, `at` ("file:line:col").
    `reason` says why it was skipped: "when", "dependency", "not selected", "cancelled".
    """

    outcome: OutcomeWord
    output: Json = None
    fields: dict[str, Json] = field(default_factory=dict)
    error: dict[str, Json] | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    type: ClassVar[Literal["run_started"]] = "run_started"
    boundary: ClassVar[bool] = True
    run_id: str
    flow: str
    """The flow's name."""
    flow_path: str
    description: str
    started_at: str
    """ISO 8601, UTC."""
    version: str
    """Of gptoss-flow."""
    inputs: dict[str, Json]
    steps: dict[str, str]
    """Step id to kind, in plan order."""
    servers: dict[str, str]
    """The flow's server names, each with the profile it means."""
    cwd: str
    workspace: str
    repo_sha: str
    """`0000000` outside a git repository."""
    branch: str
    dirty: bool
    needs: dict[str, list[str]] = field(default_factory=dict)
    """Step id to the steps that it needs: the graph, for whoever draws the record."""
    final: list[str] = field(default_factory=list)
    """The steps of `finally`."""
    given: dict[str, Json] = field(default_factory=dict)
    """What the user gave, as resume needs it: servers, workspace, set, model, only, from, record, locked …"""
    redacted: bool = False
    """Whether a secret was taken out of this record: it is not whole, and nothing may be repeated from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed:
    """An interrupted or failed run goes on, in the same record."""

    type: ClassVar[Literal["run_resumed"]] = "run_resumed"
    boundary: ClassVar[bool] = True
    version: str
    """Of gptoss-flow."""
    resumed_at: str
    """ISO 8601, UTC."""
    redo: list[str] = field(default_factory=list)
    """Units that the user wants run again."""
    assume_done: list[str] = field(default_factory=list)
    """Interrupted `once` units that the user says have happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerChanged:
    type: ClassVar[Literal["server_changed"]] = "server_changed"
    boundary: ClassVar[bool] = False
    server: str
    state: ServerState
    detail: str = ""
    """One line for people: the model and why it was taken, the cause of a crash, the progress of a load."""
    facts: dict[str, Json] = field(default_factory=dict)
    """When ready: url, engine, build, model, model_path, context_tokens, slots, pid, argv, adopted, ready_s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    type: ClassVar[Literal["step_started"]] = "step_started"
    step: str
    """A step's id, or an item's: `each[3]`."""
    kind: str
    attempt: int = 1
    items: int | None = None
    """How many items a fan-out has; null for a step that is not one."""
    values: dict[str, Json] = field(default_factory=dict)
    """Of an item of a matrix, its cell; of an item of a mapping, its key."""
    effect: str = ""
    """`once`: where its end is not on record, nobody knows whether it happened. Tools' calls say it too."""

    @property
    def boundary(self) -> bool:
        """As of a call: what must not happen twice is on stable storage before it begins."""
        return self.effect == "once"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCut:
    """A text was cut to a number of tokens (`truncate_tokens`): what a replay without a server needs to know."""

    type: ClassVar[Literal["text_cut"]] = "text_cut"
    boundary: ClassVar[bool] = False
    step: str
    server: str
    text_sha256: str
    """Of the whole text, in UTF-8."""
    limit: int
    """In tokens."""
    chars: int
    """How many characters of it those are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRendered:
    type: ClassVar[Literal["prompt_rendered"]] = "prompt_rendered"
    boundary: ClassVar[bool] = False
    step: str
    attempt: int
    server: str
    mode: Literal["raw", "chat", "harmony"]
    messages: list[dict[str, Json]]
    """What was asked, `{role, content}` each; in raw mode one of role `user`. An assistant's may have `reasoning`
    and `tool_calls` (`{id, name, arguments}`), a tool's has the `tool_call_id` that it answers, and its `name`."""
    tokens: list[int]
    """Empty where the messages were redacted: ids spell what they say."""
    params: dict[str, Json]
    reasoning: str | None = None
    """How long a Harmony model was asked to think."""
    special: bool = False
    """Raw mode: control tokens in the text were parsed as such."""
    turn: int = 1
    """The conversation's: each answer that calls tools brings another."""
    tools: list[dict[str, Json]] = field(default_factory=list)
    """What the model might call, `{name, description, parameters}` each."""
    asks: dict[str, Json] = field(default_factory=dict)
    """What else was asked of the answer: tool_choice, schema, grammar, api, on_overflow."""
    since: dict[str, int] = field(default_factory=dict)
    """In the journal's lines alone: the record of the turn before (`seq`, and `crc`, the CRC-32 of its line), and
    how many of its messages, tokens and tools come before those that stand here."""
    redacted: bool = False
    """As in run_started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensArrived:
    """A piece of an answer as it arrives. For those who watch; never recorded."""

    type: ClassVar[Literal["tokens_arrived"]] = "tokens_arrived"
    boundary: ClassVar[bool] = False
    step: str
    channel: Channel
    text: str
    tokens: int
    """How many tokens this piece holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationFinished:
    type: ClassVar[Literal["generation_finished"]] = "generation_finished"
    boundary: ClassVar[bool] = True
    step: str
    attempt: int
    text: str
    reasoning: str
    tokens: list[int]
    """The generated ids, as the server returned them; empty where the text was redacted."""
    finish_reason: str
    usage: dict[str, int]
    """prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens."""
    timings: dict[str, float]
    """Seconds end in `_s`, tokens a second in `_tps`: ttft_s, latency_s, queue_s, prefill_tps, decode_tps."""
    turn: int = 1
    """As of the prompt."""
    calls: list[dict[str, Json]] = field(default_factory=list)
    """The tools that the model called, `{id, name, arguments}` each, the arguments as it wrote them."""
    redacted: bool = False
    """As in run_started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStarted:
    type: ClassVar[Literal["tool_started"]] = "tool_started"
    step: str
    call_id: str
    """Of a model's call `step.attempt.turn.number`: the same in a replay."""
    tool: str
    arguments: dict[str, Json]
    effect: str = ""
    """What a resumed run may do again: pure, idempotent, once; empty where the call is not made."""
    permission: Permission = ""
    written: str = ""
    """What a model wrote, where that is no object in JSON."""

    @property
    def boundary(self) -> bool:
        """What must not happen twice is on stable storage before it begins."""
        return self.effect == "once"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFinished:
    type: ClassVar[Literal["tool_finished"]] = "tool_finished"
    boundary: ClassVar[bool] = True
    step: str
    call_id: str
    tool: str
    result: Json = None
    error: str | None = None
    unsure: bool = False
    """Whether it may have happened, error or not: its answer was lost."""
    duration_s: float = 0.0
    redacted: bool = False
    """As in run_started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFinished:
    """One trial of a bench step: a load on a server, measured."""

    type: ClassVar[Literal["trial_finished"]] = "trial_finished"
    boundary: ClassVar[bool] = True
    step: str
    attempt: int
    number: int
    """In the order of the file, from 0, and not of the time in which they ran."""
    trial: dict[str, Json]
    """label, concurrency or rate, profile, round, n, errors, window_s, metrics, samples, lag, server …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchJudged:
    """What a bench step's trials, all rounds together, are worth."""

    type: ClassVar[Literal["bench_judged"]] = "bench_judged"
    boundary: ClassVar[bool] = False
    step: str
    trials: list[dict[str, Json]]
    """One for each load and cell; as trial_finished has them, without samples."""
    verdicts: list[dict[str, Json]]
    """figure, trial, ok, said, value: of each service level and regression."""
    best: dict[str, Json] | None = None
    """profile, objective, value, trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRetried:
    type: ClassVar[Literal["step_retried"]] = "step_retried"
    boundary: ClassVar[bool] = False
    step: str
    attempt: int
    """The attempt that failed."""
    attempts: int
    error: dict[str, Json]
    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundFinished:
    """A round of a `repeat` that was not the last."""

    type: ClassVar[Literal["round_finished"]] = "round_finished"
    boundary: ClassVar[bool] = False
    step: str
    round: int
    output: Json
    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FellBack:
    """A step failed and its fallback runs in its place."""

    type: ClassVar[Literal["fell_back"]] = "fell_back"
    boundary: ClassVar[bool] = False
    step: str
    kind: str
    """The fallback's."""
    error: dict[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    type: ClassVar[Literal["warned"]] = "warned"
    boundary: ClassVar[bool] = False
    message: str
    step: str = ""
    """Empty where the warning is of the whole run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """The end of a step, or of an item. Of a fan-out only the items carry outputs: a fold gathers them."""

    type: ClassVar[Literal["step_finished"]] = "step_finished"
    boundary: ClassVar[bool] = False
    step: str
    outcome: OutcomeWord
    output: Json = None
    fields: dict[str, Json] = field(default_factory=dict)
    error: dict[str, Json] | None = None
    reason: str = ""
    duration_s: float = 0.0
    items: int | None = None
    key: dict[str, str] = field(default_factory=dict)
    """What decided the result, part by part: step, inputs, server, params, tool … each as a short hash."""
    reused: str = ""
    """The run that the result was taken from; empty where the step ran."""
    redacted: bool = False
    """As in run_started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    type: ClassVar[Literal["run_finished"]] = "run_finished"
    boundary: ClassVar[bool] = True
    status: RunStatus
    exit_code: int
    outputs: dict[str, Json]
    tokens: dict[str, int]
    """computed, reused, generated."""
    duration_s: float
    """Of a run that was resumed, its last life alone; the tokens are of all."""
    error: str = ""
    """What ended a run that did not succeed, a line for each problem."""


Event = (
    RunStarted
    | RunResumed
    | ServerChanged
    | StepStarted
    | TextCut
    | PromptRendered
    | TokensArrived
    | GenerationFinished
    | ToolStarted
    | ToolFinished
    | TrialFinished
    | BenchJudged
    | StepRetried
    | RoundFinished
    | FellBack
    | Warned
    | StepFinished
    | RunFinished
)


@dataclass(frozen=True, slots=True)
class Stamped:
    """An event with its number in the run (from 1; 0 for one that is not recorded) and its time."""

    seq: int
    time: float
    """Seconds since 1970, UTC."""
    event: Event
