"""Downloads one file by http or https into a partial file, and goes on with it where an earlier try ended."""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any

Report = Callable[[str], None]

NETWORK_TIMEOUT_S = 30.0
REPORT_EVERY_S = 1.0
SPARE_BYTES = 64 * 2**20
"""Room that is left on the disk."""
MAX_CUTS = 20
"""How often a download that was cut off is continued, provided that each piece brought something."""
_CHUNK = 1 << 20
_CUT = (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError, ValueError)
_ADVICE = {
    401: "no credentials are sent: take a file that needs none",
    403: "no credentials are sent: take a file that needs none",
    404: "correct model.url",
    410: "correct model.url",
}
"""What to do about an answer, by its code."""
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class DownloadFailed(Exception):
    """It did not work; the message says why, `hint` what to do."""

    def __init__(self, message: str, hint: str = "check the network and model.url") -> None:
        super().__init__(message)
        self.hint = hint


def download(url: str, partial: Path, sha256: str, size_bytes: int | None, report: Report) -> None:
    """Bring the file at `url` into `partial`, complete and checked. Raises `DownloadFailed`, `OSError`.

    What `partial` holds is continued, and kept where this fails; a file that is not the one with that SHA-256 is
    removed. `report` is called about once a second; what it raises ends the download.
    """
    continued = partial.exists() and partial.stat().st_size > 0
    _bring(url, partial, size_bytes, report)
    came = _sha256(partial, report)
    if came != sha256 and continued:  # the beginning may be another file's, or damaged
        partial.unlink()
        report("what was there of it does not fit: downloading it from the start")
        _bring(url, partial, size_bytes, report)
        came = _sha256(partial, report)
    if came != sha256:
        partial.unlink()
        said = f"it is not the file that the profile names: its SHA-256 is {came}"
        raise DownloadFailed(said, "correct model.url, or model.sha256 if this is the file that you want")


def require_room(folder: Path, size_bytes: int) -> None:
    """Raise `OSError` (no space left) unless so many bytes, and some to spare, have room."""
    free = shutil.disk_usage(folder).free
    if free < size_bytes + SPARE_BYTES:
        needed = f"{(size_bytes + SPARE_BYTES) / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
        raise OSError(errno.ENOSPC, needed)


def _bring(url: str, partial: Path, size_bytes: int | None, report: Report) -> None:
    with partial.open("ab") as file:
        for _ in range(MAX_CUTS):
            before = file.tell()
            try:
                if _continue(url, file, size_bytes, report):
                    file.flush()
                    os.fsync(file.fileno())
                    return
                cut = "the connection was cut"
            except urllib.error.HTTPError as error:
                with error:
                    said = f"{_host(url)} answered {error.code} {error.reason}"
                    raise DownloadFailed(said, _ADVICE.get(error.code, "try again later")) from None
            except _CUT as error:
                cut = str(getattr(error, "reason", None) or error or type(error).__name__)
            if file.tell() <= before:
                raise DownloadFailed(cut)
            report(f"{cut}: going on at {_megabytes(file.tell())}")
    raise DownloadFailed(f"the connection was cut {MAX_CUTS} times")


def _continue(url: str, file: IO[bytes], size_bytes: int | None, report: Report) -> bool:
    """Append what the server sends next; True if that was all of it."""
    done = file.tell()
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    try:
        answer = OPENER.open(urllib.request.Request(url, headers=headers), timeout=NETWORK_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        with error:  # there is nothing behind what is here, so it is all of it, or another file's
            return True
    with answer:
        done = _start(answer, file, done)
        left = answer.headers.get("Content-Length")
        total = done + int(left) if left is not None and left.isdecimal() else None
        if None not in (total, size_bytes) and total != size_bytes:
            said = f"{_host(url)} has {total:,} bytes, and the profile says {size_bytes:,}"
            raise DownloadFailed(said, "correct model.size or model.url")
        total = total if total is not None else size_bytes
        folder = Path(file.name).parent
        require_room(folder, max(0, total - done) if total is not None else 0)
        reported = time.monotonic()
        while chunk := answer.read1(_CHUNK):
            file.write(chunk)
            done += len(chunk)
            if total is not None and done > total:
                raise DownloadFailed(f"{_host(url)} sends more than {total:,} bytes")
            if time.monotonic() - reported >= REPORT_EVERY_S:
                reported = time.monotonic()
                require_room(folder, 0)
                report(f"downloading: {_megabytes(done)}" + (f" of {_megabytes(total)}" if total else ""))
    return total is None or done == total


def _start(answer: HTTPResponse, file: IO[bytes], done: int) -> int:
    """Where the answer's bytes belong: behind what is here, or at the start, which is then cleared for them."""
    if answer.status == 206:
        match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if match and int(match[1]) == done:
            return done
        raise DownloadFailed("the server sent another part than the one that was asked for")
    file.truncate(0)
    return 0


def _sha256(path: Path, report: Report) -> str:
    digest = hashlib.sha256()
    reported = time.monotonic()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if time.monotonic() - reported >= REPORT_EVERY_S:
                reported = time.monotonic()
                report(f"checking: {_megabytes(file.tell())}")
    return digest.hexdigest()


class _Proxies(urllib.request.ProxyHandler):
    """The machine's proxies, but for this machine itself, whatever `no_proxy` says."""

    def proxy_open(self, req: urllib.request.Request, proxy: str, type: str) -> Any:
        host = urllib.parse.urlsplit(f"//{req.host}").hostname or ""
        return None if is_loopback(host) else super().proxy_open(req, proxy, type)


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme.lower()
        if scheme != "https" and (scheme != "http" or req.type == "https"):
            raise DownloadFailed(f"{_host(req.full_url)} leads from {req.type} to {scheme}, which is refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


OPENER = urllib.request.build_opener(_Proxies, _Redirects)
"""Opens a URL by the machine's proxies; redirects lead to https only, from http of this machine to http too."""


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or url


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
