"""The JSON Schemas in files of their own that a flow's prompts name."""

from __future__ import annotations

import os
from pathlib import Path as FilePath
from typing import Any

from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.fields import is_template
from gptoss_flow.lang.defaults import bodies_of
from gptoss_flow.lang.document import read_document
from gptoss_flow.lang.places import Places
from gptoss_flow.structured import schema_fault


def schemas_of(flow: FilePath, data: dict[str, Any], places: Places, problems: list[Problem]) -> dict[str, Any]:
    """By the path as written; why one can't be had is added to `problems`."""
    found: dict[str, Any] = {}
    for path, body in bodies_of(data):
        prompt = body.get("prompt")
        text = prompt.get("schema") if isinstance(prompt, dict) else None
        if not isinstance(text, str) or text in found:
            continue
        mark = places.value((*path, "prompt", "schema"))
        if is_template(text):
            problems.append(
                Problem(mark, "a schema's file is read before the run", "write its path as plain text")
            )
            continue
        found[text] = None
        shown = os.path.normpath(flow.parent / text)
        try:
            schema = read_document(FilePath(shown), shown).data
        except Invalid as error:
            problems += [p if p.mark else Problem(mark, p.message, p.hint) for p in error.problems]
            continue
        if fault := schema_fault(schema):
            problems.append(Problem(mark, f"{shown} {fault}"))
        else:
            found[text] = schema
    return found
