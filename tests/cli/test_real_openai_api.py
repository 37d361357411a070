"""OpenAI's APIs as llama.cpp's own server speaks them, with the demo model: what no fake can prove."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.cli.stand import Stand
from tests.conftest import need

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

ASKED = ["--json", "-n", "24", "--temperature", "0", "Name three rivers."]
FLOW = """\
version: 1
servers: {main: other}
steps:
  each:
    foreach: [red, green, blue]
    prompt: {user: "Say ${{ item }}", params: {max_tokens: 6, temperature: 0}}
  more:
    prompt:
      messages:
        - {role: system, content: Be brief.}
        - {role: user, content: Hi}
        - {role: assistant, content: Hello.}
        - {role: user, content: "Say ${{ steps.each.output[0] }}"}
      params: {max_tokens: 5, temperature: 0}
"""


@pytest.fixture
def url(stand: Stand, demo_cache: Path) -> str:
    """Of the demo model's server, whose key is in the file `key`."""
    need("xllamacpp", found=importlib.util.find_spec("xllamacpp") is not None)
    stand.environ |= {"XDG_CACHE_HOME": str(demo_cache), "PATH": "/usr/bin:/bin", "GPT_OSS_THREADS": "1"}
    stand.environ.pop("LLAMA_SERVER", None)
    started = stand.run("server", "start", "demo", "--offline", "--json").json
    (key,) = Path(stand.environ["XDG_STATE_HOME"]).glob("gptoss-flow/servers/*/key")
    stand.write("key", key.read_text())
    return str(started["url"])


def test_both_apis_answer_as_the_servers_own_does(stand: Stand, url: str) -> None:
    own = stand.run("infer", "--profile", "demo", *ASKED).json
    for api in ("chat_completions", "responses"):
        # The demo profile's own sampling parameters, which OpenAI's APIs know nothing of, stay away.
        stand.write("profiles/other.yaml", f"url: {url}/v1\napi: {api}\napi_key: file:{stand.folder}/key\n")
        done = stand.run("infer", "--profile", "other", *ASKED)
        assert done.code == 0, done.err
        said = done.json
        assert said["usage"]["prompt_tokens"] == own["usage"]["prompt_tokens"]
        assert (said["usage"]["completion_tokens"], said["finish_reason"]) == (24, "length")
        assert said["text"].strip() and 0 < said["timings"]["ttft_s"] <= said["timings"]["latency_s"]
        stand.write("flow.yaml", FLOW)
        run = stand.run("run", "flow.yaml", "--json")
        assert run.code == 0, run.err
        each = run.json["steps"]["each"]["output"]
        assert len(each) == 3 and all(each) and run.json["steps"]["more"]["output"]
        assert run.json["tokens"]["generated"] == 3 * 6 + 5
        query = stand.run("query", "--profile", "other", "--json", "The capital of France is")
        assert query.code == 0, query.err
        assert query.json["usage"]["completion_tokens"] == 8
        if api == "chat_completions":  # which is the only one by which a text goes on as it is
            assert query.json["text"].startswith(" Paris") and query.json["usage"]["prompt_tokens"] == 5
        assert json.loads(stand.run("server", "ps", "--json").out)[0]["pid"]


def test_what_it_refuses_is_told_in_its_words(stand: Stand, url: str) -> None:
    for api, path in (("chat_completions", "/v1/chat/completions"), ("responses", "/v1/responses")):
        stand.write("profiles/other.yaml", f"url: {url}/v1\napi: {api}\napi_key: file:{stand.folder}/key\n")
        long = stand.run("infer", "--profile", "other", "word " * 4000)
        assert long.code == 1 and "context" in long.err, (path, long.err)
        stand.write("profiles/other.yaml", f"url: {url}/v1\napi: {api}\n")
        assert stand.run("infer", "--profile", "other", "Hi").code == 3
