"""Flows with tool servers and functions of their own, from the command line: run, resumed, replayed, explained."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.in_process import Command
from tests.tools.mcp.test_stdio import HOSTILE

SERVER = f"command: [{sys.executable}, -I, -S, {HOSTILE}, well]"
FLOW = f"""\
version: 1
tool_servers:
  beans: {{{SERVER}}}
permissions: {{deny: [{{beans.echo: {{text: "no*"}}}}]}}
steps:
  direct: {{tool: beans.echo, with: {{text: one}}}}
  asked: {{prompt: {{user: "What is it?", tools: [beans, "./helpers.py:add"]}}}}
  within: {{flow: inner/inner.yaml}}
outputs:
  direct: ${{{{ steps.direct.output }}}}
  calls: ${{{{ steps.asked.tool_calls }}}}
  within: ${{{{ steps.within.output }}}}
"""
INNER = f"""\
version: 1
tool_servers:
  beans: {{{SERVER}, tools: [echo]}}
steps:
  first: {{tool: beans.echo, with: {{text: two}}}}
  second: {{tool: "./helpers.py:add", with: {{a: 1, b: 1}}}}
outputs: {{said: "${{{{ steps.first.output }}}}", sum: "${{{{ steps.second.output }}}}"}}
"""
REPLIES = """\
replies:
- step: asked
  turn: 1
  tool_calls:
  - {tool: beans.echo, arguments: {text: "yes"}}
  - {tool: add, arguments: {a: 17, b: 25}}
  - {tool: beans.echo, arguments: {text: "no!"}}
- {step: asked, text: It is late.}
"""


@pytest.fixture
def flow(command: Command) -> str:
    Path("inner").mkdir()
    Path("flow.yaml").write_text(FLOW)
    Path("inner/inner.yaml").write_text(INNER)
    Path("helpers.py").write_text("def add(a: int, b: int) -> int: return a + b\n")
    Path("inner/helpers.py").write_text("def add(a: int, b: int) -> int: return -(a + b)\n")
    Path("replies.yaml").write_text(REPLIES)
    return "flow.yaml"


def test_steps_models_and_inner_flows_use_servers_and_functions(command: Command, flow: str) -> None:
    code, out, err = command("run", flow, "--model", "scripted:replies.yaml", "--json")
    assert code == 0, err
    outputs = json.loads(out)["outputs"]
    assert outputs["direct"] == "one"
    assert outputs["within"] == {"said": "two", "sum": -2}
    echo, add, denied = outputs["calls"]
    assert (echo["tool"], echo["result"], echo["permission"]) == ("beans.echo", "yes", "granted")
    assert (add["tool"], add["result"]) == ("add", 42)
    assert (denied["permission"], "result" in denied) == ("denied", False)
    assert err.count("the tool server beans is not pinned") == 1
    assert err.count("the tool server beans of inner.yaml is not pinned") == 1

    # What is on record is enough to repeat it, and to say that nothing has changed; no server is started for that.
    Path("flow.yaml").write_text(FLOW)
    code, out, err = command("replay")
    assert (code, "2 requests and 5 tool calls: all as recorded" in out + err) == (0, True), err
    code, out, _ = command("plan", flow, "--explain", "--json")
    assert {step["verdict"] for step in json.loads(out)["steps"]} == {"reuse"}
    Path("helpers.py").write_text("def add(a: int, b: int) -> int: return b + a\n")
    code, out, _ = command("plan", flow, "--explain", "--json")
    verdicts = {step["unit"]: step["why"] for step in json.loads(out)["steps"]}
    assert verdicts["asked"] == "tools changed"


def test_servers_of_two_flows_may_share_a_name_and_differ(command: Command, flow: str) -> None:
    """Each model is told of its own flow's; so it is in a replay, and where it is asked what would run again."""
    asks = "  asked: {prompt: {user: What?, tools: [beans]}}\n"
    other = SERVER.replace("well]", "pulled]")
    inner = f"version: 1\ntool_servers:\n  beans: {{{other}}}\nsteps:\n{asks}"
    Path("inner/inner.yaml").write_text(inner)
    Path("flow.yaml").write_text(
        f"version: 1\ntool_servers:\n  beans: {{{SERVER}}}\nsteps:\n{asks}"
        "  within: {flow: inner/inner.yaml, needs: [asked]}\n  spare:\n    check: [false]\n    needs: [within]\n"
        "    on_error: {fallback: {flow: inner/inner.yaml}}\n"
    )
    Path("replies.yaml").write_text("default: It is late.\n")
    code, _, err = command("run", flow, "--model", "scripted:replies.yaml")
    assert code == 0, err
    code, out, err = command("replay")
    assert (code, "3 requests" in out) == (0, True), err
    code, out, _ = command("plan", flow, "--explain", "--json")
    assert {step["unit"]: step["verdict"] for step in json.loads(out)["steps"]}["within.asked"] == "reuse"


