"""What `infer` shows while it runs: the answer, the model's thoughts, and what happens to its server."""

from __future__ import annotations

from typing import TextIO

from gptoss_flow.escape import for_terminal, one_line
from gptoss_flow.events import (
    GenerationFinished,
    PromptRendered,
    ServerChanged,
    Stamped,
    TokensArrived,
    ToolFinished,
    ToolStarted,
    Warned,
)
from gptoss_flow.ui.answer import AnswerWriter
from gptoss_flow.ui.progress import call_line


class AnswerView:
    """A sink. The answer goes to `answer` as it arrives (None: not at all), all else to `stderr`.

    Thoughts are shown on a terminal only. A reader who left is noticed where `close` is called, not before: a
    sink has no say in a run.
    """

    def __init__(self, answer: AnswerWriter | None, stderr: TextIO, *, is_quiet: bool = False) -> None:
        self.failure: OSError | None = None
        self._answer = answer
        self._stderr = stderr
        self._thinks_aloud = stderr.isatty() and not is_quiet
        self.is_quiet = is_quiet
        self._is_chosen = False
        self._is_mid_line = False

    def take(self, stamped: Stamped) -> None:
        event = stamped.event
        match event:
            case TokensArrived(channel="final"):
                self._end_thought()
                self._show(event.text)
            case TokensArrived(channel="analysis") if self._thinks_aloud:
                self._say(for_terminal(event.text))
                self._is_mid_line = not event.text.endswith("\n")
            case GenerationFinished(text=text, calls=[_, *_]) if text and not text.endswith("\n"):
                self._show("\n")  # what it said before it called a tool is not the beginning of its answer
            case ToolStarted() if event.permission:
                self._note(f"calls {call_line(event)}")
            case ToolFinished(error=str(error)):
                self._note(f"that failed: {error}")
            case PromptRendered(mode="chat", reasoning=str() as effort) if event.tokens:
                # Without tokens a server makes the prompt itself, and is told of the effort.
                said = f"--reasoning {effort} has no effect: this is no Harmony model, as gpt-oss is"
                self._tell(Warned(message=said))
            case ServerChanged(state="starting" | "ready"):
                self._is_chosen = True
            case ServerChanged(state="loading") | Warned():
                self._tell(event)
            case ServerChanged(state="stopped") if not self._is_chosen:
                self._tell(event)  # the choice of a model, or its download
            case _:
                pass

    def close(self) -> None:
        self._end_thought()

    def _note(self, said: str) -> None:
        self._end_thought()
        if not self.is_quiet:
            if self._answer is not None and self._answer.is_mid_line and self._stderr.isatty():
                self._show("\n")
            self._say(one_line(said) + "\n")

    def _tell(self, event: ServerChanged | Warned) -> None:
        self._note(event.detail if isinstance(event, ServerChanged) else f"warning: {event.message}")

    def _end_thought(self) -> None:
        if self._is_mid_line:
            self._is_mid_line = False
            self._say("\n")

    def _show(self, text: str) -> None:
        if self._answer is not None and self.failure is None:
            try:
                self._answer.write(text)
            except OSError as error:
                self.failure = error

    def _say(self, text: str) -> None:
        try:
            self._stderr.write(text)
            self._stderr.flush()
        except OSError:
            self.is_quiet, self._thinks_aloud = True, False
