"""The user's cache of profiles from elsewhere: each by the hash of its content, written whole or not at all."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import suppress
from pathlib import Path

from gptoss_flow.lang.elsewhere import Fetched, Pin
from gptoss_flow.lang.sources import GitSource, Source
from gptoss_flow.private_folders import create_private


class SourceCache:
    """Content in `content/<sha256>`; in `commits/<key>`, which never changes, the hash of a file at a commit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, source: Source, pin: Pin) -> Fetched | None:
        """The file, if what is known of it is enough to tell that it is the very one."""
        sha256 = pin.sha256
        if sha256 is None and isinstance(source, GitSource) and pin.commit:
            with suppress(OSError, ValueError):
                sha256 = self._place(source, pin.commit).read_text("ascii").strip()
        if sha256 is None or not sha256.isalnum():
            return None
        with suppress(OSError):
            content = (self._folder / "content" / sha256).read_bytes()
            if hashlib.sha256(content).hexdigest() == sha256:
                return Fetched(content, pin.commit)
        return None

    def keep(self, source: Source, fetched: Fetched) -> None:
        """A cache that cannot be written is no reason to fail."""
        sha256 = hashlib.sha256(fetched.content).hexdigest()
        with suppress(OSError):
            _write(self._folder / "content" / sha256, fetched.content)
            if isinstance(source, GitSource) and fetched.commit:
                _write(self._place(source, fetched.commit), sha256.encode())

    def _place(self, source: GitSource, commit: str) -> Path:
        key = str(source.pinned(commit, ""))
        return self._folder / "commits" / hashlib.sha256(key.encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    create_private(path.parent)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            file.write(content)
            file.close()
            Path(file.name).replace(path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise
