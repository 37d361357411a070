"""Runs in which a model calls tools: replayed without one, resumed without repeating, free of secrets."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.app.masked_tools import masking
from gptoss_flow.cli import run_checked
from gptoss_flow.errors import ExitCode, StepError
from gptoss_flow.events import Event, GenerationFinished, Json, ToolFinished, ToolStarted
from gptoss_flow.ports import Asking, ToolContext
from gptoss_flow.record.redact import Redactor
from gptoss_flow.tools import TOOLS
from tests.cli.taken_up import Runs, ended, outputs
from tests.faults.effect import APPEND, FILE
from tests.steps.made_tools import MadeTool, Thing
from tests.ui.report.made import HOSTILE

FLOWS = Path(__file__).parents[2] / "flows"
SERVER = Path(__file__).parents[1] / "tools/mcp/hostile.py"
SECRET = "correct-horse-battery"
FLOW = """\
version: 1
steps:
  ask:
    prompt:
      user: What do the notes say?
      tools: [read_file, list_files]
      permissions: {deny: [{read_file: {path: "secret*"}}], ask: [list_files]}
  more: {prompt: {continue: ask, user: And now?}}
outputs:
  said: "${{ steps.more.output }}"
  calls: "${{ steps.ask.tool_calls }}"
"""
REPLIES = """\
replies:
  - step: ask
    turn: 1
    tool_calls:
      - {tool: read_file, arguments: {path: b.md}}
      - {tool: read_file, arguments: {path: a.md}}
      - {tool: read_file, arguments: {path: secret.md}}
      - {tool: nothing}
      - {tool: list_files, arguments: {}}
  - {step: ask, turn: 2, tool_calls: [{tool: read_file, arguments: {path: none.md}}]}
  - {step: ask, text: Two things.}
  - {step: more, text: Still two.}
