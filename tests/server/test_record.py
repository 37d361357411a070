"""What is written down about servers: read back, listed, and believed only where every proof holds."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from gptoss_flow.server import record as records
from gptoss_flow.server.guardian.child import start_ticks
from gptoss_flow.server.record import ServerRecord


@pytest.fixture
def record(tmp_path: Path) -> ServerRecord:
    """A record that is true as far as the system alone shows: of this very process, but for the nonce."""
    return ServerRecord(
        nonce="n", name="small", fingerprint="f", folder=str(tmp_path), boot_id=records.boot_id(),
        network=records.network_namespace(), host="127.0.0.1", port=1, engine="embedded", build="b",
        model_path="/m.gguf", slots=1, context_tokens=1, threads=1, argv=[], socket="s", log="l", log_mark="",
        guardian_pid=1, pid=os.getpid(), start_ticks=start_ticks(os.getpid()), started_at=0.0,
        state="ready", idle_timeout_s=0.0,
    )  # fmt: skip


def test_each_proof_of_a_record_is_needed(record: ServerRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_has_nonce", lambda pid, nonce: nonce == "n")
    if record.start_ticks is None:
        pytest.skip("needs /proc")
    assert records.untrue(record) == ""
    assert "restarted" in records.untrue(dataclasses.replace(record, boot_id="x"))
    assert "namespace" in records.untrue(dataclasses.replace(record, network="x"))
    assert "has ended" in records.untrue(dataclasses.replace(record, start_ticks=record.start_ticks + 1))
    assert "not the one" in records.untrue(dataclasses.replace(record, nonce="x"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"nonce": 1}', "\x00"])
def test_a_record_that_cannot_be_understood_is_none(tmp_path: Path, text: str) -> None:
    tmp_path.joinpath("record.json").write_text(text)
    assert records.read_record(tmp_path) is None


def test_the_servers_are_listed_oldest_first(tmp_path: Path, record: ServerRecord) -> None:
    for place, started_at in (("b", 2.0), ("a", 3.0), ("c", 1.0)):
        folder = tmp_path / "servers" / place
        folder.mkdir(parents=True)
        fields = dataclasses.asdict(dataclasses.replace(record, started_at=started_at))
        folder.joinpath("record.json").write_text(json.dumps(fields))
    assert [each.started_at for each in records.list_servers(tmp_path)] == [1.0, 2.0, 3.0]
    assert records.list_servers(tmp_path / "nothing") == []
