"""`resume` as a user types it, over runs that were broken off: what is finished is not done again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json, RunFinished
from gptoss_flow.ports import ToolContext
from gptoss_flow.record.folder import RunFolder
from gptoss_flow.record.journal_file import read_journal
from gptoss_flow.tools import TOOLS
from tests.cli.taken_up import Runs, ended, of_type, outputs
from tests.faults.effect import APPEND, FILE, Append
from tests.faults.unbroken import FLOW as TEN
from tests.faults.unbroken import INNER, REPLIES
from tests.record.secrets import SHAPED

GITHUB = SHAPED["github_token"][0]
STEPS = "version: 1\nsteps:\n"
FOUR = """\
version: 1
inputs: {ok: {type: boolean, default: true}}
steps:
  each:
    foreach: [a, b, c, d]
    max_parallel: 1
    prompt: {user: "Say ${{ item }}"}
  other: {prompt: {user: Other, params: {max_tokens: 9}}}
  files: {tool: list_files, with: {pattern: "*.yaml"}}
  sum: {set: {n: "${{ steps.each.output | length }}"}}
  check: {check: ["steps.sum.output.n == 4 and inputs.ok"]}
outputs: {n: "${{ steps.sum.output.n }}"}
"""
ONCE = """\
version: 1
steps:
  send: {tool: append, with: {line: x}}
  after: {set: {got: "${{ steps.send.output | default('nothing') }}"}}
