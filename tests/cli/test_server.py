"""`server start|stop|status|ps|logs`, as a user types them: with a stand-in for llama-server, and for real."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path

import pytest

from tests.cli.stand import Stand
from tests.conftest import need
from tests.server.world import is_dead, until


def test_a_server_that_was_started_stays_and_is_found_again(stand: Stand) -> None:
    first = stand.run("server", "start", "small")
    assert first.code == 0
    assert "starting: model small.gguf" in first.err and "ready: small took" in first.err
    said = dict(line.split(maxsplit=1) for line in first.out.splitlines())
    assert said["slots"] == "2 of 512 tokens" and said["until"] == "forever" and Path(said["log"]).is_file()
    again = stand.run("server", "start", "profiles/small.yaml", "--json")
    assert "ready: small was already running" in again.err
    assert (again.json["pid"], again.json["url"]) == (int(said["pid"]), said["url"])
    assert Path(again.json["key_file"]).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("option", "key", "until"),
    [((), "", "forever"), ((), "idle_timeout: 10m\n", "10 minutes from now"),
     (("--idle-timeout", "2h"), "idle_timeout: 10m\n", "2 hours from now"),
     (("--idle-timeout", "-1"), "idle_timeout: 10m\n", "forever")],
)  # fmt: skip
def test_it_stays_as_long_as_the_option_says_or_else_the_profile(
    stand: Stand, option: tuple[str, ...], key: str, until: str
) -> None:
    stand.profile("small", key)
    assert f"until  {until}\n" in stand.run("server", "start", "small", *option).out
    assert stand.run("server", "ps").out.splitlines()[1].endswith(f"0      {until}")


def test_the_list_has_a_line_for_each_server(stand: Stand) -> None:
    assert stand.run("server", "ps").out.split() == [
        "NAME", "ID", "MODEL", "SIZE", "ENGINE", "URL", "CONTEXT", "SLOTS", "USERS", "UNTIL",
    ]  # fmt: skip
    assert stand.ps() == []
    stand.profile("other", "seed: 7\n")
    for name in ("small", "other"):
        assert stand.run("server", "start", name).code == 0
    assert [each["name"] for each in stand.ps()] == ["small", "other"]
    done = stand.run("server", "stop")
    assert done.code == 2 and "2 servers run: small (" in done.err and "or say --all" in done.err
    assert stand.run("server", "stop", stand.ps()[1]["id"]).out.startswith("stopped other (process ")
    assert [each["name"] for each in stand.ps()] == ["small"]
    (stopped,) = stand.run("server", "stop", "--json").json
    assert (stopped["name"], stopped["state"]) == ("small", "stopped")


def test_the_status_tells_health_slots_and_a_timed_sample(stand: Stand) -> None:
    stand.profile("small", replies=[{"text": "\x1b[31m2 and more"}])
    stand.run("server", "start", "small")
    stand.environ["GPT_OSS_STATUS_MAX_TOKENS"] = "6"
    told = stand.run("server", "status")
    assert told.code == 0
    assert "state      ready\n" in told.out and "slots      2 of 512 tokens, 0 busy\n" in told.out
    assert "sample     6 tokens in 0." in told.out and "\x1b" not in told.out
    (health,) = stand.run("server", "status", "small", "--json").json
    assert health["up"] and health["sample"]["tokens"] == 6
    for url in (health["url"], f"{health['url']}/", health["url"].replace("127.0.0.1", "localhost")):
        by_url = stand.run("server", "status", url)
        assert (by_url.code, by_url.out.splitlines()[0]) == (0, told.out.splitlines()[0])


def test_a_server_that_was_killed_is_down_and_its_log_is_there(stand: Stand) -> None:
    pid = stand.run("server", "start", "small", "--json").json["pid"]
    follower = stand.start("server", "logs", "-f", "-n", "1")
    assert follower.stdout and follower.stdout.readline()
    os.kill(pid, signal.SIGKILL)
    assert follower.wait(20) == 0
    follower.communicate()
    done = stand.run("server", "status")
    assert (done.code, done.out) == (3, "") and "start it with: gptoss-flow server start" in done.err
    named = stand.run("server", "status", "small", "--json")
    assert (named.code, named.json) == (3, [])
    assert stand.ps() == []
    assert "build: 7000" in stand.run("server", "logs", "small").out
    stopped = stand.run("server", "stop", "small")
    assert (stopped.code, stopped.err) == (0, 'no server of "small" runs\n')


def test_to_start_somebody_elses_server_is_to_look_at_it(stand: Stand) -> None:
    stand.profile("open", "api_key: none\n")
    server = stand.run("server", "start", "open", "--json").json
    stand.write("profiles/theirs.yaml", f"url: {server['url']}\nmodel: {{id: small}}\n")
    stand.environ["GPT_OSS_STATUS_MAX_TOKENS"] = "5"
    told = stand.run("server", "start", "theirs", "--json")
    assert (told.code, told.json["up"], told.json["pid"]) == (0, True, None)
    assert told.json["sample"]["tokens"] == 5 and "somebody else runs" in told.err
    assert [each["name"] for each in stand.ps()] == ["open"]


def test_following_a_log_ends_when_nobody_reads_it(stand: Stand) -> None:
    stand.run("server", "start", "small")
    follower = stand.start("server", "logs", "-f", "-n", "1")
    assert follower.stdout and follower.stderr and follower.stdout.readline()
    follower.stdout.close()
    assert (follower.wait(20), follower.stderr.read()) == (141, b"")
    follower.stderr.close()


def test_a_log_as_data_has_its_path_and_its_lines(stand: Stand) -> None:
    log = stand.run("server", "start", "small", "--json").json["log"]
    told = stand.run("server", "logs", "-n", "2", "--json").json
    assert (told["log"], told["running"]) == (log, True)
    assert told["lines"] == Path(log).read_text().splitlines()[-2:]
    stand.run("server", "stop")
    assert stand.run("server", "logs", "small", "--json").json["running"] is False
    assert stand.run("server", "logs", "-f", "--json").code == 2


def test_a_shorter_stay_than_was_told_before_is_told_to_have_no_effect(stand: Stand) -> None:
    assert "longest" not in stand.run("server", "start", "small", "--idle-timeout", "10m").err
    assert "longest" not in stand.run("server", "start", "small", "--idle-timeout", "2h").err
    shorter = stand.run("server", "start", "small", "--idle-timeout", "5m")
    assert "until  2 hours from now\n" in shorter.out
    assert "it was to stay longer before, and the longest time counts: stop it first" in shorter.err


def test_a_server_that_hangs_is_down(stand: Stand) -> None:
    pid = stand.run("server", "start", "small", "--json").json["pid"]
    os.kill(pid, signal.SIGSTOP)
    done = stand.run("server", "status")
    assert done.code == 3 and "state      down: it does not answer" in done.out


def test_a_server_that_cannot_load_its_model_is_told_with_its_log(stand: Stand) -> None:
    stand.profile("bad", fail_load="error loading model: \x1b[31mnonsense")
    done = stand.run("server", "start", "bad")
    assert done.code == 3 and "model corrupt" in done.err and "server.log" in done.err
    logs = stand.run("server", "logs", "bad", "-n", "1")
    assert logs.out == "error loading model: \\x1b[31mnonsense\n"
    assert "\x1b" not in done.err


def test_an_interrupted_start_leaves_nothing(stand: Stand) -> None:
    stand.profile("slow", load_s=1000.0)
    starting = stand.start("server", "start", "slow")
    assert starting.stderr
    until(lambda: b"loading" in starting.stderr.readline())
    (slow,) = stand.ps()
    assert slow["state"] == "loading"
    assert stand.run("server", "status", "slow").code == 3
    starting.send_signal(signal.SIGINT)
    starting.communicate(timeout=20)
    assert starting.returncode == 130
    assert stand.ps() == [] and is_dead(slow["pid"])


def test_a_flow_that_asks_for_the_same_profile_finds_the_server(stand: Stand) -> None:
    pid = stand.run("server", "start", "small", "--json").json["pid"]
    stand.write(
        "flow.yaml",
        "version: 1\nservers: {main: {extends: small, request: {temperature: 0}}}\n"
        "steps:\n  say: {prompt: {mode: raw, text: Hello}}\noutputs: {text: '${{ steps.say.output }}'}\n",
    )
    done = stand.run("run", "flow.yaml")
    assert done.code == 0
    facts = [event["facts"] for event in stand.events() if event.get("state") == "ready"]
    assert [(each["pid"], each["adopted"]) for each in facts] == [(pid, True)]
    assert [each["pid"] for each in stand.ps()] == [pid]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("start", "smal"), 2, 'there is no profile "smal"; did you mean "small"?'),
        (("start", "base"), 2, "profile base names no model"),
        (("start", "http://127.0.0.1:9"), 3, "is of a server that somebody else runs"),
        (("stop", "http://127.0.0.1:9"), 2, "is of a server that somebody else runs, at http://127.0.0.1:9"),
        (("restart", "http://127.0.0.1:9"), 2, "see how it is with: gptoss-flow server status http://127.0.0.1:9"),
        (("start", "small", "--idle-timeout", "0"), 2, "0 would stop it as soon as it is ready"),
        (("start", "small", "--idle-timeout", "soon"), 2, '"soon" is not a duration'),
        (("stop", "smal"), 2, 'there is no server and no profile "smal"; did you mean "small"?'),
        (("stop", "small", "--all"), 2, "not both"),
        (("status", "smal"), 2, 'did you mean "small"?'),
        (("status", "http://127.0.0.1:9"), 3, "no server answers at http://127.0.0.1:9"),
        (("logs", "small"), 3, 'no log of a server of "small" is there'),
        (("logs",), 3, "no log of any server is there"),
    ],
)
def test_what_cannot_be_done_is_told_with_advice(
    stand: Stand, args: tuple[str, ...], code: int, said: str
) -> None:
    done = stand.run("server", *args)
    assert done.code == code and said in done.err and not done.out


@pytest.mark.real
def test_the_demo_server_is_started_once_and_serves_a_flow(stand: Stand, demo_cache: Path) -> None:
    need("xllamacpp", found=importlib.util.find_spec("xllamacpp") is not None)
    stand.environ["XDG_CACHE_HOME"] = str(demo_cache)
    flow = Path(__file__).parents[2] / "flows/hello.yaml"
    server = stand.run("server", "start", "demo", "--json", "--offline").json
    (health,) = stand.run("server", "status", "local", "--json").json
    assert health["up"] and health["sample"]["tokens"] == 8
    done = stand.run("run", str(flow), "--server", "main=demo")
    assert done.code == 0 and "The capital of France is" in done.out
    (ready,) = [event["facts"] for event in stand.events() if event.get("state") == "ready"]
    assert ready["adopted"] and ready["pid"] == server["pid"]
    assert stand.run("server", "stop").code == 0 and is_dead(server["pid"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_commands(stand: Stand, shell: str) -> None:
    assert f"_GPTOSS_FLOW_COMPLETE={shell}_complete" in stand.run("completion", shell).out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("listen: {host: 192.0.2.7}\n", "no server can listen on 192.0.2.7"),
        ("api_key: env:NO_SUCH_KEY\n", "NO_SUCH_KEY, which is not set; set it"),
        ("log: {file: /none/such.log}\n", "log.file: /none/such.log cannot be written"),
    ],
)
def test_what_keeps_a_server_from_starting_is_told_once_and_at_its_place(
    stand: Stand, more: str, said: str
) -> None:
    stand.profile("small", more)
    for verb in (("server", "start", "small"), ("query", "--profile", "small", "Hi")):
        done = stand.run(*verb)
        assert done.code == 3 and done.err.count(said) == 1
        assert any(line.startswith("profiles/small.yaml:") and said in line for line in done.err.splitlines())


def test_a_broken_model_is_told_at_the_key_that_names_it(stand: Stand) -> None:
    (stand.folder / "junk.gguf").write_text("junk")
    stand.write("profiles/junk.yaml", "model: {path: ../junk.gguf}\n")
    done = stand.run("server", "start", "junk")
    assert done.code == 3 and done.err.startswith("profiles/junk.yaml:1:15: ") and "is not a GGUF file" in done.err


def test_the_sample_of_a_status_heeds_the_variables_of_its_own_and_then_the_common_ones(stand: Stand) -> None:
    stand.profile("small", replies=[{"echo": True}])
    stand.run("server", "start", "small")
    stand.environ["GPT_OSS_PROMPT"] = "common"
    assert stand.run("server", "status", "--json").json[0]["sample"]["text"] == "common"
    stand.environ["GPT_OSS_STATUS_PROMPT"] = "own"
    assert stand.run("server", "status", "--json").json[0]["sample"]["text"] == "own"
