"""`tools ls`, `show` and `call`, as a user types them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gptoss_flow.tools import TOOLS
from gptoss_flow.ui.tools import description
from tests.cli.in_process import Command
from tests.tools.mcp.test_stdio import HOSTILE

HELPERS = '''\
def count(text: str, of: str = "e", limit: int | None = None) -> dict:
    """Count a letter.

    :param text: Where to look.
    """
    return {"count": text.count(of), "limit": limit}

def broken(): raise OSError("no beans")
'''

FAR_OFF = """\
*** Begin Patch
*** Update File: helpers.py
-def broken(): raise OSError("no more beans")
+def broken(): pass
*** End Patch
"""


@pytest.fixture
def flow(command: Command) -> Path:
    """A flow with a function and a tool server, in the current folder."""
    Path("helpers.py").write_text(HELPERS)
    path = Path("flow.yaml")
    path.write_text(
        f"version: 1\ntool_servers:\n  beans: {{command: [{sys.executable}, -I, -S, {HOSTILE}, well]}}\n"
        'steps:\n  a: {tool: "./helpers.py:count", with: {text: x}}\n  b: {tool: beans.echo, with: {text: x}}\n'
    )
    return path


def test_tools_are_listed_with_whose_they_are(command: Command, flow: Path) -> None:
    code, out, _ = command("tools", "ls", "--json")
    assert code == 0
    assert [tool["name"] for tool in json.loads(out)] == list(TOOLS)
    code, out, _ = command("tools", "ls", str(flow))
    assert code == 0
    own = [line.split() for line in out.splitlines()[-2:]]
    assert own[0] == ["./helpers.py:count", "helpers.py", "once", "Count", "a", "letter"]
    assert own[1][:5] == ["beans.echo", "tool", "server", "beans", "once"]


def test_a_tool_is_shown_with_what_it_takes(command: Command, flow: Path) -> None:
    code, out, _ = command("tools", "show", "./helpers.py:count")
    assert code == 0
    assert out.splitlines() == [
        "./helpers.py:count  (helpers.py; effect: once)",
        "",
        "Count a letter.",
        "",
        "ARGUMENT  TYPE             NEEDED     ABOUT",
        "text      string           yes        Where to look",
        "of        string           default e",
        "limit     integer or null",
    ]
    code, out, _ = command("tools", "show", "beans.echo", str(flow), "--json")
    said = json.loads(out)
    assert (code, said["from"], said["parameters"]["required"]) == (0, "tool server beans", ["text"])


def test_a_description_ends_its_lines_where_the_terminal_does() -> None:
    for width in (36, 60, 100):
        lines = description(TOOLS["apply_patch"], width).split("\n")
        assert max(map(len, lines)) <= width
        assert "*** Update File: src/app.py" in lines and " kept line" in lines
        assert " ".join(lines).split() == TOOLS["apply_patch"].description.split()


def test_many_words_stand_where_there_is_room_for_them(command: Command) -> None:
    shown = command("tools", "show", "write_file")[1]
    assert "mode      one of   default create  create, overwrite, append. `create` refuses" in shown


def test_a_tool_is_called_with_words_or_json(command: Command, flow: Path) -> None:
    Path("text.txt").write_text("eel")
    assert command("tools", "call", "./helpers.py:count", "text=@text.txt", "limit=3") == (
        0, '{\n  "count": 2,\n  "limit": 3\n}\n', "",
    )  # fmt: skip
    given = '{"text": "aa", "of": "a"}'
    _, out, _ = command("tools", "call", "./helpers.py:count", "--json", given)
    assert json.loads(out) == {"count": 2, "limit": None}
    assert command("tools", "call", "beans.echo", "text=@@hello", "--flow", str(flow)) == (0, "@hello\n", "")
    assert command("tools", "call", "read_file", "path=text.txt") == (0, "eel\n", "")
    Path("below").mkdir()
    assert command("tools", "call", "list_files", "limit=1e2", "--workspace", "below") == (0, "[]\n", "")


@pytest.mark.parametrize(
    ("call", "code", "said"),
    [
        (["nope"], 2, '"nope" is not a tool; allowed: read_file'),
        (["./helpers.py"], 2, "a function is named ./file.py:function (beside the flow)"),
        (["raed_file", "path=x"], 2, '"raed_file" is not a tool; did you mean "read_file"?'),
        (["read_file"], 2, 'tool "read_file" needs the argument "path"'),
        (["read_file", "path"], 2, "path: an argument is given as KEY=VALUE"),
        (["read_file", "path=a", "path=b"], 2, "path is given twice"),
        (["read_file", "path=a", "max_bytes=many"], 2, "max_bytes must be a whole number or null"),
        (["read_file", "--json", "{"], 2, "--json: this is not JSON"),
        (["read_file", "--json", '{"max_bytes": 1e999}'], 2, "--json: this is not JSON: 1e999 is no JSON value"),
        (["read_file", "path=a", "max_bytes=NaN"], 2, 'must be a whole number or null, not "NaN"'),
        (["browser.find", "pattern=x"], 2, "browser.find looks through an open page, and pages are open only"),
        (["browser.open", "id=3"], 2, 'makes one call; give the address: {id: "https://example.org/page"}'),
        (["browser.open", "id=https://example.org", "cursor=0"], 2, "browser.open goes on from an open page"),
        (["read_file", "--json", "[]"], 2, "--json: the arguments are an object"),
        (["read_file", "path=@missing"], 2, "path: cannot read missing: No such file"),
        (["read_file", "path=missing"], 1, '"missing" does not exist'),
        (["apply_patch", f"patch={FAR_OFF}"], 1, "Nearest in the file:\n"),
        (["./helpers.py:broken"], 1, 'tool "broken": OSError: no beans (helpers.py:8)'),
        (["./helpers.py:nope"], 2, '"helpers.py" has no function "nope"'),
        (["beans.other", "--flow", "flow.yaml"], 2, 'the tool server "beans" has no tool "other"'),
        (["beans.echo", "texxt=x", "--flow", "flow.yaml"], 2, 'has no argument "texxt"; did you mean "text"?'),
        (["beans", "--flow", "flow.yaml"], 2, '"beans" is a tool server, not a tool'),
        (["read_file", "path=x", "--workspace", "nowhere"], 2, "is not a folder"),
        (["read_file", "path=x", "--flow", "no.yaml"], 2, "no.yaml"),
    ],
)
def test_what_goes_wrong_with_a_call_is_told_with_its_exit_code(
    command: Command, flow: Path, call: list[str], code: int, said: str
) -> None:
    ended, out, err = command("tools", "call", *call)
    assert (ended, out) == (code, "")
    assert said in err


def test_a_server_that_cannot_be_started_is_unavailable(command: Command) -> None:
    Path("flow.yaml").write_text(
        "version: 1\ntool_servers: {gone: {command: [no-such-program]}}\nsteps: {a: {tool: gone.x}}\n"
    )
    of_tools = (["tools", "call", "gone.x", "--flow", "flow.yaml"], ["tools", "ls", "flow.yaml"])
    for line in (*of_tools, ["run", "flow.yaml"]):
        code, _, err = command(*line)
        assert code == 3
        assert "the tool server gone cannot be started: there is no program no-such-program on the PATH" in err
