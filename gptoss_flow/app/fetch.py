"""Brings profiles from elsewhere here: from the cache where they are kept, else from where they lie."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from gptoss_flow.app.fetch_git import fetch_from_git
from gptoss_flow.app.fetch_url import NotThere, Unreachable, fetch_from_web
from gptoss_flow.app.source_cache import SourceCache
from gptoss_flow.errors import Invalid, Problem, Unavailable
from gptoss_flow.lang.elsewhere import Fetched, Pin
from gptoss_flow.lang.sources import GitSource, Source


class SourceFetcher:
    """`lang.elsewhere.Fetch` for git repositories and web servers."""

    def __init__(self, cache_dir: Path, environ: Mapping[str, str], *, offline: bool = False) -> None:
        self._cache = SourceCache(cache_dir / "sources")
        self._environ = environ
        self._offline = offline

    @classmethod
    def here(cls, *, offline: bool = False) -> SourceFetcher:
        """With this user's cache."""
        return cls(Path(platformdirs.user_cache_dir("gptoss-flow")), os.environ, offline=offline)

    def __call__(self, source: Source, pin: Pin) -> Fetched:
        if kept := self._cache.find(source, pin):
            return kept
        if self._offline:
            said = f"{source} is not in the cache, and --offline forbids to fetch it"
            raise Unavailable(Problem(None, said, "run it once without --offline"))
        try:
            if isinstance(source, GitSource):
                fetched = fetch_from_git(source, pin.commit, self._environ)
            else:
                fetched = Fetched(fetch_from_web(source.url))
        except Unreachable as error:
            kind = Invalid if isinstance(error, NotThere) else Unavailable
            raise kind(Problem(None, f"{source} could not be fetched: {error}", error.hint)) from None
        self._cache.keep(source, fetched)
        return fetched
