"""The report as JSON: the object of `show --json`, each step with its history and its items."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from gptoss_flow.events import Json
from gptoss_flow.ui.report.view import Call, Happening, Report, Turn, Unit


def draw_json(report: Report) -> str:
    """See `report_json`."""
    return json.dumps(report_json(report), indent=2) + "\n"


def report_json(report: Report) -> dict[str, Json]:
    """`show --json`'s object, in which each of `steps` has two more keys.

    `history` is what happened, in order, each an object with `type` and `at` (seconds since the run began): `turn`
    (a prompt with its answer: attempt, server, mode, messages, params, reasoning, text, finish_reason, usage,
    timings), `call` (call_id, tool, arguments, result, error, duration_s), or `step_retried`, `round_finished`,
    `fell_back`, `warned`, `run_resumed` with the keys of the event of that name.
    `item_steps` lists a fan-out's items: step, outcome, reason, error, started_s, duration_s, attempts, values,
    tokens, output, history.
    """
    units = {unit.step.id: unit for root in report.units for unit in root.walk()}
    began = report.view.state.first_at or 0.0
    steps = [_with_history(entry, units.get(entry["step"]), began) for entry in report.facts["steps"]]
    return {**report.facts, "notices": report.notices, "steps": steps}


def _with_history(entry: Mapping[str, Json], unit: Unit | None, began: float) -> dict[str, Json]:
    if unit is None:
        return {**entry, "history": [], "item_steps": []}
    items = [_item(part, began) for part in unit.parts] if unit.is_fan_out else []
    return {**entry, "history": [_told(each, began) for each in unit.history.happenings], "item_steps": items}


def _item(unit: Unit, began: float) -> dict[str, Json]:
    step = unit.step
    return {
        "step": step.id,
        "outcome": step.outcome,
        "reason": step.reason,
        "error": step.error,
        "started_s": None if step.started_at is None else round(step.started_at - began, 6),
        "duration_s": step.duration_s if step.outcome else None,
        "attempts": step.attempts,
        "values": step.values,
        "tokens": asdict(unit.tokens),
        "output": step.output,
        "history": [_told(each, began) for each in unit.history.happenings],
    }


def _told(happening: Happening, began: float) -> dict[str, Json]:
    at = round(happening.start - began, 6)
    match happening:
        case Turn(prompt=prompt, answer=answer):
            told = {
                "type": "turn",
                "at": at,
                "attempt": prompt.attempt,
                "server": prompt.server,
                "turn": prompt.turn,
                "mode": prompt.mode,
                "messages": prompt.messages,
                "params": prompt.params,
                "tools": [tool.get("name") for tool in prompt.tools],
                "asks": prompt.asks,
            }
            keys = ("reasoning", "text", "calls", "finish_reason", "usage", "timings")
            return told | {key: getattr(answer, key) if answer else None for key in keys}
        case Call(call=call, result=result):
            told = {
                "type": "call",
                "at": at,
                "call_id": call.call_id,
                "tool": call.tool,
                "arguments": call.arguments,
                "permission": call.permission,
                "written": call.written,
            }
            ends = ("result", "error", "duration_s")
            return told | {key: getattr(result, key) if result else None for key in ends}
        case _:
            event = happening.event
            return {"type": event.type, "at": at, **asdict(event)}


def indented(value: Json) -> str:
    """Text as it is; every other value as JSON that people can read."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def readable(value: Json) -> str:
    """The same for the eye alone: a text of several lines within a value stands as such lines.

    It begins with a `|`, as in YAML, and stands further in than what it is in: no text can end it.
    """
    if isinstance(value, str):
        return value
    try:
        return "\n".join(_lines(value, "", ""))
    except RecursionError:
        return indented(value)


def _lines(value: Json, margin: str, comma: str) -> Iterator[str]:
    """The first line goes on from what stands before it; `margin` is that of the others."""
    inner = f"{margin}  "
    if isinstance(value, str) and "\n" in value.rstrip("\n"):
        yield "|"
        yield from (f"{inner}{line}" for line in value.removesuffix("\n").split("\n"))
    elif isinstance(value, dict | list) and value:
        opened, closed = "{}" if isinstance(value, dict) else "[]"
        yield opened
        items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
        for number, (name, item) in enumerate(items, start=1):
            lines = _lines(item, inner, "," * (number < len(value)))
            head = "" if name is None else f"{json.dumps(str(name), ensure_ascii=False)}: "
            yield f"{inner}{head}{next(lines)}"
            yield from lines
        yield f"{margin}{closed}{comma}"
    else:
        yield json.dumps(value, ensure_ascii=False) + comma
