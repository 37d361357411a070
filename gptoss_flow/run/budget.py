"""The limits of a run: counts what is spent, and says which limit is reached. The time is the loop's to watch."""

from __future__ import annotations

from gptoss_flow.errors import ExitCode, StepError
from gptoss_flow.events import Event, GenerationFinished, ToolStarted
from gptoss_flow.plan.plan import Limits
from gptoss_flow.record.state import Tokens


class Budget:
    """What a run has spent. Its steps are limited; what runs last, in `finally`, is only counted."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.tokens = Tokens()
        self.is_over = False
        """Nothing is limited any more."""
        self._tool_calls = 0

    def count(self, event: Event) -> str | None:
        """The limit that this event exceeds, in a sentence. Of a tool call, before it is made."""
        match event:
            case GenerationFinished():
                self.tokens.add(event.usage)
                used, limit = self.tokens.computed + self.tokens.generated, self.limits.tokens
                if limit is not None and used > limit and not self.is_over:
                    return f"limits.tokens: the run may use {limit} tokens and has used {used}"
            case ToolStarted():
                calls, limit = self._tool_calls + 1, self.limits.tool_calls
                if limit is not None and calls > limit and not self.is_over:
                    return (
                        f"limits.tool_calls: the run may call tools {limit} times and step {event.step} wants more"
                    )
                self._tool_calls = calls
            case _:
                pass
        return None

    def out_of_time(self, took_s: float) -> str:
        return f"limits.time: the run may take {self.limits.time_s:g} s and has taken {took_s:.1f} s"


def refused(said: str) -> StepError:
    """What a step fails of whose tool call would exceed the limit."""
    return StepError("tool", said, retryable=False, exit_code=ExitCode.LIMITED)
