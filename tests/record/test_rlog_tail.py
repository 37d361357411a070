"""The end of a growing file is told once and whole, through truncation and rotation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptoss_flow.errors import RecordError
from gptoss_flow.record.rlog_tail import RlogTail, follow
from gptoss_flow.testing.clock import ManualClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder / "run.rlog"


@pytest.fixture
def tail(path: Path) -> Iterator[RlogTail]:
    reader = RlogTail(path)
    yield reader
    reader.close()


def add(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


@pytest.mark.parametrize("lines", [0, 1, 2, 3, 4, 99])
@pytest.mark.parametrize("text", ["", "\n", "a\nb\r\nc\n", "a\nb\nc", "\n\na\n"])
def test_the_last_lines_are_those_at_the_end(path: Path, tail: RlogTail, text: str, lines: int) -> None:
    path.write_text(text, newline="")
    there = text.replace("\r", "").removesuffix("\n").split("\n") if text else []
    assert tail.last(lines) == there[max(0, len(there) - lines) :]


def test_the_last_lines_of_a_long_file_are_found(path: Path, tail: RlogTail) -> None:
    path.write_text("".join(f"line {n} {'x' * 100}\n" for n in range(5000)))
    assert [line.split()[1] for line in tail.last(2000)] == [str(n) for n in range(3000, 5000)]


def test_what_is_added_comes_once_and_in_whole_lines(path: Path, tail: RlogTail) -> None:
    path.write_text("a\nb\nto")
    assert tail.last(1, with_torn=False) == []
    assert tail.added() == []
    add(path, "rn\nc\nd")
    assert tail.added() == ["torn", "c"]
    add(path, "\n")
    assert tail.added() == ["d"]


def test_a_file_that_was_truncated_is_read_from_its_start(path: Path, tail: RlogTail) -> None:
    path.write_text("a\nb\ntorn")
    tail.last(9, with_torn=False)
    path.write_text("c\n")
    assert tail.added() == ["c"]
    assert tail.notes == ["truncated"]


def test_a_file_that_took_its_place_is_read_after_the_rest_of_the_first(path: Path, tail: RlogTail) -> None:
    path.write_text("a\n")
    tail.last(9)
    add(path, "b\n")
    path.rename(path.with_suffix(".1"))
    assert tail.added() == ["b"]
    assert tail.added() == []
    path.write_text("c\nd\n")
    assert tail.added() == ["c", "d"]
    assert tail.notes == ["replaced"]


def test_a_folder_that_was_removed_ends_it(path: Path, tail: RlogTail) -> None:
    path.write_text("a\n")
    tail.last(1)
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(RecordError, match="its folder was removed"):
        tail.added()


def test_a_file_that_cannot_be_read_is_a_record_error(tail: RlogTail) -> None:
    with pytest.raises(RecordError, match="cannot read"):
        tail.last(1)


def test_following_goes_on_until_it_is_stopped(path: Path, tail: RlogTail) -> None:
    path.write_text("a\n")
    tail.last(0)

    async def watch() -> list[list[str]]:
        clock, seen = ManualClock(), list[list[str]]()
        lines = follow(tail, clock)
        for text in ("b\n", "c\nd\n"):
            add(path, text)
            coming = asyncio.ensure_future(anext(lines))
            while not coming.done():
                await asyncio.sleep(0)
                clock.advance(0.2)
            seen.append(coming.result())
        return seen

    assert asyncio.run(watch()) == [["b"], ["c", "d"]]
