"""`run` and `plan` with a part of a flow, and with changes to it, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.in_process import Command

FLOW = """\
version: 1
steps:
  a: {set: {x: 1}}
  b: {prompt: {mode: raw, text: "b ${{ steps.a.output.x }}"}}
  c: {prompt: {mode: raw, text: "c ${{ steps.b.output }}"}}
  d: {set: {x: 7}}
"""
REPLIES = "replies: [{step: b, text: B}, {step: c, text: C}]\n"
MODEL = ("--model", "scripted:r.yaml", "--quiet")


@pytest.fixture(autouse=True)
def flow(command: Command) -> None:
    Path("f.yaml").write_text(FLOW)
    Path("r.yaml").write_text(REPLIES)


def ran(command: Command, *options: str) -> dict[str, Any]:
    """The steps of a run, each with how it ended or the run that its result is from."""
    code, out, err = command("run", "f.yaml", *MODEL, "--events", *options)
    assert code == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    ends = [event for event in events if event["type"] == "step_finished"]
    return {end["step"]: "reused" if end.get("reused") else end.get("reason") or end["outcome"] for end in ends}


def test_only_runs_a_step_and_what_it_needs(command: Command) -> None:
    assert ran(command, "--only", "d") == {
        "a": "not selected",
        "b": "not selected",
        "c": "not selected",
        "d": "succeeded",
    }


def test_only_prints_the_last_of_what_it_ran(command: Command) -> None:
    assert command("run", "f.yaml", *MODEL, "--only", "b")[:2] == (0, "B\n")
    assert command("run", "f.yaml", *MODEL, "--only", "a")[:2] == (0, '{"x": 1}\n')


def test_from_takes_what_is_before_from_the_newest_run(command: Command) -> None:
    ran(command)
    assert ran(command, "--from", "c") == {"a": "reused", "b": "reused", "c": "succeeded", "d": "reused"}


def test_from_without_a_run_on_record_says_what_to_do(command: Command) -> None:
    code, _, err = command("run", "f.yaml", *MODEL, "--from", "c")
    assert code == 7
    assert "no run of f on record has the results of" in err


def test_a_change_is_run_and_a_wrong_one_refused_by_its_option(command: Command) -> None:
    code, out, _ = command("run", "f.yaml", *MODEL, "--set", "steps.d.set.x=8")
    assert (code, json.loads(out)) == (0, {"x": 8})
    code, _, err = command("run", "f.yaml", *MODEL, "--set", "steps.d.sett.x=8")
    assert code == 2
    assert err == '--set steps.d.sett.x: unknown key "sett" in step "d"; did you mean "set"?\n'


def test_what_is_no_step_is_refused(command: Command) -> None:
    code, _, err = command("run", "f.yaml", *MODEL, "--only", "e", "--against", "x")
    assert code == 2
    assert "--against x is for --from" in err


def test_a_dry_run_shows_the_part_that_would_run_and_runs_nothing(command: Command) -> None:
    code, out, _ = command("run", "f.yaml", *MODEL, "--dry-run", "--only", "b")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert (code, lines[0], lines[-2:]) == (0, "flow f: 2 of 4 steps", ["1. a set", "2. b prompt @main after a"])
    assert "server main" not in command("run", "f.yaml", "--dry-run", "--only", "d")[1]
    assert not Path(".gptoss-flow").exists()
    ran(command)
    code, out, _ = command("run", "f.yaml", "--dry-run", "--from", "c", "--json")
    assert code == 0
    assert {step["id"]: step.get("reused", False) for step in json.loads(out)["steps"]} == {
        "a": True,
        "b": True,
        "c": False,
        "d": True,
    }


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--from", "c"), 7, "no run of f on record has the results of"),
        (("--model", "scripted:nowhere.yaml"), 2, 'there is no file "nowhere.yaml"'),
        (("--out", "folder"), 2, "folder is a folder; name a file in it"),
        (("--out", "o" * 300), 2, f"{'o' * 300}: File name too long"),
        (
            ("--inputs", "list.yaml"),
            2,
            "list.yaml:1:1: a file of inputs is a mapping of names to values; write it",
        ),
    ],
)
def test_a_dry_run_finds_what_a_run_would(
    command: Command, options: tuple[str, ...], code: int, said: str
) -> None:
    Path("folder").mkdir()
    Path("list.yaml").write_text("- 1\n")
    found, out, err = command("run", "f.yaml", "--dry-run", *options)
    assert (found, out) == (code, "")
    assert err.startswith(said)


def test_a_fault_of_an_inputs_file_is_told_at_its_place(command: Command) -> None:
    Path("g.yaml").write_text(
        "version: 1\ninputs: {n: {type: integer}, s: {type: string}}\nsteps: {a: {set: {x: 1}}}\n"
    )
    Path("in.yaml").write_text("s: x\nn: many\nm: 3\n")
    code, _, err = command("run", "g.yaml", "--inputs", "in.yaml")
    assert code == 2
    assert [line for line in err.splitlines() if line.startswith("in.yaml")] == [
        'in.yaml:2:4: input "n": must be a whole number, not "many"',
        'in.yaml:3:1: unknown input "m"; allowed: n, s',
    ]
    assert (
        "in.yaml"
        not in command("run", "g.yaml", "--inputs", "in.yaml", "-i", "n=1", "--set", "inputs.m.type=integer")[2]
    )


def test_plan_shows_the_prompt_of_a_step_and_every_step_of_flows_inside(command: Command) -> None:
    assert command("plan", "f.yaml", "--show", "b", "--set", "steps.a.set.x=5")[:2] == (0, "b 5\n")
    Path("g.yaml").write_text("version: 1\nsteps:\n  sub: {flow: f.yaml}\nfinally:\n  end: {set: {x: 1}}\n")
    lines = command("plan", "g.yaml")[1].splitlines()
    assert [" ".join(line.split()) for line in lines if line[:3].strip().isdigit()] == [
        "1. sub flow f",
        "2. sub.a set",
        "3. sub.b prompt @main after sub.a",
        "4. sub.c prompt @main after sub.b",
        "5. sub.d set",
        "6. end set, finally",
    ]


def test_events_on_standard_output_leave_the_outputs_to_the_file(command: Command) -> None:
    assert command("run", "f.yaml", *MODEL, "--events", "--only", "d", "--out", "given.txt")[0] == 0
    assert Path("given.txt").read_text().strip()
