"""Fetches one small file of a web server: https, or http of this very machine; bounded in size and time."""

from __future__ import annotations

import ssl
import time
import urllib.error
import urllib.request
from http.client import HTTPException

from gptoss_flow.lang.sources import is_loopback
from gptoss_flow.server.download import OPENER, DownloadFailed

MAX_BYTES = 2**20
TIMEOUT_S = 30.0
"""For the whole file; also for each wait on the network."""
_CHUNK = 1 << 16


class Unreachable(Exception):
    """It could not be had; the message says why, with no secret in it, `hint` what to do."""

    def __init__(self, message: str, hint: str = "check the address and the network") -> None:
        super().__init__(message)
        self.hint = hint


class NotThere(Unreachable):
    """The address is of no file, or of one that can be no profile: asking again will not help."""


def too_large() -> NotThere:
    return NotThere("it has more than 1 MiB", "a profile has at most 1 MiB")


def fetch_from_web(url: str, timeout_s: float = TIMEOUT_S) -> bytes:
    """The file at an https address. Redirects are followed to https only. Raises `Unreachable`."""
    assert url.startswith("https://") or is_loopback(url)
    deadline = time.monotonic() + timeout_s
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "gptoss-flow"})
    try:
        with OPENER.open(request, timeout=timeout_s) as answer:
            content = b""
            while chunk := answer.read1(_CHUNK):
                content += chunk
                if len(content) > MAX_BYTES:
                    raise too_large()
                if time.monotonic() > deadline:
                    raise Unreachable(f"it did not come within {timeout_s:g} s")
            left = answer.length
    except urllib.error.HTTPError as error:
        with error:
            said = f"the server answered {error.code}"
            if 300 <= error.code < 400:
                said += " and leads to where nothing is fetched from, or in a circle"
            raise (
                NotThere(said, "check the address") if error.code in (404, 410) else Unreachable(said)
            ) from None
    except DownloadFailed as error:
        raise Unreachable(str(error)) from None
    except TimeoutError:
        raise Unreachable(f"it did not come within {timeout_s:g} s") from None
    except urllib.error.URLError as error:
        reason = error.reason
        raise Unreachable(
            _said(reason) if isinstance(reason, OSError) else "the address cannot be reached"
        ) from None
    except (HTTPException, OSError, ValueError) as error:
        raise Unreachable(_said(error)) from None
    if left:
        raise Unreachable("the connection was cut")
    return content


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"its certificate or connection is not trusted ({error.reason or 'TLS failed'})"
    return (error.strerror if isinstance(error, OSError) else None) or "the connection was cut"
