r"""`run.rlog`: a run as lines that people and the tools of the rlog/1 format can read, written as it happens.

Only the strict subset of the format is written. A parser of it takes the first `id=`, `ts=`, arrow and so on
anywhere in a line, so on each line our own fields come first, then the text, then a result behind the one arrow;
and whatever in a text would read as a field is defused with the escape that control characters get:
`id=` becomes `id\u003d`, an arrow `\u2192`, a bare `interrupted` `\u0069nterrupted`. No text can start a line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import assert_never

from gptoss_flow.escape import one_line
from gptoss_flow.events import (
    BenchJudged,
    FellBack,
    GenerationFinished,
    Json,
    PromptRendered,
    RoundFinished,
    RunFinished,
    RunResumed,
    RunStarted,
    ServerChanged,
    Stamped,
    StepFinished,
    StepRetried,
    StepStarted,
    TextCut,
    TokensArrived,
    ToolFinished,
    ToolStarted,
    TrialFinished,
    Warned,
)
from gptoss_flow.record.append import AppendFile, record_error
from gptoss_flow.record.rlog_lines import is_word

LONGEST_TEXT = 4000
"""Characters of a text that a line shows; the journal has all of it."""

_FIELD = re.compile(
    r"(?<![A-Za-z0-9_])"
    r"(id|step|ts|tid|span|level|latency_ms|attempt|parent|sig|tokens_in|tokens_out|tokens_cached|model)="
)
_INTERRUPTED = re.compile(r"(?<![A-Za-z0-9_])i(?=nterrupted(?![A-Za-z0-9_]))")
_CALL = re.compile(r"t(?P<start>!?):(?P<tool>\S+) id=(?P<id>\w+)")
_NOT_WORD = re.compile(r"[^A-Za-z0-9_]")
_PLAIN = re.compile(r"[\w/.][^\"'\\]*", re.ASCII)
"""Header values that YAML takes unquoted, unless they hold `: ` or ` #`."""


class Rlog:
    """The sink of the readable log. Its I/O errors are `RecordError`, like the journal's."""

    def __init__(self, path: Path) -> None:
        """The log of an interrupted run goes on where it ended. Raises `RecordError`."""
        self._path = path
        self._file = AppendFile(path)
        self._begun = self._file.size() > 0
        if self._file.unfinished_tail():
            self._file.append(b"\n")
        self._words: dict[str, str] = {}
        self._taken: set[str] = set()
        self._kinds: dict[str, str] = {}

    def take(self, stamped: Stamped) -> None:
        if not stamped.seq:
            return
        lines = self._lines(stamped)
        if lines:
            self._file.append("".join(f"{line.rstrip()}\n" for line in lines).encode("utf-8"))
        if isinstance(stamped.event, RunFinished):
            self._file.sync()

    def close(self) -> None:
        self._file.close()

    def _lines(self, stamped: Stamped) -> list[str]:
        event, seq = stamped.event, stamped.seq
        match event:
            case TokensArrived() | TextCut():
                return []
            case RunStarted():
                fields = f"id={self._word(event.run_id)} ts={_ts(stamped)} flow={_name(event.flow)}"
                if self._begun:
                    return [f"@resume {fields}"]
                self._begun = True
                return [*_header(event), f"@start {fields}"]
            case ServerChanged():
                return self._server(event, stamped)
            case StepStarted():
                self._kinds[event.step] = event.kind
                attempt = event.attempt if event.attempt > 1 else None
                fields = _fields(ts=_ts(stamped), attempt=attempt, kind=_name(event.kind), items=event.items)
                return [f"@phase {_name(event.step)} span={self._word(event.step)}{fields}"]
            case PromptRendered():
                span = self._word(event.step)
                messages = event.messages if event.turn == 1 else _since(event.messages)
                asked = [(_name(str(m.get("role", "user"))), _text(said_in(m), seq)) for m in messages]
                return [f"u: span={span} role={role} {text}" for role, text in asked]
            case GenerationFinished():
                return self._answer(event, stamped)
            case ToolStarted():
                call = f"t!:{_name(event.tool)} id={self._word(event.call_id)} span={self._word(event.step)}"
                permission = _fields(permission=event.permission or None)
                return [f"{call}{permission} {_text(event.written or event.arguments, seq)} → [running]"]
            case ToolFinished():
                return self._tool_finished(event, stamped)
            case StepRetried():
                fields = _fields(attempt=f"{event.attempt}/{event.attempts}", level="warn", delay_s=event.delay_s)
                return [f"@retry span={self._word(event.step)}{fields} {_error(event.error, seq)}"]
            case TrialFinished():
                return self._trial(event, seq)
            case BenchJudged():
                span = self._word(event.step)
                return [
                    f"@notify level={'info' if verdict.get('ok') is True else 'warn'} span={span} "
                    f"{_text(verdict.get('said', ''), seq)}"
                    for verdict in event.verdicts
                ]
            case RunResumed():
                left = [f"t:{tool} id={call} interrupted → [error]" for call, tool in _unended(self._path)]
                return [f"@resume ts={_ts(stamped)} version={_name(event.version)}", *left]
            case RoundFinished():
                said = _text(event.output, seq)
                return [f"@checkpoint span={self._word(event.step)} round={event.round} → {said}"]
            case FellBack():
                fields = _fields(level="warn", kind=_name(event.kind))
                return [f"@fallback span={self._word(event.step)}{fields} {_error(event.error, seq)}"]
            case Warned():
                span = _fields(span=self._word(event.step)) if event.step else ""
                return [f"@notify level=warn{span} {_text(event.message, seq)}"]
            case StepFinished():
                return self._step_finished(event, stamped)
            case RunFinished():
                return [_end(event, stamped)]
            case _:
                assert_never(event)

    def _server(self, event: ServerChanged, stamped: Stamped) -> list[str]:
        lines = [
            f"# server {_name(event.server)} {event.state} ts={_ts(stamped)} {_text(event.detail, stamped.seq)}"
        ]
        model = event.facts.get("model")
        if event.state == "ready" and isinstance(model, str):
            lines.append(f"@init model={_name(model)} server={_name(event.server)}")
        return lines

    def _answer(self, event: GenerationFinished, stamped: Stamped) -> list[str]:
        span = self._word(event.step)
        fields = _fields(
            tokens_in=event.usage.get("prompt_tokens"),
            tokens_out=event.usage.get("completion_tokens"),
            tokens_cached=event.usage.get("cached_tokens"),
            latency_ms=_ms(event.timings.get("latency_s")),
            attempt=event.attempt if event.attempt > 1 else None,
            finish=_name(event.finish_reason),
        )
        lines = [f"th: span={span} {_text(event.reasoning, stamped.seq)}"] if event.reasoning else []
        called = ", ".join(str(call.get("name")) for call in event.calls)
        text = event.text or (f"[calls {called}]" if called else "")
        return [*lines, f"a: span={span}{fields} {_text(text, stamped.seq)}"]

    def _tool_finished(self, event: ToolFinished, stamped: Stamped) -> list[str]:
        call = self._word(event.call_id)
        seen, word = (event.result, "ok") if event.error is None else (event.error, "error")
        latency = _fields(latency_ms=_ms(event.duration_s))
        return [
            f"o: id={call} {_text(seen, stamped.seq)}",
            f"t:{_name(event.tool)} id={call} span={self._word(event.step)}{latency} → [{word}]",
        ]

    def _trial(self, event: TrialFinished, seq: int) -> list[str]:
        """What was seen of a server under load: no call of anything, so it has no id."""
        trial = event.trial
        told = {name: trial[name] for name in ("n", "errors", "error", "metrics") if trial.get(name)}
        fields = _fields(attempt=event.attempt if event.attempt > 1 else None, trial=event.number)
        level = " level=error" if trial.get("error") else ""
        said = f"{_text(trial.get('label', ''), seq)}: {_text(told, seq)}"
        return [f"o: span={self._word(event.step)}{fields}{level} {said}"]

    def _step_finished(self, event: StepFinished, stamped: Stamped) -> list[str]:
        fields = _fields(latency_ms=_ms(event.duration_s), outcome=event.outcome, items=event.items)
        line = f"@checkpoint span={self._word(event.step)}{fields}"
        if event.reason:
            line += f" {_text(event.reason, stamped.seq)}"
        if event.error:
            line += f" {_error(event.error, stamped.seq)}"
        # What a prompt, a tool or a bench gave stands on its own `a:` or `o:` lines.
        kind = self._kinds.pop(event.step, None)
        if event.output is not None and kind not in ("prompt", "tool", "bench"):
            line += f" → {_text(event.output, stamped.seq)}"
        return [line]

    def _word(self, text: str) -> str:
        """A field's value for an id: word characters only, whole, and another one for every other id."""
        word = self._words.get(text)
        if word is None:
            word = _NOT_WORD.sub("_", text).rstrip("_") or "_"
            while word in self._taken or word == "interrupted":
                word += "_"
            self._words[text] = word
            self._taken.add(word)
        return word


