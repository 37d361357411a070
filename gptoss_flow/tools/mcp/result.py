"""What an MCP tool gave back, as the value of a call. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.tools.json_value import json_value

MAX_SAID = 4000


def value_of(tool: str, content: Sequence[Mapping[str, Any]], structured: Any, *, is_error: bool) -> Json:
    """The structured content where there is some, else the text. Raises `StepError` for what it calls an error.

    What is neither text nor JSON (images, audio, files) is named, and left out.
    """
    if is_error:
        said = _text(content) or "it failed and does not say why"
        raise StepError("tool", f'tool "{tool}": {said[:MAX_SAID]}')
    try:
        return json_value(structured if structured is not None else _text(content))
    except ValueError as error:
        said = f'tool "{tool}" gave back what cannot be taken: {error}'
        raise StepError("tool", said, unsure=True) from None


def _text(content: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(_block(block) for block in content)


def _block(block: Mapping[str, Any]) -> str:
    match block.get("type"):
        case "text":
            return str(block.get("text", ""))
        case "image" | "audio" as kind:
            size = len(str(block.get("data", ""))) * 3 // 4
            return f"[{kind}, {block.get('mimeType', 'of some kind')}, {size} bytes: left out]"
        case "resource" if isinstance(inner := block.get("resource"), Mapping):
            if isinstance(text := inner.get("text"), str):
                return text
            return f"[resource {inner.get('uri', '')}, {inner.get('mimeType', 'of some kind')}: left out]"
        case "resource_link":
            return f"[resource {block.get('uri', '')}: {block.get('name', '')}]"
        case kind:
            return f"[{kind}: left out]"
