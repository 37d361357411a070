"""Whatever happens in any graph: every step ends once, no place is taken twice, final steps come last."""

from __future__ import annotations

from collections import Counter, deque
from typing import assert_never

from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_flow.plan.decisions import (
    Close,
    Consider,
    Decision,
    Expand,
    Finalize,
    Gather,
    Skip,
    Start,
    Unit,
)
from gptoss_flow.plan.frontier import Frontier
from gptoss_flow.plan.plan import Node, Plan
from tests.plan.made import node, plan

SLOTS, CORES = 2, 3


@st.composite
def plans(draw: st.DrawFn, depth: int = 0) -> Plan:
    nodes: list[Node] = []
    finals = draw(st.integers(0, 2))
    count = draw(st.integers(1, 6 if depth == 0 else 3))
    for i in range(count + finals):
        is_final = i >= count
        others = range(count, i) if is_final else range(i)
        needs = draw(st.lists(st.sampled_from(others), unique=True, max_size=3)) if others else []
        inner = draw(plans(depth + 1)) if depth < 2 and draw(st.integers(0, 3)) == 0 else None
        nodes.append(
            node(
                f"s{i}",
                [f"s{need}" for need in needs],
                kind="flow" if inner else draw(st.sampled_from(["set", "prompt", "tool"])),
                tolerant=draw(st.booleans()),
                always=draw(st.integers(0, 3)) == 0,
                fan=draw(st.integers(0, 2)) == 0,
                maybe=draw(st.integers(0, 3)) == 0,
                final=is_final,
                fallback=draw(st.none() | st.sampled_from(["set", "prompt", "tool"])),
                inner=inner,
            )
        )
    return plan(*nodes)


class World:
    """Does what the frontier says, as the loop would, with chance in place of work."""

    def __init__(self, flow: Plan, data: st.DataObject) -> None:
        self.data = data
        self.limit = data.draw(st.none() | st.integers(1, 3))
        selected = data.draw(st.none() | st.sets(st.sampled_from(sorted(flow.nodes))))
        self.frontier = Frontier(flow, concurrency=self.limit, reuse=data.draw(st.booleans()), select=selected)
        self.plans = {"": flow}
        self.running: dict[Unit, bool] = {}
        """Each with whether it is its fallback that runs."""
        self.inside: set[Unit] = set()
        """Units whose flow inside has begun and not ended."""
        self.gone_in: set[Unit] = set()
        self.fallen: set[Unit] = set()
        self.steps_ended: dict[str, list[str]] = {"": []}
        self.items_ended: Counter[Unit] = Counter()
        self.final_phase: set[str] = set()
        self.stops = 0
        self.todo: deque[Decision] = deque()

    def walk(self) -> None:
        self.act(self.frontier.begin({"main": SLOTS}, CORES))
        while self.running:
            if self.stops < 2 and self.chance(15):
                self.stops += 1
                self.act(self.frontier.stop(finals=self.stops == 2))
            elif self.inside and self.chance(10):
                self.act(self.frontier.stop(self.data.draw(st.sampled_from(sorted(self.inside))).id))
            else:
                self.step(self.data.draw(st.sampled_from(sorted(self.running, key=str))))
        assert self.frontier.done
        assert self.plans == {}

    def chance(self, n: int) -> bool:
        return self.data.draw(st.integers(0, n - 1)) == 0

    def step(self, unit: Unit) -> None:
        """The unit goes on: into the flow inside it, or to its end."""
        one = self.plans[unit.group].nodes[unit.node]
        if unit in self.inside:
            return  # what is inside it goes on
        is_stopped = self.frontier.is_stopped(unit.group)
        if one.inner and not self.running[unit] and unit not in self.gone_in and not is_stopped:
            self.gone_in.add(unit)
            self.inside.add(unit)
            self.plans[unit.id], self.steps_ended[unit.id] = one.inner, []
            self.act(self.frontier.enter(unit, one.inner))
            return
        self.gone_in.discard(unit)
        word = self.data.draw(st.sampled_from(["succeeded", "failed", "cancelled" if is_stopped else "failed"]))
        if word == "failed" and one.fallback and not self.running.pop(unit) and not is_stopped and self.chance(2):
            self.fallen.add(unit)
            self.act(self.frontier.settled(unit, "failed", fallback=True))
            return
        self.running.pop(unit, None)
        self.settle(unit, word)

    def settle(self, unit: Unit, word: str) -> None:
        self.fallen.discard(unit)
        self.end(unit)
        self.act(self.frontier.settled(unit, word, handled=word == "failed" and self.chance(3)))  # type: ignore[arg-type]

    def end(self, unit: Unit) -> None:
        if unit.index is None:
            self.steps_ended[unit.group].append(unit.node)
        else:
            self.items_ended[unit] += 1

    def act(self, decisions: list[Decision]) -> None:
        """Like the loop: decisions that a decision brings come after those that are there."""
        is_first = not self.todo
        self.todo += decisions
        while is_first and self.todo:
            self.do(self.todo[0])
            self.check_places()
            self.todo.popleft()

    def do(self, decision: Decision) -> None:
        match decision:
            case Consider(unit):
                if self.frontier.is_stopped(unit.group) or self.chance(3):
                    self.settle(unit, self.data.draw(st.sampled_from(["skipped", "succeeded", "failed"])))
                else:
                    self.act(self.frontier.queue(unit))
            case Expand(unit):
                if self.frontier.is_stopped(unit.group) or self.chance(8):
                    self.settle(unit, "failed")
                else:
                    limit = self.data.draw(st.none() | st.integers(1, 3))
                    self.act(self.frontier.expanded(unit, self.data.draw(st.integers(0, 4)), limit))
            case Start(unit, fallback):
                assert fallback == (unit in self.fallen)
                if self.frontier.is_stopped(unit.group):
                    self.settle(unit, "cancelled")
                else:
                    is_final = self.plans[unit.group].nodes[unit.node].final
                    assert is_final == (unit.group in self.final_phase)
                    assert unit not in self.running
                    self.running[unit] = fallback
            case Skip(unit, _) | Gather(unit, _, _):
                self.end(unit)
            case Finalize(group):
                flow = self.plans[group]
                ordinary = [name for name, one in flow.nodes.items() if not one.final]
                left_out = [name for name in self.steps_ended[group] if flow.nodes[name].final]
                assert sorted(self.steps_ended[group]) == sorted([*ordinary, *left_out])
                self.final_phase.add(group)
                self.act(self.frontier.begin_final(group))
            case Close(group):
                assert sorted(self.steps_ended.pop(group)) == sorted(self.plans.pop(group).nodes)
                assert all(count == 1 for count in self.items_ended.values())
                self.items_ended = Counter({unit: 1 for unit in self.items_ended if unit.group != group})
                self.final_phase.discard(group)
                self.inside = {unit for unit in self.inside if unit.id != group}
            case _:
                assert_never(decision)

    def check_places(self) -> None:
        kinds = Counter[str]()
        for unit, fallback in self.running.items():
            one = self.plans[unit.group].nodes[unit.node]
            asking = one.fallback if fallback and one.fallback else one
            kinds[asking.step.runs_on] += 1
        assert kinds["server"] <= SLOTS
        assert kinds["cores"] <= CORES
        assert self.limit is None or kinds["server"] + kinds["cores"] + kinds["loop"] <= self.limit


@given(plans(), st.data())
@settings(max_examples=100, deadline=None)
def test_whatever_happens_in_any_graph(flow: Plan, data: st.DataObject) -> None:
    World(flow, data).walk()
