"""The quick query: a few tokens from a server that runs already, with next to nothing imported."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from gptoss_flow.errors import FlowError, StepError
from gptoss_flow.llama.blocking import BlockingClient, at_once
from gptoss_flow.prompt.raw import Tokenizer
from gptoss_flow.server.hold import hold
from gptoss_flow.server.record import list_servers, read_key, state_root

if TYPE_CHECKING:
    from gptoss_flow.events import Json


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


def direct(url: str) -> str:
    """The address with `localhost` as the number that it stands for: to look it up costs time."""
    parts = urlsplit(url.rstrip("/"))
    if parts.hostname != "localhost":
        return parts.geturl()
    return parts._replace(netloc=f"127.0.0.1:{parts.port}" if parts.port else "127.0.0.1").geturl()


def ask(client: BlockingClient, prompt: str, params: Mapping[str, Json], show: Callable[[str], object]) -> Reply:
    """Complete the text, which can never become control tokens; `show` gets the pieces as they arrive.

    `params` are `sampling.Params`. Raises `Unavailable` and `FlowError`.
    """
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
