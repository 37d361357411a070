"""A small real web server for tests of downloads: ranges, cuts, redirects, and a stand-in of the Hub."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Web:
    """What is served, how, and what was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """By path: `/model.gguf`; for the Hub `/owner/repo/resolve/main/a.gguf`."""
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    cut_at: list[int] = field(default_factory=list)
    """The first answers end after so many bytes, one for each."""
    has_ranges: bool = True
    announces_size: bool = True
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and headers."""

    def add_repository(self, repo: str, files: dict[str, bytes]) -> None:
        """Serve a repository as the Hub does."""
        for name, content in files.items():
            self.files[f"/{repo}/resolve/main/{name}"] = content
        siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
        known = {"id": repo, "sha": COMMIT, "siblings": siblings}
        self.files[f"/api/models/{repo}/revision/main"] = json.dumps(known).encode()

    @property
    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for method, _, headers in self.asked if method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    web: Web

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        web, path = self.web, unquote(urlsplit(self.path).path)
        web.asked.append((self.command, self.path, dict(self.headers.items())))
        if target := web.redirects.get(path):
            self._head(302, {"Location": target, "Content-Length": "0"})
            return
        content = web.files.get(path)
        if (status := web.statuses.get(path)) or content is None:
            code = "RepoNotFound" if path.startswith("/api/") else "EntryNotFound"
            self._head(status or 404, {"Content-Length": "0"} | ({} if status else {"X-Error-Code": code}))
            return
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        headers = {"ETag": etag, "X-Repo-Commit": COMMIT}
        if path.startswith("/api/"):
            headers["Content-Type"] = "application/json"
        start, status = 0, 200
        if web.has_ranges and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            if start >= len(content):
                self._head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
                return
            status, headers["Content-Range"] = 206, f"bytes {start}-{len(content) - 1}/{len(content)}"
        if web.announces_size:
            headers["Content-Length"] = str(len(content) - start)
        self._head(status, headers)
        if body:
            cut = web.cut_at.pop(0) if web.cut_at else None
            self.wfile.write(content[start:][:cut])

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Web]:
    """A web server on this machine until the end of the block."""
    web = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": web}))
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
