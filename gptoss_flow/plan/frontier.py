"""Decides what may run next. Pure: it is told what ended and answers with decisions.

Steps wait for those they need; ready ones wait for a place (a slot of their server, a core); a fan-out feeds its
items as places become free. A flow inside a flow is a group of its own, entered when its step's unit runs; all
groups share the places. It knows no kind and no clock. Ties are broken by the order of plans, then of items.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gptoss_flow.events import OutcomeWord
from gptoss_flow.plan.decisions import (
    ROOT,
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
from gptoss_flow.plan.places import Places, Waiting
from gptoss_flow.plan.plan import Node, Plan
from gptoss_flow.plan.walk import Ending, FanOut, Graph, Walk


class Frontier:
    """The state of the walk over one plan and over those inside it."""

    def __init__(
        self,
        plan: Plan,
        *,
        concurrency: int | None = None,
        reuse: bool = False,
        select: Collection[str] | None = None,
    ) -> None:
        """Only the steps of `select` run; `reuse`: a unit's result may be known before it does.

        `concurrency`: how many units may have a place at once.
        """
        self._graphs: dict[int, Graph] = {}
        self._walks = {ROOT: self._walk(plan, None, ())}
        self._concurrency = concurrency
        self._places = Places({}, 1, concurrency)
        self._reuse = reuse
        self._select = select

    @property
    def done(self) -> bool:
        """Nothing runs and every step has ended."""
        return not self._walks

    @property
    def finals_left(self) -> bool:
        """Some step is still to run last, or does so now."""
        return any(walk.finals_left for walk in self._walks.values())

    def is_stopped(self, group: str) -> bool:
        """Nothing starts in this group any more: what it says should start is to be settled at once."""
        walk = self._walks.get(group)
        return walk is None or walk.stopped

    def begin(self, slots: Mapping[str, int], cores: int) -> list[Decision]:
        """The first decisions. `slots`: how many requests each server works on at once."""
        self._places = Places(slots, cores, self._concurrency)
        found: list[Decision] = []
        walk = self._walks[ROOT]
        if self._select is not None:
            left_out = [node_id for node_id in walk.plan.nodes if node_id not in self._select]
            for node_id in left_out:
                found.append(Skip(Unit(ROOT, node_id), "not selected"))
                walk.finish(node_id, "skipped")
            for node_id in left_out:
                walk.release(node_id)
        return self._fill(self._begin_phase(ROOT, walk, found))

    def enter(self, unit: Unit, plan: Plan) -> list[Decision]:
        """The flow inside this running unit begins, as the group of the unit's id."""
        outer = self._walks[unit.group]
        walk = self._walks[unit.id] = self._walk(plan, unit.group, self._order(outer, unit))
        return self._fill(self._begin_phase(unit.id, walk, []))

    def begin_final(self, group: str) -> list[Decision]:
        """The steps that run last."""
        walk = self._walks[group]
        found: list[Decision] = []
        walk.enter_final()
        if walk.stopped:
            self._skip_unstarted(group, walk, found)
            self._close(group, walk, found)
            return found
        return self._fill(self._begin_phase(group, walk, found))

    def expanded(self, unit: Unit, count: int, max_parallel: int | None) -> list[Decision]:
        """This step has `count` items."""
        walk = self._walks[unit.group]
        limit = max_parallel or self._places.capacity(walk.plan.nodes[unit.node])
        fan_out = FanOut(count, limit=limit, cancelled=walk.stopped)
        walk.fan_outs[unit.node] = fan_out
        found: list[Decision] = []
        self._feed(unit, walk, fan_out, found)
        self._gather(unit, walk, fan_out, found)
        return self._fill(found)

    def queue(self, unit: Unit) -> list[Decision]:
        """This unit, which was considered, is to run."""
        found: list[Decision] = []
        walk = self._walks[unit.group]
        if unit.index is not None:
            fan_out = walk.fan_outs[unit.node]
            fan_out.running -= 1
            if fan_out.closed:
                self._gather(unit, walk, fan_out, found)
                return self._fill(found)
            fan_out.queued += 1
        self._wait(walk, unit, found)
        return self._fill(found)

    def settled(
        self, unit: Unit, outcome: OutcomeWord, *, handled: bool = False, fallback: bool = False
    ) -> list[Decision]:
        """This unit has ended. `handled`: it failed, and `on_error` says that the run goes on.

        `fallback`: it has not, its fallback is to run in its place.
        """
        found: list[Decision] = []
        walk = self._walks[unit.group]
        self._places.give_back(unit)
        if fallback:
            self._wait(walk, unit, found, fallback=True)
        elif unit.index is None:
            self._end(unit.group, walk, unit.node, _ending(outcome, handled), found)
        else:
            fan_out = walk.fan_outs[unit.node]
            fan_out.running -= 1
            if outcome == "failed" and not handled and fan_out.failed_item is None:
                fan_out.failed_item = unit.index
            fan_out.cancelled = fan_out.cancelled or outcome == "cancelled"
            if fan_out.closed and fan_out.queued:
                self._places.leave(lambda waiting: waiting.unit[:2] == unit[:2] and not waiting.fallback)
                fan_out.queued = 0
            self._feed(unit, walk, fan_out, found)
            self._gather(unit, walk, fan_out, found)
        return self._fill(found)

    def stop(self, group: str = ROOT, *, finals: bool = False) -> list[Decision]:
        """Start nothing more in this group and those within it: what has not started is skipped.

        What runs is to be cancelled and settled. What runs last still runs, unless `finals` are to end as well.
        """
        stopped = {
            name: walk
            for name, walk in self._walks.items()
            if f"{name}.".startswith(f"{group}." if group else "") and (finals or not self._is_final(name, group))
        }
        found: list[Decision] = []
        for walk in stopped.values():
            walk.stopped = True
            walk.skips_finals = walk.skips_finals or finals
        for waiting in self._places.leave(lambda waiting: waiting.unit.group in stopped):
            self._leave(waiting, stopped[waiting.unit.group], found)
        for name, walk in stopped.items():
            self._skip_unstarted(name, walk, found)
            for node_id, fan_out in list(walk.fan_outs.items()):
                fan_out.cancelled = True
                self._gather(Unit(name, node_id), walk, fan_out, found)
            self._close(name, walk, found)
        return found

    # --- within ---------------------------------------------------------------------------------------------

    def _walk(self, plan: Plan, parent: str | None, order: tuple[int, ...]) -> Walk:
        graph = self._graphs.get(id(plan))  # a flow inside a fan-out is walked once for each item
        if graph is None:
            graph = self._graphs[id(plan)] = Graph(plan)
        return Walk(graph, parent=parent, order=order)

    def _is_final(self, name: str, top: str) -> bool:
        """Whether the group, or one that it is in, up to `top`, is in the phase that a first stop leaves alone."""
        while True:
            walk = self._walks[name]
            if walk.phase == "finals":
                return True
            if name == top or walk.parent is None:
                return False
            name = walk.parent

    def _order(self, walk: Walk, unit: Unit) -> tuple[int, ...]:
        return (*walk.order, walk.plan.nodes[unit.node].index, unit.index or 0)

    def _begin_phase(self, group: str, walk: Walk, found: list[Decision]) -> list[Decision]:
        for node_id in walk.ready():
            self._judge(group, walk, node_id, found)
        self._close(group, walk, found)
        return found

    def _make_ready(self, group: str, walk: Walk, node: Node, found: list[Decision]) -> None:
        unit = Unit(group, node.id)
        if node.is_fan_out:
            found.append(Expand(unit))
        elif self._may_not_run(node):
            found.append(Consider(unit))
        else:
            self._wait(walk, unit, found)

    def _may_not_run(self, node: Node) -> bool:
        return self._reuse or node.when is not None or node.step.when is False

    def _wait(self, walk: Walk, unit: Unit, found: list[Decision], *, fallback: bool = False) -> None:
        node = walk.plan.nodes[unit.node]
        asking = node.fallback if fallback and node.fallback else node
        if not self._places.wait(asking, Waiting(self._order(walk, unit), unit, fallback)):
            self._start(unit, walk, found, fallback=fallback)

    def _feed(self, unit: Unit, walk: Walk, fan_out: FanOut, found: list[Decision]) -> None:
        """Let as many items wait for a place as may run at once."""
        while fan_out.wants_more:
            item = Unit(unit.group, unit.node, fan_out.fed)
            fan_out.fed += 1
            if self._may_not_run(walk.plan.nodes[unit.node]):
                fan_out.running += 1
                found.append(Consider(item))
            else:
                fan_out.queued += 1
                self._wait(walk, item, found)

    def _gather(self, unit: Unit, walk: Walk, fan_out: FanOut, found: list[Decision]) -> None:
        """End the fan-out where no item runs and none will."""
        if unit.node in walk.fan_outs and fan_out.is_over:
            del walk.fan_outs[unit.node]
            word = fan_out.outcome
            found.append(Gather(Unit(unit.group, unit.node), word, fan_out.failed_item))
            self._end(unit.group, walk, unit.node, _ending(word, handled=False), found)

    def _end(self, group: str, walk: Walk, node_id: str, ending: Ending, found: list[Decision]) -> None:
        """A step has ended; those that waited only for it become ready, or are skipped and end too."""
        walk.finish(node_id, ending)
        for dependent in walk.release(node_id):
            self._judge(group, walk, dependent, found)
        self._close(group, walk, found)

    def _judge(self, group: str, walk: Walk, node_id: str, found: list[Decision]) -> None:
        """All that this step needs has ended: it is ready, or skipped, and so are those below."""
        todo = [node_id]
        while todo:
            node = walk.plan.nodes[todo.pop()]
            verdict = walk.obstacle(node)
            if verdict is None:
                self._make_ready(group, walk, node, found)
            else:
                found.append(Skip(Unit(group, node.id), "cancelled" if walk.stopped else "dependency"))
                walk.finish(node.id, verdict)
                todo += reversed(walk.release(node.id))

    def _close(self, group: str, walk: Walk, found: list[Decision]) -> None:
        """Go on to what runs last, or end the group, where every step of its phase has ended."""
        if walk.left or self._walks.get(group) is not walk:
            return
        if walk.phase == "steps" and walk.has_finals:
            walk.phase = "between"
            found.append(Finalize(group))
        elif walk.phase != "between":
            del self._walks[group]
            found.append(Close(group))

    def _leave(self, waiting: Waiting, walk: Walk, found: list[Decision]) -> None:
        """A unit of a stopped group waits no longer."""
        _, unit, fallback = waiting
        if fallback:
            found.append(Start(unit, fallback=True))  # it has run: it is settled like what runs
        elif unit.index is None:
            found.append(Skip(unit, "cancelled"))
            walk.finish(unit.node, "blocked")
        else:
            walk.fan_outs[unit.node].queued -= 1

    def _skip_unstarted(self, group: str, walk: Walk, found: list[Decision]) -> None:
        for node_id in walk.unstarted():
            found.append(Skip(Unit(group, node_id), "cancelled"))
            walk.finish(node_id, "blocked")

    def _start(self, unit: Unit, walk: Walk, found: list[Decision], *, fallback: bool) -> None:
        if unit.index is not None and not fallback:
            fan_out = walk.fan_outs[unit.node]
            fan_out.queued -= 1
            fan_out.running += 1
        found.append(Start(unit, fallback))

    def _fill(self, found: list[Decision]) -> list[Decision]:
        """Give free places to those who wait, in order."""
        while waiting := self._places.next():
            _, unit, fallback = waiting
            self._start(unit, self._walks[unit.group], found, fallback=fallback)
        return found


def _ending(outcome: OutcomeWord, handled: bool) -> Ending:
    match outcome:
        case "succeeded":
            return "succeeded"
        case "failed":
            return "handled" if handled else "blocked"
        case "skipped":
            return "skipped"
        case "cancelled":
            return "blocked"
