"""The frontier as lists of decisions."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.plan.frontier import Expand, Frontier, Gather, Skip, Start, Unit
from gptoss_flow.plan.plan import Plan
from tests.flows import compile_text


def plan_of(steps: str) -> Plan:
    return compile_text("version: 1\nsteps:\n" + steps)


def frontier_of(steps: str) -> Frontier:
    return Frontier(plan_of(steps))


def started(decisions: Iterable[object]) -> list[str]:
    return [decision.unit.id for decision in decisions if isinstance(decision, Start)]


CHAIN = """
  a: {set: {x: 1}}
  b: {set: {x: "${{ steps.a.output.x }}"}}
  c: {set: {x: "${{ steps.b.output.x }}"}}
"""


def test_a_step_starts_when_what_it_needs_has_succeeded() -> None:
    frontier = frontier_of(CHAIN)
    assert started(frontier.begin({}, 2)) == ["a"]
    assert started(frontier.settled(Unit("a"), "succeeded")) == ["b"]
    assert started(frontier.settled(Unit("b"), "succeeded")) == ["c"]
    assert frontier.settled(Unit("c"), "succeeded") == []
    assert frontier.done


def test_all_below_a_failure_is_skipped() -> None:
    frontier = frontier_of(CHAIN)
    frontier.begin({}, 2)
    assert frontier.settled(Unit("a"), "failed") == [Skip("b", "dependency"), Skip("c", "dependency")]
    assert frontier.done


def test_a_handled_failure_lets_the_run_go_on() -> None:
    frontier = frontier_of(CHAIN)
    frontier.begin({}, 2)
    assert started(frontier.settled(Unit("a"), "failed", handled=True)) == ["b"]


def test_independent_steps_go_on_after_a_failure() -> None:
    frontier = frontier_of("  a: {set: {x: 1}}\n  b: {set: {x: 1}}\n  c: {needs: [b], set: {x: 1}}\n")
    assert started(frontier.begin({}, 2)) == ["a", "b"]
    assert frontier.settled(Unit("a"), "failed") == []
    assert started(frontier.settled(Unit("b"), "succeeded")) == ["c"]


def test_a_skip_skips_its_dependents_unless_they_can_do_without() -> None:
    frontier = frontier_of("""
  a: {set: {x: 1}}
  hard: {set: {x: "${{ steps.a.output.x }}"}}
  soft: {set: {x: "${{ steps.a.output.x | default(0) }}"}}
  ends: {set: {x: "${{ steps.a.outcome }}"}}
  last: {when: always, needs: [hard], set: {x: 1}}
""")
    frontier.begin({}, 2)
    decisions = frontier.settled(Unit("a"), "skipped")
    assert Skip("hard", "dependency") in decisions
    assert sorted(started(decisions)) == ["ends", "last", "soft"]


def test_default_does_not_help_below_a_failure_but_always_does() -> None:
    frontier = frontier_of("""
  a: {set: {x: 1}}
  soft: {set: {x: "${{ steps.a.output.x | default(0) }}"}}
  last: {when: always, set: {x: "${{ steps.a.outcome }}"}}
""")
    frontier.begin({}, 2)
    decisions = frontier.settled(Unit("a"), "failed")
    assert Skip("soft", "dependency") in decisions
    assert started(decisions) == ["last"]


PROMPTS = """
  a: {prompt: {mode: raw, text: a}}
  b: {prompt: {mode: raw, text: b}}
  c: {prompt: {mode: raw, text: c}}
"""


def test_no_more_prompts_run_than_the_server_has_slots() -> None:
    frontier = frontier_of(PROMPTS)
    assert started(frontier.begin({"main": 2}, 2)) == ["a", "b"]
    assert started(frontier.settled(Unit("b"), "succeeded")) == ["c"]


FAN = """
  each: {foreach: [1, 2, 3, 4], max_parallel: 2, set: {x: "${{ item }}"}}
  after: {set: {x: "${{ steps.each.output }}"}}
