"""What is to be done once, as a record tells of it: what has happened, and of what nobody can tell. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gptoss_flow.events import (
    FellBack,
    Json,
    Outcome,
    Stamped,
    StepFinished,
    StepRetried,
    StepStarted,
    ToolFinished,
    ToolStarted,
)
from gptoss_flow.plan.plan import Node, Plan
from gptoss_flow.record.state import step_of

CANCELLED = "cancelled"
IN_THE_AIR = ("timeout", CANCELLED)
"""Kinds of errors after which it is not known how far a step had come."""
NOT_ANSWERED = (
    "failed without a usable answer of {tool}, and what that does is to be done once: whether it was is not known"
)
INTERRUPTED = "was interrupted, and what it does is to be done once: whether it was is not known"
UNJUDGED = "has done what is to be done once, and was interrupted before it was known whether that is enough"
WITHHELD = "has done what is to be done once, and a secret was taken out of its recorded result"


@dataclass
class OnceSteps:
    """Follows the units whose effect is `once` through a record."""

    unsure: dict[str, str] = field(default_factory=dict)
    """Unit to what is to be said of it: only the user can decide whether it is to be done again."""
    happened: dict[str, Outcome] = field(default_factory=dict)
    """Units whose call ended well, with what it gave; their own end is not on record."""
    begun: set[str] = field(default_factory=set)
    """Units that were started and of whose call the record has nothing: it was not made."""
    _kinds: dict[str, str] = field(default_factory=dict)
    _once: set[str] = field(default_factory=set)
    _calls: dict[str, str] = field(default_factory=dict)
    """Call id to unit."""
    _failed: dict[str, ToolFinished] = field(default_factory=dict)
    """Unit to the end of its last call, where that was an error."""
    _by_model: dict[str, dict[str, str]] = field(default_factory=dict)
    """Unit to what its model called that has happened, or may have: call id to tool."""

    def take(self, stamped: Stamped) -> None:
        match stamped.event:
            case StepStarted(step=unit, kind=kind, effect=effect):
                self._kinds[unit] = kind
                self._by_model.pop(unit, None)
                self._failed.pop(unit, None)
                self.happened.pop(unit, None)
                if effect == "once":
                    self._once.add(unit)
                    if kind == "tool":  # its call says it more exactly
                        self.begun.add(unit)
                    else:
                        self.unsure[unit] = INTERRUPTED
            case FellBack(step=unit, kind=kind, error=error):
                self._kinds[unit] = kind
                self._judge_last_call(unit, error)
            case ToolStarted(effect="once", call_id=call_id, step=unit):
                self._once.add(unit)
                self._failed.pop(unit, None)
                self.begun.discard(unit)
                self._calls[call_id] = unit
                self.unsure[unit] = INTERRUPTED
                if self._kinds.get(unit, "tool") != "tool":
                    self._by_model.setdefault(unit, {})[call_id] = stamped.event.tool
                    self.unsure[unit] = self._called_before("was interrupted", unit)
            case ToolFinished(call_id=call_id) as end if call_id in self._calls:
                self._called(self._calls.pop(call_id), end)
            case StepRetried(step=unit):
                self._settle(unit)  # that it is done again is the flow's own wish
            case StepFinished(step=unit) as finished if unit in self._once:
                self._finished(unit, finished)
            case _:
                pass

    def undecided(self, plan: Plan, damaged: bool) -> dict[str, str]:
        """`unsure`, and what the flow's own words or a damaged record make so."""
        unjudged = {unit: UNJUDGED for unit in self.happened if _is_judged(plan, unit)}
        begun = dict.fromkeys(self.begun, INTERRUPTED) if damaged else {}
        return dict(sorted({**begun, **unjudged, **self.unsure}.items()))

    def _called(self, unit: str, end: ToolFinished) -> None:
        if end.error == CANCELLED:
            return
        if unit not in self._by_model:
            self._settle(unit)
            if end.error is not None and end.unsure:
                self.unsure[unit] = NOT_ANSWERED.format(tool=end.tool)
            if end.error is None:
                self.happened[unit] = Outcome("succeeded", end.result)
                if end.redacted:
                    self.unsure[unit] = WITHHELD
        elif end.error is not None and not end.unsure:
            # Of what happened its step may call again, where it is done again.
            self._by_model[unit].pop(end.call_id, None)
            if not self._by_model[unit]:
                self._settle(unit)
        if end.error is not None:
            self._failed[unit] = end

    def _finished(self, unit: str, end: StepFinished) -> None:
        in_the_air = end.error is None or end.error.get("kind") in IN_THE_AIR
        in_the_air |= self._judge_last_call(unit, end.error or {})
        if end.outcome != "succeeded" and self._by_model.get(unit):
            what = "failed" if end.outcome == "failed" else "was interrupted"
            self.unsure[unit] = self._called_before(what, unit)
        elif end.outcome == "succeeded" or not in_the_air:
            self._settle(unit)
        if end.outcome == "succeeded" and end.redacted:
            self.unsure[unit] = WITHHELD
            self.happened[unit] = Outcome("succeeded", end.output, end.fields)

    def _judge_last_call(self, unit: str, error: Mapping[str, Json]) -> bool:
        """Whether the call that ended its step may have happened all the same: no answer of it is known."""
        last = self._failed.get(unit)
        if last is None or error.get("message") != last.error:
            return False
        is_lost = last.unsure or error.get("kind") in IN_THE_AIR
        if is_lost:
            self.unsure[unit] = NOT_ANSWERED.format(tool=last.tool)
        return is_lost

    def _called_before(self, what: str, unit: str) -> str:
        tools = ", ".join(dict.fromkeys(self._by_model[unit].values()))
        return f"{what}, and its model had called {tools}, which is to be done once: it may call that again"

    def _settle(self, unit: str) -> None:
        self._by_model.pop(unit, None)
        self._failed.pop(unit, None)
        self.begun.discard(unit)
        self.happened.pop(unit, None)
        self.unsure.pop(unit, None)


def _is_judged(plan: Plan, unit: str) -> bool:
    """Whether the end of a call is not yet the end of its step."""
    node = node_of(plan, unit)
    return any(one is not None and (one.expect or one.repeat) for one in (node, node and node.fallback))


def node_of(plan: Plan, unit: str) -> Node | None:
    """The step of a unit (`outer[3].inner[2]`) in the flow or one inside it; None where there is none any more."""
    node: Node | None = None
    inside: Plan | None = plan
    for part in step_of(unit).split("."):
        node = inside.nodes.get(part) if inside is not None else None
        inside = node.inner if node is not None else None
    return node
