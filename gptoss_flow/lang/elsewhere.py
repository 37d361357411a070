"""Reads profiles that lie elsewhere: each only at its pin, and noting what was used for the lock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gptoss_flow.errors import Invalid, Mark, Problem, Unavailable
from gptoss_flow.lang.document import Document, parse_document
from gptoss_flow.lang.sources import BadSource, Source, is_elsewhere, parse_source, redacted

MAX_SOURCES = 64
"""So many files elsewhere may add up to the profiles of one flow."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What a source must be: the SHA-256 of its content, and of a git source the commit."""

    sha256: str | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file from elsewhere; of a git source with the commit that it is of."""

    content: bytes
    commit: str | None = None


class Fetch(Protocol):
    """Brings a file here. `pin` is what is known of it: with it, a copy that was kept is as good.

    Raises `Invalid` where there is no such file, `Unavailable` where it can't be had; that what came is the right
    file is the caller's to see.
    """

    def __call__(self, source: Source, pin: Pin) -> Fetched: ...


def fetch_nothing(source: Source, pin: Pin) -> Fetched:
    raise Unavailable(Problem(None, f"{source} lies elsewhere, and nothing is fetched here"))


class Sources:
    """The files elsewhere that profiles are made of."""

    def __init__(
        self,
        fetch: Fetch = fetch_nothing,
        pins: Mapping[str, Pin] | None = None,
        *,
        lock_command: str | None = None,
        is_locked: bool = False,
        may_pin: bool = False,
    ) -> None:
        """`pins`: a lock's, by source as it is written. `lock_command` writes the lock, and is named where it
        lacks one. `is_locked`: what is not in `pins` is refused. `may_pin`: what nothing pins is taken as it is.
        """
        self._fetch = fetch
        self._pins = pins or {}
        self._lock_command = lock_command
        self._is_locked = is_locked
        self._may_pin = may_pin
        self.used: dict[str, Pin] = {}
        """What was read, by source as it is written, with what it is."""
        self._read: dict[str, tuple[Document, Source]] = {}
        self._commits = {_branch(ref): pin.commit for ref, pin in self._pins.items() if pin.commit}
        """Of one branch all files are of one commit, however often it moves meanwhile."""

    def beyond_lock(self) -> Sources:
        """For what is named on the command line: no lock is asked for it, so it has to pin itself."""
        return Sources(self._fetch)

    def named(self, ref: str, mark: Mark | None, writer: Source | None) -> Source | None:
        """The source that `ref` names, standing in `writer` (None: in a file of this machine); None if none.

        Raises `Invalid`.
        """
        try:
            if is_elsewhere(ref):
                source = parse_source(ref)
                if source.is_local and writer is not None and not writer.is_local:
                    raise BadSource("a profile from elsewhere cannot name one of this machine", "use git+https")
                return source
            if writer is None or not is_path(ref):
                return None
            if ref.startswith(("/", "~")):
                raise BadSource("a profile from elsewhere cannot name one of this machine", "use a relative path")
            return writer.beside(ref)
        except BadSource as error:
            said, advice = error.args
            raise Invalid(Problem(mark, f'"{redacted(ref)}": {said}', advice)) from None

    def read(self, source: Source, mark: Mark | None) -> tuple[Document, Source]:
        """The file, and the source with its pin in it. Raises `Invalid`, `Unavailable`."""
        ref = str(source)
        if ref not in self._read:
            if len(self._read) >= MAX_SOURCES:
                said = f"profiles are made of more than {MAX_SOURCES} files from elsewhere"
                raise Invalid(Problem(mark, said, "let them extend fewer"))
            self._read[ref] = self._bring(source, mark)
        return self._read[ref]

    def _bring(self, source: Source, mark: Mark | None) -> tuple[Document, Source]:
        pin = self._pin(source, mark)
        try:
            fetched = self._fetch(source, pin)
        except (Invalid, Unavailable) as error:
            raise type(error)(*(Problem(mark, each.message, each.hint) for each in error.problems)) from None
        sha256 = hashlib.sha256(fetched.content).hexdigest()
        if pin.sha256 not in (None, sha256):
            written = "the profile says" if source.sha256 else "flow.lock says"
            raise Invalid(
                Problem(mark, f"{source} has the SHA-256 {sha256}, and {written} {pin.sha256}", self._mend(source))
            )
        if fetched.content.lstrip()[:1] == b"<":
            advice = "name the file itself, whose address its page may call raw"
            raise Invalid(Problem(mark, f"{source} is a web page, not a YAML file", advice))
        if fetched.commit is not None:
            self._commits[_branch(str(source))] = fetched.commit
        pinned = source.pinned(fetched.commit, sha256)
        self.used[str(source)] = Pin(sha256, fetched.commit)
        return parse_document(fetched.content, str(pinned)), pinned

    def _pin(self, source: Source, mark: Mark | None) -> Pin:
        known = self._pins.get(str(source))
        if known is not None:
            if source.sha256 is not None and known.sha256 != source.sha256:
                raise self._unlocked(f"flow.lock has another hash for {source}", mark)
            return Pin(known.sha256, source.commit or known.commit)
        if self._is_locked:
            raise self._unlocked(f"flow.lock has no pin for {source}", mark)
        commit = source.commit or self._commits.get(_branch(str(source)))
        if not source.is_pinned and not self._may_pin:
            lock = f", or run: {self._lock_command}" if self._lock_command else ""
            raise Invalid(Problem(mark, f"{source} may change: nothing pins it", f"{source.advice}{lock}"))
        return Pin(source.sha256, commit)

    def _unlocked(self, said: str, mark: Mark | None) -> Invalid:
        return Invalid(Problem(mark, said, f"run: {self._lock_command}" if self._lock_command else ""))

    def _mend(self, source: Source) -> str:
        if source.sha256 or not self._lock_command:
            return "see what was changed there; to take it, write its new hash"
        return f"see what was changed there; to take it, run: {self._lock_command} --upgrade"


NO_SOURCES = Sources()
"""Nothing is fetched: every profile is of this machine."""


def is_path(ref: str) -> bool:
    """Whether a profile's reference is a path, not a name."""
    return "/" in ref or ref.partition("#")[0].endswith((".yaml", ".yml"))


def _branch(ref: str) -> str:
    return ref.partition("#")[0]
