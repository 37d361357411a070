"""Draws the runs on record as text for people: a list of them, one run, one step of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from gptoss_flow.escape import for_terminal, one_line
from gptoss_flow.events import Json
from gptoss_flow.fields import json_text
from gptoss_flow.record.rlog import said_in
from gptoss_flow.ui.paths import short_path
from gptoss_flow.ui.table import table
from gptoss_flow.words import count

HEAD = ("RUN", "FLOW", "STATUS", "STARTED", "TOOK", "STEPS", "TOKENS")
STEP_HEAD = ("STEP", "KIND", "OUTCOME", "TOOK", "TOKENS", "")
LONGEST_VALUE = 100
"""Characters of an input or output in the overview of a run."""
_UNITS = (("year", 31536000), ("month", 2592000), ("week", 604800), ("day", 86400), ("hour", 3600), ("minute", 60))


def ago(then: str, now: datetime) -> str:
    """`3 minutes ago` of an ISO date."""
    seconds = (now - datetime.fromisoformat(then)).total_seconds()
    for unit, unit_s in _UNITS:
        if seconds >= unit_s:
            return f"{count(int(seconds // unit_s), unit)} ago"
    return "just now" if seconds < 10 else f"{int(seconds)} seconds ago"


def draw_runs(runs: Sequence[Mapping[str, Json]], now: datetime) -> str:
    """A table, one line for each; the mappings are those of `app.runs.entry_json`."""
    return table(HEAD, [_run_row(run, now) for run in runs])


def _run_row(run: Mapping[str, Json], now: datetime) -> tuple[str, ...]:
    code = run["exit_code"]
    return (
        run["id"],
        run["flow"],
        run["status"] + (f" ({code})" if code else ""),
        ago(run["started_at"], now),
        _took(run["duration_s"]),
        f"{run['steps_done']}/{run['steps']}" if run["steps"] else "",
        _tokens(run["tokens"]),
    )


def draw_run(run: Mapping[str, Json], now: datetime | None) -> str:
    """One run; the mapping is that of `app.runs.run_json`. Without a `now` it does not say how long ago it was."""
    return "\n\n".join("\n".join(part) for part in _parts(run, now) if part)


def _parts(run: Mapping[str, Json], now: datetime | None) -> Iterator[list[str]]:
    code, took = run["exit_code"], _took(run["duration_s"])
    started = run["started_at"]
    facts = {
        "run": run["id"],
        "flow": f"{run['flow']} ({short_path(run['flow_path'])})" if run["flow"] else "unknown",
        "status": run["status"] + (f", exit code {code}" if code is not None else ""),
        "error": run["error"],
        "started": started + (f" ({ago(started, now)})" if now else "") if _is_date(started) else "",
        "took": took,
        "tokens": _tokens(run["tokens"]),
        "record": short_path(run["dir"]),
    }
    width = max(map(len, facts))
    yield [f"{key:<{width}}  {one_line(str(value))}" for key, value in facts.items() if value]
    yield _values("inputs", run["inputs"])
    yield _said("servers", [_server(name, server) for name, server in run["servers"].items()])
    if run["steps"]:
        yield [table(STEP_HEAD, [_step_row(step) for step in run["steps"]])]
    errors = [f"{step['step']}: {_error(step['error'])}" for step in run["steps"] if step["error"]]
    yield _said("errors", errors)
    yield _said("warnings", [(f"{w['step']}: " if w["step"] else "") + w["message"] for w in run["warnings"]])
    yield _said("damage", _damage(run["damage"]))
    yield _values("outputs", run["outputs"])


def _step_row(step: Mapping[str, Json]) -> tuple[str, ...]:
    items, attempts = step["items"], step["attempts"]
    more = [
        f"{step['items_done']}/{items} items" if items is not None else "",
        f"{attempts} attempts" if attempts > 1 else "",
        count(step["tool_calls"], "call") if step["tool_calls"] and step["kind"] != "tool" else "",
        f"{step['refused_calls']} refused" if step["refused_calls"] else "",
        f"from run {step['reused']}" if step["reused"] else "",
        step["reason"],
    ]
    outcome = step["outcome"] or ("unfinished" if attempts else "")
    return (
        step["step"],
        str(step["kind"]),
        outcome,
        _took(step["duration_s"]),
        _tokens(step["tokens"]),
        ", ".join(filter(None, more)),
    )


def draw_step(step: Mapping[str, Json]) -> str:
    """One step; the mapping is that of `app.runs.step_json`. Texts are shown whole, safe for a terminal."""
    return "\n\n".join(filter(None, _step_parts(step)))


def _step_parts(step: Mapping[str, Json]) -> Iterator[str]:
    yield table(STEP_HEAD, [_step_row(step)])
    if step["error"]:
        yield f"error: {one_line(_error(step['error']))}"
    calls = {call["call_id"]: call for call in step["calls"]}
    several = len({generation["attempt"] for generation in step["generations"]}) > 1
    before: list[Json] = []
    for generation in step["generations"]:
        which = f" (attempt {generation['attempt']})" if several else ""
        messages = [*filter(_is_mapping, generation.get("messages", []))]
        for message in new_messages(before, messages, generation["turn"]):
            yield _block(f"{message.get('role', 'user')}{which}", said_in(message))
        before = messages
        if generation.get("reasoning"):
            yield _block(f"reasoning{which}", generation["reasoning"])
        if "text" in generation and (generation["text"] or not generation.get("calls")):
            yield _block(f"answer{which}, finished by {generation['finish_reason']}", generation["text"])
        own = f"{step['step']}.{generation['attempt']}.{generation['turn']}."
        for call_id in [call_id for call_id in calls if call_id.startswith(own)]:
            yield from _call(calls.pop(call_id))
        if generation.get("error"):
            yield f"error{which}: {one_line(_error(generation['error']))}"
    for call in calls.values():
        yield from _call(call)
    if step["item_steps"]:
        yield table(STEP_HEAD, [_step_row(item) for item in step["item_steps"]])
    elif not step["generations"] and not step["calls"] and step["output"] is not None:
        yield _block("output", step["output"])


def new_messages(
    before: Sequence[Json], now: Sequence[Mapping[str, Json]], turn: int
) -> Sequence[Mapping[str, Json]]:
    """Those that the turn before did not have; what the model called and was told stands with its calls."""
    if turn == 1:
        return now
    same = len(before) if [*now[: len(before)]] == [*before] else 0
    return [message for message in now[same:] if message.get("role") not in ("assistant", "tool")]


def _call(call: Mapping[str, Json]) -> Iterator[str]:
    permission = f", {call['permission']}" if call.get("permission") else ""
    title = f"call {call['call_id']} of {call['tool']}{permission}"
    yield _block(title, call.get("written") or call.get("arguments", {}))
    if call.get("error") is not None:
        yield _block("its error", call["error"])
    elif "result" in call:
        yield _block("its result", call["result"])


def _block(title: str, value: Json) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    body = "\n".join(f"  {line}" for line in for_terminal(text).rstrip("\n").split("\n"))
    return f"{one_line(title)}:\n{body}"


def _said(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title}:", *(f"  {one_line(line)}" for line in lines)] if lines else []


def _values(title: str, values: Mapping[str, Json]) -> list[str]:
    return _said(title, [f"{name} = {_short(value)}" for name, value in values.items()])


def _short(value: Json) -> str:
    text = json_text(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… ({len(text)} characters)"


def _server(name: str, server: Mapping[str, Json]) -> str:
    facts, detail = server["facts"], server["detail"]
    model = ", ".join(str(facts[key]) for key in ("model", "engine", "build") if facts.get(key))
    said = f"{name}: {server['profile']}" + (f", {model}" if model else "")
    if server["state"] == "crashed":
        said += f"; crashed: {detail}"
    return said


def _error(error: Mapping[str, Json]) -> str:
    place = f" ({error['at']})" if error.get("at") else ""
    return f"{error.get('kind', 'error')}: {error.get('message', '')}{place}"


def _damage(damage: Mapping[str, Json]) -> list[str]:
    lines = [f"line {line['line']}: {line['message']}" for line in damage["first"]]
    if (more := damage["lines"] - len(lines)) > 0:
        lines.append(f"and {count(more, 'line')} more")
    unknown = {**damage["unknown_types"], **damage["unknown_keys"]}
    return lines + [
        f"{name}: known to a newer version only ({count(number, 'time')})" for name, number in unknown.items()
    ]


def _took(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _tokens(tokens: Mapping[str, int]) -> str:
    parts = [f"{number} {name}" for name, number in tokens.items() if number]
    return ", ".join(parts)


def _is_mapping(value: Json) -> bool:
    return isinstance(value, dict)


def _is_date(text: Json) -> bool:
    try:
        return isinstance(text, str) and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
