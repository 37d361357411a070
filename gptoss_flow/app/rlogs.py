"""What `gptoss-flow log` does with files: check, convert and mend them; nothing is left half-written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.record.append import record_error
from gptoss_flow.record.rlog_check import Report, check_rlog
from gptoss_flow.record.rlog_convert import is_jsonl, to_jsonl, to_rlog
from gptoss_flow.record.rlog_fix import BOM, Changes, mend
from gptoss_flow.record.rlog_read import STDIN, open_rlog, read_rlog


def check_file(name: str, *, strict: bool = False) -> Report:
    """Read a file to its end. Raises `RecordError` where it cannot be read; of its content it takes anything."""
    with open_rlog(name) as file:
        header, lines = read_rlog(file)
        return check_rlog(header, lines, strict=strict)


def convert_file(name: str, out: Path | None, stdout: BinaryIO) -> None:
    """An rlog to JSONL, or such JSONL to the rlog; to `out`, a file or a folder, or else to `stdout`.

    Raises `Invalid` for JSONL that is no rlog's, and `RecordError`.
    """
    with open_rlog(name) as file:
        back = is_jsonl(file)
        chunks = to_rlog(file, name) if back else to_jsonl(file)
        if out is None:
            if back and stdout.isatty():
                hint = "give --out, and look at it with: gptoss-flow log cat"
                raise Invalid(Problem(None, "a log is not printed to a terminal as it is", hint))
            for chunk in chunks:
                stdout.write(chunk)
            return
        if out.is_dir():
            stem = "stdin" if name == STDIN else Path(name).stem
            out = out / f"{stem}{'.rlog' if back else '.jsonl'}"
        if name != STDIN and out.exists() and out.samefile(name):
            raise Invalid(Problem(None, f'"{out}" is the file that is converted', "give --out another name"))
        _write(out, chunks)


@dataclass(frozen=True, slots=True)
class Mended:
    """`report` is of the mended text, in strict mode; `kept` is where the file as it was is kept."""

    changes: Changes
    report: Report
    written: Path | None = None
    kept: Path | None = None

    def as_json(self, file: str) -> dict[str, Any]:
        """The object that `log fix --json` prints for a file."""
        left = [issue for issue in self.report.as_json(file)["issues"] if issue["severity"] != "info"]
        changes = [{"line": line, "what": what} for line, what in self.changes.described]
        places = {"written": self.written, "kept": self.kept}
        return {
            "file": file,
            "changed": self.changes.count,
            "changes": changes,
            "left": left,
            **{key: str(place) for key, place in places.items() if place},
        }


def mend_file(name: str, out: Path | None, stdout: BinaryIO, *, write: bool = True) -> Mended:
    """Mend a file in place, keeping it as it was beside it; or leave it and write to `out`.

    What comes from standard input goes to `stdout` unless there is an `out`. Raises `RecordError`.
    """
    changes = Changes()
    with ExitStack() as stack:
        file = stack.enter_context(open_rlog(name))
        if file.read(len(BOM)) == BOM:
            changes.add(1, "the byte order mark at the start was removed")
            copy: BinaryIO = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(file, copy)
            file = copy
        file.seek(0)
        header, _ = read_rlog(file)
        file.seek(0)
        mended: BinaryIO = stack.enter_context(tempfile.TemporaryFile())
        mended.writelines(mend(file, header, changes))
        mended.seek(0)
        header, lines = read_rlog(mended)
        report = check_rlog(header, lines, strict=True)
        mended.seek(0)
        if not write:
            return Mended(changes, report)
        if name == STDIN and out is None:
            if stdout.isatty():
                hint = "give --out, and look at it with: gptoss-flow log cat"
                raise Invalid(Problem(None, "a log is not printed to a terminal as it is", hint))
            shutil.copyfileobj(mended, stdout)
            return Mended(changes, report)
        if out is not None:
            _write(out, mended)
            return Mended(changes, report, out)
        if not changes.count:
            return Mended(changes, report)
        path = Path(name).resolve()
        kept = _keep(path)
        _write(path, mended, mode=path.stat().st_mode & 0o7777)
        return Mended(changes, report, path, kept)


def _keep(path: Path) -> Path:
    """Give the file a second name, `x.rlog.bak`, `x.rlog.bak2` …, under which it stays as it is."""
    for number in count(1):
        kept = path.with_name(f"{path.name}.bak{number if number > 1 else ''}")
        try:
            os.link(path, kept)
        except FileExistsError:
            continue
        except OSError as error:
            raise record_error("write", kept, error) from error
        return kept
    raise AssertionError("count() has no end")


def _write(path: Path, chunks: Iterable[bytes], mode: int | None = None) -> None:
    """Put a whole file at `path`, or leave what is there. Raises `RecordError`."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("xb") as file:
            file.writelines(chunks)
        if mode is not None:
            draft.chmod(mode)
        draft.replace(path)
    except OSError as error:
        raise record_error("write", path, error) from error
    finally:
        with suppress(OSError):
            draft.unlink()
