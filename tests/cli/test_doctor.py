"""`doctor`, as a user types it: each thing that a flow needs, and what to do where it is missing."""

from __future__ import annotations

from typing import Any

import pytest

from gptoss_flow.app import doctor
from gptoss_flow.tools.sandbox import KINDS, bwrap
from tests.cli.stand import Stand
from tests.server.gguf_files import write_gguf


@pytest.fixture
def machine(stand: Stand) -> Stand:
    """One with an engine and nothing else of its own."""
    stand.environ |= {"LLAMA_SERVER": str(stand.folder / "llama-serversmall"), "TIKTOKEN_ENCODINGS_BASE": ""}
    for name in ("LLAMA_CACHE", "HF_HUB_CACHE", "HF_HOME"):
        stand.environ.pop(name, None)
    return stand


def told(machine: Stand) -> tuple[int, dict[str, dict[str, Any]]]:
    done = machine.run("doctor", "--json")
    return done.code, {check["name"]: check for check in done.json}


def test_a_fresh_machine_is_ready_but_for_models_that_are_fetched(machine: Stand) -> None:
    code, found = told(machine)
    assert code == 0
    of_every_machine = [name for name in found if name not in ("git", "memory", "sandbox")]
    assert [(name, found[name]["level"]) for name in of_every_machine] == [
        ("python", "ok"), ("package", "ok"), ("engine", "ok"), ("gpt-oss", "warn"), ("demo", "warn"),
        ("vocabulary", "ok"), ("cache", "ok"), ("state", "ok"), ("runs", "ok"), ("port", "ok"),
    ]  # fmt: skip
    assert "llama-server 7000" in found["engine"]["said"]
    assert "GPT_OSS_GGUF_MODEL_PATH" in found["gpt-oss"]["fix"]
    assert "downloads 98 MB" in found["demo"]["said"] and "model pull demo" in found["demo"]["fix"]
    assert not (machine.home / ".cache").exists() and machine.runs == []


def test_people_get_a_line_for_each_and_the_fix_below(machine: Stand) -> None:
    lines = machine.run("doctor").out.splitlines()
    assert lines[0].startswith("ok    python ")
    warned = next(number for number, line in enumerate(lines) if line.startswith("warn  gpt-oss "))
    assert lines[warned + 1].strip().startswith("-> set GPT_OSS_GGUF_MODEL_PATH")


def test_a_sandbox_that_works_is_said_and_one_that_does_not_has_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "automatic", lambda: KINDS["bwrap"])
    monkeypatch.setattr(bwrap, "probe", lambda: None)
    assert (doctor.sandbox_check().level, doctor.sandbox_check().fix) == ("ok", "")
    problem = bwrap.explained("bwrap: No permissions", bwrap.Settings(max_user_namespaces=0))
    monkeypatch.setattr(bwrap, "probe", lambda: problem)
    found = doctor.sandbox_check()
    assert found.level == "warn" and "user namespaces are forbidden" in found.said
    assert found.fix == "sudo sysctl -w user.max_user_namespaces=15000"


def test_a_gpt_oss_model_makes_the_demo_needless(machine: Stand) -> None:
    model = write_gguf(machine.home / "models/gpt-oss-20b.gguf")
    code, found = told(machine)
    assert code == 0 and found["gpt-oss"]["level"] == "ok" and str(model) in found["gpt-oss"]["said"]
    assert (found["demo"]["level"], found["demo"]["fix"]) == ("ok", "")


def test_without_an_engine_no_flow_can_run(machine: Stand) -> None:
    machine.environ["LLAMA_SERVER"] = "/nowhere/llama-server"
    code, found = told(machine)
    assert code == 3 and found["engine"]["level"] == "fail" and "/nowhere/llama-server" in found["engine"]["said"]
    machine.environ["GPT_OSS_URL"] = "http://127.0.0.1:9"
    code, found = told(machine)
    assert code == 0 and found["engine"]["level"] == "warn" and "http://127.0.0.1:9" in found["gpt-oss"]["said"]


def test_a_model_that_was_named_and_is_not_there_is_a_failure(machine: Stand) -> None:
    machine.environ["GPT_OSS_GGUF_MODEL_PATH"] = "/nowhere/m.gguf"
    code, found = told(machine)
    assert code == 3 and found["gpt-oss"]["level"] == "fail"
    assert found["gpt-oss"]["fix"] == "correct or unset GPT_OSS_GGUF_MODEL_PATH"


def test_folders_must_be_private_and_writable(machine: Stand) -> None:
    told(machine)
    state = machine.home / ".state/gptoss-flow"
    state.chmod(0o755)
    code, found = told(machine)
    assert code == 0 and found["state"]["level"] == "warn" and found["state"]["fix"] == f"chmod go-rwx {state}"
    (machine.home / ".cache").write_text("a file in the place of the folder")
    code, found = told(machine)
    assert code == 3 and found["cache"]["level"] == "fail" and "XDG_CACHE_HOME" in found["cache"]["fix"]


def test_a_vocabulary_folder_that_holds_none_is_told(machine: Stand) -> None:
    machine.environ["TIKTOKEN_ENCODINGS_BASE"] = str(machine.folder)
    code, found = told(machine)
    assert code == 0 and found["vocabulary"]["level"] == "warn" and "o200k_base" in found["vocabulary"]["said"]
