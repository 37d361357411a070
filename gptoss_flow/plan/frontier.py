"""Decides what may run next. Pure: it is told what ended and answers with decisions.

Steps wait for those they need; ready ones wait for a place (a slot of their server, a core); a fan-out feeds its
items as places become free. It knows no kind and no clock. Ties are broken by the plan's order, then the item's.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from gptoss_flow.events import OutcomeWord
from gptoss_flow.plan.plan import Node, Plan, unit_id

LOOP_PLACES = 64
"""How many steps that occupy nothing run at once: enough to hide a wait, few enough to stay cheap."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What runs as one: a step, or one item of a fan-out."""

    node: str
    index: int | None = None

    @property
    def id(self) -> str:
        return unit_id(self.node, self.index)


@dataclass(frozen=True, slots=True)
class Expand:
    """Evaluate this step's `foreach`, then answer with `expanded`, or with `settled` where that failed."""

    node: str


@dataclass(frozen=True, slots=True)
class Start:
    """Run this unit now, then answer with `settled`."""

    unit: Unit


@dataclass(frozen=True, slots=True)
class Skip:
    """This step will not run. It needs no answer."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Gather:
    """All items of this fan-out that ran have ended, and so has the step. It needs no answer."""

    node: str
    outcome: OutcomeWord
    failed_item: int | None = None


Decision = Expand | Start | Skip | Gather


@dataclass(slots=True)
class _FanOut:
    """The items of a step: `fed` of `count` are ready or beyond, `running` of them occupy a place."""

    count: int
    limit: int
    fed: int = 0
    running: int = 0
    queued: int = 0
    failed_item: int | None = None
    cancelled: bool = False

    @property
    def closed(self) -> bool:
        """No new item starts."""
        return self.failed_item is not None or self.cancelled


@dataclass(slots=True)
class _Places:
    """A resource: `capacity` units run at once, the rest wait in order."""

    capacity: int
    used: int = 0
    waiting: list[tuple[int, int, Unit]] = field(default_factory=list)


class Frontier:
    """The state of the walk over one plan."""

    def __init__(self, plan: Plan) -> None:
        self._nodes = plan.nodes
        self._missing = {node.id: len(node.needs) for node in plan.nodes.values()}
        self._needed_by: dict[str, list[str]] = {node_id: [] for node_id in plan.nodes}
        for node in plan.nodes.values():
            for need in node.needs:
                self._needed_by[need.step].append(node.id)
        self._ended: dict[str, str] = {}
        self._fan_outs: dict[str, _FanOut] = {}
        self._places: dict[str, _Places] = {}
        self._running = 0
        self._begun = False
        self._stopped = False

    @property
    def done(self) -> bool:
        """Nothing runs and every step has ended."""
        return self._running == 0 and len(self._ended) == len(self._nodes)

    def begin(self, slots: Mapping[str, int], cores: int) -> list[Decision]:
        """The first decisions. `slots`: how many requests each server works on at once."""
        self._begun = True
        self._places = {f"server {name}": _Places(count) for name, count in slots.items()}
        self._places |= {"cores": _Places(cores), "loop": _Places(LOOP_PLACES)}
        found: list[Decision] = []
        for node in self._nodes.values():
            if not node.needs:
                self._make_ready(node, found)
        return self._fill(found)

    def expanded(self, node_id: str, count: int, max_parallel: int | None) -> list[Decision]:
        """The `foreach` of this step has `count` items."""
        places = self._places_of(self._nodes[node_id])
        fan_out = _FanOut(count, limit=max_parallel or places.capacity, cancelled=self._stopped)
        self._fan_outs[node_id] = fan_out
        self._running -= 1
        found: list[Decision] = []
        self._feed(node_id, fan_out)
        self._gather(node_id, fan_out, found)
        return self._fill(found)

    def settled(self, unit: Unit, outcome: OutcomeWord, *, handled: bool = False) -> list[Decision]:
        """This unit has ended; `handled`: it failed, and `on_error` says that the run goes on."""
        found: list[Decision] = []
        self._running -= 1
        if unit.index is None:
            if self._nodes[unit.node].foreach is None:  # else its `foreach` failed: it had no place yet
                self._places_of(self._nodes[unit.node]).used -= 1
            self._end(unit.node, _ending(outcome, handled), found)
        else:
            self._places_of(self._nodes[unit.node]).used -= 1
            fan_out = self._fan_outs[unit.node]
            fan_out.running -= 1
            if outcome == "failed" and not handled and fan_out.failed_item is None:
                fan_out.failed_item = unit.index
            fan_out.cancelled = fan_out.cancelled or outcome == "cancelled"
            self._feed(unit.node, fan_out)
            self._gather(unit.node, fan_out, found)
        return self._fill(found)

    def stop(self) -> list[Decision]:
        """Start nothing more: what has not started is skipped; what runs is to be cancelled and settled."""
        self._stopped = True
        found: list[Decision] = []
        for places in self._places.values():
            for _, _, unit in places.waiting:
                if unit.index is None:
                    self._ended[unit.node] = "blocked"
                    found.append(Skip(unit.node, "cancelled"))
                else:
                    self._fan_outs[unit.node].queued -= 1
            places.waiting.clear()
        for node_id, fan_out in self._fan_outs.items():
            fan_out.cancelled = True
            self._gather(node_id, fan_out, found)
        for node_id, missing in self._missing.items():
            if (missing > 0 or not self._begun) and node_id not in self._ended:
                self._ended[node_id] = "blocked"
                found.append(Skip(node_id, "cancelled"))
        return found

    # --- within ---------------------------------------------------------------------------------------------

    def _places_of(self, node: Node) -> _Places:
        key = f"server {node.server}" if node.step.runs_on == "server" else node.step.runs_on
        return self._places[key]

    def _make_ready(self, node: Node, found: list[Decision]) -> None:
        if node.foreach is not None:
            self._running += 1  # until `expanded` or `settled` answers
            found.append(Expand(node.id))
        else:
            heapq.heappush(self._places_of(node).waiting, (node.index, 0, Unit(node.id)))

    def _feed(self, node_id: str, fan_out: _FanOut) -> None:
        """Let as many items wait for a place as may run at once."""
        node = self._nodes[node_id]
        waiting = self._places_of(node).waiting
        while (
            not fan_out.closed and fan_out.fed < fan_out.count and fan_out.running + fan_out.queued < fan_out.limit
        ):
            heapq.heappush(waiting, (node.index, fan_out.fed, Unit(node_id, fan_out.fed)))
            fan_out.fed += 1
            fan_out.queued += 1

    def _gather(self, node_id: str, fan_out: _FanOut, found: list[Decision]) -> None:
        """End the fan-out where no item runs and none will."""
        if (
            node_id in self._ended
            or fan_out.running
            or (not fan_out.closed and (fan_out.queued or fan_out.fed < fan_out.count))
        ):
            return
        word: OutcomeWord = "succeeded"
        if fan_out.failed_item is not None:
            word = "failed"
        elif fan_out.cancelled:
            word = "cancelled"
        found.append(Gather(node_id, word, fan_out.failed_item))
        self._end(node_id, _ending(word, handled=False), found)

    def _end(self, node_id: str, ending: str, found: list[Decision]) -> None:
        """A step has ended; those that waited only for it become ready, or are skipped and end too."""
        todo = [(node_id, ending)]
        while todo:
            ended, ending = todo.pop()
            self._ended[ended] = ending
            for dependent in self._needed_by[ended]:
                self._missing[dependent] -= 1
                if self._missing[dependent] or dependent in self._ended:
                    continue
                node = self._nodes[dependent]
                if self._stopped:
                    verdict: str | None = "blocked"
                else:
                    verdict = None if node.always else self._obstacle(node)
                if verdict is None:
                    self._make_ready(node, found)
                else:
                    found.append(Skip(dependent, "cancelled" if self._stopped else "dependency"))
                    todo.append((dependent, verdict))

    def _obstacle(self, node: Node) -> str | None:
        """Why the step can't run: a failure above it ("blocked"), or a skipped step that it can't do without."""
        endings = [(self._ended[need.step], need.tolerant) for need in node.needs]
        if any(ending == "blocked" for ending, _ in endings):
            return "blocked"
        return "skipped" if any(ending == "skipped" and not tolerant for ending, tolerant in endings) else None

    def _fill(self, found: list[Decision]) -> list[Decision]:
        """Give free places to those who wait."""
        for places in self._places.values():
            while places.used < places.capacity and places.waiting:
                unit = heapq.heappop(places.waiting)[2]
                if unit.index is not None:
                    fan_out = self._fan_outs[unit.node]
                    fan_out.queued -= 1
                    if fan_out.closed:
                        self._gather(unit.node, fan_out, found)
                        continue
                    fan_out.running += 1
                places.used += 1
                self._running += 1
                found.append(Start(unit))
        return found


def _ending(outcome: OutcomeWord, handled: bool) -> str:
    match outcome:
        case "succeeded":
            return "succeeded"
        case "failed":
            return "handled" if handled else "blocked"
        case "skipped":
            return "skipped"
        case "cancelled":
            return "blocked"
