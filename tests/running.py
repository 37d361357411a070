"""A run with a real server that can be met in each of its phases, and what is to be true of it afterwards."""

from __future__ import annotations

from pathlib import Path

from gptoss_flow.record.journal_file import JournalDamage, read_journal
from gptoss_flow.testing.project import Project

PHASES = {
    "starting": b'"state":"starting"',
    "loading": b'"state":"loading"',
    "generating": b'"type":"generation_finished"',
    "stopping": b'"state":"stopping"',
}
"""What `--events` says when a phase has begun. Where one item is finished its longer neighbour is half-way."""


def long_flow(tokens: int = 900, more: str = "") -> str:
    """A flow of two prompts at once: one of a token, one of many. `more` are further keys of the step."""
    return (
        "version: 1\n"
        "servers: {main: {extends: demo, threads: 1, context: 1024, parallel: 2}}\n"
        "steps:\n"
        "  each:\n"
        f"    foreach: [1, {tokens}]\n"
        "    as: tokens\n"
        f"{more}"
        "    prompt: {mode: raw, text: Once, params: {max_tokens: '${{ tokens }}', ignore_eos: true}}\n"
        "  after: {set: {n: '${{ steps.each.output | length }}'}}\n"
    )


def what_is_open(project: Project, code: int) -> str:
    """What the newest record lacks of the end of a run with this exit code; empty if nothing."""
    run, damage = project.runs[-1], JournalDamage()
    events = [stamped.event for stamped in read_journal(run / "events.jsonl", damage)]
    if damage.count:
        return f"events.jsonl: {damage.lines[0]}"
    if events[-1].type != "run_finished" or events[-1].exit_code != code:
        return f"events.jsonl ends with {events[-1]}"
    last = (run / "run.rlog").read_text().split("\n")[-2]
    return "" if last.startswith("@end ") and f" exit={code}" in last else f"run.rlog ends with {last}"


def server_records(project: Project) -> list[Path]:
    """What is on file about servers that run."""
    return [*project.home.glob(".state/gptoss-flow/servers/*/record.json")]
