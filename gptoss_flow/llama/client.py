"""The one client of llama.cpp's server: how many requests at once, when one is sent again, how it is ended."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.llama import completion, request, retry, wire
from gptoss_flow.llama.exchange import Failed, Http, Limits
from gptoss_flow.ports import Chunk, Clock, Endpoint

T = TypeVar("T")


class Client:
    """`ports.Completions` over HTTP, for one endpoint; raises `StepError` (kinds server, model, timeout).

    At most `endpoint.slots` completions are in flight, the rest wait here, first come first served. `died` is a
    future that whoever supervises the server resolves with the cause of its death, `server-died(9)`: what is in
    flight then fails with that text at once, as does what is asked later. `n_vocab` bounds the token ids.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        clock: Clock,
        died: asyncio.Future[str] | None = None,
        limits: Limits | None = None,
        policy: retry.Policy | None = None,
        n_vocab: int | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.endpoint = endpoint
        self._clock = clock
        self._limits = limits or Limits()
        self._policy = policy or retry.Policy()
        self._n_vocab = n_vocab
        self._jitter = jitter
        self._context_tokens = endpoint.context_tokens
        self._http = Http(endpoint, self._limits)
        self._slots = asyncio.Semaphore(endpoint.slots)
        self._running: set[asyncio.Task[Any]] = set()
        self._death: str | None = None
        self._died = died
        if died is not None:
            died.add_done_callback(self._on_death)

    async def complete(
        self, tokens: Sequence[int], params: Mapping[str, Json], *, timeout_s: float | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """Stream a completion of a token array; the last chunk, and only that, has `final`.

        `params` are `sampling.Params`. `timeout_s` bounds it all, the wait for a slot too. Leaving the iterator
        (closing or dropping it, or cancellation) closes the connection, which frees the server's slot.
        """
        body = request.completion_body(tokens, params, n_vocab=self._n_vocab)

        async def ask(give: Callable[[Chunk], None], queued_s: float) -> None:
            await self._stream(body, give, queued_s)

        async with aclosing(self._streamed(ask, timeout_s)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def props(self) -> Mapping[str, Json]:
        return wire.read_mapping(await self._call("GET", "/props"))

    async def apply_template(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The model's own chat template over these messages, with the generation prompt, as text."""
        answer = await self._call("POST", "/apply-template", {"messages": [dict(m) for m in messages]})
        return wire.read_text(answer, "prompt")

    async def tokenize(self, text: str, *, special: bool, bos: bool = False) -> list[int]:
        """Token ids; `special` decides whether control tokens in `text` are parsed as such.

        `bos` puts the beginning-of-sequence token first where the model wants one (`add_special`).
        """
        body = request.tokenize_body(text, special=special, bos=bos)
        return wire.read_ids(await self._call("POST", "/tokenize", body))

    async def detokenize(self, tokens: Sequence[int]) -> str:
        return wire.read_text(await self._call("POST", "/detokenize", {"tokens": list(tokens)}), "content")

    async def models(self) -> list[str]:
        """The ids of the models that the endpoint offers."""
        return wire.read_model_ids(await self._call("GET", "/v1/models"))

    async def health(self) -> bool:
        """Whether the server says that it is ready. Asked once; whatever else happens means no."""
        asked = _within(self._limits.health_s, "the health check", lambda: self._http.json("GET", "/health"))
        try:
            await self._finish(asked)
        except (Failed, StepError):
            return False
        return True

    async def cancel_all(self) -> None:
        """End all requests in flight (they raise `StepError("cancelled", …)`); returns when that is done."""
        await _end(set(self._running))

    async def aclose(self) -> None:
        if self._died is not None:
            self._died.remove_done_callback(self._on_death)
        await self.cancel_all()
        await self._http.aclose()

    # --- requests are tasks, which the server's death or `cancel_all` ends ------------------------------------

    async def _streamed(
        self, ask: Callable[[Callable[[T], None], float], Awaitable[None]], timeout_s: float | None
    ) -> AsyncGenerator[T, None]:
        """What `ask` gives, in a slot; it is told how long that was waited for, and runs again as is retried.

        The reading has a task of its own, so that times are stamped when bytes come however slow the caller is,
        and so that it can be called off from outside.
        """
        given: asyncio.Queue[tuple[T] | None] = asyncio.Queue()
        task = self._start(self._in_slot(lambda each: given.put_nowait((each,)), ask, timeout_s))
        task.add_done_callback(lambda _: given.put_nowait(None))
        try:
            while (each := await given.get()) is not None:
                yield each[0]
            self._result(task)
        finally:
            await _end({task})

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        if self._death is not None:
            work.close()
            raise StepError("server", self._death)
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def _result(self, task: asyncio.Task[T]) -> T:
        if not task.cancelled():
            return task.result()
        if self._death is not None:
            raise StepError("server", self._death)
        raise StepError("cancelled", "the request was cancelled", retryable=False)

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        task = self._start(work)
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
        return self._result(task)

    def _on_death(self, died: asyncio.Future[str]) -> None:
        cause = "" if died.cancelled() or died.exception() else died.result()
        self._death = cause or "the server died"
        for task in self._running:
            task.cancel()

    # --- what such a task does --------------------------------------------------------------------------------

    async def _call(self, method: str, path: str, body: Mapping[str, Json] | None = None) -> Json:
        limit_s, what = self._limits.call_s, f"the answer of {path}"
        return await self._finish(
            self._retrying(lambda: _within(limit_s, what, lambda: self._http.json(method, path, body)))
        )

    async def _in_slot(
        self,
        give: Callable[[T], None],
        ask: Callable[[Callable[[T], None], float], Awaitable[None]],
        timeout_s: float | None,
    ) -> None:
        asked = time.perf_counter()

        async def in_slot() -> None:
            async with self._slots:
                queued_s = time.perf_counter() - asked
                await self._retrying(lambda: ask(give, queued_s))

        await _within(timeout_s, "the completion", in_slot)

    async def _retrying(self, once: Callable[[], Awaitable[T]]) -> T:
        begun, starting_s = self._clock.monotonic(), 0.0
        failures: tuple[retry.Failure, ...] = ()
        while True:
            attempt_at = self._clock.monotonic()
            try:
                return await once()
            except Failed as failed:
                failure = failed.failure
            elapsed_s = self._clock.monotonic() - begun - starting_s
            tried = retry.Tried(failures, elapsed_s, starting_s)
            match retry.decide(failure, tried, self._policy, jitter=self._jitter(), now=self._clock.now()):
                case retry.Fail(error):
                    raise error
                case retry.Retry(delay_s, is_starting):
                    await self._clock.sleep(delay_s)
            if is_starting:
                starting_s += self._clock.monotonic() - attempt_at
            else:
                failures = (*failures, failure)

    async def _stream(self, body: Mapping[str, Json], give: Callable[[Chunk], None], queued_s: float) -> None:
        at_most = min(body["n_predict"], self._context_tokens) + self._limits.spare_events
        events_left, generated = at_most, 0
        sent = time.perf_counter()
        async with aclosing(self._http.events("/completion", body, at_most * self._limits.event_bytes)) as events:
            async for arrived, data in events:
                event = completion.read_event(data)
                events_left -= 1
                if events_left < 0:
                    raise StepError("server", "the server sends more than was asked for", retryable=False)
                if event is None:
                    continue
                tokens = event.tokens
                if event.predicted is not None:
                    new, generated = event.predicted - generated, event.predicted
                    if tokens and new > len(tokens):
                        tokens = completion.missing_tokens(tokens, new, await self._retokenize(event.text))
                if event.final is None:
                    give(Chunk(event.text, tokens, arrived))
                    continue
                give(Chunk(event.text, tokens, arrived, replace(event.final, sent=sent, queued_s=queued_s)))
                with contextlib.suppress(TimeoutError, Failed, StepError):
                    async with asyncio.timeout(self._limits.drain_s):
                        async for _ in events:
                            pass
                return
        raise Failed(retry.Cut("the stream ended without its last event"))

    async def _retokenize(self, text: str) -> list[int]:
        """The ids of a text; none where the server will not say: the record then lacks ids, the answer no text."""
        try:
            return wire.read_ids(
                await self._http.json("POST", "/tokenize", request.tokenize_body(text, special=False))
            )
        except (Failed, StepError):
            return []


async def _within(timeout_s: float | None, what: str, work: Callable[[], Awaitable[T]]) -> T:
    try:
        async with asyncio.timeout(timeout_s):
            return await work()
    except TimeoutError:
        raise StepError("timeout", f"{what} took longer than {timeout_s:g} s") from None


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # taken note of: nobody is left whom it could tell