"""


class Interrupt(Append):
    """Interrupts the run that calls it."""

    name = "interrupt"
    effect = "idempotent"

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        if not (context.workspace / "quiet").exists():
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        return "quiet"


@dataclass(frozen=True)
class Failing(Append):
    """Does it, and fails all the same."""

    unsure: bool

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        await super().call(arguments, context)
        raise StepError("tool", "the line went dead", unsure=self.unsure)


class Telling(Append):
    """Its result has what looks like a secret."""

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        return f"{await super().call(arguments, context)}: {GITHUB}"


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    for tool in (APPEND, Interrupt()):
        monkeypatch.setitem(TOOLS, tool.name, tool)


def effects(runs: Runs) -> int:
    path = runs.folder / FILE
    return len(path.read_text().splitlines()) if path.exists() else 0


# --- what is finished is not done again ---------------------------------------------------------------------


def test_half_of_a_fan_out_is_not_asked_again(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run()
    runs.cut(ended("each[1]"))
    done = runs.do("resume", "--json")
    assert (done.code, outputs(done)) == (0, {"n": 4})
    assert not {"each[0]", "each[1]"} & set(runs.started())
    assert {"each[2]", "each[3]", "sum", "check"} <= set(runs.started())


@pytest.mark.parametrize("part", range(4))
def test_a_run_is_resumed_from_any_of_its_records_to_the_same_end(runs: Runs, part: int) -> None:
    runs.write("flow.yaml", TEN)
    runs.write("inner.yaml", INNER)
    runs.write("replies.yaml", REPLIES)
    wanted = outputs(runs.run())
    journal = runs.newest / "events.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    for kept in range(1 + part, len(lines), 4):
        journal.write_bytes(b"".join(lines[:kept]))
        done = runs.do("resume", "--json")
        if done.code == 2:
            assert "--redo send or --assume-done send" in done.err
            done = runs.do("resume", "--json", "--assume-done", "send")
        assert (done.code, outputs(done)) == (0, wanted), (kept, done.err)
        finished = set[str]()
        for event in runs.events():
            if event.type == "step_finished" and event.outcome == "succeeded":
                finished.add(event.step)
            elif event.type == "step_started" and event.kind != "flow" and event.items is None:
                assert event.step not in finished, (kept, event.step)


def test_a_run_that_was_interrupted_goes_on(runs: Runs) -> None:
    runs.write(
        "flow.yaml", STEPS + "  a: {prompt: {user: hi}}\n  b: {needs: [a], tool: interrupt, with: {line: x}}\n"
    )
    assert runs.run().code == 130
    runs.write("quiet", "")
    assert runs.do("resume", "--json").code == 0
    assert runs.started() == ["b"]


def test_panes_are_there_again_as_the_finished_steps_left_them(runs: Runs) -> None:
    flow = (
        STEPS + "  make: {tool: ui_pane, with: {action: create, id: a, x: 7}}\n"
        "  wait: {needs: [make], tool: interrupt, with: {line: x}}\n"
        "  move: {needs: [wait], tool: ui_pane, with: {action: move, id: a, x: 8, y: 9}}\n"
    )
    runs.write("flow.yaml", flow)
    assert runs.run().code == 130
    runs.write("quiet", "")
    resumed = runs.do("resume", "--json")
    assert resumed.code == 0, resumed.err
    assert runs.started() == ["wait", "move"]
    assert json.loads(resumed.out)["steps"]["move"]["output"]["pane"]["y"] == 9


def test_after_the_flow_was_mended_only_what_failed_runs(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR)
    assert runs.run("-i", "ok=false").code == 5
    runs.change("flow.yaml", "== 4 and inputs.ok", "== 4")
    done = runs.do("resume", "--json")
    assert (done.code, runs.started(), runs.warnings()) == (0, ["check"], [])


@pytest.mark.parametrize(
    ("before", "after", "ran", "said"),
    [
        ('"Say ${{ item }}"', '"Tell ${{ item }}"', {"each[0]", "each[1]", "each[2]", "each[3]"}, "inputs"),
        ("[a, b, c, d]", "[a, b, c, e]", {"each[3]"}, "inputs"),
        ("max_tokens: 9", "max_tokens: 8", {"other"}, "params"),
        ("user: Other,", "user: Other, system: Be brief.,", {"other"}, "inputs"),
        ('"*.yaml"}', '"r*.yaml"}', {"files"}, "inputs"),
        ("steps.sum.output.n == 4", "steps.sum.output.n > 3", set(), ""),
    ],
)
def test_what_was_changed_runs_again_with_what_depends_on_it_and_that_is_said(
    runs: Runs, before: str, after: str, ran: set[str], said: str
) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run("-i", "ok=false")
    runs.change("flow.yaml", before, after)
    runs.do("resume")
    # What depends on the items is as it was: their answers are the same.
    assert set(runs.started()) - {"check"} == ran
    assert sorted(runs.warnings()) == sorted(f"{unit}: runs again: {said} changed" for unit in ran)


def test_what_depends_on_another_result_runs_again(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run("-i", "ok=false")
    runs.change("flow.yaml", "[a, b, c, d]", "[a, b, c]")
    runs.do("resume")
    assert runs.started() == ["sum", "check"]


def test_another_version_of_a_tool_runs_again(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run("-i", "ok=false")
    newer = replace(TOOLS["list_files"])
    newer.__dict__["code"] = "newer"
    monkeypatch.setitem(TOOLS, "list_files", newer)
    runs.do("resume")
    assert set(runs.started()) == {"files", "check"}
    assert runs.warnings() == ["files: runs again: tool changed"]


def test_another_model_asks_all_again(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run("-i", "ok=false")
    runs.write("replies.yaml", "default: other\n")
    runs.do("resume")
    assert set(runs.started()) == {"each[0]", "each[1]", "each[2]", "each[3]", "other", "check"}


def test_a_step_that_its_fallback_did_is_finished(runs: Runs) -> None:
    runs.write(
        "flow.yaml",
        STEPS + "  a: {prompt: {user: hi}, on_error: {fallback: {set: {why: '${{ error.message }}'}}}}\n"
        "  b: {needs: [a], prompt: {user: hi}}\n",
    )
    runs.write("replies.yaml", "replies: [{step: a, error: {message: broken}}]\n")
    assert runs.run().code == 1
    runs.do("resume")
    assert (runs.started(), runs.warnings()) == (["b"], [])
    runs.change("flow.yaml", "{why:", "{cause:")
    runs.do("resume")
    assert runs.started() == ["a", "b"]
    assert runs.warnings() == ["a: runs again: fallback changed"]


def test_a_known_result_stands_for_one_round_only(runs: Runs) -> None:
    """Else a flow that is repeated until something changes would be given its last round's results for ever."""
    runs.write(
        "flow.yaml",
        STEPS + "  poll: {flow: ./inner.yaml, repeat: {max: 5, until: output.said == 'ready'}}\n"
        "  late: {needs: [poll], set: {x: 1}}\n",
    )
    runs.write(
        "inner.yaml", STEPS + "  ask: {prompt: {user: ready?}}\noutputs: {said: '${{ steps.ask.output }}'}\n"
    )
    runs.write("replies.yaml", "default: ready\nreplies: [{text: no, times: 2}]\n")
    assert runs.run().code == 0
    runs.cut(of_type("round_finished", "poll"))
    assert runs.do("resume").code == 0
    assert runs.started().count("poll.ask") == 3  # the script begins anew: no, no, ready


