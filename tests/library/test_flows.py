"""Flows from Python, as a program of a user runs them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import gptoss_flow
from gptoss_flow import Event, Invalid, compile_flow, load_flow, run_flow, run_flow_sync
from gptoss_flow.events import RunFinished, StepFinished, ToolStarted

FLOW = """\
version: 1
inputs: {topic: {type: string}}
steps:
  line: {prompt: {user: "About ${{ inputs.topic }}"}}
  size: {tool: "./helpers.py:size", with: {text: "${{ steps.line.output }}"}}
outputs: {line: "${{ steps.line.output }}", size: "${{ steps.size.output }}"}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.yaml").write_text(FLOW)
    (tmp_path / "helpers.py").write_text("def size(text: str) -> int: return len(text)\n")
    (tmp_path / "replies.yaml").write_text("replies:\n- {step: line, text: Hello}\n")
    return tmp_path


def test_every_public_name_is_there_and_no_other() -> None:
    for name in gptoss_flow.__all__:
        assert getattr(gptoss_flow, name) is not None
        assert name in dir(gptoss_flow)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gptoss_flow.nothing  # noqa: B018


def test_a_flow_is_run_and_tells_what_happens(folder: Path) -> None:
    seen: list[Event] = []
    run = run_flow_sync("flow.yaml", {"topic": "x"}, model="scripted:replies.yaml", on_event=seen.append)
    assert (run.status, run.outputs, run.error) == ("succeeded", {"line": "Hello", "size": 5}, "")
    assert [event.step for event in seen if isinstance(event, StepFinished)] == ["line", "size"]
    assert [event.tool for event in seen if isinstance(event, ToolStarted)] == ["size"]
    assert isinstance(seen[-1], RunFinished)
    assert run.folder == folder / ".gptoss-flow/runs" / run.folder.name and (run.folder / "events.jsonl").exists()


def test_nothing_is_left_where_nothing_is_to_be_recorded(folder: Path) -> None:
    before = sorted(folder.iterdir())
    assert (
        run_flow_sync("flow.yaml", {"topic": "x"}, model="scripted:replies.yaml", record=False).outputs["size"]
        == 5
    )
    assert sorted(folder.iterdir()) == before


def test_a_flow_is_loaded_compiled_and_run_one_after_another() -> None:
    plan = compile_flow(load_flow("flow.yaml"))
    assert list(plan.nodes) == ["line", "size"]

    async def twice() -> list[object]:
        both = (run_flow(plan, {"topic": t}, model="scripted:replies.yaml", record=False) for t in "ab")
        return [run.outputs["size"] for run in await asyncio.gather(*both)]

    assert asyncio.run(twice()) == [5, 5]


def test_what_is_wrong_is_told_with_its_place(folder: Path) -> None:
    with pytest.raises(Invalid, match="topic"):
        run_flow_sync("flow.yaml", {}, model="scripted:replies.yaml")
    (folder / "flow.yaml").write_text(FLOW.replace("helpers.py:size", "helpers.py:siz"))
    with pytest.raises(Invalid) as caught:
        compile_flow("flow.yaml")
    assert str(caught.value) == 'flow.yaml:5:16: "helpers.py" has no function "siz"; did you mean "size"?'


def test_a_run_that_is_cancelled_is_ended_in_order(folder: Path) -> None:
    (folder / "flow.yaml").write_text(
        'version: 1\nsteps: {wait: {tool: "./helpers.py:wait"}}\nfinally: {last: {set: {done: true}}}\n'
    )
    (folder / "helpers.py").write_text("import asyncio\nasync def wait(): await asyncio.Event().wait()\n")
    seen: list[Event] = []

    async def cancelled() -> set[str]:
        started = asyncio.Event()

        def watch(event: Event) -> None:
            seen.append(event)
            if isinstance(event, ToolStarted):
                started.set()

        task = asyncio.create_task(run_flow("flow.yaml", on_event=watch))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return {each.get_name() for each in asyncio.all_tasks()} - {asyncio.current_task().get_name()}  # type: ignore[union-attr]

    assert asyncio.run(cancelled()) == set()
    ends = {event.step: event.outcome for event in seen if isinstance(event, StepFinished)}
    assert ends == {"wait": "cancelled", "last": "succeeded"}
    assert isinstance(seen[-1], RunFinished) and seen[-1].status == "cancelled"
