"""Reading on in a log that grows, and that its writer cuts."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptoss_flow.app.server_log import LogReader
from gptoss_flow.errors import Unavailable
from gptoss_flow.server.guardian.log import CappedLog


def test_the_last_lines_come_first_and_then_what_is_added(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\nthree\nfo")
    reader = LogReader(path)
    assert reader.read_last(2) == "three\nfo"
    assert reader.read_on() == ""
    with path.open("ab") as file:
        file.write("ur\nfünf\n".encode()[:5])
    assert reader.read_on() == "ur\nf"
    with path.open("ab") as file:
        file.write("ur\nfünf\n".encode()[5:])
    assert reader.read_on() == "ünf\n"


def test_no_lines_are_none(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    reader = LogReader(path)
    assert (reader.read_last(0), reader.read_on()) == ("", "")


def test_a_log_whose_older_half_is_dropped_is_followed_without_loss_or_repetition(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = CappedLog(str(path), 4096)
    reader = LogReader(path)
    lines = [f"line {number:04}\n" for number in range(1000)]
    said = ""
    for line in lines:
        log.write(line.encode())
        said += reader.read_on()
    assert said == "".join(lines)


def test_a_log_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"the log .*/log cannot be read"):
        LogReader(tmp_path / "log").read_last(1)
