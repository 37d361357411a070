"""`replay` as a user types it: what is as it was passes, and one changed character does not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gptoss_flow.record.folder import list_runs
from tests.cli.stand import Stand
from tests.cli.taken_up import Runs, ended, of_type, outputs

FLOWS = Path(__file__).parents[2] / "flows"
STEPS = "version: 1\nsteps:\n"
GRID = '  grid: {matrix: {x: [1, 2]}, prompt: {user: "Cell ${{ matrix.x }}"}}\n'
FLOW = """\
version: 1
inputs: {topic: {type: string, default: tides}}
steps:
  files: {tool: list_files, with: {pattern: "*.yaml"}}
  each:
    foreach: [sun, moon]
    prompt: {user: "Say ${{ item }} of ${{ inputs.topic }}", params: {temperature: 0.5}}
  cut:
    prompt: {user: "${{ 'one two three four' | truncate_tokens(2) }}"}
  inside: {flow: ./inner.yaml, with: {word: "${{ steps.each.output[0] }}"}}
  again:
    repeat: {max: 3, until: loop.index == 2}
    prompt: {user: "Round ${{ loop.index }}"}
  weak:
    prompt: {user: fail}
    on_error: {fallback: {prompt: {user: "Instead of ${{ error.message }}"}}}
  tried:
    retry: {attempts: 3, backoff: 1h, jitter: false}
    expect: [output == 'good']
    prompt: {user: try}
GRIDoutputs:
  all: "${{ steps.each.output }} ${{ steps.inside.output }} ${{ steps.weak.output }} ${{ steps.tried.output }}"
""".replace("GRID", GRID)
INNER = """\
version: 1
inputs: {word: {type: string}}
steps:
  ask: {prompt: {user: "What is ${{ inputs.word }}?"}}
outputs: {said: "${{ steps.ask.output }}"}
"""
REPLIES = """\
default: fine
replies:
  - {step: weak, contains: fail, error: {message: too weak}}
  - {step: tried, text: bad, times: 1}
  - {step: tried, error: {message: "busy", kind: server}, times: 1}
  - {step: tried, text: good}