"""


def test_a_fan_out_feeds_its_items_in_order_and_ends_after_the_last() -> None:
    frontier = frontier_of(FAN)
    assert frontier.begin({}, 2) == [Expand("each")]
    assert started(frontier.expanded("each", 4, 2)) == ["each[0]", "each[1]"]
    assert started(frontier.settled(Unit("each", 1), "succeeded")) == ["each[2]"]
    assert started(frontier.settled(Unit("each", 0), "skipped")) == ["each[3]"]
    assert frontier.settled(Unit("each", 2), "failed", handled=True) == []
    decisions = frontier.settled(Unit("each", 3), "succeeded")
    assert Gather("each", "succeeded") in decisions
    assert started(decisions) == ["after"]


def test_a_failed_item_starts_no_new_ones_and_fails_the_step_when_the_running_ones_end() -> None:
    frontier = frontier_of(FAN)
    frontier.begin({}, 2)
    frontier.expanded("each", 4, 2)
    assert frontier.settled(Unit("each", 0), "failed") == []
    decisions = frontier.settled(Unit("each", 1), "succeeded")
    assert decisions == [Gather("each", "failed", 0), Skip("after", "dependency")]
    assert frontier.done


def test_an_empty_fan_out_succeeds_at_once() -> None:
    frontier = frontier_of(FAN)
    frontier.begin({}, 2)
    decisions = frontier.expanded("each", 0, None)
    assert decisions[0] == Gather("each", "succeeded")
    assert started(decisions) == ["after"]


def test_a_foreach_that_could_not_be_evaluated_fails_its_step() -> None:
    frontier = frontier_of(FAN)
    frontier.begin({}, 2)
    assert frontier.settled(Unit("each"), "failed") == [Skip("after", "dependency")]
    assert frontier.done


def test_a_stop_skips_what_has_not_started_and_waits_for_what_runs() -> None:
    frontier = frontier_of(PROMPTS + "  d: {needs: [a], set: {x: 1}}\n")
    frontier.begin({"main": 2}, 2)
    assert frontier.stop() == [Skip("c", "cancelled"), Skip("d", "cancelled")]
    assert not frontier.done
    assert frontier.settled(Unit("a"), "cancelled") == []
    assert frontier.settled(Unit("b"), "succeeded") == []
    assert frontier.done


def test_a_stop_before_the_beginning_skips_everything() -> None:
    frontier = frontier_of(CHAIN)
    assert frontier.stop() == [Skip(step, "cancelled") for step in "abc"]
    assert frontier.done


def test_a_stop_in_a_fan_out_ends_it_when_its_running_items_end() -> None:
    frontier = frontier_of(FAN)
    frontier.begin({}, 2)
    frontier.expanded("each", 4, 2)
    assert frontier.stop() == [Skip("after", "cancelled")]
    assert frontier.settled(Unit("each", 0), "cancelled") == []
    assert frontier.settled(Unit("each", 1), "cancelled") == [Gather("each", "cancelled")]
    assert frontier.done


@st.composite
def random_flows(draw: st.DrawFn) -> str:
    steps = []
    for i in range(draw(st.integers(1, 9))):
        needs = draw(st.lists(st.integers(0, i - 1), unique=True, max_size=3)) if i else []
        always = draw(st.booleans())
        fan = draw(st.booleans())
        body = draw(st.sampled_from(["set: {x: 1}", "prompt: {mode: raw, text: x}", "tool: list_files"]))
        keys = [f"needs: [{', '.join(f's{n}' for n in needs)}]"] + ["when: always"] * always
        keys += ["foreach: [1, 2, 3]"] * fan
        steps.append(f"  s{i}: {{{', '.join([*keys, body])}}}\n")
    return "".join(steps)


@given(random_flows(), st.data())
def test_every_step_of_any_graph_ends_once_whatever_happens(steps: str, data: st.DataObject) -> None:
    plan = plan_of(steps)
    frontier = Frontier(plan)
    ended: list[str] = []
    running: list[Unit] = []
    todo = list(frontier.begin({"main": 2}, 2))
    stopped = False
    while True:
        while todo:
            match todo.pop(0):
                case Start(unit):
                    running.append(unit)
                case Expand(node):
                    todo += frontier.expanded(
                        node, data.draw(st.integers(0, 4)), data.draw(st.none() | st.just(1))
                    )
                case Skip(node, _) | Gather(node, _, _):
                    ended.append(node)
        if not running:
            break
        if not stopped and data.draw(st.integers(0, 9)) == 0:
            stopped = True
            todo += frontier.stop()
            continue
        unit = running.pop(data.draw(st.integers(0, len(running) - 1)))
        word = data.draw(st.sampled_from(["succeeded", "failed", "skipped", "cancelled"]))
        if unit.index is None:
            ended.append(unit.node)
        todo += frontier.settled(unit, word, handled=data.draw(st.booleans()))
    assert frontier.done
    assert sorted(ended) == sorted(plan.nodes)
