"""The frontier as lists of decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gptoss_flow.plan.decisions import Close, Consider, Decision, Expand, Finalize, Gather, Skip, Start, Unit
from gptoss_flow.plan.frontier import Frontier
from gptoss_flow.plan.plan import Plan
from tests.plan.made import node, plan

END = Close("")


def u(node_id: str, index: int | None = None, group: str = "") -> Unit:
    return Unit(group, node_id, index)


def begun(flow: Plan, slots: Mapping[str, int] | None = None, cores: int = 2) -> tuple[Frontier, list[Decision]]:
    frontier = Frontier(flow)
    return frontier, frontier.begin(slots or {}, cores)


def started(decisions: Iterable[Decision]) -> list[str]:
    return [decision.unit.id for decision in decisions if isinstance(decision, Start)]


CHAIN = plan(node("a"), node("b", ["a"]), node("c", ["b"]))


def test_a_step_starts_when_what_it_needs_has_succeeded() -> None:
    frontier, first = begun(CHAIN)
    assert first == [Start(u("a"))]
    assert frontier.settled(u("a"), "succeeded") == [Start(u("b"))]
    assert frontier.settled(u("b"), "succeeded") == [Start(u("c"))]
    assert frontier.settled(u("c"), "succeeded") == [END]
    assert frontier.done


def test_all_below_a_failure_is_skipped() -> None:
    frontier, _ = begun(CHAIN)
    assert frontier.settled(u("a"), "failed") == [Skip(u("b"), "dependency"), Skip(u("c"), "dependency"), END]
    assert frontier.done


def test_a_handled_failure_lets_the_run_go_on() -> None:
    frontier, _ = begun(CHAIN)
    assert started(frontier.settled(u("a"), "failed", handled=True)) == ["b"]


def test_independent_steps_go_on_after_a_failure() -> None:
    frontier, first = begun(plan(node("a"), node("b"), node("c", ["b"])))
    assert started(first) == ["a", "b"]
    assert frontier.settled(u("a"), "failed") == []
    assert started(frontier.settled(u("b"), "succeeded")) == ["c"]


def test_a_skip_skips_its_dependents_unless_they_can_do_without() -> None:
    hard, soft = node("hard", ["a"]), node("soft", ["a"], tolerant=True)
    frontier, _ = begun(plan(node("a"), hard, soft, node("last", ["hard"], always=True)))
    decisions = frontier.settled(u("a"), "skipped")
    assert Skip(u("hard"), "dependency") in decisions
    assert started(decisions) == ["soft", "last"]


def test_default_does_not_help_below_a_failure_but_always_does() -> None:
    frontier, _ = begun(plan(node("a"), node("soft", ["a"], tolerant=True), node("last", ["a"], always=True)))
    decisions = frontier.settled(u("a"), "failed")
    assert decisions == [Skip(u("soft"), "dependency"), Start(u("last"))]


# --- places -----------------------------------------------------------------------------------------------------

PROMPTS = plan(node("a", kind="prompt"), node("b", kind="prompt"), node("c", kind="prompt"))


def test_no_more_prompts_run_than_the_server_has_slots() -> None:
    frontier, first = begun(PROMPTS, {"main": 2})
    assert started(first) == ["a", "b"]
    assert started(frontier.settled(u("b"), "succeeded")) == ["c"]


def test_no_more_units_run_at_once_than_the_limit_says_whatever_they_run_on() -> None:
    flow = plan(node("a", kind="prompt"), node("b", kind="tool"), node("c"), node("d", kind="prompt"))
    frontier = Frontier(flow, concurrency=2)
    assert started(frontier.begin({"main": 4}, 4)) == ["a", "b"]
    assert started(frontier.settled(u("b"), "succeeded")) == ["c"]
    assert started(frontier.settled(u("c"), "failed")) == ["d"]


# --- fan-outs ---------------------------------------------------------------------------------------------------

FAN = plan(node("each", fan=True), node("after", ["each"]))


def fanned(count: int, limit: int | None) -> tuple[Frontier, list[Decision]]:
    frontier, first = begun(FAN)
    assert first == [Expand(u("each"))]
    return frontier, frontier.expanded(u("each"), count, limit)


def test_a_fan_out_feeds_its_items_in_order_and_ends_after_the_last() -> None:
    frontier, first = fanned(4, 2)
    assert started(first) == ["each[0]", "each[1]"]
    assert started(frontier.settled(u("each", 1), "succeeded")) == ["each[2]"]
    assert started(frontier.settled(u("each", 0), "skipped")) == ["each[3]"]
    assert frontier.settled(u("each", 2), "failed", handled=True) == []
    assert frontier.settled(u("each", 3), "succeeded") == [Gather(u("each"), "succeeded"), Start(u("after"))]


def test_a_failed_item_starts_no_new_ones_and_fails_the_step_when_the_running_ones_end() -> None:
    frontier, _ = fanned(4, 2)
    assert frontier.settled(u("each", 0), "failed") == []
    decisions = frontier.settled(u("each", 1), "succeeded")
    assert decisions == [Gather(u("each"), "failed", 0), Skip(u("after"), "dependency"), END]
    assert frontier.done


def test_items_in_line_behind_a_failed_one_never_start() -> None:
    flow = plan(node("each", kind="prompt", fan=True), node("b", kind="prompt", always=True))
    frontier, _ = begun(flow, {"main": 1})
    assert started(frontier.expanded(u("each"), 3, 3)) == []
    assert started(frontier.settled(u("b"), "succeeded")) == ["each[0]"]
    assert frontier.settled(u("each", 0), "failed") == [Gather(u("each"), "failed", 0), END]


def test_an_empty_fan_out_succeeds_at_once() -> None:
    _, decisions = fanned(0, None)
    assert decisions == [Gather(u("each"), "succeeded"), Start(u("after"))]


def test_a_fan_out_whose_items_could_not_be_told_fails() -> None:
    frontier, _ = begun(FAN)
    assert frontier.settled(u("each"), "failed") == [Skip(u("after"), "dependency"), END]


# --- before a unit runs -----------------------------------------------------------------------------------------


def test_a_condition_is_asked_for_before_a_place_is_waited_for() -> None:
    frontier, first = begun(
        plan(node("a", kind="prompt"), node("b", kind="prompt", maybe=True), node("c", kind="prompt")), {"main": 1}
    )
    assert first == [Consider(u("b")), Start(u("a"))]
    assert frontier.settled(u("b"), "skipped") == []
    assert started(frontier.settled(u("a"), "succeeded")) == ["c"]


def test_a_unit_that_was_considered_and_is_to_run_waits_in_its_order() -> None:
    frontier, _ = begun(
        plan(node("a", kind="prompt"), node("b", kind="prompt", maybe=True), node("c", kind="prompt")), {"main": 1}
    )
    assert frontier.queue(u("b")) == []
    assert started(frontier.settled(u("a"), "succeeded")) == ["b"]


def test_where_results_may_be_known_every_unit_is_considered() -> None:
    frontier = Frontier(FAN, reuse=True)
    frontier.begin({}, 2)
    assert frontier.expanded(u("each"), 3, 2) == [Consider(u("each", 0)), Consider(u("each", 1))]
    assert frontier.settled(u("each", 0), "succeeded") == [Consider(u("each", 2))]
    assert frontier.queue(u("each", 1)) == [Start(u("each", 1))]
    assert frontier.settled(u("each", 2), "succeeded") == []
    assert frontier.settled(u("each", 1), "succeeded") == [Gather(u("each"), "succeeded"), Consider(u("after"))]


def test_a_considered_item_that_is_to_run_does_not_once_another_has_failed() -> None:
    frontier = Frontier(FAN, reuse=True)
    frontier.begin({}, 2)
    frontier.expanded(u("each"), 3, 2)
    assert frontier.settled(u("each", 0), "failed") == []
    assert frontier.queue(u("each", 1)) == [Gather(u("each"), "failed", 0), Skip(u("after"), "dependency"), END]


# --- fallbacks --------------------------------------------------------------------------------------------------


def test_a_fallback_waits_for_a_place_of_its_own_kind() -> None:
    flow = plan(node("a", kind="tool", fallback="prompt"), node("b", kind="prompt"), node("c", ["a"]))
    frontier, first = begun(flow, {"main": 1})
    assert started(first) == ["a", "b"]
    assert frontier.settled(u("a"), "failed", fallback=True) == []
    assert frontier.settled(u("b"), "succeeded") == [Start(u("a"), fallback=True)]
    assert frontier.settled(u("a"), "succeeded") == [Start(u("c"))]


def test_an_item_whose_fallback_waits_keeps_its_fan_out_open_though_another_failed() -> None:
    flow = plan(node("each", fan=True, fallback="prompt"), node("b", kind="prompt"))
    frontier, _ = begun(flow, {"main": 1})
    frontier.expanded(u("each"), 4, 2)
    assert frontier.settled(u("each", 0), "failed", fallback=True) == []
    assert frontier.settled(u("each", 1), "failed") == []
    assert frontier.settled(u("b"), "succeeded") == [Start(u("each", 0), fallback=True)]
    assert frontier.settled(u("each", 0), "succeeded") == [Gather(u("each"), "failed", 1), END]


def test_a_stop_settles_a_waiting_fallback_like_what_runs() -> None:
    frontier, _ = begun(plan(node("a", fallback="prompt"), node("b", kind="prompt")), {"main": 1})
    frontier.settled(u("a"), "failed", fallback=True)
    assert frontier.stop() == [Start(u("a"), fallback=True)]
    assert frontier.is_stopped("")
    assert frontier.settled(u("a"), "cancelled") == []
    assert frontier.settled(u("b"), "cancelled") == [END]


# --- stops ------------------------------------------------------------------------------------------------------


def test_a_stop_skips_what_has_not_started_and_waits_for_what_runs() -> None:
    frontier, _ = begun(plan(*PROMPTS.nodes.values(), node("d", ["a"])), {"main": 2})
    assert frontier.stop() == [Skip(u("c"), "cancelled"), Skip(u("d"), "cancelled")]
    assert frontier.settled(u("a"), "cancelled") == []
    assert frontier.settled(u("b"), "succeeded") == [END]


def test_a_stop_before_the_beginning_skips_everything() -> None:
    frontier = Frontier(CHAIN)
    assert frontier.stop(finals=True) == [*(Skip(u(step), "cancelled") for step in "abc"), END]
    assert frontier.done


def test_a_stop_in_a_fan_out_ends_it_when_its_running_items_end() -> None:
    frontier, _ = fanned(4, 2)
    assert frontier.stop() == [Skip(u("after"), "cancelled")]
    assert frontier.settled(u("each", 0), "cancelled") == []
    assert frontier.settled(u("each", 1), "cancelled") == [Gather(u("each"), "cancelled"), END]


# --- what runs last ---------------------------------------------------------------------------------------------

LAST = plan(node("a"), node("b", ["a"]), node("x", final=True), node("y", ["x"], final=True))


def test_final_steps_run_when_all_others_have_ended_however_they_ended() -> None:
    frontier, first = begun(LAST)
    assert started(first) == ["a"]
    assert frontier.settled(u("a"), "failed") == [Skip(u("b"), "dependency"), Finalize("")]
    assert frontier.begin_final("") == [Start(u("x"))]
    assert frontier.settled(u("x"), "succeeded") == [Start(u("y"))]
    assert frontier.settled(u("y"), "failed") == [END]


def test_a_stop_leaves_final_steps_to_run_and_a_second_one_ends_them() -> None:
    frontier, _ = begun(LAST)
    assert frontier.stop() == [Skip(u("b"), "cancelled")]
    assert frontier.settled(u("a"), "cancelled") == [Finalize("")]
    assert frontier.begin_final("") == [Start(u("x"))]
    assert frontier.stop() == []
    assert not frontier.is_stopped("")
    assert frontier.stop(finals=True) == [Skip(u("y"), "cancelled")]
    assert not frontier.finals_left
    assert frontier.settled(u("x"), "cancelled") == [END]


def test_two_stops_at_once_skip_the_final_steps() -> None:
    frontier, _ = begun(LAST)
    frontier.stop()
    frontier.stop(finals=True)
    assert frontier.settled(u("a"), "cancelled") == [Finalize("")]
    assert frontier.begin_final("") == [Skip(u("x"), "cancelled"), Skip(u("y"), "cancelled"), END]


def test_a_flow_of_final_steps_alone_runs_them() -> None:
    _, first = begun(plan(node("x", final=True)))
    assert first == [Finalize("")]


# --- selection --------------------------------------------------------------------------------------------------


def test_steps_that_are_not_selected_are_skipped_and_hold_nobody_up() -> None:
    frontier = Frontier(plan(node("a"), node("b", ["a"]), node("c", ["b"]), node("d")), select={"a", "b"})
    first = frontier.begin({}, 2)
    assert first == [Skip(u("c"), "not selected"), Skip(u("d"), "not selected"), Start(u("a"))]
    assert started(frontier.settled(u("a"), "succeeded")) == ["b"]
    assert frontier.settled(u("b"), "succeeded") == [END]


def test_a_selected_step_whose_need_is_not_selected_is_skipped() -> None:
    frontier = Frontier(plan(node("a"), node("b", ["a"]), node("x", final=True)), select={"b", "x"})
    assert frontier.begin({}, 2) == [Skip(u("a"), "not selected"), Skip(u("b"), "dependency"), Finalize("")]


# --- flows inside flows -----------------------------------------------------------------------------------------

INNER = plan(node("p", kind="prompt"), node("q", ["p"]), node("z", final=True))
OUTER = plan(node("flow", kind="flow", inner=INNER), node("after", ["flow"]), node("last", final=True))


def test_a_flow_inside_is_a_group_that_ends_before_its_step() -> None:
    frontier, first = begun(OUTER, {"main": 1})
    assert first == [Start(u("flow"))]
    assert frontier.enter(u("flow"), INNER) == [Start(u("p", group="flow"))]
    assert u("p", group="flow").id == "flow.p"
    assert frontier.settled(u("p", group="flow"), "succeeded") == [Start(u("q", group="flow"))]
    assert frontier.settled(u("q", group="flow"), "succeeded") == [Finalize("flow")]
    assert frontier.begin_final("flow") == [Start(u("z", group="flow"))]
    assert frontier.settled(u("z", group="flow"), "succeeded") == [Close("flow")]
    assert frontier.settled(u("flow"), "succeeded") == [Start(u("after"))]


def test_groups_share_the_places_and_earlier_items_go_first() -> None:
    flow = plan(node("each", kind="flow", fan=True, inner=INNER), node("late", kind="prompt"))
    frontier, first = begun(flow, {"main": 1})
    assert started(first) == ["late"]
    assert started(frontier.expanded(u("each"), 3, None)) == ["each[0]", "each[1]"]
    assert frontier.enter(u("each", 1), INNER) == []
    assert frontier.enter(u("each", 0), INNER) == []
    assert started(frontier.settled(u("late"), "succeeded")) == ["each[0].p"]
    assert started(frontier.settled(u("p", group="each[0]"), "failed")) == ["each[1].p"]


def test_a_stop_of_a_group_leaves_all_others_alone() -> None:
    frontier, _ = begun(plan(node("one", kind="flow"), node("onee", kind="flow")), {"main": 1})
    frontier.enter(u("one"), INNER)
    frontier.enter(u("onee"), INNER)
    assert frontier.stop("one") == [Skip(u("q", group="one"), "cancelled")]
    assert [group for group in ("", "one", "onee") if frontier.is_stopped(group)] == ["one"]
    decisions = frontier.settled(u("p", group="one"), "cancelled")
    assert decisions == [Finalize("one"), Start(u("p", group="onee"))]


def test_a_stop_reaches_flows_inside_and_their_final_steps_still_run() -> None:
    frontier, _ = begun(OUTER, {"main": 1})
    frontier.enter(u("flow"), INNER)
    assert frontier.stop() == [Skip(u("after"), "cancelled"), Skip(u("q", group="flow"), "cancelled")]
    assert frontier.settled(u("p", group="flow"), "cancelled") == [Finalize("flow")]
    assert started(frontier.begin_final("flow")) == ["flow.z"]
    assert frontier.settled(u("z", group="flow"), "succeeded") == [Close("flow")]
    assert frontier.settled(u("flow"), "cancelled") == [Finalize("")]


def test_a_stop_leaves_a_flow_inside_a_final_step_alone_and_a_second_one_does_not() -> None:
    frontier, first = begun(plan(node("x", kind="flow", inner=INNER, final=True)), {"main": 1})
    assert first == [Finalize("")]
    frontier.begin_final("")
    frontier.enter(u("x"), INNER)
    assert frontier.stop() == []
    assert frontier.stop(finals=True) == [Skip(u("q", group="x"), "cancelled")]
    assert frontier.settled(u("p", group="x"), "cancelled") == [Finalize("x")]
    assert frontier.begin_final("x") == [Skip(u("z", group="x"), "cancelled"), Close("x")]


def test_a_group_that_is_entered_again_begins_anew() -> None:
    frontier, _ = begun(plan(node("flow", kind="flow")), {"main": 1})
    inner = plan(node("each", kind="prompt", fan=True))
    frontier.enter(u("flow"), inner)
    frontier.expanded(u("each", group="flow"), 3, 3)
    decisions = frontier.settled(u("each", 0, "flow"), "failed")
    assert decisions == [Gather(u("each", group="flow"), "failed", 0), Close("flow")]
    assert frontier.enter(u("flow"), inner) == [Expand(u("each", group="flow"))]
    assert started(frontier.expanded(u("each", group="flow"), 3, 3)) == ["flow.each[0]"]
