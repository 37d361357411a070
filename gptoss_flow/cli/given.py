"""Reads what the user gives to a flow on the command line: inputs, an inputs file, other profiles for servers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gptoss_flow.app.bind import Given
from gptoss_flow.errors import Invalid, Mark, Problem
from gptoss_flow.events import Json
from gptoss_flow.lang.document import read_document
from gptoss_flow.lang.inputs import Input, read_value
from gptoss_flow.plan.plan import Plan
from gptoss_flow.user_path import user_path
from gptoss_flow.words import suggest


def read_given(
    plan: Plan,
    inputs: Sequence[str],
    inputs_file: str | None,
    servers: Sequence[str],
    workspace: str | None,
) -> Given:
    """What was given; what can't be read of it is in its `faults`. Raises `Invalid` for the file of inputs."""
    flow = plan.loaded.flow
    assert flow is not None
    values, places = _inputs_file(Path(inputs_file), flow.inputs) if inputs_file else ({}, {})
    faults: dict[str, Problem] = {}
    for text in inputs:
        name, equals, written = text.partition("=")
        if not equals:
            faults[text] = Problem(None, f"-i {text}: an input is given as NAME=VALUE")
        elif name not in flow.inputs:
            faults[name] = Problem(None, f"-i {name}: the flow has no such input", suggest(name, flow.inputs))
        else:
            try:
                values[name] = _value(flow.inputs[name], written)
                places.pop(name, None)
            except OSError as error:
                faults[name] = Problem(None, f"-i {name}: cannot read {error.filename}: {error.strerror}")
            except ValueError as error:
                faults[name] = Problem(None, f"-i {name}: {error}")
    chosen = dict(pair.split("=", 1) for pair in servers if "=" in pair)
    faults |= {s: Problem(None, f"--server {s}: write NAME=PROFILE") for s in servers if "=" not in s}
    root = Path(workspace) if workspace is not None else None
    return Given(inputs=values, servers=chosen, cwd=Path.cwd(), workspace=root, places=places, faults=faults)


def _inputs_file(path: Path, declared: Mapping[str, Input]) -> tuple[dict[str, Json], dict[str, Mark]]:
    """The values, and where each stands; of an input that is none, where its name does."""
    document = read_document(path)
    data, marks = document.data, document.marks
    if not isinstance(data, Mapping):
        said = "a file of inputs is a mapping of names to values"
        raise Invalid(Problem(marks.value(()), said, 'write it as lines of "name: value"'))
    return dict(data), {name: (marks.value if name in declared else marks.key)((name,)) for name in data}


def _value(declared: Input, written: str) -> Json:
    """`@file`, `@-` and `@@x` are read; then the text is read as the input's type says."""
    if written.startswith("@@"):
        written = written[1:]
    elif written == "@-":
        written = sys.stdin.buffer.read().decode(errors="replace")
    elif written.startswith("@"):
        written = user_path(written[1:]).read_bytes().decode(errors="replace")
    return read_value(declared, written)
