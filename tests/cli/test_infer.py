"""`infer`, as a user types it: one question, as a flow of one step that leaves nothing behind unless asked to."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from gptoss_flow.app.infer import OWN_TOOLS
from gptoss_flow.testing.project import Project
from tests.cli.stand import Stand
from tests.conftest import need
from tests.terminal import Terminal

THOUGHTFUL = "replies: [{text: It is blue., reasoning: 'Hm, the sky.'}]\n"
SCRIPTED = ("--model", "scripted:replies.yaml")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.environ["TMPDIR"] = str(tmp_path / "tmp")
    (tmp_path / "tmp").mkdir()
    project.write("replies.yaml", THOUGHTFUL)
    return project


def files(project: Project) -> set[str]:
    return {str(path.relative_to(project.folder.parent)) for path in project.folder.parent.rglob("*")}


def test_an_answer_is_printed_and_nothing_is_kept(project: Project) -> None:
    before = files(project)
    done = project.run("infer", *SCRIPTED, "Which colour has the sky?")
    assert (done.code, done.out, done.err) == (0, "It is blue.\n", "")
    assert files(project) == before


def test_a_reasoning_effort_that_a_model_knows_nothing_of_is_told(stand: Stand) -> None:
    done = stand.run("infer", "--profile", "small", "--reasoning", "high", "Hi")
    assert done.code == 0 and "warning: --reasoning high has no effect: this is no Harmony model" in done.err
    assert "no effect" not in stand.run("infer", "--profile", "small", "Hi").err
    # A flow may be meant for models of both kinds.
    stand.write(
        "flow.yaml", "version: 1\nservers: {main: small}\nsteps: {a: {prompt: {user: Hi, reasoning: low}}}\n"
    )
    assert "no effect" not in stand.run("run", "flow.yaml").err


def test_a_record_has_the_run_and_its_log_by_date(project: Project) -> None:
    done = project.run("infer", *SCRIPTED, "--record", "Which colour?")
    assert done.code == 0 and f"on record in {project.runs[-1]}" in done.err
    (log,) = (project.folder / "docs/logs").glob("*/*-infer.rlog")
    assert re.fullmatch(r"\d{8}/\d{6}-infer\.rlog", str(log.relative_to(project.folder / "docs/logs")))
    assert log.read_bytes() == (project.runs[-1] / "run.rlog").read_bytes()
    assert log.with_suffix(".jsonl").read_bytes() == (project.runs[-1] / "events.jsonl").read_bytes()
    assert "prompt: Which colour?" not in (project.runs[-1] / "flow.yaml").read_text()
    again = project.run("infer", *SCRIPTED, "--record-dir", "kept", "Which colour?")
    assert again.code == 0 and len(list((project.folder / "kept").glob("*/*.rlog"))) == 1


def test_a_recorded_flow_can_be_run_again(project: Project) -> None:
    project.run("infer", *SCRIPTED, "--record", "--system", "Be ${{ brief }}.", "Which colour?")
    flow = str(project.runs[-1] / "flow.yaml")
    again = project.run("run", flow, "-i", "prompt=And the sea?", "-i", "system=Be brief.", *SCRIPTED)
    assert (again.code, again.out) == (0, "It is blue.\n")


def test_the_json_has_the_answer_and_how_it_came(project: Project) -> None:
    said = project.run("infer", *SCRIPTED, "--json", "Which colour?").json
    assert (said["status"], said["text"], said["reasoning"]) == ("succeeded", "It is blue.", "Hm, the sky.")
    assert said["finish_reason"] == "stop" and said["usage"]["completion_tokens"] > 0 and said["timings"]
    assert said["run"]["dir"] is None and said["outputs"] == {"text": "It is blue."}
    kept = project.run("infer", *SCRIPTED, "--json", "--record", "Which colour?").json
    assert kept["run"]["dir"] == str(project.runs[-1])


def test_thoughts_are_shown_on_a_terminal_only(project: Project) -> None:
    with Terminal(project, "infer", *SCRIPTED, "Which colour?") as terminal:
        assert terminal.end() == 0
        assert terminal.seen == b"Hm, the sky.\r\nIt is blue.\r\n"
    with Terminal(project, "infer", *SCRIPTED, "--quiet", "Which colour?") as terminal:
        assert terminal.end() == 0
        assert terminal.seen == b"It is blue.\r\n"


def test_what_could_steer_a_terminal_is_made_visible_there(project: Project) -> None:
    project.write("replies.yaml", json.dumps({"replies": [{"text": "a\x1b[2Jb", "reasoning": "\x1b]0;x\x07"}]}))
    with Terminal(project, "infer", *SCRIPTED, "Hi") as terminal:
        assert terminal.end() == 0
        assert b"\x1b" not in terminal.seen and b"a\\x1b[2Jb" in terminal.seen
    assert project.run("infer", *SCRIPTED, "Hi").out == "a\x1b[2Jb\n"


def test_all_at_once_is_the_same_answer(project: Project) -> None:
    assert project.run("infer", *SCRIPTED, "--no-stream", "Which colour?").out == "It is blue.\n"


def test_the_old_backend_is_understood(project: Project) -> None:
    assert project.run("infer", *SCRIPTED, "--backend", "gpt-oss", "Which colour?").code == 0
    assert project.run("infer", *SCRIPTED, "--backend", "other", "Which colour?").code == 2


def test_a_step_that_fails_is_told_once(project: Project) -> None:
    project.write("replies.yaml", b"replies: [{error: {kind: model, message: 'it \\u001b stumbled'}}]\n")
    done = project.run("infer", *SCRIPTED, "Which colour?")
    assert (done.code, done.out, done.err) == (1, "", "it \\u001b stumbled\n")
    assert project.run("infer", *SCRIPTED, "--json", "Which colour?").json["text"] is None


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--raw", "--system", "x", "Hi"), "there is no place for --system and --reasoning"),
        (("--raw", "--reasoning", "low", "Hi"), "there is no place for --system and --reasoning"),
        (("--url", "http://127.0.0.1:9", "--profile", "demo", "Hi"), "not both"),
        (("--url", "ftp://x", "Hi"), '"ftp://x"'),
        (("--model", "m", "Hi"), "say --url too"),
        (("--profile", "dem", "Hi"), 'there is no profile "dem"; did you mean "demo"?'),
        (("--profile", "none/x.yaml", "Hi"), "there is no profile none/x.yaml"),
        (("--workspace", "nowhere", *SCRIPTED, "Hi"), "nowhere is not a folder"),
        ((), "there is no prompt"),
    ],
)
def test_what_cannot_be_asked_is_told_with_advice(project: Project, args: tuple[str, ...], said: str) -> None:
    done = project.run("infer", *args)
    assert done.code == 2 and said in done.err and "infer.yaml" not in done.err and not done.out


@pytest.mark.parametrize(
    ("args", "prompt", "tools"),
    [
        (("--tools", "read_file,list_files", "Hi"), "Hi", ["read_file", "list_files"]),
        (("--tools", "Which day is it?"), "Which day is it?", [*OWN_TOOLS]),
        (("--tools", "Hello"), "Hello", [*OWN_TOOLS]),
        (("--tools",), "piped", [*OWN_TOOLS]),
        (("--tools", "-"), "piped", [*OWN_TOOLS]),
        (("Hi", "--tools"), "Hi", [*OWN_TOOLS]),
        (("--tools", "read_file"), "piped", ["read_file"]),
        (("--tools", "", "Hi"), "Hi", []),
    ],
)
def test_tools_without_names_are_those_of_gpt_oss_and_the_next_word_the_prompt(
    project: Project, args: tuple[str, ...], prompt: str, tools: list[str]
) -> None:
    done = project.run("infer", *SCRIPTED, "--record", *args, stdin="piped")
    assert (done.code, project.events()[0]["inputs"]) == (0, {"prompt": prompt})
    assert re.findall(r"^ +- (\w+)$", (project.runs[-1] / "flow.yaml").read_text(), re.MULTILINE) == tools


@pytest.mark.parametrize("args", [("--tools", "read_flie"), ("--tools", "Hello", "Hi"), ("Hi", "--tools", "list")])
def test_a_slip_in_a_tools_name_is_no_prompt(project: Project, args: tuple[str, ...]) -> None:
    done = project.run("infer", *SCRIPTED, *args, stdin="piped")
    assert done.code == 2 and " is not a tool; " in done.err


def test_an_empty_answer_is_told_to_be_one(project: Project) -> None:
    project.write("replies.yaml", "replies: [{text: ''}]\n")
    done = project.run("infer", *SCRIPTED, "Hi")
    assert (done.code, done.out, done.err) == (0, "", "the answer is empty: the model ended it at once\n")
    assert project.run("infer", *SCRIPTED, "--quiet", "Hi").err == ""


def test_on_a_terminal_a_warning_has_a_line_of_its_own(project: Project) -> None:
    project.write("replies.yaml", "replies: [{text: It is, finish_reason: length}]\n")
    with Terminal(project, "infer", *SCRIPTED, "Hi") as terminal:
        assert terminal.end() == 0
        assert terminal.seen.startswith(b"It is\r\nwarning: the answer was cut ")
        assert terminal.seen.count(b"\r\n") == 2


# --- with a server -----------------------------------------------------------------------------------------------


def test_a_conversation_or_the_bare_text_is_sent_as_it_is(stand: Stand) -> None:
    stand.profile("small", replies=[{"echo": True}])
    stand.run("server", "start", "small")
    prompt = "${{ inputs.x }} {% for %} <|im_start|> @file"
    raw = stand.run("infer", "--profile", "small", "--raw", stdin=prompt + "\n")
    assert (raw.code, raw.out) == (0, prompt + "\n")
    chat = stand.run("infer", "--profile", "small", "--system", "Be {{ brief }}.", prompt)
    assert "Be {{ brief }}." in chat.out and prompt in chat.out and "assistant" in chat.out


def test_options_and_variables_become_parameters(stand: Stand) -> None:
    stand.environ |= {"GPT_OSS_MAX_TOKENS": "4", "GPT_OSS_TEMPERATURE": "0.5", "GPT_OSS_PROMPT": "Hi"}
    done = stand.run("infer", "--profile", "small", "--record", "--temperature", "0")
    assert (done.code, done.out) == (0, "Hell\n") and "cut at 4 tokens" in done.err
    (rendered,) = [event for event in stand.events() if event["type"] == "prompt_rendered"]
    assert rendered["params"]["max_tokens"] == 4 and rendered["params"]["temperature"] == 0
    assert stand.ps() == []


def test_the_answer_is_shown_as_it_arrives(stand: Stand) -> None:
    stand.profile("small", replies=[{"text": "one\ntwo three", "token_delay_s": 0.3}])
    stand.run("server", "start", "small")
    asking = stand.start("infer", "--profile", "small", "Hi")
    assert asking.stdout and asking.stdout.readline() == b"one\n"
    assert asking.poll() is None
    assert asking.communicate(timeout=20)[0] == b"two three\n"


def test_a_server_elsewhere_must_have_the_model(stand: Stand) -> None:
    stand.profile("open", "api_key: none\n")
    url = stand.run("server", "start", "open", "--json").json["url"]
    assert stand.run("infer", "--url", url, "--model", "small", "Hi").out == "Hello from the fake server.\n"
    other = stand.run("infer", "--url", url, "--model", "other", "Hi")
    assert other.code == 3 and "model.id: it has " in other.err and "small.gguf, not other" in other.err
    nobody = stand.run("infer", "--url", "http://127.0.0.1:9", "Hi")
    assert nobody.code == 3 and nobody.err.count("no server answers at http://127.0.0.1:9") == 1


def test_the_address_of_a_managed_server_is_answered_with_its_profile(stand: Stand) -> None:
    url = stand.run("server", "start", "small", "--json").json["url"]
    done = stand.run("infer", "--url", url, "Hi")
    assert done.code == 3 and "it is managed here, by profile small; name that profile in place of" in done.err


@pytest.mark.real
def test_the_demo_model_answers(stand: Stand, demo_cache: Path) -> None:
    need("xllamacpp", found=importlib.util.find_spec("xllamacpp") is not None)
    stand.environ |= {"XDG_CACHE_HOME": str(demo_cache), "PATH": "/usr/bin:/bin", "GPT_OSS_THREADS": "1"}
    stand.environ.pop("LLAMA_SERVER", None)
    done = stand.run("infer", "--profile", "demo", "--offline", "--raw", "-n", "6", "The capital of France is")
    assert done.code == 0 and done.out.startswith(" Paris") and stand.ps() == []


def test_a_server_that_is_not_there_is_told_without_a_place_in_our_own_flow(project: Project) -> None:
    done = project.run("infer", "--url", "http://127.0.0.1:9", "Hi")
    assert (done.code, done.err) == (
        3,
        "no server answers at http://127.0.0.1:9 (Connection refused); start it, or change url\n",
    )
