"""The quick query: a few tokens from a server that runs already, with next to nothing imported."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from gptoss_flow.errors import FlowError, Invalid, StepError
from gptoss_flow.llama.blocking import BlockingClient, at_once
from gptoss_flow.prompt.raw import Tokenizer
from gptoss_flow.server.hold import hold
from gptoss_flow.server.record import list_servers, read_key, state_root
from gptoss_flow.urls import ADDRESS, direct, is_address

if TYPE_CHECKING:
    from gptoss_flow.events import Json
    from gptoss_flow.llama.blocking_openai import BlockingOpenAi


class Address(NamedTuple):
    """Where a server is to be asked. `name` is its profile's; of somebody else's server it is empty."""

    url: str
    key: str | None = None
    name: str = ""


class Reply(NamedTuple):
    """What came back. Times in seconds, from the moment that the completion was sent."""

    text: str
    prompt_tokens: int
    tokens: int
    is_cut: bool
    """It was ended by `max_tokens` or the context."""
    ttft_s: float
    total_s: float
    timings: Mapping[str, Json]
    """llama.cpp's own."""


@contextmanager
def running(
    *, profile: str | None = None, port: int | None = None, url: str | None = None
) -> Iterator[Address | None]:
    """A managed server that is ready: the newest of this profile, or the one at this port or address; else None.

    It is kept from stopping meanwhile.
    """
    for record in reversed(list_servers(state_root())):
        if record.url == url or record.port == port or record.name == profile:
            with hold(record) as is_there:
                if is_there:
                    yield Address(record.url, read_key(Path(record.folder)), record.name)
                    return
    yield None


def given_url(text: str) -> str:
    """The address that somebody gave. Raises `Invalid`."""
    if not is_address(text):
        raise Invalid(f'"{text}" is not {ADDRESS}')
    return direct(text)


def ask(client: BlockingClient, prompt: str, params: Mapping[str, Json], show: Callable[[str], object]) -> Reply:
    """Complete the text, which can never become control tokens; `show` gets the pieces as they arrive.

    `params` are `sampling.Params`. Raises `Unavailable` and `FlowError`.
    """
    if not client.is_llama:
        return _ask_by_api(cast("BlockingOpenAi", client), prompt, params, show)
    texts: list[str] = []
    first = 0.0
    last: Mapping[str, Json] = {}
    try:
        tokens = at_once(Tokenizer(client).prompt(prompt, special=False))
        sent = time.perf_counter()
        for last in client.complete(tokens, params):
            first = first or time.perf_counter()
            text = last["content"].encode("utf-8", "replace").decode()
            texts.append(text)
            show(text)
    except StepError as error:
        raise FlowError(error.message) from None
    return Reply(
        text="".join(texts),
        prompt_tokens=len(tokens),
        tokens=last.get("tokens_predicted", 0),
        is_cut=last.get("stop_type") == "limit" or last.get("truncated") is True,
        ttft_s=first - sent,
        total_s=time.perf_counter() - sent,
        timings=last.get("timings", {}),
    )


def _ask_by_api(
    client: BlockingOpenAi, prompt: str, params: Mapping[str, Json], show: Callable[[str], object]
) -> Reply:
    """The same by one of OpenAI's APIs, where the server makes the tokens, and control tokens are its affair."""
    texts: list[str] = []
    sent = time.perf_counter()
    first = 0.0
    try:
        for text in client.ask(prompt, params):
            first = first or time.perf_counter()
            texts.append(text)
            show(text)
    except StepError as error:
        raise FlowError(error.message) from None
    ended, usage = time.perf_counter(), client.answer.usage
    return Reply(
        text="".join(texts),
        prompt_tokens=usage["prompt_tokens"],
        tokens=usage["completion_tokens"],
        is_cut=client.answer.finish_reason == "length",
        ttft_s=(first or ended) - sent,
        total_s=ended - sent,
        timings=client.answer.timings,
    )
