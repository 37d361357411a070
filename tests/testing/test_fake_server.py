from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.testing import replies
from gptoss_flow.testing.fake_llama_server import help_text, parse
from gptoss_flow.testing.fake_server import FakeServer
from gptoss_flow.testing.replies import CONTROL, Completion, Reply, Script, read_script, stream_events


@given(st.text() | st.lists(st.sampled_from([*CONTROL, "<|", "é"])).map("".join))
def test_tokens_are_reversible(text: str) -> None:
    for special in (True, False):
        clean = text.encode("utf-8", "ignore").decode()
        assert replies.detokenize(replies.tokenize(clean, special=special)) == clean


def test_control_tokens_are_single_ids_only_where_they_are_special() -> None:
    assert replies.tokenize("<|im_end|>", special=True) == [257]
    assert len(replies.tokenize("<|im_end|>", special=False)) == 10
    assert replies.detokenize([72, 257], special=False) == "H"


def events(reply: Reply, n_predict: int = -1, **request: Any) -> list[dict[str, Any]]:
    completion = replies.compute(reply, {"prompt": [1, 2], "n_predict": n_predict, **request}, 0, 100)
    return [event for _, event in stream_events(reply, completion)]


def test_events_wait_for_whole_characters_and_name_the_last_id_of_each() -> None:
    *parts, final = events(Reply(text="a🎉"))
    assert [(e["content"], e["tokens"], e["tokens_predicted"]) for e in parts] == [
        ("a", [97], 1),
        ("🎉", [0x89], 5),
    ]
    assert (final["stop_type"], final["tokens_predicted"], final["timings"]["predicted_n"]) == ("eos", 5, 5)


def test_limits_and_stop_texts_end_a_reply() -> None:
    assert events(Reply(text="abcdef"), 3)[-1]["stop_type"] == "limit"
    stopped = events(Reply(text="ab STOP cd"), stop=["STOP", "cd"])
    assert "".join(e["content"] for e in stopped) == "ab "
    assert (stopped[-1]["stop_type"], stopped[-1]["stopping_word"]) == ("word", "STOP")
    assert events(Reply(text="x" * 200))[-1]["truncated"]


def test_several_tokens_can_share_an_event() -> None:
    assert [e["content"] for e in events(Reply(text="abcde", tokens_per_event=2))] == ["ab", "cd", "e", ""]


def test_an_error_event_ends_the_stream() -> None:
    assert [*map(set, events(Reply(text="abc", error_after=1)))][1:] == [{"error"}]
    assert "error" in events(Reply(text="abc", error_after=9))[-1]


def test_a_reply_may_be_endless() -> None:
    completion = Completion([1], 0, [97], "eos")
    endless = stream_events(Reply(endless=True), completion)
    assert [next(endless)[1]["tokens_predicted"] for _ in range(50)] == list(range(1, 51))


def test_a_script_is_read_from_json() -> None:
    script = read_script(
        '{"slots": 3, "replies": [{"text": "a"}, {"status": 500}], "answers": {"/props": {"body": "x"}}}'
    )
    assert script == Script(
        slots=3, replies=[Reply(text="a"), Reply(status=500)], answers={"/props": Reply(body="x")}
    )
    with pytest.raises(TypeError):
        read_script('{"replies": [{"txt": "a"}]}')


async def post(server: FakeServer, body: dict[str, Any]) -> Any:
    def ask() -> Any:
        connection = http.client.HTTPConnection(server.host, server.port)
        connection.request("POST", "/completion", json.dumps(body))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    return await asyncio.to_thread(ask)


def test_a_conditional_reply_goes_first_and_the_last_one_is_repeated() -> None:
    async def run() -> list[str]:
        said = [
            Reply(text="one"),
            Reply(text="two"),
            Reply(text="special", when="magic"),
            Reply(echo=True, when="say"),
        ]
        async with FakeServer(Script(replies=said)) as server:
            prompts = ["a", "magic", "b", "c", "say é"]
            return [(await post(server, {"prompt": prompt}))["content"] for prompt in prompts]

    assert asyncio.run(run()) == ["one", "special", "two", "two", "say é"]


def test_what_a_slot_knows_of_a_prompt_is_reused() -> None:
    async def run() -> list[int]:
        async with FakeServer(Script(replies=[Reply(text="x")])) as server:
            prompts = ["abcdef", "abcxyz", "abcdef", "zzz"]
            return [(await post(server, {"prompt": p}))["timings"]["cache_n"] for p in prompts]

    assert asyncio.run(run()) == [0, 3, 3, 0]


# --- the stand-in for the binary --------------------------------------------------------------------------------


def test_help_names_every_flag_as_llama_server_does() -> None:
    lines = help_text().splitlines()
    assert "-m,    --model FNAME                    model path to load" in lines
    assert "--version                               show version and build info" in lines
    assert any(line.startswith("-fa,   --flash-attn [on|off|auto]") for line in lines)


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid argument: --defrag-thold"):
        parse(["--defrag-thold", "0.1"])
    with pytest.raises(ValueError, match="expected value"):
        parse(["--port"])
    assert parse(["-c", "512", "--no-kv-unified", "--parallel", "2"]) == {
        "-c": "512",
        "-kvu": "--no-kv-unified",
        "-np": "2",
    }