"""


@pytest.fixture
def loop(runs: Runs) -> Runs:
    runs.write("flow.yaml", FLOW)
    runs.write("replies.yaml", REPLIES)
    runs.write("a.md", "one\n")
    runs.write("b.md", "two\n")
    return runs


def made(runs: Runs) -> list[ToolStarted]:
    return [event for event in runs.events() if isinstance(event, ToolStarted)]


# --- replay ----------------------------------------------------------------------------------------------------


def test_a_tool_loop_replays_with_no_model_and_no_files(loop: Runs) -> None:
    done = loop.run()
    assert done.code == 0, done.err
    permissions = [event.permission for event in made(loop)]
    assert sorted(permissions) == sorted(["granted"] * 3 + ["denied", "refused", "unasked"])
    loop.write("replies.yaml", "default: nobody asks\n")
    for name in ("a.md", "b.md"):
        (loop.folder / name).unlink()
    again = loop.do("replay", "--json")
    assert (again.code, again.err) == (0, "")
    assert json.loads(again.out)["outputs"] == outputs(done)
    assert "4 requests and 3 tool calls: all as recorded" in loop.do("replay").out


def test_calls_of_one_turn_are_found_by_their_ids_in_whatever_order_they_began(loop: Runs) -> None:
    loop.run()
    journal = loop.newest / "events.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    calls = [n for n, line in enumerate(lines) if b'"type":"tool_started"' in line and b'"granted"' in line]
    lines[calls[0]], lines[calls[1]] = lines[calls[1]], lines[calls[0]]
    journal.write_bytes(b"".join(lines))
    assert loop.do("replay").code == 0


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "tools: [read_file, list_files]",
            "tools: [list_files, read_file]",
            "its tools are list_files, read_file",
        ),
        (
            "tools: [read_file, list_files]",
            "tools: [read_file]",
            "its tools are read_file, and were read_file, list",
        ),
        ('"secret*"', '"secre"', "step ask: the record has no further call of read_file by it"),
        ('"secret*"', '"*.md"', "step ask: message 3 is not as it was"),
        (", ask: [list_files]", "", "step ask: the record has no further call of list_files by it"),
        (
            "ask: [list_files]",
            "ask: [list_files, read_file]",
            "a person is to decide on read_file, and was not then",
        ),
        ("      permissions", "      tool_choice: required\n      permissions", "tool_choice is required"),
        ("      permissions", "      max_turns: 2\n      permissions", "the run failed, and succeeded when"),
    ],
)
def test_a_loop_that_is_not_as_it_was_is_named(loop: Runs, before: str, after: str, said: str) -> None:
    loop.run()
    loop.change("flow.yaml", before, after)
    done = loop.do("replay")
    assert (done.code, done.out) == (6, "")
    assert said in done.err


def test_a_bound_that_ended_a_loop_ends_it_again(loop: Runs) -> None:
    loop.change("flow.yaml", "      permissions", "      max_turns: 2\n      permissions")
    assert loop.run().code == 1
    assert loop.do("replay").code == 0
    loop.change("flow.yaml", "max_turns: 2", "max_turns: 3")
    assert loop.do("replay").code == 6


def test_verify_asks_the_model_again_and_runs_no_tool(loop: Runs) -> None:
    loop.run()
    (loop.folder / "a.md").unlink()
    assert loop.do("replay", "--verify", "-q").code == 0


def test_lenient_goes_on_with_a_live_model_where_the_record_ends(loop: Runs) -> None:
    loop.run()
    loop.change("flow.yaml", "And now?", "And then?")
    loop.write("replies.yaml", "default: asked\n")
    done = loop.do("replay", "--lenient", "-q", "--json")
    assert (done.code, json.loads(done.out)["outputs"]["said"]) == (0, "asked")


def test_lenient_lets_a_live_model_read_and_do_nothing_else(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOOLS, APPEND.name, APPEND)
    runs.write("flow.yaml", "version: 1\nsteps: {a: {prompt: {user: Go., tools: [list_files, append]}}}\n")
    runs.write("replies.yaml", "default: Nothing to do.\n")
    assert runs.run().code == 0
    runs.change("flow.yaml", "Go.", "Go on.")
    runs.write("replies.yaml", "replies:\n  - {turn: 1, tool_calls: [{tool: list_files}]}\n  - {text: Seen.}\n")
    done = runs.do("replay", "--lenient", "-q", "--json")
    assert (done.code, json.loads(done.out)["outputs"]) == (0, {"a": "Seen."})
    runs.write("replies.yaml", WRITES)
    done = runs.do("replay", "--lenient", "-q")
    assert (done.code, effects(runs)) == (6, 0)
    assert "step a: the record has no further call of append by it" in done.err


def test_calls_that_a_timeout_cut_short_end_the_step_again(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    async def waits(arguments: Mapping[str, Json], context: ToolContext) -> Json:
        await asyncio.Event().wait()

    monkeypatch.setitem(TOOLS, "wait", MadeTool("wait", waits))
    runs.write("flow.yaml", "version: 1\nsteps: {a: {timeout: 200ms, prompt: {user: Go., tools: [wait]}}}\n")
    calls = [{"tool": "wait", "arguments": {"n": n}} for n in (1, 2)]
    runs.write("replies.yaml", json.dumps({"replies": [{"turn": 1, "tool_calls": calls}]}))
    assert runs.run().code == 1
    assert runs.do("replay").code == 0


def test_what_infer_asked_is_replayed_from_the_flow_that_it_kept(loop: Runs) -> None:
    loop.write(
        "replies.yaml", "replies:\n  - {turn: 1, tool_calls: [{tool: list_files}]}\n  - {text: Some files.}\n"
    )
    model = ("--model", "scripted:replies.yaml")
    assert loop.do("infer", *model, "--tools", "list_files", "--record", "Which files?").code == 0
    done = loop.do("replay")
    assert (done.code, done.err) == (0, "")
    assert "2 requests and 1 tool call: all as recorded" in done.out


def test_tools_of_a_server_replay_without_it(runs: Runs) -> None:
    server = json.dumps([sys.executable, "-I", "-S", str(SERVER), "well"])
    runs.write(
        "flow.yaml",
        f"version: 1\ntool_servers: {{beans: {{command: {server}}}}}\n"
        "steps: {a: {prompt: {user: Go., tools: [beans]}}}\n",
    )
    call = {"tool": "beans.echo", "arguments": {"text": "hello"}}
    runs.write("replies.yaml", json.dumps({"replies": [{"turn": 1, "tool_calls": [call]}, {"text": "Said."}]}))
    done = runs.run()
    assert (done.code, outputs(done)) == (0, {"a": "Said."}), done.err
    assert [event.permission for event in made(runs)] == ["granted"]
    runs.change("flow.yaml", "well", "gone")
    again = runs.do("replay")
    assert (again.code, again.err) == (0, "")


def test_a_server_that_offers_nothing_is_no_tool_itself(runs: Runs) -> None:
    server = json.dumps([sys.executable, "-I", "-S", str(SERVER), "nothing"])
    runs.write(
        "flow.yaml",
        f"version: 1\ntool_servers: {{beans: {{command: {server}}}}}\n"
        "steps: {a: {prompt: {user: Go., tools: [beans]}}}\n",
    )
    runs.write("replies.yaml", "replies: [{turn: 1, tool_calls: [{tool: beans}]}, {text: Said.}]\n")
    done = runs.run()
    assert done.code == 2
    assert 'flow.yaml:3:41: the tool server "beans" offers no tools' in done.err


def test_feedback_in_the_same_conversation_replays(runs: Runs) -> None:
    runs.write(
        "flow.yaml",
        "version: 1\nsteps:\n  a:\n    retry: {attempts: 3, backoff: 1ms, on: [schema], feedback: true}\n"
        "    prompt: {user: How many?, tools: [list_files], schema: {type: integer}}\n",
    )
    runs.write(
        "replies.yaml",
        "replies:\n  - {turn: 1, times: 1, tool_calls: [{tool: list_files}]}\n  - {text: two, times: 1}\n"
        "  - {contains: was not accepted, text: '2'}\n",
    )
    assert outputs(runs.run()) == {"a": 2}
    runs.write("replies.yaml", "default: nobody asks\n")
    done = runs.do("replay")
    assert (done.code, done.err) == (0, "")


def test_the_example_runs_and_replays(runs: Runs) -> None:
    runs.write("README.md", "A project.\n")
    runs.write(
        "replies.yaml",
        "replies:\n  - {turn: 1, tool_calls: [{tool: list_files}, {tool: read_file, arguments: {path: a.env}}]}\n"
        "  - {turn: 2, tool_calls: [{tool: read_file, arguments: {path: README.md}}]}\n"
        "  - {text: It is a project.}\n",
    )
    done = runs.run(flow=str(FLOWS / "agent-tools.yaml"))
    assert (done.code, outputs(done)) == (0, {"answer": "It is a project."})
    assert {(event.tool, event.permission) for event in made(runs)} == {
        ("list_files", "granted"),
        ("read_file", "denied"),
        ("read_file", "granted"),
    }
    assert runs.do("replay").code == 0


# --- resume: what is done once ---------------------------------------------------------------------------------

ONCE = """\
version: 1
steps:
  ask: {prompt: {user: Write x., tools: [append]}, retry: {attempts: 1}}
  after: {set: {got: "${{ steps.ask.output | default('nothing', true) }}"}}
