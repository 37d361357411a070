"""Cuts texts to a number of tokens for expressions: these are pure, and are evaluated anew with what was cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

from gptoss_flow.errors import Invalid, StepError, Unavailable
from gptoss_flow.events import TextCut
from gptoss_flow.ports import Emit, Model, Models
from gptoss_flow.refs import Cuts, NeedsTokens

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cutter:
    """Cuts by the tokenizers of these models, and tells each cut. Its methods raise `StepError`."""

    models: Models
    emit: Emit

    async def model(self, server: str) -> Model:
        """The model behind a server, ready."""
        try:
            return await self.models.get(server)
        except (Unavailable, Invalid) as error:
            raise StepError("server", str(error), retryable=False, exit_code=error.exit_code) from error

    async def cut(self, server: str | None, step: str, needs: NeedsTokens) -> Cuts:
        """What is needed. `step`: who needs it, empty where it is the flow."""
        assert server is not None  # the plan has found one
        model, found = await self.model(server), {}
        for text, tokens in needs.cuts:
            kept = found[text, tokens] = await model.truncate(text, tokens)
            digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            self.emit(TextCut(step=step, server=server, text_sha256=digest, limit=tokens, chars=len(kept)))
        return found

    async def settled(self, server: str | None, step: str, evaluate: Callable[[Cuts], T]) -> T:
        """What `evaluate` gives once every text is cut that it wants to be."""
        cuts: Cuts = {}
        while True:
            try:
                return evaluate(cuts)
            except NeedsTokens as needs:
                cuts = {**cuts, **await self.cut(server, step, needs)}