class Binary:
    """The stand-in as an executable file, as a profile would name it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "llama-server"
        self._script = folder / "script.json"
        self.model = folder / "m.gguf"
        self.model.write_bytes(b"GGUF" + bytes(20))
        self._path.write_text(
            f"#!{sys.executable}\nimport sys\nfrom gptoss_flow.testing.fake_llama_server import main\n"
            f"sys.exit(main(['--replies', {str(self._script)!r}, *sys.argv[1:]]))\n"
        )
        self._path.chmod(self._path.stat().st_mode | stat.S_IXUSR)
        self.running: list[subprocess.Popen[str]] = []

    def run(self, *argv: str, **script: Any) -> subprocess.CompletedProcess[str]:
        process = self.start(*argv, **script)
        out, err = process.communicate(timeout=30)
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def start(self, *argv: str, **script: Any) -> subprocess.Popen[str]:
        self._script.write_text(json.dumps(script))
        env = {"PATH": os.environ["PATH"], "LLAMA_API_KEY": "k"}
        pipe = subprocess.PIPE
        process = subprocess.Popen([str(self._path), *argv], stdout=pipe, stderr=pipe, text=True, env=env)
        self.running.append(process)
        return process

    def ready(self, **script: Any) -> tuple[subprocess.Popen[str], int]:
        process = self.start("--model", str(self.model), "--port", "0", "-c", "200", "--parallel", "2", **script)
        assert process.stderr is not None
        port = 0
        for line in process.stderr:
            if "listening" in line:
                port = int(line.rsplit(":", 1)[1])
            if "model loaded" in line:
                break
        return process, port


@pytest.fixture
def binary(tmp_path: Path) -> Iterator[Binary]:
    binary = Binary(tmp_path)
    yield binary
    for process in binary.running:
        process.kill()
        process.communicate()


def get(port: int, path: str, key: str = "k", body: Any = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(
        "POST" if body else "GET", path, json.dumps(body) if body else None, {"Authorization": f"Bearer {key}"}
    )
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def test_the_stand_in_serves_as_its_command_line_says(binary: Binary) -> None:
    process, port = binary.ready(replies=[{"text": "hi"}])
    props = json.loads(get(port, "/props")[1])
    assert (props["total_slots"], props["default_generation_settings"]["n_ctx"]) == (2, 100)
    assert props["model_path"] == str(binary.model)
    assert get(port, "/props", key="wrong")[0] == 401
    assert get(port, "/health", key="wrong")[0] == 200
    assert json.loads(get(port, "/completion", body={"prompt": [1], "n_predict": 1})[1])["content"] == "h"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_help_and_version_need_no_model(binary: Binary) -> None:
    shown = binary.run("--help")
    assert (shown.returncode, shown.stdout) == (0, help_text())
    version = binary.run("--version")
    assert (version.returncode, version.stderr[:13]) == (0, "version: 7000")


def no_gguf(binary: Binary) -> dict[str, Any]:
    binary.model.write_bytes(b"<html>")
    return {}


def no_model(binary: Binary) -> dict[str, Any]:
    binary.model.unlink()
    return {}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_gguf, "invalid magic characters: '<htm', expected 'GGUF'"),
        (no_model, "No such file"),
        (lambda _: {"fail_load": "ggml_cuda: out of memory"}, "ggml_cuda: out of memory"),
    ],
)
def test_a_load_that_fails_is_exit_1_and_says_why(
    binary: Binary, spoil: Callable[[Binary], dict[str, Any]], said: str
) -> None:
    ended = binary.run("-m", str(binary.model), "--port", "0", **spoil(binary))
    assert ended.returncode == 1
    assert said in ended.stderr


def test_a_port_in_use_is_exit_1(binary: Binary) -> None:
    _, port = binary.ready()
    ended = binary.run("-m", str(binary.model), "--port", str(port))
    assert ended.returncode == 1
    assert "couldn't bind HTTP server socket" in ended.stderr


def streaming(port: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    body = {"prompt": [1], "stream": True, "n_predict": -1}
    connection.request("POST", "/completion", json.dumps(body), {"Authorization": "Bearer k"})
    assert connection.getresponse().read(10)
    return connection


def test_an_open_stream_holds_up_the_first_sigterm_but_not_the_second(binary: Binary) -> None:
    process, port = binary.ready(replies=[{"endless": True, "token_delay_s": 0.01}])
    connection = streaming(port)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    connection.close()


def test_a_server_that_is_asked_to_end_does_when_the_stream_is_left(binary: Binary) -> None:
    process, port = binary.ready(replies=[{"endless": True, "token_delay_s": 0.01}])
    connection = streaming(port)
    process.send_signal(signal.SIGTERM)
    connection.close()
    assert process.wait(10) == 0


def test_a_server_may_die_at_a_request(binary: Binary) -> None:
    process, port = binary.ready(die_after=2)
    assert get(port, "/completion", body={"prompt": [1]})[0] == 200
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        get(port, "/completion", body={"prompt": [1]})
    assert process.wait(10) == -signal.SIGKILL


def test_a_server_may_be_deaf_to_termination(binary: Binary) -> None:
    process, port = binary.ready(ignore_term=True)
    process.send_signal(signal.SIGTERM)
    assert get(port, "/health")[0] == 200
    assert process.poll() is None
