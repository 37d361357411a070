"""Flows in flows, what runs last, fallbacks, matrices, limits, selection, known results: as the loop does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from gptoss_flow.errors import ExitCode
from gptoss_flow.events import FellBack, Outcome, RunFinished, StepFinished, StepStarted, ToolStarted
from gptoss_flow.plan.plan import Node
from gptoss_flow.record.state import Tokens, fold, summary
from gptoss_flow.run.budget import Spent
from gptoss_flow.run.known import Key, Reused
from tests.run.running import STEPS, Run, interrupt_at

SLOW = {"text": "word " * 50, "token_delay": 30.0}
BROKEN = {"error": {"kind": "model", "message": "no answer", "retryable": False}}

INNER = """
version: 1
inputs: {name: {type: string}, loud: {type: boolean, default: false}}
vars: {greeting: "Hello ${{ inputs.name }}"}
steps:
  ask: {prompt: {user: "${{ vars.greeting }}"}}
  said: {set: {text: "${{ steps.ask.output }}${{ '!' if inputs.loud else '' }}"}}
outputs: {text: "${{ steps.said.output.text }}", name: "${{ inputs.name }}"}
"""


# --- flows inside flows -----------------------------------------------------------------------------------------


def test_a_flow_inside_has_its_own_names_and_gives_its_outputs() -> None:
    run = Run(
        STEPS + "  a: {flow: ./inner.yaml, with: {name: Ann, loud: true}}\n"
        '  b: {set: {text: "${{ steps.a.output.text }} from ${{ steps.a.output.name }}"}}\n',
        files={"inner.yaml": INNER},
    )
    assert run.go().outputs == {"b": {"text": "fine! from Ann"}}
    assert run.ends() == dict.fromkeys(["a.ask", "a.said", "a", "b"], "succeeded")


def test_each_item_of_a_flow_step_is_a_flow_of_its_own() -> None:
    run = Run(
        STEPS + "  each: {foreach: [Ann, Bob, Cid], flow: ./inner.yaml, with: {name: '${{ item }}'}}\n"
        "  names: {set: {all: \"${{ steps.each.output | map(attribute='name') | list }}\"}}\n",
        files={"inner.yaml": INNER},
    )
    assert run.go().outputs == {"names": {"all": ["Ann", "Bob", "Cid"]}}
    assert {f"each[{i}].{step}" for i in range(3) for step in ("ask", "said")} <= set(run.ends())
    state = fold(run.log.stamped)
    assert list(summary(state, None)["steps"])[:2] == ["each", "each[0].ask"]
    assert state.steps["each"].output[1] == {"text": "fine", "name": "Bob"}


def test_a_failure_inside_is_the_steps_with_its_kind_file_and_step() -> None:
    run = Run(
        STEPS + "  a: {flow: ./inner.yaml, with: {name: x}}\n  b: {needs: [a], set: {x: 1}}\n",
        {"replies": [BROKEN]},
        files={"inner.yaml": INNER},
    )
    result = run.go()
    assert (result.exit_code, result.error) == (
        ExitCode.FAILED,
        "step a: inner.yaml: step ask: no answer",
    )
    assert run.ends() == {"a.ask": "failed", "a.said": "skipped", "a": "failed", "b": "skipped"}
    error = run.end("a").error
    assert error is not None
    assert error["kind"] == "model"


def test_a_failed_check_inside_still_exits_5() -> None:
    run = Run(STEPS + "  a: {flow: ./c.yaml}\n", files={"c.yaml": STEPS + "  c: {check: ['1 > 2']}\n"})
    assert run.go().exit_code is ExitCode.REJECTED


def test_inputs_of_a_flow_inside_are_checked_when_they_are_known() -> None:
    run = Run(
        STEPS + "  n: {set: {x: [1]}}\n  a: {flow: ./inner.yaml, with: {name: '${{ steps.n.output.x }}'}}\n",
        files={"inner.yaml": INNER},
    )
    assert run.go().exit_code is ExitCode.FAILED
    error = run.end("a").error
    assert error is not None
    assert 'inner.yaml: input "name": must be text, not [1]' in error["message"]


def test_a_flow_inside_is_tried_again_as_a_whole() -> None:
    run = Run(
        STEPS + "  a: {flow: ./inner.yaml, with: {name: x}, retry: {attempts: 2, backoff: 1ms}}\n",
        {"replies": [{"error": {"kind": "model", "message": "no"}, "times": 1}, {"text": "yes"}]},
        files={"inner.yaml": INNER},
    )
    assert run.go().outputs == {"a": {"text": "yes", "name": "x"}}
    assert [event.outcome for event in run.log.of(StepFinished) if event.step == "a.ask"] == [
        "failed",
        "succeeded",
    ]
    state = fold(run.log.stamped)
    assert {step.outcome for step in state.steps.values()} == {"succeeded"}
    assert state.steps["a.ask"].error is None


def test_a_timeout_of_a_flow_step_ends_what_runs_inside_first() -> None:
    run = Run(
        STEPS
        + "  a: {flow: ./inner.yaml, with: {name: x}, timeout: 50ms, on_error: continue}\n  b: {set: {x: 1}}\n",
        {"replies": [SLOW]},
        files={"inner.yaml": INNER + "finally: {tidy: {set: {x: '${{ run.status }}'}}}\n"},
    )
    assert run.go().exit_code is ExitCode.OK
    ends = run.ends()
    assert ends == {
        "b": "succeeded",
        "a.ask": "cancelled",
        "a.said": "skipped",
        "a.tidy": "succeeded",
        "a": "failed",
    }
    assert list(ends)[-1] == "a"
    assert run.end("a.tidy").output == {"x": "cancelled"}


def test_a_flow_in_a_flow_in_a_flow() -> None:
    run = Run(
        STEPS + "  a: {flow: ./b.yaml}\n",
        files={"b.yaml": STEPS + "  b: {flow: ./c.yaml}\n", "c.yaml": STEPS + "  c: {set: {deep: 1}}\n"},
    )
    assert run.go().outputs == {"a": {"b": {"c": {"deep": 1}}}}
    assert list(run.ends()) == ["a.b.c", "a.b", "a"]


# --- what runs last ---------------------------------------------------------------------------------------------

LAST = """
finally:
  told: {set: {status: "${{ run.status }}", a: "${{ steps.a.outcome }}"}}
  tidy: {needs: [told], prompt: {user: bye}}
