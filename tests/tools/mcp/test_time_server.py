"""A real server from the package index, as a flow uses it: run, locked, held to its lock."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gptoss_flow.cli.main import main

FLOW = f"""\
version: 1
tool_servers:
  time: {{command: [{sys.executable}, -m, mcp_server_time, --local-timezone, "${{{{ inputs.zone }}}}"]}}
inputs:
  zone: {{type: string, default: UTC}}
steps:
  now: {{tool: time.get_current_time, with: {{timezone: "${{{{ inputs.zone }}}}"}}}}
  bad:
    tool: time.convert_time
    with: {{source_timezone: Nowhere, time: "10:00", target_timezone: UTC}}
    on_error: continue
outputs:
  zone: ${{{{ steps.now.output.timezone }}}}
  error: ${{{{ steps.bad.error.message }}}}
"""

WRONG = FLOW.replace("{timezone:", "{timezne:").replace("time.convert_time", "time.covert_time")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    Path("flow.yaml").write_text(FLOW)
    return tmp_path


def test_a_flow_uses_a_server_and_is_held_to_its_lock(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "flow.yaml", "-i", "zone=Europe/Paris", "--json"]) == 0
    out, err = capsys.readouterr()
    outputs = json.loads(out)["outputs"]
    assert outputs["zone"] == "Europe/Paris"
    assert outputs["error"].startswith('tool "time.convert_time": ') and "Nowhere" in outputs["error"]
    assert err.count("the tool server time is not pinned") == 1

    assert main(["run", "--locked", "flow.yaml"]) == 2
    assert main(["lock", "flow.yaml"]) == 0
    assert "+ tool server time: get_current_time, convert_time\n" in capsys.readouterr().out
    assert main(["lock", "--check", "flow.yaml"]) == main(["run", "--locked", "--json", "flow.yaml"]) == 0
    assert "not pinned" not in capsys.readouterr().err

    # What is pinned is known before any server is started.
    Path("wrong.yaml").write_text(WRONG)
    lock = Path("flow.lock").read_text()
    Path("flow.lock").write_text(lock.replace("flow.yaml:", "wrong.yaml:"))
    capsys.readouterr()
    assert main(["validate", "wrong.yaml"]) == 2
    err = capsys.readouterr().err
    assert 'wrong.yaml:7:3: tool "time.get_current_time" needs the argument "timezone"' in err
    said = '"time.covert_time" is not among the tools in flow.lock; did you mean "time.convert_time"?'
    assert f"wrong.yaml:9:11: {said}" in err

    Path("flow.lock").write_text(lock.replace("Convert time between", "Change time between"))
    assert main(["run", "flow.yaml"]) == 2
    err = capsys.readouterr().err
    assert 'the description of time.convert_time was "Change time' in err and 'and is "Convert time' in err
    assert "to take it as it is now: gptoss-flow lock flow.yaml --upgrade" in err
    assert main(["lock", "--upgrade", "flow.yaml"]) == 0
    assert "~ tool server time: the description of time.convert_time was" in capsys.readouterr().out
    assert main(["run", "flow.yaml"]) == 0


def test_of_a_server_that_is_not_pinned_a_step_is_judged_before_any_runs(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("flow.yaml").write_text(WRONG)
    assert main(["validate", "flow.yaml"]) == 0
    capsys.readouterr()
    assert main(["run", "flow.yaml", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["steps"]["now"]["outcome"] == "skipped"
    assert 'the tool server "time" has no tool "covert_time"; did you mean "time.convert_time"?' in err
    assert 'flow.yaml:7:3: tool "time.get_current_time" needs the argument "timezone"' in err
