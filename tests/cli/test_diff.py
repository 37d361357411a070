"""`diff` as a user types it, over runs that were really run."""

from __future__ import annotations

import json

from tests.cli.taken_up import Runs, ended

FLOW = """\
version: 1
inputs: {topic: {type: string, default: tides}}
steps:
  each: {foreach: [sun, moon], prompt: {user: "Say ${{ item }} of ${{ inputs.topic }}"}}
  same: {set: {x: 1}}
outputs: {all: "${{ steps.each.output }}"}
"""


def test_the_same_flow_twice_does_not_differ(runs: Runs) -> None:
    runs.write("flow.yaml", FLOW)
    runs.run()
    first = runs.newest.name
    runs.run()
    same = runs.do("diff", "latest")
    assert (same.code, same.err) == (2, f"both are run {runs.newest.name}; name another one: gptoss-flow ls\n")
    done = runs.do("diff", first, "--exit-code")
    assert (done.code, "the same in all but times" in done.out) == (0, True)
    assert json.loads(runs.do("diff", first, "--json").out)["same"] is True


def test_each_difference_is_told_at_its_step(runs: Runs) -> None:
    runs.write("flow.yaml", FLOW)
    runs.run()
    first = runs.newest.name
    runs.write("replies.yaml", "default: fine\nreplies: [{step: 'each[1]', text: other}]\n")
    runs.change("flow.yaml", "[sun, moon]", "[sun, moon, star]")
    runs.change("flow.yaml", "  same: {set: {x: 1}}\n", "  new: {check: [false]}\n")
    runs.run("-i", "topic=stars")
    done = runs.do("diff", first, "latest", "--json")
    told = {each["step"]: each["said"] for each in json.loads(done.out)["differences"]["steps"]}
    assert told["same"] == ["only in the first run"]
    assert told["new"] == told["each[2]"] == ["only in the second run"]
    assert told["each"] == ["items: '2' -> '3'"]
    assert told["each[0]"] == ["what decided it: inputs, model changed"]
    assert told["each[1]"] == ["what decided it: inputs, model changed", "output: 'fine' -> 'other'"]
    ran = json.loads(done.out)["differences"]["run"]
    assert "input topic: 'tides' -> 'stars'" in ran
    assert "status: 'succeeded' -> 'failed'" in ran
    assert runs.do("diff", first).code == 0
    assert runs.do("diff", first, "--exit-code").code == 6
    assert runs.do("diff", "2001").code == 7


def test_nothing_is_said_to_have_decided_a_skipped_step(runs: Runs) -> None:
    runs.write("flow.yaml", FLOW)
    runs.change(
        "flow.yaml", "  same: {set", "  last: {check: [inputs.topic == 'stars']}\n  same: {needs: [last], set"
    )
    runs.run()
    first = runs.newest.name
    runs.run("-i", "topic=stars")
    told = {e["step"]: e["said"] for e in json.loads(runs.do("diff", first, "--json").out)["differences"]["steps"]}
    assert "outcome: 'skipped' -> 'succeeded'" in told["same"]
    assert not [line for line in told["same"] if line.startswith("what decided it")]


def test_a_run_without_an_end_is_compared_as_far_as_it_goes(runs: Runs) -> None:
    runs.write("flow.yaml", FLOW)
    runs.run()
    first = runs.newest.name
    runs.run()
    runs.cut(ended("each[0]"))
    out = runs.do("diff", first).out
    assert "unfinished" in out
    assert "outcome" in out