def test_a_repeated_step_that_ended_is_finished(runs: Runs) -> None:
    runs.write(
        "flow.yaml",
        STEPS + '  a: {repeat: {max: 3, until: loop.last}, prompt: {user: "${{ loop.index }}"}}\n'
        "  b: {needs: [a], set: {x: 1}}\n",
    )
    runs.run()
    runs.cut(ended("a"))
    runs.do("resume")
    assert runs.started() == ["b"]


def test_finally_runs_again_and_sees_how_the_run_went(runs: Runs) -> None:
    runs.write(
        "flow.yaml",
        "version: 1\ninputs: {ok: {type: boolean, default: false}}\nsteps:\n  a: {check: [inputs.ok]}\n"
        "finally:\n  bye: {set: {s: '${{ run.status }}'}}\noutputs: {s: '${{ steps.bye.output.s }}'}\n",
    )
    assert outputs(runs.run()) == {"s": "failed"}
    runs.change("flow.yaml", "[inputs.ok]", "[true]")
    done = runs.do("resume", "--json")
    assert (done.code, outputs(done)) == (0, {"s": "succeeded"})


def test_redo_runs_what_had_finished_whatever_is_known_of_it(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR.replace("  other: {", "  other: {cache: true, "))
    runs.run()
    assert runs.do("resume", "--redo", "each[1]", "--redo", "other").code == 0
    assert set(runs.started()) == {"each[1]", "other"}
    assert "did you mean" in runs.do("resume", "--redo", "eaach").err


# --- what later runs may reuse ------------------------------------------------------------------------------


def test_only_what_says_so_is_reused_by_another_run(runs: Runs) -> None:
    runs.write(
        "flow.yaml",
        STEPS + "  yes: {cache: true, prompt: {user: a}}\n  no: {cache: false, prompt: {user: b}}\n"
        "  mute: {prompt: {user: c}}\n"
        "  own: {cache: {key: '${{ flow.name }}'}, prompt: {user: '${{ run.id }}'}}\n",
    )
    runs.run()
    runs.run()
    assert (sorted(runs.started()), sorted(runs.reused())) == (["mute", "no"], ["own", "yes"])
    runs.run("--no-cache")
    assert runs.reused() == []
    runs.change("flow.yaml", "user: a}", "user: a!}")
    runs.run()
    assert runs.reused() == ["own"]


def test_what_is_never_to_be_reused_is_not_in_a_resumed_run_either(runs: Runs) -> None:
    runs.write("flow.yaml", STEPS + "  a: {cache: false, prompt: {user: hi}}\n  b: {needs: [a], set: {x: 1}}\n")
    runs.run()
    runs.cut(ended("a"))
    runs.do("resume")
    assert runs.started() == ["a", "b"]


