"""The limits of a run: counts what is spent, and says which limit is reached. The time is the loop's to watch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gptoss_flow.errors import ExitCode, StepError
from gptoss_flow.events import NOT_MADE, Event, GenerationFinished, ToolStarted, TrialFinished
from gptoss_flow.plan.plan import Limits
from gptoss_flow.record.state import RunState, Tokens, usage_of


@dataclass(frozen=True)
class Spent:
    """What a run spent before it was resumed; the time between its lives is not its own."""

    tokens: Tokens = field(default_factory=Tokens)
    tool_calls: int = 0
    time_s: float = 0.0

    @classmethod
    def of(cls, state: RunState) -> Spent:
        """As its record has it now."""
        return cls(replace(state.tokens), state.tool_calls, state.ran_s)


class Budget:
    """What a run has spent. Its steps are limited; what runs last, in `finally`, is only counted."""

    def __init__(self, limits: Limits, before: Spent) -> None:
        self.limits = limits
        self.tokens = replace(before.tokens)
        self.is_over = False
        """Nothing is limited any more."""
        self._before = before
        self._tool_calls = before.tool_calls

    def count(self, event: Event) -> str | None:
        """The limit that this event exceeds, in a sentence. Of a tool call, before it is made."""
        match event:
            case GenerationFinished() | TrialFinished():
                self.tokens.add(usage_of(event))
                return None if self.is_over else self._tokens_exceeded()
            case ToolStarted() if event.permission not in NOT_MADE:
                calls, limit = self._tool_calls + 1, self.limits.tool_calls
                if limit is not None and calls > limit and not self.is_over:
                    return (
                        f"limits.tool_calls: the run may call tools {limit} times and step {event.step} wants more"
                    )
                self._tool_calls = calls
            case _:
                pass
        return None

    @property
    def time_left_s(self) -> float | None:
        """At the beginning of this life; None where the time has no limit."""
        return None if self.limits.time_s is None else self.limits.time_s - self._before.time_s

    def out_of_time(self, took_s: float) -> str:
        """After this life took so long."""
        total_s = self._before.time_s + took_s
        return f"limits.time: the run may take {self.limits.time_s:g} s and has taken {total_s:.1f} s"

    def spent_before(self) -> str | None:
        """The limit that earlier lives have exceeded: there is nothing left to go on with."""
        said = self._tokens_exceeded()
        if said is None and (left_s := self.time_left_s) is not None and left_s <= 0:
            said = self.out_of_time(0.0)
        return None if said is None else f"{said}; raise the limit in the flow to go on"

    def _tokens_exceeded(self) -> str | None:
        used, limit = self.tokens.computed + self.tokens.generated, self.limits.tokens
        if limit is None or used <= limit:
            return None
        return f"limits.tokens: the run may use {limit} tokens and has used {used}"


def refused(said: str) -> StepError:
    """What a step fails of whose tool call would exceed the limit."""
    return StepError("tool", said, retryable=False, exit_code=ExitCode.LIMITED)
