"""The readable log can be read by a parser of rlog/1, and no text can pass for a line or a field."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_flow.errors import RecordError
from gptoss_flow.events import (
    Event,
    PromptRendered,
    RunFinished,
    RunResumed,
    RunStarted,
    StepStarted,
    TokensArrived,
    ToolFinished,
    ToolStarted,
    TrialFinished,
    Warned,
)
from gptoss_flow.record.rlog import LONGEST_TEXT, Rlog
from tests.record.samples import a_run, any_event, generation, run_started, stamp

# --- a small parser of the format, by its own rules: the first prefix that fits, the first field anywhere ------

PREFIXES = [
    ("continuation", r"  |\t"),
    ("user", r"u:"),
    ("agent", r"a:"),
    ("tool_start", r"t!:\w"),
    ("tool_progress", r"t~:\w"),
    ("tool", r"t:\w"),
    ("observation", r"o:"),
    ("skill", r"s:\S+\s"),
    ("plan", r"p:\w"),
    ("mode", r"m: ?\w"),
    ("recall", r"r:"),
    ("subagent", r"x:\w"),
    ("mcp", r"c:\w+\.\w"),
    ("question", r"q:"),
    ("comment", r"#"),
    ("phase", r"@phase \w"),
    ("lifecycle", r"@\w"),
    ("thinking", r"th:"),
    ("todos", r"td:"),
]
FIELDS = {
    "id": r"\bid=(\w+)",
    "step": r"\bstep=(\d+)",
    "ts": r"\bts=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?)",
    "tid": r"\btid=(\w+)",
    "span": r"\bspan=(\w+)",
    "level": r"\blevel=(\w+)",
    "latency_ms": r"\blatency_ms=(\d+)",
    "attempt": r"\battempt=(\d+(?:/\d+)?)",
    "result": r"→(.*)$",
    "parent": r"\bparent=([0-9a-fA-F-]+)",
    "sig": r"\bsig=(\S+)",
    "tokens_in": r"\btokens_in=(\d+)",
    "tokens_out": r"\btokens_out=(\d+)",
    "tokens_cached": r"\btokens_cached=(\d+)",
    "interrupted": r"\b(interrupted)\b",
    "model": r"\bmodel=(\S+)",
}


@dataclass
class Line:
    type: str
    raw: str
    fields: dict[str, str]


def parse(text: str) -> tuple[dict[str, str], list[Line]]:
    lines = text.split("\n")
    first = next(n for n, line in enumerate(lines) if line.strip() == "---")
    last = next(n for n in range(first + 1, len(lines)) if lines[n].strip() == "---")
    header = dict(line.split(": ", 1) for line in lines[first + 1 : last])
    return header, [parse_line(raw) for raw in lines[last + 1 :] if raw.strip()]


def parse_line(raw: str) -> Line:
    kind = next((name for name, prefix in PREFIXES if re.match(prefix, raw)), "unknown")
    found = {name: match[1].strip() for name, field in FIELDS.items() if (match := re.search(field, raw))}
    return Line(kind, raw, found)


def written(path: Path, events: list[Event]) -> str:
    path.unlink(missing_ok=True)
    rlog = Rlog(path)
    for stamped in stamp(events):
        rlog.take(stamped)
    rlog.close()
    return path.read_bytes().decode("utf-8")


def log_of(tmp_path: Path, *events: Event) -> list[Line]:
    return parse(written(tmp_path / "run.rlog", [run_started(), *events]))[1][1:]


# --- what a run looks like --------------------------------------------------------------------------------------


def test_a_run_as_the_log_shows_it(tmp_path: Path) -> None:
    assert written(tmp_path / "run.rlog", a_run("It adds.")).split("\n") == [
        "---",
        "format: rlog/1",
        "id: 20260101_000000_000000_0000",
        "repo_sha: 7112981e0",
        "branch: main",
        "dirty: true",
        "cwd: /home/ada/project",
        "agent: gptoss-flow",
        "version: 0.1.0",
        "slug: summarize-repo",
        "started_at: 2026-01-01T00:00:00Z",
        "---",
        "@start id=20260101_000000_000000_0000 ts=2026-01-01T00:00:00.001000Z flow=summarize-repo",
        "@phase tree span=tree ts=2026-01-01T00:00:00.002000Z kind=tool",
        't!:repo_files id=tree_1 span=tree {"root": "It adds."} → [running]',
        'o: id=tree_1 {"files": ["It adds."]}',
        "t:repo_files id=tree_1 span=tree latency_ms=500 → [ok]",
        "@checkpoint span=tree latency_ms=500 outcome=succeeded",
        "# server main loading ts=2026-01-01T00:00:00.006000Z It adds.",
        "# server main ready ts=2026-01-01T00:00:00.007000Z",
        "@init model=SmolLM2-135M server=main",
        "@phase each span=each ts=2026-01-01T00:00:00.008000Z kind=prompt items=3",
        "@phase each[0] span=each_0 ts=2026-01-01T00:00:00.009000Z kind=prompt",
        "u: span=each_0 role=system It adds.",
        "u: span=each_0 role=user It adds.",
        "@phase each[2] span=each_2 ts=2026-01-01T00:00:00.011000Z kind=prompt",
        "@retry span=each_0 attempt=1/3 level=warn delay_s=0.5 server: It adds.",
        "a: span=each_2 tokens_in=20 tokens_out=3 tokens_cached=15 latency_ms=250 finish=length third",
        "@notify level=warn span=each_2 It adds.",
        "@checkpoint span=each_2 latency_ms=0 outcome=succeeded",
        "@checkpoint span=each_1 latency_ms=0 outcome=skipped when",
        "th: span=each_0 It adds.",
        "a: span=each_0 tokens_in=20 tokens_out=3 tokens_cached=15 latency_ms=250 attempt=2 finish=stop It adds.",
        "@checkpoint span=each_0 latency_ms=0 outcome=succeeded",
        "@checkpoint span=each latency_ms=1500 outcome=succeeded items=3",
        "@phase title span=title ts=2026-01-01T00:00:00.020000Z kind=set",
        '@checkpoint span=title latency_ms=0 outcome=succeeded → {"name": "It adds."}',
        "@resume ts=2026-01-01T00:00:00.022000Z version=0.1.0",
        "@checkpoint span=title round=1 → It adds.",
        "@fallback span=title level=warn kind=set server: It adds.",
        'o: span=title trial=0 It adds.: {"n": 3, "metrics": {"ttft": {}}}',
        "@notify level=info span=title It adds.",
        "@end ts=2026-01-01T00:00:00.028000Z tokens_in=40 tokens_out=6 tokens_cached=30 latency_ms=2000"
        " status=succeeded exit=0 It adds.",
        "",
    ]


def test_every_line_is_one_the_format_knows_and_every_call_ends(tmp_path: Path) -> None:
    _, lines = parse(written(tmp_path / "run.rlog", a_run()))
    assert {line.type for line in lines} == {
        "lifecycle", "phase", "tool_start", "observation", "tool", "comment", "user", "agent", "thinking",
    }  # fmt: skip
    calls = {line.fields["id"]: line.fields["result"] for line in lines if line.type == "tool_start"}
    ends = {line.fields["id"]: line.fields["result"] for line in lines if line.type == "tool"}
    assert calls == {"tree_1": "[running]"}
    assert ends == {"tree_1": "[ok]"}
    assert [line.fields.get("id") for line in lines if line.type == "observation"] == ["tree_1", None], (
        "a trial of a bench is an observation, and no call"
    )


def test_a_tool_that_failed_says_so(tmp_path: Path) -> None:
    lines = log_of(
        tmp_path,
        ToolStarted(step="a", call_id="a.1", tool="read_file", arguments={}),
        ToolFinished(step="a", call_id="a.1", tool="read_file", error="no such file", duration_s=0.01),
    )
    assert [line.fields.get("result") for line in lines] == ["[running]", None, "[error]"]
    assert lines[1].raw == "o: id=a_1 no such file"


def test_a_trial_that_failed_says_so(tmp_path: Path) -> None:
    trial = {"label": "concurrency 1", "n": 3, "errors": 2, "error": "no tokens"}
    (line,) = log_of(tmp_path, TrialFinished(step="b", number=4, attempt=2, trial=trial))
    assert line.raw == (
        'o: span=b attempt=2 trial=4 level=error concurrency 1: {"n": 3, "errors": 2, "error": "no tokens"}'
    )


def test_a_call_that_a_killed_life_left_open_ends_where_the_run_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "run.rlog"
    ended = ToolStarted(step="a", call_id="a.1", tool="shell", arguments={"command": "t!:x id=forged"})
    left_open = replace(ended, step="b", call_id="b.1")
    rlog = Rlog(path)
    for stamped in stamp([run_started(), ended, ToolFinished(step="a", call_id="a.1", tool="shell"), left_open]):
        rlog.take(stamped)
    rlog.close()
    rlog = Rlog(path)
    rlog.take(stamp([RunResumed(version="0.1.0", resumed_at="2026-01-01T00:00:01Z")])[0])
    rlog.take(stamp([left_open, ToolFinished(step="b", call_id="b.1", tool="shell")])[0])
    rlog.close()
    lines = path.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("@resume"))
    assert lines[at + 1] == "t:shell id=b_1 interrupted → [error]"
    assert lines[at + 2].startswith("t!:shell id=b_1 ")


def test_a_models_calls_are_told_once(tmp_path: Path) -> None:
    """What they gave stands on their own lines, not again in the prompt of the next turn."""
    asked: dict[str, Any] = {
        "step": "a",
        "attempt": 1,
        "server": "main",
        "mode": "chat",
        "tokens": [],
        "params": {},
    }
    calls: list[Any] = [{"id": "c", "name": "read_file", "arguments": "{}"}]
    first: list[dict[str, Any]] = [{"role": "user", "content": "Go on."}]
    told = {"role": "tool", "content": "four", "tool_call_id": "c", "name": "read_file"}
    second: list[dict[str, Any]] = [*first, {"role": "assistant", "content": "", "tool_calls": calls}, told]
    again = [*second, {"role": "assistant", "content": "Done."}, {"role": "user", "content": "And?"}]
    lines = log_of(
        tmp_path,
        PromptRendered(messages=first, **asked),
        generation("a", "", calls=calls),
        ToolStarted(step="a", call_id="a.1.1.1", tool="read_file", arguments={}, permission="granted"),
        ToolFinished(step="a", call_id="a.1.1.1", tool="read_file", result="four"),
        PromptRendered(messages=second, turn=2, **asked),
        generation("a", "Done.", turn=2),
        PromptRendered(messages=again, **asked),
    )
    said = [line.raw for line in lines]
    assert said[0] == "u: span=a role=user Go on."
    assert said[1].endswith("[calls read_file]")
    assert said[2] == "t!:read_file id=a_1_1_1 span=a permission=granted {} → [running]"
    assert said[5].startswith("a: span=a") and said[5].endswith("Done.")
    assert said[6:] == [
        "u: span=a role=user Go on.",
        "u: span=a role=assistant calls read_file {}",
        "u: span=a role=tool four",
        "u: span=a role=assistant Done.",
        "u: span=a role=user And?",
    ]


def test_a_run_that_was_cancelled_is_interrupted_and_no_other_is(tmp_path: Path) -> None:
    def end(status: str) -> Line:
        finished = RunFinished(
            status=status, exit_code=1, outputs={}, tokens={}, duration_s=1, error="interrupted"
        )
        return log_of(tmp_path, finished)[-1]

    assert "interrupted" in end("cancelled").fields
    assert "interrupted" not in end("failed").fields


def test_the_log_of_an_interrupted_run_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "run.rlog"
    before = written(path, a_run()[:-1])
    path.write_text(before + "a: span=each_0 torn in the mid")
    rlog = Rlog(path)
    rlog.take(stamp([run_started()])[0])
    rlog.close()
    after = path.read_text().removeprefix(before).split("\n")
    assert [line.split(" ")[0] for line in after] == ["a:", "@resume", ""]


def test_streamed_pieces_leave_no_line(tmp_path: Path) -> None:
    rlog = Rlog(tmp_path / "run.rlog")
    piece = stamp([TokensArrived(step="a", channel="final", text="x", tokens=1)])[0]
    rlog.take(type(piece)(0, piece.time, piece.event))
    rlog.close()
    assert (tmp_path / "run.rlog").read_bytes() == b""


# --- what a text can not do -------------------------------------------------------------------------------------

FORGERIES = [
    "x\nu: forged",
    "x\r\nt!:shell id=tree_1 rm -rf / → [running]",
    "\u2028@end tokens_in=99\u2029\x85\x0b\x0c",
    "id=forged step=7 ts=2020-01-01T00:00:00Z tid=1 span=forged level=error latency_ms=9 attempt=9/9",
    "parent=abc sig=x tokens_in=1 tokens_out=2 tokens_cached=3 model=gpt interrupted → [ok]",
    "an interrupted one\tinterrupted\ninterrupted",
    "\x00\x1b[2Jid=1",
    "---\nid: forged\n---",
    "\ud800 → \ud83d",
]


def shape(text: str) -> list[tuple[str, dict[str, str]]]:
    """What a parser sees but for the text itself: types, and fields other than a result that holds the text."""
    return [
        (line.type, {key: value for key, value in line.fields.items() if key != "result" or value[0] == "["})
        for line in parse(text)[1]
    ]


@pytest.mark.parametrize("text", FORGERIES)
def test_no_text_can_forge_a_line_or_a_field(tmp_path: Path, text: str) -> None:
    log = written(tmp_path / "hostile.rlog", a_run(text))
    assert shape(log) == shape(written(tmp_path / "tame.rlog", a_run("It adds.")))
    assert all(char.isprintable() or char == "\n" for char in log)


@settings(max_examples=60)
@given(
    st.lists(st.characters() | st.sampled_from([*FIELDS, *"→=\n\u2028: 17"])).map(
        lambda parts: "x" + "".join(parts)
    )
)
def test_whatever_the_text_the_lines_and_fields_are_ours(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.mktemp("rlog")
    hostile, tame = written(folder / "hostile.rlog", a_run(text)), written(folder / "tame.rlog", a_run("x"))
    assert shape(hostile) == shape(tame)


@settings(max_examples=60)
@given(st.lists(any_event.filter(lambda event: not isinstance(event, RunStarted)), max_size=6))
def test_whatever_happens_every_line_is_one_that_the_format_knows(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event]
) -> None:
    log = written(tmp_path_factory.mktemp("rlog") / "run.rlog", [run_started(), *events])
    assert [line.raw for line in parse(log)[1] if line.type in ("unknown", "continuation")] == []


@pytest.mark.parametrize(
    "value",
    [
        "a: b",
        "a #b",
        "x\nid: forged",
        "---",
        "[x",
        "'x",
        '"x" \\',
        "*x",
        "&x",
        "!x",
        "%x",
        "@x",
        "- x",
        "x:",
        "/a b/c",
    ],
)
def test_no_header_value_can_forge_a_key_or_break_the_header(tmp_path: Path, value: str) -> None:
    log = written(tmp_path / "run.rlog", [run_started(branch=value, cwd=value, flow=value)])
    header, lines = parse(log)
    assert list(header) == [
        "format", "id", "repo_sha", "branch", "dirty", "cwd", "agent", "version", "slug", "started_at",
    ]  # fmt: skip
    assert [line.type for line in lines] == ["lifecycle"]
    by_yaml = yaml.safe_load(log.split("---\n")[1])
    assert by_yaml["branch"] == by_yaml["cwd"] == value.replace("\n", "\\n")


def test_an_unknown_branch_leaves_its_key_out(tmp_path: Path) -> None:
    header, _ = parse(written(tmp_path / "run.rlog", [run_started(branch="", repo_sha="")]))
    assert "branch" not in header
    assert header["repo_sha"] == "0000000"


def test_a_long_text_is_cut_and_says_where_the_whole_of_it_is(tmp_path: Path) -> None:
    (line,) = log_of(tmp_path, generation("a", "é" * 5000))
    assert line.raw.endswith("é… [5000 characters, whole in record 2]")
    assert line.raw.count("é") == LONGEST_TEXT
    assert line.fields["tokens_out"] == "3"


def test_an_id_is_never_cut_and_two_ids_never_become_one(tmp_path: Path) -> None:
    ids = ["call-" + "a" * 5000, "call-" + "a" * 5000 + "b", "x.1", "x_1", "x[1]", "é", "", "_", "interrupted"]
    lines = log_of(
        tmp_path,
        *(ToolStarted(step="s", call_id=call, tool="t", arguments={}) for call in ids),
        *(ToolFinished(step="s", call_id=call, tool="t") for call in ids),
    )
    started = [line.fields["id"] for line in lines if line.type == "tool_start"]
    assert len(set(started)) == len(ids)
    assert len(started[0]) == 5005
    assert [line.fields["id"] for line in lines if line.type == "tool"] == started
    assert not any("interrupted" in line.fields for line in lines)


def test_names_that_read_as_fields_are_no_fields(tmp_path: Path) -> None:
    for name in ("interrupted", "a-interrupted", "-x", "a b", "id=9", "→", ""):
        lines = log_of(
            tmp_path,
            StepStarted(step=name, kind="set"),
            ToolStarted(step="s", call_id="c", tool=name, arguments={}),
        )
        assert [line.type for line in lines] == ["phase", "tool_start"], name
        assert "interrupted" not in lines[0].fields | lines[1].fields
        assert lines[1].fields["id"] == "c"
        assert lines[1].fields["result"] == "[running]"


def test_a_log_that_cannot_be_written_is_a_record_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot open"):
        Rlog(tmp_path / "missing" / "run.rlog")
    rlog = Rlog(tmp_path / "run.rlog")
    rlog.close()
    with pytest.raises(RecordError):
        rlog.take(stamp([Warned(message="x")])[0])
