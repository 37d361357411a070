"""Records that older versions of this program wrote are still read and resumed (fault row C19)."""

from __future__ import annotations

from binascii import crc32
from pathlib import Path

import pytest

from gptoss_flow.app.runs import load_run
from gptoss_flow.record.journal_file import JournalDamage, read_journal
from gptoss_flow.testing.project import Project

GOLDEN = Path(__file__).parents[1] / "data/golden"
VERSIONS = sorted(path.name for path in GOLDEN.iterdir())
RECORDED_IN = b"/home/somebody/golden"
CRC = b',"crc":"'


def moved(line: bytes, folder: Path) -> bytes:
    """A record as the same program would have written it in another folder."""
    found = line.replace(RECORDED_IN, str(folder).encode())
    if found == line or CRC not in found:
        return found
    body = found[: found.rindex(CRC)]
    return b'%s,"crc":"%08x"}\n' % (body, crc32(body))


@pytest.fixture(params=VERSIONS)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A project with the one run that this version left: its third step had failed."""
    golden, project = GOLDEN / request.param, Project(tmp_path)
    lines = (golden / "events.jsonl").read_bytes().splitlines(keepends=True)
    run_id = next(read_journal(golden / "events.jsonl")).event.run_id  # type: ignore[union-attr]
    project.write(
        f".gptoss-flow/runs/{run_id}/events.jsonl", b"".join(moved(line, project.folder) for line in lines)
    )
    for name, place in (
        ("flow.yaml", "flow.yaml"),
        ("replies.yaml", "replies.yaml"),
        ("flow.yaml", f".gptoss-flow/runs/{run_id}/flow.yaml"),
        ("run.rlog", f".gptoss-flow/runs/{run_id}/run.rlog"),
    ):
        project.write(place, (golden / name).read_bytes())
    return project


def test_it_is_read_whole(project: Project) -> None:
    damage = JournalDamage()
    assert list(read_journal(project.runs[-1] / "events.jsonl", damage))
    assert (damage.count, damage.unknown_types, damage.unknown_keys) == (0, {}, {})
    state, _ = load_run(project.runs[-1])
    assert {step.id: step.outcome for step in state.steps.values() if "[" not in step.id} == {
        "a": "succeeded",
        "each": "succeeded",
        "file": "failed",
        "end": "skipped",
    }


@pytest.mark.parametrize(
    "command",
    ["ls --json", "show --json", "report -f json", "log validate --strict .gptoss-flow/runs"],
)
def test_every_view_shows_it(project: Project, command: str) -> None:
    done = project.run(*command.split())
    assert (done.code, done.err) == (0, ""), done


def test_it_is_resumed_and_what_finished_is_not_run_again(project: Project) -> None:
    before = project.events()
    project.write("later.txt", "later")
    done = project.run("resume", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("later: ")
    began = {event["step"] for event in project.events()[len(before) :] if event["type"] == "step_started"}
    assert {"file", "end"} <= began
    # The oldest did not write down what decides a result: nobody can tell that it is the same.
    keyed = {event["step"] for event in before if event.get("key") and event["outcome"] == "succeeded"}
    assert not keyed & began
