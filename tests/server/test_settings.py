"""What a profile names on this machine is looked at before its server is started, and told with its key."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_parts import Listen
from gptoss_flow.server.problems import KeyProblem
from gptoss_flow.server.settings import given_key, listening_port, unusable_files
from tests.conftest import need

FOREIGN = "192.0.2.7"
"""An address of nobody (RFC 5737)."""


def only(error: Unavailable) -> KeyProblem:
    (problem,) = error.problems
    assert isinstance(problem, KeyProblem)
    return problem


@pytest.mark.parametrize("port", ["auto", 18080])
def test_an_address_that_is_not_this_machines_is_told_with_its_key(port: Any) -> None:
    with pytest.raises(Unavailable, match=f"no server can listen on {FOREIGN}") as caught:
        listening_port(Listen(host=FOREIGN, port=port))
    assert only(caught.value).path == ("listen", "host")


@pytest.mark.parametrize("listens", [True, False])
def test_a_port_that_is_taken_is_told_with_its_key_whether_or_not_somebody_answers(listens: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if listens:
            taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port} is in use by ") as caught:
            listening_port(Listen(port=port))
    assert only(caught.value).path == ("listen", "port")


def test_a_free_port_is_taken_as_it_is() -> None:
    port = listening_port(Listen())
    assert port == listening_port(Listen(port=port))


def test_where_this_machine_cannot_reach_itself_that_is_told_at_once() -> None:
    alone = ["unshare", "--user", "--map-root-user", "--net"]  # a network whose loopback device is down
    need("unshare", found=subprocess.run([*alone, "true"], check=False, capture_output=True).returncode == 0)
    code = "from gptoss_flow.server.settings import *; listening_port(Listen())"
    done = subprocess.run([*alone, sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "127.0.0.1 can be listened on, but not reached from here: Network is unreachable" in done.stderr
    assert "ip link set lo up" in done.stderr


def test_a_key_that_cannot_be_had_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        given_key(Profile(api_key="env:NO_KEY"), {})
    assert str(only(caught.value)).endswith("NO_KEY, which is not set; set it, or change api_key")
    (tmp_path / "binary").write_bytes(b"\xff")
    for name, why in (("none", "No such file or directory"), ("binary", "it is not text")):
        with pytest.raises(Unavailable, match=f"cannot be read: {why}; ") as caught:
            given_key(Profile(api_key=f"file:{tmp_path / name}"), {})
        assert only(caught.value).path == ("api_key",) and str(caught.value).count(name) == 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("\n", "which is empty"),
        ("k\u00e9y", "which holds no key"),
        ("one two", "which holds no key"),
        ("a\nb", "no key"),
    ],
)
def test_what_no_header_can_hold_is_no_key_and_is_not_repeated(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "key"
    file.write_text(text, "utf-8")
    with pytest.raises(Unavailable, match=f"api_key names the file .*{what}") as caught:
        given_key(Profile(api_key=f"file:{file}"), {})
    assert only(caught.value).path == ("api_key",) and "two" not in str(caught.value)
    file.write_text("  s3cret\n")
    assert given_key(Profile(api_key=f"file:{file}"), {}) == "s3cret"
    with pytest.raises(Unavailable, match="the environment variable KEY, which holds no key"):
        given_key(Profile(api_key="env:KEY"), {"KEY": "one two"})


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"log": {"file": "{}/none/x.log"}}, ("log", "file")),
        ({"log": {"file": "{}"}}, ("log", "file")),
        ({"keepalive": {"every": 1, "pid_file": "{}/none/pid"}}, ("keepalive", "pid_file")),
        ({"chat_template_file": "{}"}, ("chat_template_file",)),
        ({"speculative": {"model": "{}/none.gguf"}}, ("speculative", "model")),
        ({"lora": [{"path": "{}/none.gguf"}]}, ("lora", 0)),
        ({"lora": [{"path": "{}/junk"}]}, ("lora", 0)),
        ({"speculative": {"model": "{}/junk"}}, ("speculative", "model")),
        ({"slots_dir": "{}/none"}, ("slots_dir",)),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_key(
    tmp_path: Path, keys: dict[str, Any], path: tuple[str | int, ...]
) -> None:
    def filled(value: Any) -> Any:
        match value:
            case dict():
                return {key: filled(item) for key, item in value.items()}
            case list():
                return [filled(item) for item in value]
            case str():
                return value.format(tmp_path)
            case _:
                return value

    (tmp_path / "junk").write_bytes(b"junk")
    (problem,) = unusable_files(Profile.model_validate(filled(keys)))
    assert problem.path == path and str(tmp_path) in problem.message and problem.hint


def test_files_that_are_there_or_can_be_made_are_no_problem(tmp_path: Path) -> None:
    (tmp_path / "template").touch()
    given = {
        "chat_template_file": str(tmp_path / "template"),
        "slots_dir": str(tmp_path),
        "log": {"file": str(tmp_path / "new.log")},
        "keepalive": {"pid_file": str(tmp_path / "template")},
    }
    assert not [*unusable_files(Profile.model_validate(given))]