def test_a_stored_result_of_another_workspace_is_none(runs: Runs) -> None:
    runs.write("flow.yaml", STEPS + "  a: {cache: true, tool: list_files, with: {pattern: '*.md'}}\n")
    runs.write("one/a.md", "a")
    runs.write("two/b.md", "b")
    for folder, name in (("one", "a.md"), ("two", "b.md")):
        assert outputs(runs.run("--workspace", folder))["a"][0]["path"] == name


def test_a_fallbacks_result_is_no_result_for_later_runs(runs: Runs) -> None:
    runs.write(
        "flow.yaml", STEPS + "  a: {cache: true, prompt: {user: hi}, on_error: {fallback: {set: {x: 1}}}}\n"
    )
    runs.write("replies.yaml", "default: fine\nreplies: [{step: a, error: {message: broken}}]\n")
    runs.run()
    runs.run()
    assert runs.started() == ["a"]


# --- what is to be done once --------------------------------------------------------------------------------


def test_an_interrupted_once_step_waits_for_the_users_word(runs: Runs) -> None:
    runs.write("flow.yaml", ONCE)
    runs.run()
    runs.cut(of_type("tool_started", "send"))
    before = (runs.newest / "events.jsonl").read_bytes()
    done = runs.do("resume")
    assert (done.code, done.out) == (2, "")
    assert "step send was interrupted, and what it does is to be done once" in done.err
    assert "see whether it happened, then say --redo send or --assume-done send" in done.err
    assert ((runs.newest / "events.jsonl").read_bytes(), effects(runs)) == (before, 1)
    assert (
        "is to be redone, and assumed to be done"
        in runs.do("resume", "--redo", "send", "--assume-done", "send").err
    )


def test_a_once_step_is_redone_at_the_users_word(runs: Runs) -> None:
    runs.write("flow.yaml", ONCE)
    runs.run()
    runs.cut(of_type("tool_started", "send"))
    done = runs.do("resume", "--json", "--redo", "send")
    assert (done.code, outputs(done), effects(runs)) == (0, {"after": {"got": "done"}}, 2)


@pytest.mark.parametrize("cache", ["", "cache: false, "])
def test_a_once_step_is_assumed_done_at_the_users_word_and_only_once(runs: Runs, cache: str) -> None:
    runs.write("flow.yaml", ONCE.replace("send: {", f"send: {{{cache}") + "  never: {check: [false]}\n")
    runs.run()
    runs.cut(of_type("tool_started", "send"))
    done = runs.do("resume", "--json", "--assume-done", "send")
    assert (done.code, effects(runs)) == (5, 1)
    done = runs.do("resume")
    assert (done.code, effects(runs)) == (5, 1)
    assert "once" not in done.err


def test_a_once_step_whose_call_ended_is_finished(runs: Runs) -> None:
    runs.write("flow.yaml", ONCE)
    runs.run()
    runs.cut(of_type("tool_finished", "send"))
    done = runs.do("resume", "--json")
    assert (done.code, outputs(done), effects(runs)) == (0, {"after": {"got": "done"}}, 1)


def test_a_once_step_that_never_came_to_its_call_runs(runs: Runs) -> None:
    runs.write("flow.yaml", ONCE)
    runs.run()
    runs.cut(of_type("step_started", "send"), left=b'{"seq":3,"t":1')
    assert (runs.do("resume").code, effects(runs)) == (0, 2)


@pytest.mark.parametrize("more", ["expect: [output == 'done'], ", "repeat: {max: 2, until: output == 'done'}, "])
def test_whether_a_call_was_enough_is_not_guessed(runs: Runs, more: str) -> None:
    runs.write("flow.yaml", ONCE.replace("send: {", f"send: {{{more}"))
    runs.run()
    runs.cut(of_type("tool_finished", "send"))
    done = runs.do("resume")
    assert (done.code, "before it was known whether that is enough" in done.err) == (2, True)
    assert runs.do("resume", "--assume-done", "send").code == 0
    assert effects(runs) == 1