def test_only_the_servers_of_steps_that_run_are_started(command: Command, flow: str) -> None:
    Path("flow.yaml").write_text(
        f"version: 1\ntool_servers:\n  beans: {{{SERVER}}}\n  gone: {{command: [no-such-program]}}\n"
        "steps:\n  a: {tool: beans.echo, with: {text: x}}\n  b: {tool: gone.x}\n"
    )
    assert command("run", flow, "--only", "a")[0] == 0
    assert command("run", flow)[0] == 3


def test_what_a_server_says_of_secrets_is_masked(
    command: Command, flow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEANS_TOKEN", "tok-3141592653")
    Path("flow.yaml").write_text(
        f"version: 1\nsecrets: [BEANS_TOKEN]\ntool_servers:\n  beans: {{{SERVER}}}\n"
        'steps:\n  a: {tool: beans.echo, with: {text: "${{ secrets.BEANS_TOKEN }}"}}\n'
    )
    code, out, err = command("run", flow)
    assert (code, out) == (0, "[redacted:BEANS_TOKEN]\n"), err
    recorded = "".join(p.read_text(errors="replace") for p in Path(".gptoss-flow").rglob("*") if p.is_file())
    assert "3141592653" not in recorded


def test_values_of_a_server_are_evaluated_and_located(command: Command, flow: str) -> None:
    of_input = SERVER.replace("well]", '"${{ inputs.how }}"]')
    Path("flow.yaml").write_text(
        f"version: 1\ninputs: {{how: {{type: string}}}}\ntool_servers:\n  beans: {{{of_input}}}\n"
        "steps:\n  a: {tool: beans.echo, with: {text: x}}\n"
    )
    assert command("run", flow, "-i", "how=well")[:2] == (0, "x\n")
    code, _, err = command("run", flow, "-i", "how=dies")
    assert code == 3 and "ended with code 1: no licence found" in err
    Path("inner/inner.yaml").write_text(Path("flow.yaml").read_text())
    Path("flow.yaml").write_text("version: 1\nsteps:\n  a: {flow: inner/inner.yaml, with: {how: well}}\n")
    code, _, err = command("run", flow)
    assert code == 2
    assert "inner.yaml:4:" in err and "are started before it has inputs" in err


def test_what_no_flow_asks_for_is_not_loaded() -> None:
    for modules, heavy in (
        ("gptoss_flow.app.run", "mcp"),
        ("gptoss_flow.app.run", "networkx"),
        ("gptoss_flow.cli.main", "pydantic"),
    ):
        said = f"import sys, {modules}; print({heavy!r} in sys.modules)"
        done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"


def test_without_the_package_mcp_it_is_said_how_to_have_it(command: Command, flow: str) -> None:
    said = (
        "import sys; sys.modules['mcp'] = None; from gptoss_flow.cli.main import main; "
        "sys.exit(main(['run', 'flow.yaml', '--model', 'scripted:replies.yaml']))"
    )
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "pip install 'gptoss-flow[mcp]'" in done.stderr
    assert command("validate", flow)[0] == 0