"""
WRITES = """\
replies:
  - {turn: 1, tool_calls: [{tool: append, arguments: {line: x}}]}
  - {text: Written.}
"""


@pytest.fixture
def once(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setitem(TOOLS, APPEND.name, APPEND)
    runs.write("flow.yaml", ONCE)
    runs.write("replies.yaml", WRITES)
    return runs


def effects(runs: Runs) -> int:
    path = runs.folder / FILE
    return len(path.read_text().splitlines()) if path.exists() else 0


def is_a(kind: type[Event], number: int = 1) -> Any:
    """The so-manieth event of this kind."""
    left = [number]

    def found(event: Event) -> bool:
        left[0] -= isinstance(event, kind)
        return isinstance(event, kind) and left[0] == 0

    return found


@pytest.mark.parametrize("last", [ToolStarted, ToolFinished])
def test_a_resumed_run_never_silently_repeats_what_its_model_did_once(once: Runs, last: type[Event]) -> None:
    assert once.run().code == 0
    once.cut(is_a(last))
    done = once.do("resume", "-q")
    assert done.code == 2
    assert "step ask was interrupted, and its model had called append, which is to be done once" in done.err
    assert effects(once) == 1
    assert once.do("resume", "-q", "--redo", "ask").code == 0
    assert effects(once) == 2


def test_what_the_user_says_has_happened_is_not_done_again(once: Runs) -> None:
    once.run()
    once.cut(is_a(ToolFinished))
    assert once.do("resume", "-q", "--assume-done", "ask").code == 0
    assert effects(once) == 1


def test_before_the_call_nothing_has_happened(once: Runs) -> None:
    once.run()
    (once.folder / FILE).unlink()
    once.cut(is_a(GenerationFinished))
    assert once.do("resume", "-q").code == 0
    assert effects(once) == 1


def test_a_step_that_failed_after_such_a_call_asks_too(once: Runs) -> None:
    once.change("replies.yaml", "{text: Written.}", "{error: {message: gone, retryable: false}}")
    assert once.run().code == 1
    once.write("replies.yaml", WRITES)
    done = once.do("resume", "-q")
    assert (done.code, effects(once)) == (2, 1)
    assert "step ask failed, and its model had called append" in done.err


def test_a_call_that_was_denied_has_not_happened(once: Runs) -> None:
    once.change("flow.yaml", "tools: [append]", "tools: [append], permissions: {deny: [append]}")
    once.run()
    once.cut(is_a(ToolFinished))
    assert once.do("resume", "-q").code == 0
    assert effects(once) == 0


def test_a_finished_step_of_that_kind_is_not_done_again_whatever_cache_says(once: Runs) -> None:
    once.change("flow.yaml", "retry: {attempts: 1}", "cache: false")
    once.run()
    once.cut(ended("ask"))
    assert once.do("resume", "-q").code == 0
    assert effects(once) == 1


# --- secrets ---------------------------------------------------------------------------------------------------


def test_a_model_never_sees_a_secret_and_no_record_has_one(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", SECRET)

    async def leaks(arguments: Mapping[str, Json], context: ToolContext) -> Json:
        if arguments.get("n") == 2:
            raise StepError("tool", f"refused with {SECRET}")
        return {"token": SECRET}

    monkeypatch.setitem(TOOLS, "leak", MadeTool("leak", leaks))
    runs.write(
        "flow.yaml",
        "version: 1\nsecrets: [TOKEN]\nsteps:\n  a: {prompt: {user: Go., tools: [leak]}}\n"
        "  b: {tool: leak, env: {T: '${{ secrets.TOKEN }}'}}\n",
    )
    calls = [{"tool": "leak", "arguments": {"n": n, "text": SECRET}} for n in (1, 2)]
    runs.write(
        "replies.yaml",
        json.dumps(
            {"replies": [{"turn": 1, "tool_calls": calls}, {"contains": SECRET, "text": "Seen!"}, {"text": "ok"}]}
        ),
    )
    done = runs.run()
    assert done.code == 0, done.err
    assert SECRET not in done.out + done.err
    for path in runs.newest.rglob("*"):
        if path.is_file():
            assert SECRET not in path.read_text(errors="replace"), path
    assert {str(event.arguments.get("text")) for event in made(runs)} == {"[redacted:TOKEN]", "None"}
    assert [event.text for event in runs.events() if isinstance(event, GenerationFinished)][-1] == "ok"
    for form in ("html", "text", "md", "json"):
        assert SECRET not in runs.do("report", "latest", "-f", form, "-o", "-").out


def test_what_a_tool_says_of_itself_holds_no_secret_either() -> None:
    about = {"type": "object", "properties": {"a": {"description": f"As {SECRET}."}}}
    tool = MadeTool("echo", description=f"Called with {SECRET}.", parameters=about)
    mask = masking(Redactor({"TOKEN": SECRET}))
    assert mask is not None
    masked = mask(tool)
    assert masked.description == "Called with [redacted:TOKEN]."
    assert masked.parameters["properties"] == {"a": {"description": "As [redacted:TOKEN]."}}


# --- what tools and models say is shown, never obeyed -----------------------------------------------------------


def test_hostile_results_and_calls_are_escaped_wherever_they_are_shown(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "\n".join(HOSTILE).encode("utf-8", "replace").decode()

    async def says(arguments: Mapping[str, Json], context: ToolContext) -> Json:
        if arguments.get("n") == 1:
            raise StepError("tool", said)
        return said

    monkeypatch.setitem(TOOLS, "say", MadeTool("say", says))
    runs.write("flow.yaml", "version: 1\nsteps:\n  a: {prompt: {user: Go., tools: [say]}}\n")
    text = "".join(c for c in said if "\0" < c < "\ud800")  # what a script can say
    calls = [
        {"tool": "say", "arguments": {"text": text}},
        {"tool": "say", "arguments": {"n": 1, "text": text}},
        {"tool": text, "arguments": {}},
        {"tool": "say", "arguments": text},
    ]
    runs.write("replies.yaml", json.dumps({"replies": [{"turn": 1, "tool_calls": calls}, {"text": "ok"}]}))
    done = runs.do("run", "flow.yaml", "--model", "scripted:replies.yaml")
    assert done.code == 0, done.err
    reports = [runs.do("report", "latest", "-f", form, "-o", "-").out for form in ("text", "html")]
    rlog = (runs.newest / "run.rlog").read_text()
    for shown in (done.err, runs.do("show", "latest", "a").out, rlog, *reports):
        assert len(shown) > 500
        assert not {c for c in shown if c < " " and c not in "\n\t"}
        assert not set("\x7f\x9b\u202e\u2066\u200b\u2028") & set(shown)
    assert "<script>alert" not in reports[1]
    assert [line for line in rlog.splitlines() if line.startswith(("|", "-->"))] == []
    assert {event.tool for event in made(runs)} == {"say", "unknown"}


# --- what tools are given --------------------------------------------------------------------------------------


def test_what_tools_keep_for_the_run_is_shared_by_its_steps_and_closed_at_its_end(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    things: list[Thing] = []

    def make() -> Thing:
        things.append(Thing())
        return things[-1]

    async def keeps(arguments: Mapping[str, Json], context: ToolContext) -> Json:
        context.kept_for_run.get("thing", make).uses += 1
        return [thing.closed for thing in things]

    monkeypatch.setitem(TOOLS, "keep", MadeTool("keep", keeps))
    runs.write(
        "flow.yaml",
        "version: 1\nsteps:\n  a: {prompt: {user: Go., tools: [keep]}}\n  b: {tool: keep, needs: [a]}\n",
    )
    runs.write("replies.yaml", "replies: [{turn: 1, tool_calls: [{tool: keep}]}, {text: Kept.}]\n")
    assert outputs(runs.run()) == {"b": [0]}
    assert [(thing.uses, thing.closed) for thing in things] == [(2, 1)]


@pytest.mark.parametrize("allowed", [True, False])
def test_only_the_user_can_let_tool_code_go_without_a_sandbox(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    tool = MadeTool("say")
    monkeypatch.setitem(TOOLS, "say", tool)
    runs.write(
        "flow.yaml", "version: 1\nsteps: {a: {prompt: {user: Go., tools: [say], sandbox: dangerously_none}}}\n"
    )
    runs.write("replies.yaml", "replies: [{turn: 1, tool_calls: [{tool: say}]}, {text: Said.}]\n")
    assert runs.run(*(["--allow-unsandboxed"] if allowed else [])).code == 0
    grants = tool.contexts[0].grants
    assert (grants.sandbox, grants.unsandboxed) == ("dangerously_none", allowed)


# --- infer -----------------------------------------------------------------------------------------------------


def test_infer_lets_a_model_call_tools(loop: Runs) -> None:
    loop.write(
        "replies.yaml",
        "replies:\n  - {turn: 1, tool_calls: [{tool: read_file, arguments: {path: a.md}}]}\n"
        "  - {text: It says one.}\n",
    )
    model = ("--model", "scripted:replies.yaml")
    done = loop.do("infer", *model, "--tools", "read_file, list_files", "--record", "Read a.md")
    assert (done.code, done.out) == (0, "It says one.\n")
    assert 'calls read_file {"path": "a.md"}' in done.err
    assert [event.tokens != [] for event in loop.events() if isinstance(event, GenerationFinished)] == [True] * 2
    loop.change("replies.yaml", "{turn: 1,", "{turn: 1, text: I look.,")
    assert loop.do("infer", *model, "--tools", "read_file", "Read a.md").out == "I look.\nIt says one.\n"
    said = json.loads(loop.do("infer", *model, "--tools", "read_file", "--json", "Read a.md").out)
    assert [(call["tool"], call["result"]) for call in said["tool_calls"]] == [("read_file", "one\n")]
    done = loop.do("infer", *model, "--tools", "read_file", "--max-turns", "1", "Read a.md")
    assert (done.code, "max_turns: the model may take 1 and wants read_file in another" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--tools", "read_fil"], '"read_fil" is not a tool; did you mean "read_file"?'),
        (["--tools", "read_file", "--raw"], "there is no place for --tools"),
        (["--schema", "none.json"], 'there is no file "'),
    ],
)
def test_infer_says_what_is_wrong_with_its_tools(loop: Runs, args: list[str], said: str) -> None:
    done = loop.do("infer", "--model", "scripted:replies.yaml", *args, "Hi")
    assert (done.code, said in done.err) == (2, True), done.err
    assert "infer.yaml" not in done.err


def test_infer_lets_a_model_call_a_function_of_a_file_beside_the_user(runs: Runs) -> None:
    runs.write("mine.py", 'def twice(text: str) -> str:\n    """Say it twice."""\n    return text * 2\n')
    calls = "[{tool: twice, arguments: {text: ab}}]"
    runs.write("replies.yaml", f"replies:\n  - {{turn: 1, tool_calls: {calls}}}\n  - {{text: Done.}}\n")
    done = runs.do("infer", "--model", "scripted:replies.yaml", "--tools", "./mine.py:twice", "--json", "Go.")
    assert done.code == 0, done.err
    assert [call["result"] for call in json.loads(done.out)["tool_calls"]] == ["abab"]


def test_infer_gives_an_answer_by_a_schema(loop: Runs) -> None:
    loop.write("number.json", '{"type": "object", "required": ["n"]}')
    loop.write("replies.yaml", "default: '{\"n\": 3}'\n")
    model = ("--model", "scripted:replies.yaml")
    done = loop.do("infer", *model, "--schema", "number.json", "How many?")
    assert (done.code, json.loads(done.out)) == (0, {"n": 3})
    loop.write("replies.yaml", "default: three\n")
    done = loop.do("infer", *model, "--schema", "number.json", "How many?")
    assert (done.code, "the answer is not JSON at line 1, column 1" in done.err) == (1, True)


# --- calls that end a step, decisions, and trust -----------------------------------------------------------------


async def unanswered(arguments: Mapping[str, Json], context: ToolContext) -> Json:
    await APPEND.call({"line": "sent"}, context)
    raise StepError("timeout", "it has not answered within 1 s")


@pytest.mark.parametrize("step", ["tool: send", "prompt: {user: Go., tools: [send]}"])
def test_a_call_that_was_not_answered_in_time_may_have_happened(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setitem(TOOLS, "send", MadeTool("send", unanswered, "once"))
    runs.write("flow.yaml", f"version: 1\nsteps: {{a: {{{step}}}}}\n")
    runs.write("replies.yaml", "replies: [{turn: 1, tool_calls: [{tool: send}]}, {text: Sent.}]\n")
    assert runs.run().code == 1
    done = runs.do("resume", "-q")
    assert (done.code, effects(runs)) == (2, 1)
    assert "say --redo a or --assume-done a" in done.err
    assert runs.do("replay").code == 0


@pytest.mark.parametrize(("kind", "code"), [("timeout", ExitCode.FAILED), ("tool", ExitCode.UNAVAILABLE)])
def test_what_ended_a_turn_ends_it_again_though_another_call_came_after(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, kind: Any, code: ExitCode
) -> None:
    second = asyncio.Event()

    async def fails(arguments: Mapping[str, Json], context: ToolContext) -> Json:
        if arguments["n"] == 1:
            await second.wait()
            raise StepError(kind, "no answer", retryable=False, exit_code=code)
        second.set()
        return "fine"

    monkeypatch.setitem(TOOLS, "look", MadeTool("look", fails))
    runs.write("flow.yaml", "version: 1\nsteps: {a: {prompt: {user: Go., tools: [look]}}}\n")
    calls = [{"tool": "look", "arguments": {"n": n}} for n in (1, 2)]
    runs.write("replies.yaml", json.dumps({"replies": [{"turn": 1, "tool_calls": calls}, {"text": "Seen."}]}))
    assert runs.run().code == code
    again = runs.do("replay")
    assert (again.code, again.err) == (0, "")


def test_a_call_of_a_step_that_nobody_decided_is_on_record_and_is_decided_so_again(loop: Runs) -> None:
    loop.write("flow.yaml", "version: 1\nsteps: {a: {tool: list_files, permissions: {ask: [list_files]}}}\n")
    assert loop.run().code == 1
    assert [(event.call_id, event.permission) for event in made(loop)] == [("a.1", "unasked")]
    again = loop.do("replay")
    assert (again.code, again.err) == (0, "")


def test_the_replay_of_a_flow_that_was_not_trusted_trusts_it_no_more(runs: Runs) -> None:
    runs.write("flow.yaml", "version: 1\nsteps: {a: {prompt: {user: Go.}}}\n")
    assert runs.run("--untrusted-flow").code == 0
    runs.write("evil.py", "open('planted', 'w').close()\ndef f(x: str) -> str:\n    return x\n")
    runs.write("flow.yaml", "version: 1\nsteps: {a: {tool: ./evil.py:f, with: {x: y}}}\n")
    done = runs.do("replay")
    assert done.code == 2
    assert "untrusted flow" in done.err
    assert not (runs.folder / "planted").exists()


def test_a_person_who_is_asked_sees_no_secret(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Asking] = []

    async def decide(asking: Asking) -> str:
        seen.append(asking)
        return "approved"

    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setattr(run_checked, "terminal_ask", lambda *given: decide)
    say = MadeTool("say")
    monkeypatch.setitem(TOOLS, "say", say)
    step = '{tool: say, with: {text: "key ${{ secrets.TOKEN }}"}, permissions: {ask: [say]}}'
    runs.write("flow.yaml", f"version: 1\nsecrets: [TOKEN]\nsteps: {{a: {step}}}\n")
    assert runs.run().code == 0
    assert say.called == [{"text": f"key {SECRET}"}]
    assert [asking.arguments for asking in seen] == [{"text": "key [redacted:TOKEN]"}]
