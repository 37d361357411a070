"""Whole runs with a real server and a real model: what they give, and that nothing is left of them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.events import PromptRendered
from gptoss_flow.record.journal_file import read_journal
from gptoss_flow.testing.project import Project
from gptoss_flow.testing.tiny_gpt_oss import ensure_tiny_model
from tests.conftest import need
from tests.processes import gone_after
from tests.running import PHASES, long_flow, server_records, what_is_open
from tests.terminal import Terminal

pytestmark = pytest.mark.real
FLOWS = Path(__file__).parent.parent / "flows"


@pytest.fixture
def project(tmp_path: Path, demo_cache: Path) -> Iterator[Project]:
    """A project with the demo model in its cache. After each test nothing may be left of its servers."""
    need("xllamacpp", found=importlib.util.find_spec("xllamacpp") is not None)
    made = Project(tmp_path, {"XDG_CACHE_HOME": str(demo_cache)})
    made.write("quiet.yaml", "version: 1\nname: quiet\nextends: demo\nthreads: 1\n")
    yield made
    gone_after(tmp_path, 5.0)
    assert server_records(made) == []


def of_type(project: Project, word: str) -> list[dict[str, Any]]:
    return [event for event in project.events() if event["type"] == word]


def test_hello_goes_on_from_the_text_and_downloads_nothing_that_is_there(project: Project) -> None:
    done = project.run("run", str(FLOWS / "hello.yaml"), "--offline")
    assert done.code == 0, done.err
    assert re.fullmatch(r"The capital of France is .+\n", done.out)
    states = [event["state"] for event in of_type(project, "server_changed")]
    assert [state for state in states if state != "stopped"] == ["starting", "loading", "ready", "stopping"]
    assert states[-1] == "stopped"
    assert "downloading" not in done.err
    assert (project.runs[-1] / "server-main.log").stat().st_mode & 0o777 == 0o600


def test_a_source_tree_is_summarised(project: Project) -> None:
    project.write("tree/README.md", "# Adder\n\nA small library that adds two numbers, and nothing else.\n")
    project.write("tree/adder.py", "def add(a, b):\n    '''The sum of two numbers.'''\n    return a + b\n")
    flow = (
        "run",
        str(FLOWS / "summarize-repo.yaml"),
        "-i",
        "path=tree",
        "--server",
        "main=quiet.yaml",
        "--offline",
    )
    done = project.run(*flow)
    assert done.code == 0, done.err
    assert len(done.out.split()) > 5
    *each, last = [event["step"] for event in of_type(project, "prompt_rendered")]
    assert (sorted(each), last) == (["each[0]", "each[1]"], "summary")  # items run at once
    assert {event["mode"] for event in of_type(project, "prompt_rendered")} == {"chat"}
    assert what_is_open(project, 0) == ""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_tiny_model(tmp_path_factory.mktemp("tiny"))


def test_a_gpt_oss_model_is_asked_in_harmony_and_answers_in_channels(project: Project, tiny_model: Path) -> None:
    keys = f"{{extends: base, model: {{path: {tiny_model}}}, context: 1024, parallel: 1, threads: 1}}"
    project.write(
        "flow.yaml",
        f"version: 1\nservers: {{main: {keys}}}\nsteps:\n"
        "  a: {prompt: {user: Hello, reasoning: low, params: {temperature: 0}}}\n"
        'outputs: {said: "${{ steps.a.output }}", thought: "${{ steps.a.reasoning }}"}\n',
    )
    done = project.run("run", "flow.yaml", "--json")
    assert done.code == 0, done.err
    assert done.json["outputs"]["said"] == "Hello! How can I help you?"
    assert done.json["outputs"]["thought"]
    [prompt] = of_type(project, "prompt_rendered")
    assert prompt["mode"] == "harmony"
    assert prompt["tokens"][0] == 200006  # <|start|>
    [answer] = of_type(project, "generation_finished")
    assert answer["tokens"][-1] == 200002  # <|return|>
    assert 0 < answer["usage"]["reasoning_tokens"] < answer["usage"]["completion_tokens"]


@pytest.fixture
def harmony(tmp_path: Path, tiny_model: Path) -> Iterator[Project]:
    """A project for the profile `tiny`, whose model is assembled already."""
    made = Project(tmp_path)
    cache = made.home / ".cache/gptoss-flow/models"
    cache.mkdir(parents=True)
    (cache / tiny_model.name).symlink_to(tiny_model)
    made.write("notes.md", "buy milk")
    yield made
    gone_after(tmp_path, 5.0)
    assert server_records(made) == []


def test_a_gpt_oss_calls_a_tool_is_told_what_came_and_answers(harmony: Project) -> None:
    done = harmony.run("infer", "--profile", "tiny", "--tools", "read_file", "--record", "Read the file notes.md")
    assert (done.code, done.out) == (0, 'The file says: "buy milk"\n'), done.err
    first, second = of_type(harmony, "generation_finished")
    assert [(call["name"], call["arguments"]) for call in first["calls"]] == [("read_file", '{"path":"notes.md"}')]
    assert (first["tokens"][-1], second["tokens"][-1]) == (200012, 200002)  # <|call|>, <|return|>
    journal = read_journal(harmony.runs[-1] / "events.jsonl")
    asked, told = [list(e.event.tokens) for e in journal if isinstance(e.event, PromptRendered)]
    spoken = asked + [token for token in first["tokens"] if token != 200012]
    assert told[: len(spoken)] == spoken, "what the model wrote stays as it wrote it"
    assert second["usage"]["cached_tokens"] >= len(spoken) - 1


def test_a_tool_loop_of_a_gpt_oss_replays_to_the_token(harmony: Project) -> None:
    flow = str(FLOWS / "agent-tools.yaml")
    only = ("--set", "steps.answer.prompt.tools=[read_file]", "-i", "question=Read notes.md")
    done = harmony.run("run", flow, "--server", "main=tiny", *only)
    assert done.code == 0, done.err
    assert 'step answer: read_file {"path": "notes.md"}: 8 characters' in done.err
    assert harmony.run("replay", "--verify").code == 0
    (harmony.folder / "notes.md").unlink()
    done = harmony.run("replay")
    assert "2 requests and 1 tool call: all as recorded" in done.out
    harmony.write("notes.md", "buy milk")
    denied = harmony.run("run", flow, "--server", "main=tiny", *only, "--set", "permissions.deny=[read_file]")
    assert "the flow's permissions deny it (deny: read_file)" in denied.err


def test_text_is_cut_by_the_real_tokenizer(project: Project) -> None:
    project.write(
        "flow.yaml",
        "version: 1\nservers: {main: quiet.yaml}\ninputs: {text: {type: string}}\nsteps:\n"
        '  a: {set: {cut: "${{ inputs.text | truncate_tokens(3) }}"}}\n'
        'outputs: {cut: "${{ steps.a.output.cut }}"}\n',
    )
    done = project.run("run", "flow.yaml", "-i", "text=one two three four five")
    assert (done.code, done.out) == (0, "one two three\n"), done.err


# --- signals and deaths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["loading", "generating"])
def test_a_terminated_run_stops_its_server_and_closes_its_record(project: Project, phase: str) -> None:
    project.write("flow.yaml", long_flow())
    with Terminal(project, "run", "flow.yaml", "--events", "--offline", term="dumb") as terminal:
        terminal.until(PHASES[phase])
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.end() == 143
    gone_after(project.home, 1.0)
    assert what_is_open(project, 143) == ""


@pytest.mark.parametrize("phase", ["loading", "generating"])
def test_no_server_outlives_a_run_that_is_killed(project: Project, phase: str) -> None:
    project.write("flow.yaml", long_flow())
    with Terminal(project, "run", "flow.yaml", "--events", "--offline", term="dumb") as terminal:
        terminal.until(PHASES[phase])
        terminal.process.kill()
        terminal.process.wait()
        assert gone_after(project.home, 5.0) < 5.0
    assert project.events()[-1]["type"] != "run_finished"


def killed_server(project: Project, more: str, tokens: int) -> tuple[int, dict[str, Any]]:
    """A run whose server is killed while it generates: the exit code and the last line of `--events`."""
    project.write("flow.yaml", long_flow(tokens, more))
    with Terminal(project, "run", "flow.yaml", "--events", "--offline", term="dumb") as terminal:
        terminal.until(PHASES["generating"])
        facts = next(event["facts"] for event in of_type(project, "server_changed") if event["state"] == "ready")
        os.kill(facts["pid"], signal.SIGKILL)
        code = terminal.end()
    return code, json.loads(terminal.seen.splitlines()[-1])


def test_a_step_whose_server_dies_has_failed_and_says_so(project: Project) -> None:
    code, last = killed_server(project, "", 900)
    assert (code, last["status"]) == (1, "failed")
    error = last["steps"]["each"]["error"]
    assert (error["kind"], error["attempts"]) == ("server", 1)
    assert "each[1]" in error["message"]
    assert "crashed" in [event["state"] for event in of_type(project, "server_changed")]


def test_a_step_whose_server_dies_is_tried_again_where_the_flow_says_so(project: Project) -> None:
    code, last = killed_server(project, "    retry: {attempts: 2, on: [server], backoff: 10ms}\n", 200)
    assert (code, last["status"]) == (0, "succeeded")
    [retried] = of_type(project, "step_retried")
    assert (retried["step"], retried["error"]["kind"]) == ("each[1]", "server")
    ready = [event["facts"]["pid"] for event in of_type(project, "server_changed") if event["state"] == "ready"]
    assert len(set(ready)) == 2