"""


@pytest.mark.parametrize(
    ("step", "code", "status"),
    [("set: {x: 1}", ExitCode.OK, "succeeded"), ("check: ['1 > 2']", ExitCode.REJECTED, "failed")],
)
def test_final_steps_see_how_the_run_went(step: str, code: ExitCode, status: str) -> None:
    run = Run(STEPS + f"  a: {{{step}}}\n" + LAST)
    assert run.go().exit_code is code
    assert run.end("told").output == {"status": status, "a": "succeeded" if code is ExitCode.OK else "failed"}
    assert run.end("tidy").outcome == "succeeded"


def test_a_failed_final_step_counts() -> None:
    run = Run(STEPS + "  a: {set: {x: 1}}\nfinally: {f: {check: ['1 > 2']}}\n")
    assert run.go().exit_code is ExitCode.REJECTED


def test_after_an_interrupt_final_steps_still_run() -> None:
    run = Run(
        STEPS + "  a: {prompt: {user: hi}}\n  b: {needs: [a], set: {x: 1}}\n" + LAST,
        {"replies": [{**SLOW, "step": "a"}, {"text": "bye"}]},
        when=interrupt_at("a"),
    )
    result = run.go()
    assert (result.status, result.exit_code) == ("cancelled", ExitCode.INTERRUPTED)
    assert run.ends() == {"b": "skipped", "a": "cancelled", "told": "succeeded", "tidy": "succeeded"}
    assert run.end("told").output["status"] == "cancelled"


def test_a_second_interrupt_ends_the_final_steps() -> None:
    run = Run(
        STEPS + "  a: {prompt: {user: hi}}\n" + LAST + "  never: {needs: [tidy], set: {x: 1}}\n",
        {"replies": [SLOW, SLOW]},
        when=interrupt_at("a", "tidy"),
    )
    assert run.go().exit_code is ExitCode.INTERRUPTED
    ends = run.ends()
    assert (ends["told"], ends["tidy"], ends["never"]) == ("succeeded", "cancelled", "skipped")


def test_a_second_interrupt_before_them_skips_the_final_steps_and_a_third_is_for_the_process() -> None:
    seen: list[bool] = []

    def when(run: Run, event: Any) -> None:
        if isinstance(event, StepStarted) and event.step == "a":
            seen.extend(run.executor.interrupt(ExitCode.TERMINATED) for _ in range(3))

    run = Run(STEPS + "  a: {prompt: {user: hi}}\n" + LAST, {"replies": [SLOW]}, when=when)
    assert run.go().exit_code is ExitCode.TERMINATED
    assert seen == [True, True, False]
    assert run.ends() == {"a": "cancelled", "told": "skipped", "tidy": "skipped"}


def test_without_final_steps_a_second_interrupt_is_for_the_process() -> None:
    seen: list[bool] = []

    def when(run: Run, event: Any) -> None:
        if isinstance(event, StepStarted):
            seen.extend(run.executor.interrupt(ExitCode.INTERRUPTED) for _ in range(2))

    run = Run(STEPS + "  a: {prompt: {user: hi}}\n", {"replies": [SLOW]}, when=when)
    run.go()
    assert seen == [True, False]


def test_an_interrupt_inside_a_flow_runs_its_final_steps_and_then_the_runs() -> None:
    run = Run(
        STEPS + "  each: {foreach: [1, 2], flow: ./inner.yaml, with: {name: x}}\n"
        "finally: {f: {set: {s: '${{ run.status }}'}}}\n",
        {"replies": [SLOW, SLOW]},
        files={"inner.yaml": INNER + "finally: {tidy: {set: {x: '${{ run.status }}'}}}\n"},
        when=interrupt_at("each[1].ask"),
    )
    assert run.go().exit_code is ExitCode.INTERRUPTED
    ends = run.ends()
    assert [ends[f"each[{i}].{step}"] for i in (0, 1) for step in ("ask", "said", "tidy")] == [
        "cancelled", "skipped", "succeeded", "cancelled", "skipped", "succeeded",
    ]  # fmt: skip
    assert (ends["each[0]"], ends["each"], ends["f"]) == ("cancelled", "cancelled", "succeeded")
    assert list(ends)[-1] == "f"
    assert (run.end("each[0].tidy").output, run.end("f").output) == ({"x": "cancelled"}, {"s": "cancelled"})


def test_an_abort_inside_a_flow_puts_every_end_on_record() -> None:
    def when(run: Run, event: Any) -> None:
        if isinstance(event, StepStarted) and event.step == "a.ask":
            run.executor.interrupt(ExitCode.INTERRUPTED)
            run.executor._inbox.put_nowait(run.executor.abort)

    run = Run(
        STEPS + "  a: {flow: ./inner.yaml, with: {name: x}}\n  b: {needs: [a], set: {x: 1}}\n",
        {"replies": [SLOW]},
        files={"inner.yaml": INNER},
        when=when,
    )
    run.go()
    assert run.ends() == {"b": "skipped", "a.said": "skipped", "a.ask": "cancelled", "a": "cancelled"}


def test_a_bug_inside_a_flow_ends_the_run_with_every_end_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("gptoss_flow.steps.set.SetStep.run", broken)
    run = Run(
        STEPS + "  a: {flow: ./inner.yaml, with: {name: x}}\nfinally: {f: {set: {x: 1}}}\n",
        files={"inner.yaml": INNER},
    )
    assert run.go().exit_code is ExitCode.BUG
    assert run.ends() == {"a.ask": "succeeded", "a.said": "cancelled", "a": "cancelled", "f": "skipped"}


# --- fallbacks --------------------------------------------------------------------------------------------------


def test_a_fallback_stands_for_the_step_and_sees_its_error() -> None:
    run = Run(
        STEPS
        + "  a:\n    prompt: {user: hi}\n    on_error:\n      fallback: {set: {why: '${{ error.message }}'}}\n"
        '  b: {set: {x: "${{ steps.a.output.why }}"}}\n',
        {"replies": [BROKEN]},
    )
    assert run.go().outputs == {"b": {"x": "no answer"}}
    assert [event.kind for event in run.log.of(FellBack)] == ["set"]
    assert run.ends() == {"a": "succeeded", "b": "succeeded"}


def test_a_fallback_of_an_item_stands_in_its_place_and_one_that_fails_fails_the_step() -> None:
    flow = (
        STEPS + "  each:\n    foreach: [1, 0, 2]\n    set: {v: '${{ 10 // item }}'}\n"
        "    on_error:\n      fallback: {set: {v: '${{ %s }}'}}\n"
    )
    assert Run(flow % "item - 1").go().outputs == {"each": [{"v": 10}, {"v": -1}, {"v": 5}]}
    failing = Run(flow % "1 // 0")
    assert failing.go().exit_code is ExitCode.FAILED
    assert failing.end("each[1]").outcome == "failed"


# --- matrices ---------------------------------------------------------------------------------------------------


def test_a_matrix_runs_each_cell_in_order_and_tells_which() -> None:
    run = Run(
        STEPS + "  sizes: {set: {all: [1, 2]}}\n"
        "  grid:\n    matrix: {os: [a, b], n: '${{ steps.sizes.output.all }}', include: [{os: c, n: 9}]}\n"
        "    set: {v: '${{ matrix.os }}${{ matrix.n }}${{ loop.index }}'}\n"
    )
    assert [one["v"] for one in run.go().outputs["grid"]] == ["a11", "a22", "b13", "b24", "c95"]
    assert {e.step: e.values for e in run.log.of(StepStarted)}["grid[3]"] == {"os": "b", "n": 2}


def test_an_axis_that_is_no_list_fails_the_step_at_its_place() -> None:
    run = Run(STEPS + "  n: {set: {x: 1}}\n  grid: {matrix: {n: '${{ steps.n.output.x }}'}, set: {v: 1}}\n")
    assert run.go().exit_code is ExitCode.FAILED
    error = run.end("grid").error
    assert error is not None
    assert "needs a list" in error["message"]
    assert error["at"].endswith("flow.yaml:4:18")


# --- limits -----------------------------------------------------------------------------------------------------


def test_a_limit_of_tokens_ends_the_run_and_says_so() -> None:
    run = Run(
        "version: 1\nlimits: {tokens: 3}\nsteps:\n  a: {prompt: {user: hi}}\n"
        '  b: {needs: [a], prompt: {user: "more"}}\nfinally: {f: {set: {s: "${{ run.status }}"}}}\n',
        {"default": "a long answer of several words"},
    )
    result = run.go()
    assert (result.status, result.exit_code) == ("limited", ExitCode.LIMITED)
    assert result.error.startswith("limits.tokens: the run may use 3 tokens and has used ")
    assert run.ends() == {"b": "skipped", "a": "succeeded", "f": "succeeded"}
    assert run.end("f").output == {"s": "limited"}


def test_a_limit_of_time_cancels_what_runs() -> None:
    run = Run("version: 1\nlimits: {time: 50ms}\nsteps:\n  a: {prompt: {user: hi}}\n", {"replies": [SLOW]})
    result = run.go()
    assert (result.exit_code, run.ends()) == (ExitCode.LIMITED, {"a": "cancelled"})
    assert result.error.startswith("limits.time: the run may take 0.05 s")


def test_the_tool_call_that_would_exceed_the_limit_is_not_made() -> None:
    run = Run(
        "version: 1\nlimits: {tool_calls: 2}\nsteps:\n"
        "  each: {foreach: [1, 2, 3, 4], max_parallel: 1, tool: list_files, with: {pattern: 'none*'}}\n"
        "finally: {f: {tool: list_files, with: {pattern: 'none*'}}}\n"
    )
    assert run.go().exit_code is ExitCode.LIMITED
    assert [event.step for event in run.log.of(ToolStarted)] == ["each[0]", "each[1]", "f"]
    assert run.end("f").outcome == "succeeded"


def test_what_earlier_lives_spent_counts() -> None:
    text = "version: 1\nlimits: {tokens: 30, tool_calls: 1, time: 1h}\nsteps:\n  a: {prompt: {user: hi}}\n"
    tool = "  b: {needs: [a], tool: list_files, with: {pattern: 'none*'}}\n"
    assert Run(text + tool).go().status == "succeeded"
    for spent, said in (
        (Spent(Tokens(20, 99, 9)), "limits.tokens: the run may use 30 tokens and has used "),
        (Spent(tool_calls=1), "limits.tool_calls: the run may call tools 1 times and step b wants more"),
        (Spent(time_s=3599.999), "limits.time: the run may take 3600 s and has taken 3600.0 s"),
    ):
        result = Run(text + tool, {"replies": [SLOW]} if spent.time_s else None, spent=spent).go()
        assert result.status == "limited" and result.error.startswith(said)


@pytest.mark.parametrize("spent", [Spent(Tokens(20, 99, 11)), Spent(time_s=3600.0)])
def test_where_a_limit_was_exceeded_before_nothing_runs_again(spent: Spent) -> None:
    text = "version: 1\nlimits: {tokens: 30, time: 1h}\nsteps:\n  a: {set: {x: 1}}\nfinally: {f: {set: {x: 1}}}\n"
    run = Run(text, spent=spent)
    result = run.go()
    assert (result.status, run.ends()) == ("limited", {"a": "skipped", "f": "skipped"})
    assert result.error.endswith("; raise the limit in the flow to go on")


def test_fail_fast_ends_the_run_with_the_first_failure() -> None:
    run = Run(
        "version: 1\nlimits: {fail_fast: true}\nsteps:\n  slow: {prompt: {user: hi}}\n  ok: {check: ['1 > 2']}\n"
        "  late: {needs: [slow], set: {x: 1}}\nfinally: {f: {set: {s: '${{ run.status }}'}}}\n",
        {"replies": [SLOW]},
    )
    result = run.go()
    assert (result.status, result.exit_code) == ("failed", ExitCode.REJECTED)
    assert run.ends() == {"late": "skipped", "ok": "failed", "slow": "cancelled", "f": "succeeded"}
    assert run.end("f").output == {"s": "failed"}


# --- selection and known results --------------------------------------------------------------------------------


def test_only_selected_steps_run() -> None:
    run = Run(
        STEPS + "  a: {set: {x: 1}}\n  b: {needs: [a], set: {x: 2}}\n"
        "outputs: {a: '${{ steps.a.output.x }}', b: 'b: ${{ steps.b.output.x }}'}\n",
        select={"a"},
    )
    result = run.go()
    assert (result.exit_code, result.outputs) == (ExitCode.OK, {"a": 1, "b": None})
    assert run.end("b").reason == "not selected"


@dataclass
class Remembered:
    """Some results, and what is to be kept."""

    outputs: Mapping[str, Any]
    kept: list[str] = field(default_factory=list)

    def find(self, unit_id: str, node: Node, key: Key) -> Reused | None:
        assert key or node.inner is not None
        return Reused(Outcome("succeeded", self.outputs[unit_id]), "old") if unit_id in self.outputs else None

    def keep(self, unit_id: str, node: Node, key: Key, outcome: Outcome) -> None:
        self.kept.append(unit_id)


def test_a_known_result_stands_for_a_unit_that_then_does_not_run() -> None:
    known = Remembered({"each[1]": {"v": "old"}, "f.said": {"text": "old"}})
    run = Run(
        STEPS + "  each: {foreach: [1, 2, 3], set: {v: '${{ item }}'}}\n"
        "  f: {needs: [each], flow: ./inner.yaml, with: {name: x}}\n"
        "outputs: {each: '${{ steps.each.output }}', f: '${{ steps.f.output.text }}'}\n",
        files={"inner.yaml": INNER},
        known=known,
    )
    assert run.go().outputs == {"each": [{"v": 1}, {"v": "old"}, {"v": 3}], "f": "old"}
    assert {event.step for event in run.log.of(StepStarted)} == {"each", "each[0]", "each[2]", "f", "f.ask"}
    assert {event.step: event.reused for event in run.log.of(StepFinished) if event.reused} == {
        "each[1]": "old", "f.said": "old",
    }  # fmt: skip
    assert sorted(known.kept) == ["each[0]", "each[2]", "f.ask"]
    assert run.end("each[0]").key["step"]


def test_a_bug_while_the_loop_decides_still_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise LookupError("oops")

    monkeypatch.setattr("gptoss_flow.run.group.Group.gather", broken)
    run = Run(STEPS + "  each: {foreach: [1], set: {x: 1}}\n")
    result = run.go()
    assert (result.exit_code, result.error) == (ExitCode.BUG, "LookupError: oops")
    assert isinstance(run.log.events[-1], RunFinished)