def _unended(path: Path) -> list[tuple[str, str]]:
    """The calls that a life that was killed left without an end: id and tool. Raises `RecordError`."""
    found: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
            for line in lines:
                if line.startswith("t") and (call := _CALL.match(line)):
                    if call["start"]:
                        found[call["id"]] = call["tool"]
                    else:
                        found.pop(call["id"], None)
    except OSError as error:
        raise record_error("read", path, error) from error
    return [*found.items()]


def _since(messages: Sequence[Mapping[str, Json]]) -> list[Mapping[str, Json]]:
    """What was said to a model after it spoke; what tools told it stands on lines of its own."""
    found: list[Mapping[str, Json]] = []
    for message in reversed(messages):
        if message.get("role") == "assistant":
            break
        found.insert(0, message)
    return [message for message in found if message.get("role") != "tool"]


def said_in(message: Mapping[str, Json]) -> Json:
    """The content of a recorded message; of one that called tools, with its calls."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list) or not calls:
        return message.get("content")
    told = [f"calls {c.get('name')} {c.get('arguments')}" for c in calls if isinstance(c, dict)]
    return "\n".join(filter(None, [str(message.get("content") or ""), *told]))


def _header(event: RunStarted) -> list[str]:
    values = {
        "format": "rlog/1",
        "id": event.run_id,
        "repo_sha": event.repo_sha or "0000000",
        "branch": event.branch,
        "dirty": "true" if event.dirty else "false",
        "cwd": event.cwd,
        "agent": "gptoss-flow",
        "version": event.version,
        "slug": event.flow,
        "started_at": event.started_at,
    }
    return ["---", *(f"{key}: {_scalar(value)}" for key, value in values.items() if value), "---"]


def _scalar(value: str) -> str:
    """A header value as the format has it, unquoted; in double quotes where YAML needs them."""
    value = one_line(value)
    if _PLAIN.fullmatch(value) and ": " not in value and " #" not in value and not value.endswith((":", " ")):
        return value
    return json.dumps(value, ensure_ascii=False)


def _end(event: RunFinished, stamped: Stamped) -> str:
    tokens = event.tokens
    reused = tokens.get("reused", 0)
    fields = _fields(
        tokens_in=tokens.get("computed", 0) + reused,
        tokens_out=tokens.get("generated", 0),
        tokens_cached=reused,
        latency_ms=_ms(event.duration_s),
        status=event.status,
        exit=event.exit_code,
    )
    interrupted = " interrupted" if event.status == "cancelled" else ""
    error = f" {_text(event.error, stamped.seq)}" if event.error else ""
    return f"@end ts={_ts(stamped)}{fields}{interrupted}{error}"


def _fields(**values: object) -> str:
    return "".join(f" {key}={value}" for key, value in values.items() if value is not None)


def _ts(stamped: Stamped) -> str:
    return f"{datetime.fromtimestamp(stamped.time, UTC).isoformat()[: -len('+00:00')]}Z"


def _ms(seconds: float | None) -> int | None:
    return round(seconds * 1000) if seconds is not None and 0 <= seconds < 1e9 else None


@lru_cache(maxsize=4096)  # the same few names stand on line after line
def _name(text: str) -> str:
    """A name as one word of printable characters that starts with a word character and reads as no field."""
    name = "_".join(one_line(text).split()).replace("=", "_").replace("→", "_")
    name = _INTERRUPTED.sub("_i", name)
    return name if is_word(name[:1]) else f"_{name}"


def _error(error: dict[str, Json], seq: int) -> str:
    return _text(f"{error.get('kind', 'error')}: {error.get('message', '')}", seq)


def _text(value: Json, seq: int) -> str:
    """Any value on one line, cut where it is long, with nothing in it that reads as a field."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    more = ""
    if len(text) > LONGEST_TEXT:
        more = f"… [{len(text)} characters, whole in record {seq}]"
        text = text[:LONGEST_TEXT]
    text = one_line(text)
    if "=" in text:
        text = _FIELD.sub(r"\1\\u003d", text)
    if "→" in text:
        text = text.replace("→", r"\u2192")
    if "interrupted" in text:
        text = _INTERRUPTED.sub(r"\\u0069", text)
    return text + more
