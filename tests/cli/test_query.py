"""`query`, as a user types it: what it asks, whom, and that it costs next to nothing where a server runs."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from gptoss_flow.server.record import state_root
from tests.cli.stand import Stand
from tests.conftest import need
from tests.server.world import is_dead, until

HEAVY = {
    "asyncio", "email", "filelock", "gguf", "http.client", "httpx", "jinja2", "networkx", "numpy",
    "openai_harmony", "psutil", "pydantic", "re2", "rich", "ssl", "yaml",
}  # fmt: skip
WATCHED = """\
import json, sys
from gptoss_flow.cli.main import main
code = main(["query", "--profile", "small", "Hi"])
print(json.dumps([code, *sys.modules]), file=sys.stderr)
"""


def test_a_server_that_runs_is_asked_with_next_to_nothing_imported(stand: Stand) -> None:
    stand.run("server", "start", "small")
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], cwd=stand.folder, env=stand.environ, capture_output=True, check=True
    )
    code, *modules = json.loads(done.stderr)
    assert (code, done.stdout) == (0, b"Hello fr\n")
    assert HEAVY.isdisjoint(modules) and "gptoss_flow.events" not in modules


def test_where_none_runs_one_is_started_and_stopped(stand: Stand) -> None:
    done = stand.run("query", "--profile", "small", "Hi")
    assert (done.code, done.out) == (0, "Hello fr\n")
    assert "ready: small took" in done.err and stand.ps() == []


def test_a_profile_says_how_long_the_server_stays(stand: Stand) -> None:
    stand.profile("small", "idle_timeout: 10m\n")
    assert stand.run("query", "--profile", "small", "Hi").out == "Hello fr\n"
    again = stand.run("query", "--profile", "small", "Hi")
    assert (again.out, again.err) == ("Hello fr\n", "")
    assert [(each["name"], each["users"], each["idle_timeout_s"]) for each in stand.ps()] == [("small", 0, 600.0)]


def test_a_server_that_only_its_details_tell_is_found_too(stand: Stand) -> None:
    pid = stand.run("server", "start", "small", "--json").json["pid"]
    done = stand.run("query", "--profile", "profiles/small.yaml", "Hi")
    assert done.out == "Hello fr\n" and "already running" in done.err
    assert [each["pid"] for each in stand.ps()] == [pid]


def test_the_prompt_is_text_and_never_control_tokens(stand: Stand) -> None:
    stand.run("server", "start", "small")
    prompt = "a<|im_start|>é"
    done = stand.run("query", "--profile", "small", "--json", prompt)
    assert done.json["usage"] == {"prompt_tokens": len(prompt.encode()), "completion_tokens": 8}
    assert (done.json["text"], done.json["finish_reason"], done.json["server"]) == ("Hello fr", "length", "small")
    assert 0 <= done.json["timings"]["ttft_s"] <= done.json["timings"]["total_s"]


def test_variables_stand_in_for_options(stand: Stand) -> None:
    stand.profile("small", replies=[{"echo": True}])
    url = stand.run("server", "start", "small", "--json").json["url"]
    stand.environ |= {"GPT_OSS_URL": url.replace("127.0.0.1", "localhost"), "GPT_OSS_PROMPT": "one two"}
    stand.environ["GPT_OSS_MAX_TOKENS"] = "3"
    assert stand.run("query").out == "one\n"
    assert stand.run("query", "-n", "5", "three four").out == "three\n"
    del stand.environ["GPT_OSS_URL"]
    stand.environ["GPT_OSS_PORT"] = url.rpartition(":")[2]
    assert stand.run("query").out == "one\n"
    stand.environ["GPT_OSS_TEMPERATURE"] = "9"
    hot = stand.run("query")
    assert hot.code == 2 and "9" in hot.err


@pytest.mark.parametrize("args", [("-",), ()])
def test_standard_input_is_a_prompt_without_its_last_line_break(stand: Stand, args: tuple[str, ...]) -> None:
    stand.profile("small", replies=[{"echo": True}])
    stand.run("server", "start", "small")
    done = stand.run("query", "--profile", "small", "-n", "99", *args, stdin=b"one\n\xff two\n\n")
    assert done.out == "one\n\N{REPLACEMENT CHARACTER} two\n"


def test_the_answer_is_shown_as_it_arrives(stand: Stand) -> None:
    stand.profile("small", replies=[{"text": "one\ntwo three", "token_delay_s": 0.3}])
    stand.run("server", "start", "small")
    query = stand.start("query", "--profile", "small", "-n", "13", "Hi")
    assert query.stdout and query.stdout.readline() == b"one\n"
    assert query.poll() is None
    assert query.communicate(timeout=20) == (b"two three\n", b"")


def test_a_reader_that_leaves_ends_it_as_a_shell_tells_of_that(stand: Stand) -> None:
    stand.profile("small", replies=[{"text": "one\ntwo three and so on", "token_delay_s": 0.3}])
    stand.run("server", "start", "small")
    query = stand.start("query", "--profile", "small", "-n", "99", "Hi")
    assert query.stdout and query.stderr and query.stdout.readline() == b"one\n"
    query.stdout.close()
    assert (query.wait(20), query.stderr.read()) == (141, b"")
    query.stderr.close()


def test_an_empty_answer_is_told_to_be_one(stand: Stand) -> None:
    stand.profile("small", replies=[{"text": ""}])
    done = stand.run("query", "--profile", "small", "Hi")
    assert done.code == 0 and done.out == "" and "the answer is empty" in done.err


def test_control_characters_of_an_answer_reach_a_pipe_as_they_are(stand: Stand) -> None:
    stand.profile("small", replies=[{"text": "\x1b[31m\n"}])
    stand.run("server", "start", "small")
    assert stand.run("query", "--profile", "small", "Hi").out == "\x1b[31m\n"


def test_the_newest_server_of_a_profile_is_asked(stand: Stand) -> None:
    stand.run("server", "start", "small")
    stand.profile("small", "seed: 7\n", replies=[{"text": "newer"}])
    assert stand.run("server", "start", "small").code == 0
    assert len(stand.ps()) == 2
    assert stand.run("query", "--profile", "small", "Hi").out == "newer\n"


@pytest.mark.parametrize(
    ("script", "prompt", "said"),
    [
        ({}, "x" * 600, "the prompt does not fit into the context: it has 600 tokens, a request may use 512"),
        ({"replies": [{"no_stop": True}]}, "Hi", "the answer broke off"),
        ({"replies": [{"cut_at": 300}]}, "Hi", "the answer broke off"),
        ({"replies": [{"error_after": 1}]}, "Hi", "reported an error while it generated: Compute error."),
        ({"replies": [{"status": 500, "body": "oh\x1bno"}]}, "Hi", "answered 500: oh\\x1bno"),
        ({"answers": {"/tokenize": {"body": "[]"}}}, "Hi", "the server's answer is not understood"),
        (
            {"answers": {"/tokenize": {"status": 404, "body": ""}}},
            "Hi",
            "404: (an empty body); is it llama",
        ),
    ],
)
def test_a_server_that_fails_is_told_in_a_sentence(
    stand: Stand, script: dict[str, object], prompt: str, said: str
) -> None:
    stand.profile("small", **script)
    stand.run("server", "start", "small")
    done = stand.run("query", "--profile", "small", prompt)
    assert done.code == 1 and said in done.err and len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--url", "http://127.0.0.1:9", "Hi"), 3, "no server answers at http://127.0.0.1:9 (Connection refused)"),
        (("--url", "http://127.0.0.1:9", "--profile", "small", "Hi"), 2, "not both"),
        (("--profile", "smal", "Hi"), 2, 'there is no profile "smal"; did you mean "small"?'),
        (("--profile", "small"), 2, "there is no prompt"),
        (("--profile", "small", ""), 2, "there is no prompt"),
    ],
)
def test_what_cannot_be_asked_is_told_with_advice(
    stand: Stand, args: tuple[str, ...], code: int, said: str
) -> None:
    done = stand.run("query", *args)
    assert done.code == code and said in done.err and not done.out


def test_an_interrupt_stops_the_server_that_was_started_for_it(stand: Stand) -> None:
    stand.profile("slow", replies=[{"ttft_s": 1000.0}])
    query = stand.start("query", "--profile", "slow", "Hi")
    assert query.stderr
    until(lambda: b"ready" in query.stderr.readline())
    (slow,) = stand.ps()
    query.send_signal(signal.SIGINT)
    query.communicate(timeout=20)
    assert query.returncode == 130 and is_dead(slow["pid"])


@pytest.mark.parametrize("given", ["/somewhere/else", "relative", "", None])
def test_the_state_folder_is_the_one_that_platformdirs_says(
    given: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    if given is not None:
        monkeypatch.setenv("XDG_STATE_HOME", given)
    assert state_root() == Path(platformdirs.user_state_dir("gptoss-flow"))


@pytest.mark.real
def test_the_demo_model_answers(stand: Stand, demo_cache: Path) -> None:
    need("xllamacpp", found=importlib.util.find_spec("xllamacpp") is not None)
    stand.environ |= {"XDG_CACHE_HOME": str(demo_cache), "PATH": "/usr/bin:/bin", "GPT_OSS_THREADS": "1"}
    stand.environ.pop("LLAMA_SERVER", None)
    prompt = "The capital of France is"
    stand.run("server", "start", "demo", "--offline")
    warm = stand.run("query", "--profile", "demo", prompt)
    assert (warm.code, warm.err) == (0, "") and warm.out.startswith(" Paris")
    assert stand.run("query", "--profile", "demo", "--json", prompt).json["usage"]["prompt_tokens"] == 5


@pytest.mark.parametrize("url", ["foo", "127.0.0.1:8080", "http://127.0.0.1:99999", "http://[::1"])
def test_what_is_no_address_is_told_before_anything_is_asked(stand: Stand, url: str) -> None:
    for command in ("query", "infer"):
        done = stand.run(command, "--url", url, "Hi")
        assert done.code == 2
        assert done.err == f'"{url}" is not a server\'s address; write one like http://127.0.0.1:8080\n'
