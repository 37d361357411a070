"""A user's own Python functions: what their signatures say, how they are called, what becomes of their errors."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gptoss_flow.errors import Invalid, StepError
from gptoss_flow.ports import Grants, ToolContext
from gptoss_flow.tool_marks import mark_of, tool
from gptoss_flow.tools.docstring import read_docstring
from gptoss_flow.tools.json_value import MAX_DEPTH, json_value
from tests.conftest import need
from tests.tools.own_functions import called, function

TYPED = '''
from __future__ import annotations
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal
from pydantic import Field

@dataclass
class Point:
    x: float
    y: float

def f(
    name: str,
    size: Annotated[int, Field(ge=1, le=9)] = 3,
    how: Literal["fast", "slow"] = "fast",
    points: list[Point] = [],
    day: date | None = None,
    json: bool = False,
) -> dict:
    """Measure a thing.

    It may take long.

    Args:
        name: What it is called.
        size (int): How large it is,
            from 1 to 9.
        points: Where it is.

    Returns:
        Everything that was given.
    """
    return {"name": name, "size": size, "how": how, "x": [p.x for p in points], "day": str(day), "json": json}
'''


def test_the_signature_is_the_schema_and_the_docstring_the_description(tmp_path: Path) -> None:
    tool = function(tmp_path, TYPED)
    assert tool.name == "f" and tool.effect == "once"
    assert tool.description == "Measure a thing.\n\nIt may take long."
    schema = tool.parameters
    Draft202012Validator.check_schema(schema)
    assert schema["required"] == ["name"] and schema["additionalProperties"] is False
    assert list(schema["properties"]) == ["name", "size", "how", "points", "day", "json"]
    assert schema["properties"]["size"] == {
        "type": "integer", "minimum": 1, "maximum": 9, "default": 3,
        "description": "How large it is, from 1 to 9.",
    }  # fmt: skip
    assert schema["properties"]["how"]["enum"] == ["fast", "slow"]
    assert "title" not in str(schema)


def test_arguments_arrive_as_their_types_say(tmp_path: Path) -> None:
    tool = function(tmp_path, TYPED)
    given = {"name": "a", "points": [{"x": 1, "y": 2}], "day": "2026-01-02"}
    said = {"name": "a", "size": 3, "how": "fast", "x": [1.0], "day": "2026-01-02", "json": False}
    assert called(tool, given, tmp_path) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, 'tool "f" needs the argument "name"; name: What it is called'),
        ({"name": 3}, 'tool "f": name must be text, not 3'),
        ({"name": "a", "size": 12}, 'tool "f": size must be at most 9, not 12'),
        ({"name": "a", "nme": 1}, 'tool "f" has no argument "nme"; did you mean "name"?'),
        ({"name": "a", "day": "soon"}, 'tool "f": day: Input should be a valid date'),
    ],
)
def test_a_call_that_does_not_fit_never_reaches_the_function(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(StepError) as caught:
        called(function(tmp_path, TYPED), given, tmp_path)
    assert caught.value.message.startswith(said)
    assert not caught.value.retryable


def test_an_exception_is_the_tools_error_without_its_traceback(tmp_path: Path) -> None:
    tool = function(tmp_path, "def f(x: int):\n    y = 3\n    raise KeyError('no such thing')\n")
    with pytest.raises(StepError) as caught:
        called(tool, {"x": 1}, tmp_path)
    assert caught.value.message == "tool \"f\": KeyError: 'no such thing' (helpers.py:3)"
    assert caught.value.retryable  # the world may be another one the next time
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_function_that_ends_the_process_does_not(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="SystemExit: 3"):
        called(function(tmp_path, "import sys\ndef f(): sys.exit(3)\n"), {}, tmp_path)
    with pytest.raises(StepError, match="StopIteration"):
        called(function(tmp_path, "def f(): return next(iter(()))\n"), {}, tmp_path)


def test_async_functions_are_awaited_and_others_run_beside_the_loop(tmp_path: Path) -> None:
    text = "import threading\nasync def f(): return threading.current_thread().name\n"
    assert called(function(tmp_path, text), {}, tmp_path) == threading.main_thread().name
    text = "import threading\ndef f(): return threading.current_thread().name\n"
    assert called(function(tmp_path, text), {}, tmp_path) == "tool-f"


def test_a_function_that_never_returns_holds_up_neither_its_step_nor_the_end(tmp_path: Path) -> None:
    tool = function(tmp_path, "import threading\ndef f(): threading.Event().wait()\n")

    async def given_up() -> None:
        async with asyncio.timeout(0.05):
            await tool.call({}, ToolContext(workspace=tmp_path))

    with pytest.raises(TimeoutError):
        asyncio.run(given_up())  # which waits for the threads of a pool


def test_what_a_function_prints_stays_out_of_the_outputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    called(function(tmp_path, "print('import')\ndef f(): print('call')\n"), {}, tmp_path)
    assert capsys.readouterr() == ("", "import\ncall\n")
    print("after")
    assert capsys.readouterr().out == "after\n"


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ("{1, 2}", "it is of the type set"),
        ("{'a': [object()]}", r"a\[0\] is of the type object"),
        ("float('nan')", "it is nan, which JSON does not have"),
        ("{1: 2}", "it has the key 1, which is not text"),
        ("10 ** 40", "it is an integer of more than 64 bits"),
        ("b'x'", "it is of the type bytes"),
        ("'x' * 20_000_000", "it is larger than 16 MiB"),
    ],
)
def test_a_result_that_is_no_json_is_refused_by_its_place(tmp_path: Path, result: str, said: str) -> None:
    with pytest.raises(StepError, match=said):
        called(function(tmp_path, f"def f(): return {result}\n"), {}, tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(a, b: int): ...", 'helpers.py:1:1: parameter "a" of "f" has no type; annotate it: a: str'),
        ("x = 1\ndef f(*a: int): ...", 'helpers.py:2:1: parameter "*a: int" of "f" cannot be given by name'),
        ("def f(a: int, /): ...", 'helpers.py:1:1: parameter "a: int" of "f" cannot be given by name'),
        ("def f(**k: int): ...", 'helpers.py:1:1: parameter "**k: int" of "f" cannot be given by name'),
        ("def f(a: 'Nope'): ...", "helpers.py:1:1: an annotation of \"f\" cannot be evaluated: name 'Nope'"),
        ("class C: ...\ndef f(a: C): ...", 'helpers.py:2:1: "f" has a parameter that JSON Schema cannot describe'),
        ("from typing import Callable\ndef f(a: Callable): ...", 'helpers.py:2:1: "f" has a parameter'),
        ("f = 3", 'helpers.py: "f" is not a function; write def, or async def'),
        ("class f: ...", 'helpers.py: "f" is not a function'),
        ("import math\nf = math.sin", 'helpers.py: "f" is not a function'),
        ("def größe(): ...\nf = größe", 'helpers.py:1:1: "größe" cannot be the name of a tool'),
    ],
)  # fmt: skip
def test_a_function_that_can_be_no_tool_is_told_at_its_own_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        function(tmp_path, text)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(said)


def test_the_code_of_a_function_is_its_file(tmp_path: Path) -> None:
    one = function(tmp_path, "def f(): return 1\n")
    other = function(tmp_path, "def f(): return 2\n")
    assert one.code != other.code == function(tmp_path, "def f(): return 2\n").code


def test_an_effect_is_declared_by_a_mark(tmp_path: Path) -> None:
    text = "from gptoss_flow.tool_marks import tool\n@tool(effect='pure')\ndef f(): ...\n"
    assert function(tmp_path, text).effect == "pure"
    assert mark_of(test_an_effect_is_declared_by_a_mark).effect == "once"
    with pytest.raises(ValueError, match="allowed: pure, idempotent, once"):
        tool(effect="often")  # type: ignore[call-overload]


@pytest.mark.parametrize("mark", ["@tool", "@tool()"])
def test_a_mark_without_an_effect_is_once_as_no_mark_is(tmp_path: Path, mark: str) -> None:
    marked = function(tmp_path, f"from gptoss_flow.tool_marks import tool\n{mark}\ndef f(): return 1\n")
    assert marked.effect == "once"


def test_a_docstring_is_read_in_both_usual_forms() -> None:
    sphinx = "Do it.\n\n:param a: the first,\n    going on\n:param int b: the second\n:returns: nothing\n"
    assert read_docstring(sphinx) == ("Do it.", {"a": "the first, going on", "b": "the second"})
    google = "Do it.\n\nArgs:\n    a: the first\n        and: more\n\n    b: the second\n\nRaises:\n    X: never\n"
    assert read_docstring(google) == ("Do it.", {"a": "the first and: more", "b": "the second"})
    assert read_docstring(None) == ("", {})


@given(st.text())
def test_any_docstring_can_be_read(text: str) -> None:
    _, about = read_docstring(text)
    assert all(re.fullmatch(r"\w+", name) for name in about)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(JSON)
def test_json_values_pass_unchanged(value: Any) -> None:
    assert json_value(value) == value


def test_what_is_nested_without_end_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match=f"more than {MAX_DEPTH} deep"):
        json_value(circle)


@pytest.mark.parametrize("value", ["\ud800", {"a": ["x\udc80y"]}, {"\udfff": 1}], ids=["alone", "inside", "a key"])
def test_half_a_character_is_refused_as_the_record_could_not_hold_it(value: Any) -> None:
    with pytest.raises(ValueError, match="half of a character"):
        json_value(value)


SANDBOXED = """
import os
from dataclasses import dataclass
from gptoss_flow import tool