"""


@pytest.fixture
def flow(runs: Runs) -> Runs:
    runs.write("flow.yaml", FLOW.replace("1h", "1ms"))
    runs.write("inner.yaml", INNER)
    runs.write("replies.yaml", REPLIES)
    return runs


def test_a_run_is_repeated_from_its_record(flow: Runs) -> None:
    wanted = outputs(flow.run())
    flow.write("replies.yaml", "default: nobody asks\n")
    flow.change("flow.yaml", "1ms", "1h")  # nobody waits
    done = flow.do("replay")
    assert (done.code, done.err) == (0, "")
    assert "13 requests and 1 tool call: all as recorded" in done.out
    assert json.loads(flow.do("replay", "--json").out)["outputs"] == wanted
    assert len(list_runs(flow.folder)) == 1


@pytest.mark.parametrize(
    ("before", "after", "step", "said"),
    [
        ("Say ${{", "Sag ${{", "each[0]", "message 1 is not as it was, from character 3 on: 'Sag sun"),
        ("{user: fail}", "{user: fail, system: Now.}", "weak", "message 1 is the system's, and was the user's"),
        ("{user: fail}", "{mode: raw, text: fail}", "weak", "its mode is raw, and was chat"),
        ("temperature: 0.5", "temperature: 0.6", "each[0]", "temperature is 0.6, and was 0.5"),
        ("temperature: 0.5", "top_k: 4", "each[0]", "temperature is null, and was 0.5"),
        ("{user: try}", "{user: try, reasoning: high}", "tried", "reasoning is high, and was null"),
        ('"*.yaml"', '"*.yml"', "files", "pattern of list_files is '*.yml', and was '*.yaml'"),
        ("Instead of", "instead of", "weak", "from character 1 on"),
        ("Round ${{", "Round  ${{", "again", "from character 7 on"),
        ("attempts: 3", "attempts: 2", "tried", ""),
        ("max: 3, until: loop.index == 2", "max: 3, until: loop.index == 3", "again", "no further request"),
        ("max: 3, until: loop.index == 2", "max: 3, until: true", "again", "a request that was not made again"),
        ("truncate_tokens(2)", "truncate_tokens(3)", "", "a text that is to be cut to 3 tokens"),
        ("[sun, moon]", "[sun, moon, star]", "each[2]", "no further request"),
        ("[sun, moon]", "[sun]", "each[1]", "a request that was not made again"),
        ("{x: [1, 2]}", "{x: [1, 3]}", "grid[1]", "'Cell 3', was 'Cell 2'"),
        (
            '  grid: {matrix: {x: [1, 2]}, prompt: {user: "Cell ${{ matrix.x }}"}}\n',
            "",
            "grid[0]",
            "not made again",
        ),
        ("steps.weak.output }} ${{", "steps.weak.output }}${{", "", "output all is"),
        ("  all:", "  everything:", "", "output all is 'null', and was"),
    ],
)
def test_what_is_not_as_it_was_is_named(flow: Runs, before: str, after: str, step: str, said: str) -> None:
    flow.run()
    flow.change("flow.yaml", before, after)
    done = flow.do("replay")
    assert (done.code, done.out) == (6, "")
    assert said in done.err
    if step == "grid[0]":
        assert done.err.startswith("step grid[0]: ")  # it has no place any more
    elif step and said:
        assert re.match(rf"flow\.yaml:\d+:3: step {re.escape(step)}: .*\n +\|\n", done.err)


def test_what_was_cut_beside_a_prompt_is_on_record(runs: Runs) -> None:
    cut = "'one two three' | truncate_tokens"
    runs.write("flow.yaml", f"version: 1\nvars: {{v: \"${{{{ {cut}(2) }}}}\"}}\n{STEPS.partition(chr(10))[2]}"
        f"  a: {{when: \"${{{{ {cut}(1) == 'one' }}}}\", prompt: {{user: \"${{{{ vars.v }}}}\"}}}}\n"
        f"outputs: {{o: \"${{{{ vars.v }}}} ${{{{ {cut}(1) }}}}\"}}\n")  # fmt: skip
    assert outputs(runs.run()) == {"o": "one two one"}
    assert runs.do("replay").code == 0
    done = runs.do("plan", "--explain", "flow.yaml")
    assert (done.code, "vars.v is made with truncate_tokens, which takes a server; run" in done.err) == (1, True)
    runs.change("flow.yaml", "(1) == 'one'", "(3) == 'one'")
    done = runs.do("replay")
    assert (done.code, "a text that is to be cut to 3 tokens is not one that was cut then" in done.err) == (
        6,
        True,
    )


def test_a_flow_inside_counts_as_well(flow: Runs) -> None:
    flow.run()
    flow.change("inner.yaml", "What is", "what is")
    done = flow.do("replay")
    assert (done.code, done.err.startswith("inner.yaml:4:3: step inside.ask: message 1 is not as it was")) == (
        6,
        True,
    )


def test_another_output_is_shown_at_its_place(flow: Runs) -> None:
    flow.run()
    flow.change("flow.yaml", "steps.weak.output }} ${{", "steps.weak.output }}${{")
    assert flow.do("replay").err.startswith("flow.yaml:23:8: output all is ")


def test_a_run_that_failed_fails_again(runs: Runs) -> None:
    runs.write("flow.yaml", STEPS + "  a: {prompt: {user: hi}, retry: {attempts: 5, backoff: 1ms}}\n")
    runs.write("replies.yaml", "replies: [{error: {message: broken, retryable: false}}]\n")
    assert runs.run().code == 1
    assert runs.do("replay").code == 0
    runs.change("flow.yaml", "retry:", "on_error: continue, retry:")
    done = runs.do("replay")
    assert (done.code, "the run succeeded, and failed when it was recorded" in done.err) == (6, True)


def test_a_tool_that_failed_fails_again(runs: Runs) -> None:
    runs.write(
        "flow.yaml", STEPS + "  a: {tool: read_file, with: {path: none}, retry: {attempts: 2, backoff: 1ms}}\n"
    )
    assert runs.run().code == 1
    runs.write("none", "now it is there")
    assert runs.do("replay").code == 0


@pytest.mark.parametrize("last", [ended("each[0]"), ended("inside"), of_type("step_started", "tried")])
def test_a_run_that_was_resumed_replays_as_if_it_had_never_ended(flow: Runs, last: object) -> None:
    flow.run()
    flow.cut(last)  # type: ignore[arg-type]
    assert flow.do("resume", "-q").code == 0
    done = flow.do("replay")
    assert (done.code, done.err) == (0, "")
    assert "13 requests and 1 tool call: all as recorded" in done.out


def test_a_run_in_which_a_finished_step_ran_again_replays_what_it_did_last(flow: Runs) -> None:
    flow.run()
    assert flow.do("resume", "-q", "--redo", "each").code == 0
    assert flow.do("replay").code == 0
    flow.cut(ended("again"))
    flow.change("flow.yaml", "Say ${{", "Tell ${{")
    assert flow.do("resume", "-q").code == 0
    assert flow.do("replay").code == 0
    flow.change("flow.yaml", "Tell ${{", "Say ${{")
    assert "step each[0]: message 1" in flow.do("replay").err


def test_results_of_other_runs_are_taken_as_they_are(flow: Runs) -> None:
    flow.change("flow.yaml", "  grid: {", "  grid: {cache: true, ")
    flow.run()
    flow.run()
    assert set(flow.reused()) == {"grid[0]", "grid[1]"}
    done = flow.do("replay")
    assert (
        "11 requests and 1 tool call: all as recorded; 2 results of other runs, or assumed, taken unchecked"
        in done.out
    )
    assert json.loads(flow.do("replay", "--json").out)["taken"] == 2


def test_an_assumed_end_is_taken_as_it_is(runs: Runs) -> None:
    runs.write("flow.yaml", STEPS + "  a: {tool: list_files, effect: once}\n  b: {needs: [a], set: {x: 1}}\n")
    runs.run()
    runs.cut(of_type("tool_started", "a"))
    assert runs.do("resume", "-q", "--assume-done", "a").code == 0
    said = "0 requests and 0 tool calls: all as recorded; 1 result of other runs, or assumed, taken unchecked"
    assert said in runs.do("replay").out


def test_what_has_no_end_can_not_be_replayed(flow: Runs) -> None:
    flow.run()
    flow.cut(ended("each[0]"))
    done = flow.do("replay")
    assert (done.code, "only a whole run can be replayed" in done.err) == (7, True)


def test_lenient_asks_for_what_is_not_on_record_and_for_nothing_else(flow: Runs) -> None:
    flow.run()
    flow.write("replies.yaml", "default: asked\n")
    flow.change("flow.yaml", "[sun, moon]", "[sun, star]")
    done = flow.do("replay", "--lenient", "-q", "--json")
    assert done.code == 0
    assert json.loads(done.out)["outputs"]["all"].startswith('["fine", "asked"]')


def test_verify_asks_for_everything_and_names_the_first_other_token(flow: Runs) -> None:
    flow.change(
        "flow.yaml", "    prompt: {user: fail}\n    on_error: {fallback: {prompt: {user:", "    prompt: {user:"
    )
    flow.change("flow.yaml", 'Instead of ${{ error.message }}"}}}', 'Instead"}')
    flow.write("replies.yaml", "default: it is good\nreplies: [{step: tried, text: good}]\n")
    flow.run()
    assert flow.do("replay", "--verify", "-q").code == 0
    flow.write("replies.yaml", "default: it was good\nreplies: [{step: tried, text: good}]\n")
    done = flow.do("replay", "--verify", "-q")
    assert (done.code, ": of its answer, token 1 is " in done.err) == (6, True)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("hello", []),
        ("summarize-repo", ["-i", "path=."]),
        ("review-diff", ["-i", "diff=diff --git a/x b/x\n+one\ndiff --git a/y b/y\n-two"]),
    ],
)
def test_each_example_replays(runs: Runs, name: str, given: list[str]) -> None:
    runs.write("README.md", "A project. " * 50)
    runs.write("a.py", "print(1)\n" * 50)
    assert runs.run(*given, flow=str(FLOWS / f"{name}.yaml")).code == 0
    runs.write("README.md", "changed")
    done = runs.do("replay")
    assert (done.code, done.err) == (0, "")


def test_a_profile_whose_parameters_changed_is_not_as_it_was(stand: Stand) -> None:
    stand.profile("small", "request: {temperature: 0.5}\n")
    stand.write(
        "flow.yaml",
        "version: 1\nservers: {main: small}\n"
        + STEPS.partition("\n")[2]
        + "  a: {prompt: {mode: raw, text: hi}}\n",
    )
    assert stand.run("run", "flow.yaml", "-q").code == 0
    assert stand.run("replay").code == 0
    stand.profile("small", "request: {temperature: 0.6}\n")
    done = stand.run("replay")
    assert (done.code, "step a: temperature is 0.6, and was 0.5" in done.err) == (6, True)
