"""The flow `research.yaml` over a site on this machine, with a scripted model."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from gptoss_flow.testing.project import Project

FLOW = str(Path(__file__).parents[3] / "flows" / "research.yaml")
PAGES = {
    "index.html": '<title>Tides</title><h1>Tides</h1><p>See <a href="moon.html">the moon</a>.',
    "moon.html": "<title>Moon</title><p>The moon pulls the sea.<p>High water comes twice a day.\x1b[31m\u202e",
}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *said: Any) -> None:
        pass


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "site"
    folder.mkdir()
    for name, text in PAGES.items():
        (folder / name).write_text(text)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def called(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"tool": tool, "arguments": arguments}


def test_a_question_is_answered_from_one_site_and_its_pages_are_named(project: Project, site: str) -> None:
    elsewhere = "http://127.0.0.1:9/"
    looks = [
        [called("browser.open", id=site)],
        [
            called("browser.open", id=0),
            called("browser.find", pattern="TWICE"),
            called("browser.open", id=elsewhere),
        ],
    ]
    replies: list[dict[str, Any]] = [{"turn": n + 1, "tool_calls": calls} for n, calls in enumerate(looks)]
    replies.append({"contains": "L2: High water comes twice a day.", "text": "Twice a day 【1†L2】."})
    project.write("replies.yaml", json.dumps({"replies": replies}))
    done = project.run(
        "run", FLOW, "--model", "scripted:replies.yaml", "-i", f"site={site}", "-i", "question=How often?"
    )  # fmt: skip
    assert done.code == 0, done.err
    assert yaml.safe_load(done.out) == {
        "answer": "Twice a day 【1†L2】.",
        "pages": f"[0] Tides ({site})\n[1] Moon ({site}moon.html)\n[2] Find results for text: `TWICE` in `Moon` "
        f"({site}moon.html)\n",
    }
    assert f'"{elsewhere}" is not opened: the flow grants {site[7:-1]}' in done.err
    events = project.events()
    said = [event["result"] for event in events if event["type"] == "tool_finished" and event["error"] is None]
    assert said[2].endswith("L0: The moon pulls the sea.\nL1: \nL2: High water comes twice a day.[31m")
    assert "【0†match at L2】" in said[3]


def test_a_site_that_is_not_there_ends_the_run_before_a_model_is_asked(project: Project, site: str) -> None:
    project.write("replies.yaml", "default: fine\n")
    run = ("run", FLOW, "--model", "scripted:replies.yaml", "-i", "question=x", "-i")
    done = project.run(*run, f"site={site}nowhere")
    assert (done.code, "answered with status 404" in done.err) == (1, True)
    done = project.run(*run, "site=http://localhost/")
    assert (done.code, "a name never stands for this machine" in done.err) == (1, True)
    assert project.run(*run, "site=ftp://x/").code == 2
    assert not [event for event in project.events() if event["type"] == "prompt_rendered"]
