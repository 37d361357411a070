"""The report as text: what `show` says of a run, then everything that was asked, answered and called."""

from __future__ import annotations

from collections.abc import Iterator

from gptoss_flow.escape import for_terminal, one_line
from gptoss_flow.events import FellBack, Json, RoundFinished, StepRetried, Warned
from gptoss_flow.record.rlog import said_in
from gptoss_flow.ui.report.bench import happenings, plain_rows
from gptoss_flow.ui.report.facts import MARKS, error_line, rate, remarks, speeds, took
from gptoss_flow.ui.report.json_form import readable
from gptoss_flow.ui.report.view import Call, Happening, Report, Said, Turn, Unit
from gptoss_flow.ui.runs import draw_run, new_messages


def draw_text(report: Report) -> str:
    """Safe for a terminal; texts are whole."""
    parts = [*(one_line(notice) for notice in report.notices), draw_run(report.facts, None)]
    for root in report.units:
        parts += ["\n".join(_unit(unit)) for unit in root.walk() if _is_telling(unit)]
    return "\n\n".join(parts) + "\n"


def _is_telling(unit: Unit) -> bool:
    return bool(unit.history.happenings or unit.step.error or plain_rows(unit.step))


def _unit(unit: Unit) -> Iterator[str]:
    step = unit.step
    said = [step.kind, unit.outcome, took(step.duration_s) if step.outcome else "", *remarks(unit)]
    yield f"{MARKS.get(unit.outcome, '·')} {one_line(step.id)}  {one_line(', '.join(filter(None, said)))}"
    for happening in happenings(unit):
        yield from _happening(happening)
    yield from (f"  {one_line(line)}" for line in plain_rows(step))
    if step.error:
        at = step.error.get("at")
        yield from _block("error", error_line(step.error) + (f" ({at})" if at else ""))


def _happening(happening: Happening) -> Iterator[str]:
    match happening:
        case Turn(prompt=prompt, answer=answer):
            for message in new_messages(happening.before, prompt.messages, prompt.turn):
                yield from _block(str(message.get("role", "user")), said_in(message))
            if answer is None:
                yield "  no answer is on record"
                return
            if answer.reasoning:
                yield from _block("reasoning", answer.reasoning)
            if answer.text or not answer.calls:
                yield from _block("answer", answer.text)
            yield f"  {one_line(', '.join(_turn(happening)))}"
        case Call(call=call, result=result):
            permission = f", {call.permission}" if call.permission else ""
            yield from _block(f"call {call.call_id} of {call.tool}{permission}", call.written or call.arguments)
            if result is None:
                yield "  no result is on record"
            elif result.error is not None:
                yield from _block("its error", result.error)
            else:
                yield from _block("its result", result.result)
        case Said(event=event):
            match event:
                case StepRetried():
                    said = f"attempt {event.attempt} of {event.attempts} failed: {error_line(event.error)}"
                case RoundFinished():
                    said = f"round {event.round} was not the last"
                case FellBack():
                    said = f"{error_line(event.error)}; its fallback, a {event.kind} step, ran in its place"
                case Warned():
                    said = f"warning: {event.message}"
                case _:
                    said = "the run was interrupted here, and resumed"
            yield f"  {one_line(said)}"


def _turn(turn: Turn) -> Iterator[str]:
    assert turn.answer is not None
    usage, speed = turn.answer.usage, speeds([turn])
    reused = usage.get("cached_tokens", 0)
    yield f"{usage.get('prompt_tokens', 0)} prompt tokens" + (f" ({reused} reused)" if reused else "")
    yield f"{usage.get('completion_tokens', 0)} generated"
    for name, value in (
        ("TTFT", took(speed.ttft_s)),
        ("prefill", speed.prefill_tps and f"{rate(speed.prefill_tps)}/s"),
        ("decode", speed.decode_tps and f"{rate(speed.decode_tps)}/s"),
    ):
        if value:
            yield f"{name} {value}"
    yield f"ended by {turn.answer.finish_reason}"


def _block(title: str, value: Json) -> Iterator[str]:
    yield f"  {one_line(title)}:"
    for line in for_terminal(readable(value)).rstrip("\n").split("\n"):
        yield f"    {line}"
