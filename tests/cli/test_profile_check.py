"""`profile check`, `profile diff`, and `profile show` under environment variables, as a user types them."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.server.record import list_servers
from gptoss_flow.server.verbs import stop_server
from gptoss_flow.testing.project import Project
from tests.conftest import need
from tests.server.gguf_files import write_gguf

PROFILE = """\
engine: llama-server
binary: ../llama-server
model: {path: ../small.gguf}
parallel: 2
context: 512
threads: 1
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Has the profile `small`, a model trained for 1024 tokens, and a stand-in for llama-server."""
    project = Project(tmp_path)
    project.write("gptoss-flow.yaml", "version: 1\n")
    write_gguf(project.folder / "small.gguf", "llama", context=1024)
    binary = project.write(
        "llama-server",
        f"#!{sys.executable}\nfrom gptoss_flow.testing.fake_llama_server import main\nraise SystemExit(main())\n",
    )
    binary.chmod(0o755)
    project.write("profiles/small.yaml", PROFILE)
    yield project
    for record in list_servers(Path(project.environ["XDG_STATE_HOME"]) / "gptoss-flow"):
        asyncio.run(stop_server(record))


def checked(project: Project, *args: str) -> dict[str, list[dict[str, Any]]]:
    """The findings by what was looked at; the three ways to say whether it is well agree."""
    done, drawn = project.run("profile", "check", *args, "--json"), project.run("profile", "check", *args)
    assert done.code == drawn.code and done.json["ok"] is (done.code == 0)
    codes = {finding["exit_code"] for finding in done.json["findings"]} - {0}
    assert done.code == (2 if 2 in codes else 3 if 3 in codes else 0)
    lines = drawn.out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "ok" if finding["ok"] else "problem" for finding in done.json["findings"]
    ]
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in done.json["findings"]:
        assert finding["ok"] is (finding["exit_code"] == 0)
        found.setdefault(finding["check"], []).append(finding)
    return found


def fault(project: Project, more: str, check: str, text: str = PROFILE) -> dict[str, Any]:
    """The only problem of the profile with these lines added."""
    project.write("profiles/bad.yaml", text + more)
    found = checked(project, "bad")
    (bad,) = [finding for findings in found.values() for finding in findings if not finding["ok"]]
    assert bad["check"] == check
    return bad


def test_a_profile_that_can_run_is_well_in_every_respect(project: Project) -> None:
    found = checked(project, "small")
    assert list(found) == ["profile", "engine", "options", "model", "memory", "context", "port"]
    assert all(finding["ok"] for findings in found.values() for finding in findings)
    assert "/llama-server, version " in found["engine"][0]["message"]
    assert found["context"][0]["message"] == (
        "512 tokens for a request, of the 1024 that the model was trained for"
    )


def test_every_problem_of_a_file_is_a_finding_with_its_place(project: Project) -> None:
    project.write("profiles/bad.yaml", "parallel: 0\ncontxt: 5\nlisten: {port: 99999, host: 'a b'}\n")
    said = checked(project, "bad")["profile"]
    assert [(each["file"], each["line"]) for each in said] == [
        ("profiles/bad.yaml", line) for line in (1, 2, 3, 3)
    ]
    assert {each["exit_code"] for each in said} == {2}


@pytest.mark.parametrize(
    ("more", "line", "said"),
    [
        ("seed: 1\nextra_args: [--tools, all]\n", 8, "does not know --tools"),
        ("extra_args: [--log-file, x]\n", 7, "--log-file opens the server or takes over"),
        ("extra_args: [-c, '9']\n", 7, "-c is the profile's key context"),
        ("speculative: {model: d.gguf, max_tokens: 9}\n", 7, "has no option for speculative.max_tokens: 9"),
    ],
)
def test_what_the_binary_cannot_be_told_is_shown_where_it_is_written(
    project: Project, more: str, line: int, said: str
) -> None:
    project.write("profiles/bad.yaml", PROFILE + more)
    bad = [finding for finding in checked(project, "bad")["options"] if not finding["ok"]]
    assert (bad[0]["line"], bad[0]["exit_code"]) == (line, 2)
    assert any(said in finding["message"] for finding in bad)


def test_a_model_that_is_not_there_is_a_problem_of_the_machine(project: Project) -> None:
    bad = fault(project, "", "model", PROFILE.replace("small.gguf", "none.gguf"))
    assert (bad["exit_code"], bad["line"]) == (3, 3)
    assert "none.gguf does not exist" in bad["message"]


def test_a_context_beyond_what_the_model_was_trained_for_is_refused_unless_rope_stretches_it(
    project: Project,
) -> None:
    text = PROFILE.replace("context: 512", "context: 1025")
    bad = fault(project, "", "context", text)
    assert (bad["line"], bad["exit_code"]) == (5, 2)
    assert bad["hint"] == "set context to 1024 at most, or stretch it with rope"
    total = fault(project, "", "context", PROFILE.replace("context: 512", "context_total: 2050"))
    assert total["hint"] == "set context_total to 2048 at most, or stretch it with rope"
    project.write("profiles/fits.yaml", PROFILE.replace("context: 512", "context: 1024"))
    assert project.run("profile", "check", "fits").code == 0
    project.write("profiles/rope.yaml", text + "rope: {freq_scale: 0.5}\n")
    assert "rope stretches it" in checked(project, "rope")["context"][0]["message"]


def test_a_port_that_is_taken_and_a_host_that_is_not_ours_are_problems(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        bad = fault(project, f"listen: {{port: {port}}}\n", "port")
    assert bad["exit_code"] == 3 and f"port {port} is in use by something" in bad["message"]
    bad = fault(project, "listen: {host: 192.0.2.1}\n", "port")
    assert "no server can listen on 192.0.2.1, port auto: " in bad["message"] and bad["line"] == 7


def test_a_port_that_this_profiles_own_server_has_is_no_problem(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    project.write("profiles/fixed.yaml", PROFILE + f"listen: {{port: {port}}}\n")
    assert project.run("server", "start", "fixed").code == 0
    assert checked(project, "fixed")["port"][0]["message"].startswith("this profile's own server listens on ")
    project.write("profiles/fixed.yaml", PROFILE + f"listen: {{port: {port}}}\nbatch: 512\n")
    (other,) = checked(project, "fixed")["port"]
    assert not other["ok"]


@pytest.mark.parametrize(
    ("more", "check", "said"),
    [
        ("api_key: env:NOT_SET_ANYWHERE\n", "api_key", "NOT_SET_ANYWHERE, which is not set"),
        ("chat_template_file: none.jinja\n", "files", "none.jinja cannot be read"),
        ("slots_dir: none\n", "files", "is no folder to write to"),
        ("lora: [{path: none.gguf}]\n", "files", "lora.0: "),
    ],
)
def test_what_the_profile_names_must_be_there(project: Project, more: str, check: str, said: str) -> None:
    project.write("profiles/bad.yaml", PROFILE + more)
    (bad,) = checked(project, "bad")[check]
    assert said in bad["message"] and (bad["exit_code"], bad["line"]) == (3, 7)


def test_an_engine_that_is_not_there_is_a_problem_and_the_rest_is_looked_at(project: Project) -> None:
    bad = fault(project, "", "engine", PROFILE.replace("../llama-server", "../nothing"))
    assert (bad["exit_code"], bad["line"]) == (3, 2)
    assert "options" not in checked(project, "bad") and "port" in checked(project, "bad")


def test_of_alternatives_the_one_that_would_run_is_checked(project: Project) -> None:
    project.write("profiles/absent.yaml", PROFILE.replace("small.gguf", "none.gguf"))
    project.write("profiles/either.yaml", "first_of: [absent, small]\n")
    passed_over, taken = checked(project, "either")["model"]
    assert passed_over["message"].startswith("alternative 1 of 2 is passed over: ")
    assert passed_over["ok"] and "small.gguf" in taken["message"]


def test_a_model_that_would_be_fetched_is_no_problem(project: Project) -> None:
    need("xllamacpp", found=importlib.util.find_spec("xllamacpp") is not None)
    (model,) = checked(project, "demo")["model"]
    assert model["message"].endswith("is not on this machine yet: the first run downloads it (98 MB)")


def test_somebody_elses_server_is_asked(project: Project) -> None:
    assert project.run("server", "start", "small").code == 0
    url = project.run("server", "ps", "--json").json[0]["url"]
    (refused,) = checked(project, url)["server"]
    assert "does not accept the key" in refused["message"] and refused["exit_code"] == 3
    (gone,) = checked(project, "http://127.0.0.1:1")["server"]
    assert gone["message"].startswith("no server answers at http://127.0.0.1:1")


def test_a_finding_cannot_steer_the_terminal(project: Project) -> None:
    project.write("profiles/evil.yaml", 'model: {path: "/\\e[31m\\u202e.gguf"}\n')
    assert not set("\x1b\u202e") & set(project.run("profile", "check", "evil").out)


# --- diff ------------------------------------------------------------------------------------------------


def test_the_keys_that_differ_are_shown_with_both_values_and_places(project: Project) -> None:
    project.write("profiles/large.yaml", "extends: small\nbatch: 512\nrequest: {temperature: 0.5}\n")
    done = project.run("profile", "diff", "small", "large")
    assert (done.code, done.err) == (0, "")
    lines = [line.split() for line in done.out.splitlines()]
    assert ["batch", "load-time", "small", "2048", "default"] in lines
    assert ["large", "512", "profiles/large.yaml:2"] in lines
    assert ["request.temperature", "request-time", "small", "-"] in lines
    assert done.out.endswith("Each needs a process of its own: a load-time key differs.\n")
    (compared,) = project.run("profile", "diff", "small", "large", "--json").json
    assert (compared["left"], compared["right"], compared["one_process"]) == ("small", "large", False)
    assert compared["keys"]["batch"] == {
        "kind": "load-time",
        "left": {"value": 2048, "origin": "default"},
        "right": {"value": 512, "origin": "profiles/large.yaml:2"},
    }


def test_profiles_that_could_share_a_process_are_said_to(project: Project) -> None:
    project.write("profiles/cool.yaml", "extends: small\nrequest: {temperature: 0}\n")
    assert "One process can serve both: " in project.run("profile", "diff", "small", "cool").out
    assert "no key differs" in project.run("profile", "diff", "small", "profiles/small.yaml").out
    project.write("profiles/moved.yaml", "extends: small\nmodel: {path: ../copy.gguf}\n")
    said = project.run("profile", "diff", "small", "moved").out
    assert "if they find the same model file" in said
    assert project.run("profile", "diff", "small", "moved", "--json").json[0]["one_process"] is None


def test_each_alternative_is_compared(project: Project) -> None:
    compared = project.run("profile", "diff", "local", "demo", "--json").json
    assert [each["left"] for each in compared] == ["local (alternative 1)", "local (alternative 2)"]
    assert compared[1]["one_process"] is True and "model.pypi" not in compared[1]["keys"]


def test_a_profile_that_is_not_there_is_refused(project: Project) -> None:
    done = project.run("profile", "diff", "small", "smal")
    assert done.code == 2 and 'did you mean "small"?' in done.err and not done.out


# --- environment variables -------------------------------------------------------------------------------


def test_a_variable_is_shown_as_the_origin_of_the_value_that_it_gave(project: Project) -> None:
    project.environ |= {"GPT_OSS_CTX": "1024", "GPT_OSS_PORT": "9000", "GPT_OSS_PARALLEL": "2"}
    project.write("profiles/mine.yaml", "extends: gpt-oss-20b-fast\nparallel: 3\n")
    said = {tuple(line.split("  # ")) for line in project.run("profile", "show", "mine").out.splitlines()}
    places = {left.strip(): place for left, place in (pair for pair in said if len(pair) == 2)}
    assert places["context_total: 1024"] == "$GPT_OSS_CTX"
    assert places["port: 9000"] == "$GPT_OSS_PORT"
    assert places["parallel: 3"] == "profiles/mine.yaml:2"
    (alternative,) = project.run("profile", "show", "mine", "--json").json["alternatives"]
    assert alternative["origins"]["listen.port"] == "$GPT_OSS_PORT"


def test_a_variable_that_is_wrong_is_a_mistake_of_the_user_everywhere(project: Project) -> None:
    project.environ["GPT_OSS_PORT"] = "99999"
    project.write("f.yaml", "version: 1\nsteps:\n  a: {prompt: {user: x}}\n")
    said = '$GPT_OSS_PORT is "99999"; allowed: a port from 1 to 65535, or auto'
    for args in (("profile", "show", "demo"), ("validate", "f.yaml"), ("run", "f.yaml"), ("server", "start")):
        done = project.run(*args)
        assert (done.code, said in done.err) == (2, True), args
    (finding,) = checked(project, "demo")["profile"]
    assert f"{finding['message']}; {finding['hint']}" == said


def test_a_flow_runs_its_shipped_profiles_as_the_variables_say(project: Project) -> None:
    project.environ |= {"GPT_OSS_PARALLEL": "2", "GPT_OSS_CTX": "600"}
    project.write("f.yaml", "version: 1\nservers: {main: demo, own: small}\nsteps:\n"
                  "  a: {prompt: {user: x, server: main}}\n  b: {prompt: {user: x, server: own}}\n")  # fmt: skip
    planned = project.run("plan", "f.yaml", "--json")
    servers = planned.json["servers"]
    assert (servers["main"]["slots"], servers["main"]["context_tokens"]) == (2, 300)
    assert (servers["own"]["slots"], servers["own"]["context_tokens"]) == (2, 512)
    chosen = project.run("plan", "f.yaml", "--server", "own=demo", "--json").json["servers"]["own"]
    assert chosen["context_tokens"] == 300