@dataclass
class Point:
    x: int

@tool(effect="pure")
def f(p: Point, n: int = 2) -> dict:
    print("to nobody")
    return {"x": p.x * n, "kind": type(p).__name__, "home": os.path.exists(HOME), "cwd": os.getcwd()}

async def later() -> str: return "later"

def broken(): raise KeyError("bean")

def bytes_(): return b"x"

def quits(): os._exit(3)

def dials():
    import socket
    socket.create_connection(("127.0.0.1", PORT), 2)
"""


def test_a_sandboxed_call_sees_the_workspace_and_nothing_else(tmp_path: Path) -> None:
    need("bwrap")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        text = SANDBOXED.replace("HOME", repr(str(tmp_path))).replace("PORT", str(port))

        def sandboxed(name: str, **given: Any) -> Any:
            context = ToolContext(workspace=workspace, grants=Grants(sandboxed=True))
            return asyncio.run(function(tmp_path, text, name).call(given, context))

        assert sandboxed("f", p={"x": 3}) == {"x": 6, "kind": "Point", "home": False, "cwd": "/workspace"}
        assert sandboxed("later") == "later"
        for name, said in (
            ("broken", r"tool \"broken\": KeyError: 'bean' \(helpers.py:17\)"),
            ("bytes_", "what it gave back is no JSON"),
            ("quits", "gave nothing back: it ended with exit code 3"),
            ("dials", "ConnectionRefusedError|OSError"),
        ):
            with pytest.raises(StepError, match=said):
                sandboxed(name)
        with pytest.raises(StepError, match="x must be a whole number, not"):
            sandboxed("f", p={"x": "three"})


def test_a_sandbox_is_taken_where_the_step_says_so_and_none_needs_the_users_word(
    tmp_path: Path,
) -> None:
    plain = function(tmp_path, SANDBOXED.replace("HOME", "'/'").replace("PORT", "0"))
    assert called(plain, {"p": {"x": 1}}, tmp_path)["cwd"] == str(Path.cwd())
    refused = ToolContext(workspace=tmp_path, grants=Grants(sandboxed=True, sandbox="dangerously_none"))
    with pytest.raises(StepError, match="--allow-unsandboxed") as caught:
        asyncio.run(plain.call({"p": {"x": 1}}, refused))
    assert caught.value.exit_code == 3
