"""The same events give the same state, live and from the record, and `--json` is made of it."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptoss_flow.events import (
    Event,
    RunFinished,
    RunResumed,
    ServerChanged,
    Stamped,
    StepFinished,
    StepRetried,
    StepStarted,
    TokensArrived,
    ToolStarted,
    Warned,
)
from gptoss_flow.record.codec import decode, encode
from gptoss_flow.record.journal_file import JournalFile, read_journal
from gptoss_flow.record.state import CLAIMED, RunState, Tokens, fold, summary
from tests.record.samples import START, a_run, any_event, generation, run_started, stamp


def test_the_state_is_the_same_live_and_read_back(tmp_path: Path) -> None:
    live = RunState()
    journal = JournalFile(tmp_path / "events.jsonl")
    for stamped in stamp(a_run("é\n\u2028")):
        journal.take(stamped)
        live.apply(stamped)
    journal.close()
    assert live == fold(read_journal(tmp_path / "events.jsonl"))


@given(st.lists(any_event, max_size=8))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_any_events_can_be_folded_and_every_cut_of_them_too(events: list[Event]) -> None:
    stamped = [decode(encode(one))[0] for one in stamp(events)]
    state = RunState()
    for one in stamped:
        state.apply(one)
        summary(state, None)
    assert state == fold(stamped)


def test_the_json_object_of_a_run(tmp_path: Path) -> None:
    assert summary(fold(stamp(a_run("It adds."))), tmp_path) == {
        "status": "succeeded",
        "run": {"id": "20260101_000000_000000_0000", "dir": str(tmp_path)},
        "outputs": {"summary": "It adds."},
        "steps": {
            "tree": {"outcome": "succeeded", "output": {"files": ["It adds."]}, "error": None},
            "each": {"outcome": "succeeded", "output": ["It adds.", None, "third"], "error": None},
            "title": {"outcome": "succeeded", "output": {"name": "It adds."}, "error": None},
        },
        "tokens": {"computed": 10, "reused": 30, "generated": 6},
    }


def test_what_has_not_ended_is_null() -> None:
    assert summary(fold(stamp([run_started(steps={"a": "set"})])), None) == {
        "status": None,
        "run": {"id": "20260101_000000_000000_0000", "dir": None},
        "outputs": {},
        "steps": {"a": {"outcome": None, "output": None, "error": None}},
        "tokens": {"computed": 0, "reused": 0, "generated": 0},
    }
    assert summary(fold([]), None)["steps"] == {}


def test_items_are_gathered_in_item_order_whatever_order_they_end_in() -> None:
    def ended(index: int, **fields: object) -> StepFinished:
        return StepFinished(step=f"each[{index}]", outcome="succeeded", output=f"o{index}", fields=dict(fields))

    error = {"kind": "model", "message": "no", "attempts": 1}
    state = fold(
        stamp(
            [
                StepStarted(step="each", kind="prompt", items=4),
                ended(3, text="t3"),
                StepFinished(step="each[1]", outcome="failed", error=error),
                StepFinished(step="each[2]", outcome="skipped", reason="when"),
                ended(0, text="t0", seen=1),
                StepFinished(step="each", outcome="succeeded", items=4),
            ]
        )
    )
    each = state.steps["each"]
    assert each.output == ["o0", None, None, "o3"]
    assert each.fields == {"text": ["t0", None, None, "t3"], "seen": [1, None, None, None]}
    assert [each.items[n].outcome for n in range(4)] == ["succeeded", "failed", "skipped", "succeeded"]
    assert each.items[1].error == error
    assert list(state.steps) == ["each"]


def test_a_fan_out_of_nothing_gives_an_empty_list() -> None:
    state = fold(
        stamp(
            [
                StepStarted(step="each", kind="prompt", items=0),
                StepFinished(step="each", outcome="succeeded", items=0),
            ]
        )
    )
    assert state.steps["each"].output == []


def test_items_of_steps_of_sub_flows_find_their_step() -> None:
    state = fold(stamp([StepStarted(step="outer[3].inner[12]", kind="set"), StepStarted(step="o.i", kind="set")]))
    assert list(state.steps) == ["outer[3].inner", "o.i"]
    assert list(state.steps["outer[3].inner"].items) == [12]


def test_steps_of_flows_inside_stand_behind_their_step() -> None:
    ids = ["a", "b", "a.x", "b[0].y", "a.z[1]", "b[1].y"]
    state = fold(stamp([StepStarted(step=step_id, kind="set") for step_id in ids]))
    assert list(summary(state, None)["steps"]) == ["a", "a.x", "a.z", "b", "b[0].y", "b[1].y"]


def test_a_step_that_begins_again_has_nothing_left_of_its_former_end() -> None:
    error = {"kind": "model", "message": "no", "attempts": 1}
    state = fold(
        stamp(
            [
                StepStarted(step="a.each", kind="set", items=2),
                StepFinished(step="a.each[1]", outcome="failed", error=error),
                StepFinished(step="a.each", outcome="failed", error=error, items=2),
                StepStarted(step="a.each", kind="set", items=1),
                StepFinished(step="a.each[0]", outcome="succeeded", output=1),
                StepFinished(step="a.each", outcome="succeeded", items=1),
            ]
        )
    )
    each = state.steps["a.each"]
    assert (each.outcome, each.error, each.output, list(each.items)) == ("succeeded", None, [1], [0])


def test_times_attempts_tokens_and_tool_calls_add_up() -> None:
    error = {"kind": "server", "message": "gone", "attempts": 1}
    state = fold(
        stamp(
            [
                StepStarted(step="a", kind="prompt"),
                generation("a", "one"),
                StepRetried(step="a", attempt=1, attempts=3, error=error, delay_s=0.1),
                generation("a", "two", usage={"prompt_tokens": 7, "completion_tokens": 1}),
                StepFinished(step="a", outcome="succeeded", output="two", duration_s=1.25),
                *a_run()[1:5],
            ],
            apart_s=1.0,
        )
    )
    a = state.steps["a"]
    assert (a.attempts, a.started_at, a.ended_at, a.duration_s) == (2, START + 1, START + 5, 1.25)
    assert a.tokens == state.tokens == Tokens(computed=12, reused=15, generated=4)
    assert (state.first_at, state.last_at) == (START + 1, START + 9)
    assert state.steps["tree"].tool_calls == 1


def test_servers_keep_what_was_known_when_they_were_ready() -> None:
    facts = {"model": "SmolLM2-135M"}
    state = fold(
        stamp(
            [
                ServerChanged(server="main", state="ready", facts=facts),
                ServerChanged(server="main", state="crashed", detail="signal 9"),
            ]
        )
    )
    main = state.servers["main"]
    assert (main.state, main.detail, main.facts, main.changed_at) == ("crashed", "signal 9", facts, START + 0.002)


def test_warnings_and_the_end_are_kept_and_pieces_are_not() -> None:
    end = RunFinished(status="limited", exit_code=4, outputs={}, tokens={}, duration_s=1.0, error="tokens")
    piece = TokensArrived(step="a", channel="final", text="x", tokens=1)
    state = fold(stamp([piece, Warned(message="careful", step="a"), end]))
    assert state.warnings == [Warned(message="careful", step="a")]
    assert (state.status, state.finished) == ("limited", end)
    assert state.steps == {}


def test_a_record_cannot_claim_items_that_it_does_not_tell_of() -> None:
    state = fold(stamp([StepFinished(step="each", outcome="succeeded", items=10**12)]))
    assert state.steps["each"].item_count == 10**12
    assert len(state.steps["each"].output) == CLAIMED
    far: list[Event] = [StepFinished(step="each[999999999]", outcome="succeeded", output=1)]
    far.append(StepFinished(step="each", outcome="succeeded", items=10**12))
    assert len(fold(stamp(far)).steps["each"].output) == 2 * CLAIMED


def test_a_name_full_of_brackets_is_just_a_name() -> None:
    for name in ("a" + "[0]" * 100_000, f"a[{'9' * 5000}]"):
        assert [*fold(stamp([StepStarted(step=name, kind="set")])).steps] == [name]


def test_the_time_between_two_lives_is_not_time_that_the_run_took() -> None:
    first = stamp(
        [
            run_started(),
            StepStarted(step="a", kind="set"),
            ToolStarted(step="a", call_id="1", tool="t", arguments={}),
        ],
        apart_s=2,
    )
    resumed = RunResumed(version="0", resumed_at="2026-01-01T01:00:00Z")
    second = stamp(
        [resumed, ToolStarted(step="a", call_id="2", tool="t", arguments={}), Warned(message="x")],
        START + 3600,
        0.5,
    )
    state = fold([*first, *second])
    assert (state.ran_s, state.tool_calls) == (4 + 1, 2)
    assert (state.resumed, state.took_s) == (1, None)
    end = RunFinished(status="succeeded", exit_code=0, outputs={}, tokens={}, duration_s=0.5)
    state.apply(Stamped(9, START + 3602, end))
    assert state.took_s == 4 + 1.5, "and not as long as its last life alone"
    assert fold(stamp([run_started(), end])).took_s == 0.5
    assert fold(stamp([run_started(), Warned(message="the clock was set back")], apart_s=-5)).ran_s == 0