def test_a_once_step_that_timed_out_in_its_call_waits_for_the_users_word(runs: Runs) -> None:
    runs.write("flow.yaml", STEPS + "  ask: {prompt: {user: hi}, effect: once, timeout: 10ms}\n")
    runs.write("replies.yaml", "replies: [{text: x, delay: 60}]\n")
    assert runs.run().code == 1
    assert "--redo ask or --assume-done ask" in runs.do("resume").err


@pytest.mark.parametrize("last", ["step_finished", "tool_finished"])
def test_a_once_step_whose_answer_was_lost_waits_for_the_users_word(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    monkeypatch.setitem(TOOLS, "append", Failing(unsure=True))
    runs.write("flow.yaml", ONCE)
    assert runs.run().code == 1
    runs.cut(of_type(last, "send"))
    done = runs.do("resume")
    assert (done.code, effects(runs)) == (2, 1)
    assert "step send failed without a usable answer of append, and what that does is to be done once" in done.err
    assert "--redo send or --assume-done send" in done.err
    assert (runs.do("resume", "--assume-done", "send").code, effects(runs)) == (0, 1)


def test_a_once_step_that_says_itself_that_it_failed_is_done_again(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOOLS, "append", Failing(unsure=False))
    runs.write("flow.yaml", ONCE)
    assert runs.run().code == 1
    assert (runs.do("resume").code, effects(runs)) == (1, 2)


def test_a_once_prompt_and_one_in_a_flow_and_an_item_wait_too(runs: Runs) -> None:
    runs.write(
        "flow.yaml",
        STEPS + "  ask: {prompt: {user: hi}, effect: once}\n"
        "  sub: {flow: ./inner.yaml}\n  each: {foreach: [1, 2], tool: append, with: {line: '${{ item }}'}}\n",
    )
    runs.write("inner.yaml", STEPS + "  send: {tool: append, with: {line: inner}}\n")
    runs.run()
    for event, unit in (("step_started", "ask"), ("tool_started", "sub.send"), ("tool_started", "each[1]")):
        whole = (runs.newest / "events.jsonl").read_bytes()
        runs.cut(of_type(event, unit))
        assert f"--redo {unit} or --assume-done {unit}" in runs.do("resume").err
        (runs.newest / "events.jsonl").write_bytes(whole)


def test_a_damaged_record_makes_a_once_step_doubtful(runs: Runs) -> None:
    runs.write("flow.yaml", ONCE)
    runs.run()
    runs.cut(of_type("tool_started", "send"))
    journal = runs.newest / "events.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:-1], lines[-1].replace(b"send", b"sand")]))
    done = runs.do("resume")
    assert (done.code, "--redo send" in done.err, effects(runs)) == (2, True, 1)


def test_a_result_from_which_a_secret_was_taken_is_no_reason_to_do_it_again(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOOLS, "append", Telling())
    runs.write("flow.yaml", ONCE + "  never: {check: [false], needs: [after]}\n")
    runs.run()
    done = runs.do("resume")
    assert (done.code, "a secret was taken out of its recorded result" in done.err) == (2, True)
    assert (runs.do("resume", "--assume-done", "send").code, effects(runs)) == (5, 1)


def test_there_is_nothing_to_decide_of_what_was_not_interrupted(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run("-i", "ok=false")
    done = runs.do("resume", "--assume-done", "each")
    assert (done.code, "--assume-done each: it was not interrupted" in done.err) == (2, True)
    assert 'the run has no step "eachh"' in runs.do("resume", "--assume-done", "eachh").err


# --- runs that can't go on, or need not ---------------------------------------------------------------------


def test_a_run_that_succeeded_says_so_and_prints_its_outputs(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run()
    before = (runs.newest / "events.jsonl").read_bytes()
    done = runs.do("resume")
    assert (done.code, done.out) == (0, "4\n")
    assert "has succeeded: nothing is left to do" in done.err
    assert outputs(runs.do("resume", "--json")) == {"n": 4}
    assert (runs.newest / "events.jsonl").read_bytes() == before


@pytest.mark.parametrize("change", ["gone", "broken", "another input"])
def test_a_flow_that_is_gone_or_broken_is_said_and_nothing_is_written(runs: Runs, change: str) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run("-i", "ok=false")
    before = (runs.newest / "events.jsonl").read_bytes()
    if change == "gone":
        (runs.folder / "flow.yaml").unlink()
    elif change == "broken":
        runs.change("flow.yaml", "  sum: {set", "  sum: {sett")
    else:
        runs.change("flow.yaml", "inputs: {ok:", "inputs: {okay:")
    done = runs.do("resume")
    assert (done.code, done.out) == (2, "")
    assert "flow.yaml" in done.err or "ok" in done.err
    assert change != "gone" or f"is kept in .gptoss-flow/runs/{runs.newest.name}/flow.yaml" in done.err
    assert (runs.newest / "events.jsonl").read_bytes() == before


def test_an_input_that_is_not_on_record_is_asked_for_again(runs: Runs) -> None:
    runs.write(
        "flow.yaml",
        "version: 1\ninputs: {key: {type: string}, n: {type: integer, default: 1}}\nsteps:\n"
        "  a: {set: {n: '${{ inputs.key | length }}'}}\n  b: {needs: [a], check: [inputs.n == 2]}\n",
    )
    assert runs.run("-i", f"key={GITHUB}").code == 5
    done = runs.do("resume")
    assert (done.code, "the input key is not on record: it held a secret" in done.err) == (2, True)
    assert "give it again: -i key=" in done.err
    done = runs.do("resume", "-i", f"key={GITHUB}", "-i", "n=2")
    assert (done.code, "-i n: it is on record, and a resumed run keeps its inputs" in done.err) == (2, True)
    runs.change("flow.yaml", "== 2", "== 1")
    assert runs.do("resume", "-i", f"key={GITHUB}").code == 0
    assert (runs.started(), GITHUB in (runs.newest / "events.jsonl").read_text()) == (["b"], False)


def test_a_run_that_another_process_writes_is_refused(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run("-i", "ok=false")
    writer = RunFolder(runs.newest)
    done = runs.do("resume")
    writer.close()
    assert (done.code, f"is being written by process {os.getpid()}" in done.err) == (7, True)


def test_a_folder_that_is_no_runs_stays_as_it_is(runs: Runs) -> None:
    runs.write("src/a.txt", "")
    done = runs.do("resume", "./src")
    assert (done.code, "src is not the folder of a run" in done.err) == (7, True)
    assert [path.name for path in (runs.folder / "src").iterdir()] == ["a.txt"]


def test_a_record_without_a_beginning_is_to_be_begun_anew(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run()
    journal = runs.newest / "events.jsonl"
    for content in (b"", journal.read_bytes()[:100]):
        journal.write_bytes(content)
        done = runs.do("resume")
        assert (done.code, "has no beginning; nothing of it has happened: start the flow anew" in done.err) == (
            7,
            True,
        )


def test_a_torn_line_is_passed_over_and_that_is_on_record(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run()
    runs.cut(ended("each[0]"), left=b'{"seq":99,"t":1.0,"type":"step_fin')
    assert runs.do("resume").code == 0
    assert runs.warnings() == [": the record has 1 damaged line: passed over"]
    assert b'"type":"step_fin\n{"seq":' in (runs.newest / "events.jsonl").read_bytes()


def test_a_run_is_taken_up_from_another_folder(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run()
    runs.cut(ended("each[0]"))
    (runs.folder / "elsewhere").mkdir()
    monkeypatch.chdir(runs.folder / "elsewhere")
    done = runs.do("resume", f"../.gptoss-flow/runs/{runs.newest.name}", "--json")
    assert (done.code, outputs(done)) == (0, {"n": 4})
    assert not Path(".gptoss-flow").exists()


def test_a_path_that_is_the_flows_own_default_is_the_same_again(runs: Runs) -> None:
    runs.write(
        "flow.yaml",
        "version: 1\ninputs: {where: {type: path, default: .}}\nsteps:\n"
        "  a: {tool: list_files, with: {path: '${{ inputs.where }}'}}\n  b: {needs: [a], set: {x: 1}}\n",
    )
    runs.write("tree/one.txt", "1")
    runs.run("--workspace", "tree")
    runs.cut(ended("a"))
    assert runs.do("resume").code == 0
    assert (runs.started(), runs.warnings()) == (["b"], [])


def test_a_second_resume_goes_on_where_the_first_was_killed(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run()
    runs.cut(ended("each[0]"))
    runs.do("resume")
    resumed = runs.events()
    journal = runs.newest / "events.jsonl"
    at = max(n for n, event in enumerate(resumed) if ended("each[2]")(event))
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[: at + 1]))
    assert runs.do("resume").code == 0
    assert "each[3]" in runs.started()
    assert not {"each[0]", "each[1]", "each[2]"} & set(runs.started())
    assert [event.status for event in runs.events() if isinstance(event, RunFinished)] == ["succeeded"]


def test_items_that_had_finished_are_known_though_their_fan_out_had_begun_anew(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run("-i", "ok=false")
    runs.do("resume")
    journal = runs.newest / "events.jsonl"
    begun = [n for n, event in enumerate(runs.events()) if of_type("step_started", "each")(event)]
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[: begun[-1] + 1]))
    runs.do("resume")
    assert runs.started() == ["check"]


@pytest.mark.parametrize("lost", ["nothing", "lines", "files"])
def test_the_log_that_the_run_keeps_by_date_goes_on(runs: Runs, lost: str) -> None:
    runs.write("flow.yaml", FOUR)
    assert runs.run("--record-dir", "logs", "-i", "ok=false").code == 5
    events, log = sorted((runs.folder / "logs").glob("*/*"))
    if lost == "lines":
        events.write_bytes(b"".join(events.read_bytes().splitlines(keepends=True)[:-3]) + b'{"seq": 9')
    elif lost == "files":
        shutil.rmtree(events.parent)
    runs.change("flow.yaml", "== 4 and inputs.ok", "== 4")
    assert runs.do("resume").code == 0
    assert sorted((runs.folder / "logs").glob("*/*")) == [events, log]
    assert [*read_journal(events)] == [*read_journal(runs.newest / "events.jsonl")]
    assert log.read_text().count("@resume") == 1
    assert log.read_text().rstrip().rpartition("\n")[2].startswith("@end")


def test_a_run_that_was_held_to_its_lock_is_held_to_it_again(runs: Runs) -> None:
    runs.write("flow.yaml", "version: 1\nservers: {main: demo}\nsteps: {a: {prompt: {user: hi}}}\n")
    assert runs.do("lock", "flow.yaml").code == 0
    assert runs.run("--locked").code == 0
    runs.cut(of_type("step_started", "a"))
    (runs.folder / "flow.lock").unlink()
    done = runs.do("resume")
    assert (done.code, "there is no flow.lock" in done.err) == (2, True)
    assert runs.do("lock", "flow.yaml").code == runs.do("resume").code == 0


# --- a part of a flow ---------------------------------------------------------------------------------------


def test_from_a_step_on_takes_the_rest_from_an_earlier_run(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run()
    first = runs.newest
    runs.run("-i", "ok=false")
    done = runs.run("--from", "sum")
    assert (done.code, outputs(done), runs.started()) == (0, {"n": 4}, ["sum", "check"])
    assert runs.run("--from", "sum", "--against", first.name).code == 0
    assert {event.reused for event in runs.events() if event.type == "step_finished" and event.reused} == {
        first.name
    }


def test_from_a_step_on_takes_a_failure_that_the_run_went_on_from(runs: Runs) -> None:
    runs.write("flow.yaml", STEPS + "  weak: {prompt: {user: hi}, on_error: continue}\n"
        "  each: {foreach: [a, b], max_parallel: 1, on_error: continue, prompt: {user: '${{ item }}'}}\n"
        "  last: {set: {w: '${{ steps.weak.error.message }}', e: '${{ steps.each.output }}'}}\n")  # fmt: skip
    runs.write("replies.yaml", "default: fine\nreplies:\n- {step: weak, error: {message: weak}}\n"
        "- {step: 'each[1]', error: {message: no}}\n")  # fmt: skip
    wanted = outputs(runs.run())
    assert wanted == {"last": {"w": "weak", "e": ["fine", None]}}
    done = runs.run("--from", "last")
    assert (outputs(done), runs.started()) == (wanted, ["last"])
    runs.change("flow.yaml", "hi}, on_error: continue", "hi}")
    assert (runs.run("--from", "last").code, runs.started()) == (1, ["weak"])


def test_from_a_step_on_never_does_twice_what_is_to_be_done_once(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOOLS, "append", Telling())
    pure = f"  pure: {{set: {{v: {GITHUB}}}}}\n"
    runs.write("flow.yaml", ONCE + pure + "  last: {needs: [pure, after], set: {x: 1}}\n")
    assert runs.run().code == 0
    done = runs.run("--from", "last")
    assert (done.code, effects(runs)) == (7, 1)
    assert "the result of step send in run" in done.err and "say --from send too, to do it again" in done.err
    assert (runs.run("--from", "last", "--from", "send").code, effects(runs)) == (0, 2)
    assert set(runs.started()) == {"pure", "send", "after", "last"}


def test_only_a_step_runs_it_and_what_it_needs(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR)
    assert runs.run("--only", "sum").code == 0
    assert set(runs.started()) == {"each[0]", "each[1]", "each[2]", "each[3]", "sum"}


def test_a_record_that_cannot_be_read_is_none_to_take_from(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run()
    runs.run()
    (runs.newest / "events.jsonl").write_bytes(b"nothing\n")
    assert runs.run("--from", "sum").code == 0
    (runs.folder / ".gptoss-flow" / "runs" / "x").mkdir()
    done = runs.run("--from", "sum", "--against", "2001")
    assert (done.code, 'no run "2001"' in done.err) == (7, True)


def test_limits_hold_for_all_lives_of_a_run_together(runs: Runs) -> None:
    runs.write("flow.yaml", "version: 1\nlimits: {tool_calls: 3, tokens: 9999}\nsteps:\n"
        "  p: {prompt: {user: hi}}\n"
        "  each: {foreach: [1, 2, 3], max_parallel: 1, tool: list_files, with: {pattern: 'x*'}}\n")  # fmt: skip
    tokens = json.loads(runs.run().out)["tokens"]
    runs.cut(of_type("tool_started", "each[1]"))
    done = runs.do("resume", "--json")
    assert done.code == 4 and "call tools 3 times and step each[2] wants more" in done.err
    assert json.loads(done.out)["tokens"] == tokens
    runs.change("flow.yaml", "tool_calls: 3, tokens: 9999", "tokens: 1")
    done = runs.do("resume", "--json")
    assert done.code == 4 and "limits.tokens: the run may use 1 tokens and has used" in done.err
    runs.change("flow.yaml", "tokens: 1", "tool_calls: 9")
    assert runs.do("resume", "--json").code == 0
    finished = runs.events()[-1]
    assert isinstance(finished, RunFinished) and finished.tokens == tokens


def test_a_part_of_a_run_is_resumed_as_that_part(runs: Runs) -> None:
    runs.write("flow.yaml", FOUR)
    runs.run("--only", "sum")
    runs.cut(ended("each[2]"))
    assert runs.do("resume").code == 0
    assert set(runs.started()) == {"each[3]", "sum"}
