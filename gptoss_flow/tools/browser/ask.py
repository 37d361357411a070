"""What the tool `http` does: a request to a granted host, and its answer as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from gptoss_flow.events import Json
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.browser.dial import Network
from gptoss_flow.tools.browser.fetch import LIMITS, Answer, Head, Request, answered, fetch
from gptoss_flow.tools.browser.hosts import Reach
from gptoss_flow.tools.browser.text import judge_type, media_type, text_of
from gptoss_flow.tools.browser.urls import parse_url
from gptoss_flow.tools.json_value import json_value
from gptoss_flow.tools.thread import in_thread

_TOLD = ("content-type", "date", "etag", "last-modified", "link", "location", "retry-after", "x-request-id")
"""The headers that are given back. Cookies are neither kept nor told."""


async def ask(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: str | None,
    json_body: Json,
    timeout_s: float,
    context: ToolContext,
) -> Json:
    """`{status, headers, text, json}`; of the last two one is null. Raises `StepError`."""
    data = body if json_body is None else json.dumps(json_body, ensure_ascii=False)
    request = Request(
        url=parse_url(url),
        method=method,
        headers=_with_ours(headers, json_body),
        body=(data or "").encode(errors="replace"),
    )
    limits = replace(LIMITS, total_s=timeout_s, read_s=timeout_s)
    reach = Reach.granted(context.grants, rest=False)
    network = context.kept.get("network", Network)
    answer = await fetch(request, reach, network, _has_no_body if method == "HEAD" else judge_type, limits)
    told = {name: answer.head.headers[name] for name in _TOLD if name in answer.head.headers}
    with answered():
        text, value = await in_thread(lambda: _read(answer), "answer")
    return {"status": answer.head.status, "headers": told, "text": text, "json": value}


def _with_ours(headers: Mapping[str, str], json_body: Json) -> Mapping[str, str]:
    ours = {"Accept": "application/json, text/*;q=0.9"}
    if json_body is not None:
        ours["Content-Type"] = "application/json"
    given = {name.lower() for name in headers}
    return {**headers, **{name: value for name, value in ours.items() if name.lower() not in given}}


def _has_no_body(head: Head) -> None:
    """Then it does not matter what type it would be of."""


def _read(answer: Answer) -> tuple[str | None, Json]:
    text = text_of(answer)
    kind = media_type(answer.head)
    if kind == "application/json" or kind.endswith("+json"):
        try:
            value = json_value(json.loads(text))
            json.dumps(
                value, ensure_ascii=False
            ).encode()  # half a character (`"\\ud800"`) has no place in a record
            return None, value
        except (ValueError, RecursionError):
            pass  # it says so and is none, or none that a record can hold: then it is text
    return text, None
