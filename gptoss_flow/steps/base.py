"""What every kind of step shares: the common keys, and what a step's `run` is given and gives back.

A kind is one file beside this one and one line in the table in `__init__`. Its class says, as data, what
the plan and the loop need to know, so that neither ever asks which kind a step is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, TypeAlias

from pydantic import Field

from gptoss_flow.errors import Mark
from gptoss_flow.events import Event, Json
from gptoss_flow.fields import Duration, Expression, Identifier, Strict, Templated
from gptoss_flow.permissions import Verdict as Judged
from gptoss_flow.ports import Asking, Generation, Model, RenderedPrompt, SandboxName, Tool, ToolContext
from gptoss_flow.tool_marks import Effect
from gptoss_flow.trials import Bench

RetryKind = Literal["timeout", "server", "model", "schema", "check", "tool"]

WHEN_ALWAYS = "always"

if TYPE_CHECKING:
    AnyStep: TypeAlias = "StepKeys"  # the union of all kinds, which only the table in `__init__` knows


class Retry(Strict):
    """Try again when a step fails."""

    attempts: Templated[Annotated[int, Field(ge=1, le=100)]] = 3
    """How many tries in all; the first one counts."""
    backoff: Templated[Duration] = 1.0
    """The wait before the second try; it doubles each time."""
    max_backoff: Templated[Duration] = 30.0
    """The longest wait."""
    jitter: Templated[bool] = True
    """Spread the waits at random between half and the whole."""
    on: list[RetryKind] = ["timeout", "server", "model", "schema", "check", "tool"]
    """The kinds of error that are worth another try."""
    feedback: Templated[bool] = False
    """Show the model its own answer and the error in the next try (prompt steps)."""


class Rounds(Strict):
    """How often a step is repeated at most."""

    max: Templated[Annotated[int, Field(ge=1, le=1000)]]
    """How many rounds at most; the step fails with kind `check` where none of them was enough."""
    delay: Templated[Duration] = 0.0
    """The wait between two rounds."""


class Repeat(Rounds):
    """Run again until a condition holds; the result is the last round's."""

    until: bool | str
    """The condition; it sees `output` (of the round that just ended) and `loop`."""


class CacheKey(Strict):
    """A cache key of the author's own."""

    key: Expression
    """What decides the result, in place of everything that the step reads."""


class OnError(Strict):
    """What stands in for a step that failed."""

    fallback: AnyStep
    """The body of a step of any kind; its result stands for the step's. It sees `error`."""


class CommonKeys(Strict):
    """Keys that every step may have, and that `defaults` may set for all."""

    description: str | None = None
    """For people: shown by progress and report."""
    needs: list[Identifier] | None = None
    """Steps that must end first, beside those that expressions refer to."""
    when: bool | Literal["always"] | Expression | None = None
    """A condition: where it is false the step is skipped. `always`: run however the dependencies ended."""
    foreach: list[Any] | dict[str, Any] | Expression | None = None
    """A list or mapping: the step runs once for each item, in parallel, and `output` is the list of results."""
    as_: Annotated[Identifier | None, Field(alias="as")] = None
    """The item's name in expressions; the default is `item`."""
    matrix: dict[Identifier, list[Any] | Expression] | None = None
    """Axes with their values: the step runs once for each cell of their product, plus `include`."""
    max_parallel: Templated[Annotated[int, Field(ge=1)]] | None = None
    """How many items run at once; the default is the server's slots for prompts, the cores for tools."""
    repeat: Repeat | None = None
    """Run again until a condition holds."""
    timeout: Templated[Duration] | None = None
    """The step's wall time, attempts included."""
    retry: Retry | None = None
    """Try again when the step fails."""
    on_error: Literal["fail", "continue"] | OnError = "fail"
    """`continue`: a failure leaves `output` null and sets `error`, and the run goes on; or a `fallback`."""
    expect: list[str | bool] | None = None
    """Expressions over `output`: where one is false the step fails with kind `check`."""
    cache: bool | CacheKey | None = None
    """`true`: reuse a result of an earlier run; `false`: never; the default: only within a resumed run."""
    effect: Effect | None = None
    """What resume may do again; prompts are `pure`, tools say it themselves."""


class UnitKeys(Strict):
    """The keys that each run of a step or item goes by, with their values."""

    timeout: Duration | None = None
    retry: Retry | None = None
    repeat: Rounds | None = None  # its condition is judged after each round


