"""The tool `http`: one request to a host that the flow grants."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.fields import Duration
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.base import Arguments, BuiltIn
from gptoss_flow.words import word_set

MAX_TIMEOUT_S = 300.0
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_VALUE = re.compile(r"[\x20-\x7e\t]{0,4096}")
_NOT_YOURS = word_set(
    "host connection keep-alive proxy-connection proxy-authorization proxy-authenticate te trailer "
    "transfer-encoding upgrade expect content-length accept-encoding http2-settings"
)
"""Headers that decide where a request goes or where it ends: two readers must not read them in two ways."""


class Http(Arguments):
    url: Annotated[str, Field(min_length=1)]
    """The whole address; its host is one that the flow grants in `permissions: {hosts: […]}`."""
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    """Redirects of GET and HEAD are followed; that of another method is what it answers."""
    headers: dict[str, str] = Field(default_factory=dict, max_length=50)
    """Header fields by name."""
    body: str | None = None
    """What is sent as it is, in UTF-8."""
    json_: Annotated[Json, Field(alias="json")] = None
    """What is sent as JSON."""
    timeout: Duration = 30.0
    """For the whole request, as 10s; at most 5m."""

    @model_validator(mode="after")
    def _fits(self) -> Http:
        if self.body is not None and self.json_ is not None:
            raise ValueError("has both body and json; give one of them")
        for name, value in self.headers.items():
            if not _NAME.fullmatch(name):
                raise ValueError(f'header "{one_line(name[:60])}" is no name of a header')
            if name.lower() in _NOT_YOURS:
                raise ValueError(f'header "{name}" is set by the tool itself')
            if not _VALUE.fullmatch(value):  # which is not shown: it may be a secret
                raise ValueError(f'header "{name}" must be one line of up to 4096 ASCII characters')
        if len({name.lower() for name in self.headers}) < len(self.headers):
            raise ValueError("has a header twice")
        if not 0 < self.timeout <= MAX_TIMEOUT_S:
            raise ValueError(f"timeout must be more than 0 and at most {MAX_TIMEOUT_S / 60:g}m")
        return self


async def http(arguments: Http, context: ToolContext) -> Json:
    from gptoss_flow.tools.browser.ask import ask

    return await ask(
        arguments.method,
        arguments.url,
        headers=arguments.headers,
        body=arguments.body,
        json_body=arguments.json_,
        timeout_s=arguments.timeout,
        context=context,
    )


HTTP = BuiltIn(
    name="http",
    description="Make an HTTP request to a host that the flow grants: status, some headers, and text or JSON.",
    # A POST may not be made twice, and one tool has one effect: a step that only reads says `effect: idempotent`.
    effect="once",
    arguments=Http,
    work=http,
    parts=("browser",),
)