class StepKeys(CommonKeys):
    """A step: the common keys, and those of one kind."""

    kind: ClassVar[str]
    """The key that says which kind a step is."""
    body_keys: ClassVar[tuple[str, ...]]
    """The step's keys that are this kind's own: they are rendered for `run`."""
    nested_body: ClassVar[bool] = False
    """Whether the body is a mapping under the kind key, whose keys `defaults.<kind>` gives directly."""
    conditions_key: ClassVar[str | None] = None
    """The body key that holds bare expressions rather than templates."""
    secret_keys: ClassVar[tuple[str, ...]] = ()
    """The body keys whose expressions may read `secrets`."""
    result_fields: ClassVar[tuple[str, ...]] = ()
    """What `steps.<id>` has beside output, outcome and error."""
    runs_on: ClassVar[Literal["server", "cores", "loop", "flow"]]
    """What it occupies while it runs: a slot of a server, a core, nothing worth counting; a flow inside it takes
    places of its own."""
    free_to_repeat: ClassVar[bool] = False
    """Its end need not be on stable storage at once."""

    def server_name(self) -> str | None:
        """The server it says it wants, by the flow's name for it."""
        return None

    def sandbox_name(self) -> SandboxName | None:
        """What tool code runs in that it calls; None: it does not say."""
        return None

    def streams(self) -> bool:
        """Whether a terminal shows what it generates as it arrives."""
        return False

    async def run(self, context: StepContext) -> Result:
        """Do the work. Raises `StepError`; everything else is a bug."""
        raise AssertionError(f"kind {self.kind} has no run")


@dataclass(frozen=True, slots=True)
class Result:
    """What a step's run gives: the output and the kind's other fields, all JSON values."""

    output: Json
    fields: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A condition that was evaluated: its text, its place, whether it held, and the values that it named."""

    text: str
    mark: Mark
    held: bool
    values: Sequence[tuple[str, Json]]

    def __str__(self) -> str:
        named = ", ".join(f"{name} = {value!r}" for name, value in self.values)
        return f"{self.text} ({named})" if named else self.text


@dataclass(frozen=True, slots=True)
class Feedback:
    """What the last try of a step ended with: the model's answer, if there was one, and why it was not taken."""

    answer: str | None
    error: str
    conversation: tuple[RenderedPrompt, Generation] | None = None
    """Where it can go on: the last prompt, and the whole answer to it."""


class StepContext(Protocol):
    """What a running step sees of the world."""

    @property
    def step_id(self) -> str:
        """Its id in the record: `each[3]` for an item."""

    @property
    def attempt(self) -> int: ...

    @property
    def feedback(self) -> Feedback | None:
        """Of the last try, where `retry.feedback` asks for it."""

    def answered(self, text: str, conversation: tuple[RenderedPrompt, Generation] | None = None) -> None:
        """What a model said, whether or not it will be taken: what `feedback` shows it."""

    @property
    def date(self) -> str:
        """The run's date, YYYY-MM-DD, frozen for the whole run."""

    def tool_context(
        self, call_id: str, *, by_model: bool = False, env: Mapping[str, str] | None = None
    ) -> ToolContext:
        """What a call may touch: where a model makes it, nothing beside the workspace."""

    @property
    def tools(self) -> Mapping[str, Tool]:
        """Those that the step grants to its model, by what it calls them."""

    @property
    def schema(self) -> Mapping[str, Json] | None:
        """What the file says that the step's `schema` names."""

    def judge(self, tool: str, arguments: Mapping[str, Json], *, by_model: bool = True) -> Judged:
        """What the permissions say of a call, its arguments as `permissions.meant`: of the step's own, its own
        rules alone."""

    async def ask(self, asking: Asking) -> Literal["approved", "declined", "unasked"]:
        """Let a person decide on a call."""

    async def body(self) -> Mapping[str, Any]:
        """The kind's own keys, every value rendered: `2s` is text until the kind's model reads it (`RENDERED`)."""

    async def model(self) -> Model:
        """The model behind the step's server, ready."""

    @property
    def server(self) -> str:
        """The flow's name of the step's server."""

    def tool(self, name: str) -> Tool: ...

    @property
    def bench(self) -> Bench: ...

    def place(self, *path: str) -> Mark:
        """Where a value of the step's body is written; the step's own place where it is not."""

    async def enter(self, inputs: Mapping[str, Json]) -> Json:
        """Run the flow inside the step with these inputs: its outputs. Raises `StepError`."""

    async def conditions(self) -> list[Verdict]:
        """The kind's own expressions, evaluated."""

    def emit(self, event: Event) -> None: ...

    def monotonic(self) -> float: ...
