"""Profiles that lie elsewhere: how one is named, where a name inside of it leads, what pins it. Pure.

`git+https://host/repo@REVISION#path/in/repo.yaml` is a file of a git repository; `https://host/file.yaml` one of a
web server. The first is pinned by a revision that is a commit, the second by `#sha256=…` behind it; else both by a
lock.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from gptoss_flow.errors import Mark, Problem

SUFFIXES = (".yaml", ".yml")
GIT_FORM = "git+https://host/repo@COMMIT#path/in/repo.yaml"
URL_FORM = "https://host/file.yaml#sha256=HASH"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SCP = re.compile(r"[\w.-]+@[\w.-]+:")
_GIT_HAS_THEM = "git's credential helper or a .netrc gives them"
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]*")


class BadSource(ValueError):
    """It looks like a profile elsewhere and is none; `args` are what is wrong and what to do."""

    def problem(self, mark: Mark | None) -> Problem:
        return Problem(mark, *self.args)


@dataclass(frozen=True, slots=True)
class GitSource:
    """A file of a git repository. `revision`: a commit (40 hex digits), or a branch or tag."""

    repository: str
    """`https://host/repo`, or `file:///folder`."""
    revision: str
    path: str

    def __str__(self) -> str:
        return f"git+{self.repository}@{self.revision}#{self.path}"

    @property
    def stem(self) -> str:
        return posixpath.splitext(posixpath.basename(self.path))[0]

    @property
    def commit(self) -> str | None:
        """The commit, where the revision is one."""
        return self.revision if _COMMIT.fullmatch(self.revision) else None

    @property
    def sha256(self) -> None:
        return None

    @property
    def is_pinned(self) -> bool:
        return self.commit is not None

    @property
    def is_local(self) -> bool:
        return self.repository.startswith("file:") or is_loopback(self.repository)

    @property
    def advice(self) -> str:
        """What pins it, where there is no lock."""
        return f'write the commit in place of "{self.revision}" (git ls-remote {self.repository} shows it)'

    def pinned(self, commit: str | None, sha256: str) -> GitSource:
        """The same file at a commit."""
        return replace(self, revision=commit or self.revision)

    def beside(self, ref: str) -> GitSource:
        """What a relative path means that stands in this file: the same repository at the same commit."""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(self.path), ref))
        if path.startswith("../") or path == "..":
            raise BadSource(f"{ref} leads out of the repository", "name a file within it")
        return replace(self, path=path)


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A file of a web server."""

    url: str
    sha256: str | None = None
    """What it must be."""

    def __str__(self) -> str:
        return f"{self.url}#sha256={self.sha256}" if self.sha256 else self.url

    @property
    def stem(self) -> str:
        return posixpath.splitext(posixpath.basename(urlsplit(self.url).path))[0]

    @property
    def commit(self) -> None:
        return None

    @property
    def is_pinned(self) -> bool:
        return self.sha256 is not None

    @property
    def is_local(self) -> bool:
        return is_loopback(self.url)

    @property
    def advice(self) -> str:
        return f"write #sha256=… behind it (curl -sL {self.url} | sha256sum shows it)"

    def pinned(self, commit: str | None, sha256: str) -> UrlSource:
        return replace(self, sha256=sha256)

    def beside(self, ref: str) -> UrlSource:
        """What a relative path means that stands in this file: a file beside it, with a pin of its own."""
        path, _, fragment = ref.partition("#")
        parts = urlsplit(self.url)
        target = posixpath.normpath(posixpath.join(posixpath.dirname(parts.path), path))
        return _url_source(parts._replace(path=target).geturl(), fragment)


Source = GitSource | UrlSource


def is_elsewhere(ref: str) -> bool:
    """Whether a profile's reference names a file that is not on this machine's search path or disk.

    A web address that is no YAML file's is not one: it is a server's.
    """
    if ref.startswith("git+") and _SCHEME.match(ref):
        return True
    if not ref.startswith(("https://", "http://")):
        return False
    try:
        return urlsplit(ref).path.endswith(SUFFIXES)
    except ValueError:  # of a malformed host: what takes it for a server's says so
        return False


def is_server(ref: str) -> bool:
    """Whether it is a web address, and not a profile's: then a running server's."""
    return ref.startswith(("https://", "http://")) and not is_elsewhere(ref)


def not_a_profile(ref: str) -> str:
    """What to write instead of what looks like an address or a model and is no profile; "" if it may be one."""
    if ref.lower().endswith(".gguf"):
        return (
            f'it is a model: write a profile for it, a YAML file with "extends: base" and "model: {{path: {ref}}}"'
        )
    if ref.startswith(("http://", "https://")):
        return f"for a server write {{url: {redacted(ref)}}}; a profile elsewhere ends with .yaml"
    if ref.startswith("file://"):
        return "write its path"
    if "://" in ref or _SCP.match(ref):
        return f"write {GIT_FORM} or {URL_FORM}"
    return ""


def parse_source(ref: str) -> Source:
    """What such a reference names. Raises `BadSource`."""
    try:
        if ref.startswith("git+"):
            return _git_source(ref.removeprefix("git+"))
        url, _, fragment = ref.partition("#")
        return _url_source(url, fragment)
    except BadSource:
        raise
    except ValueError:  # urlsplit's, of a malformed host
        raise BadSource("this is not an address", f"write {GIT_FORM} or {URL_FORM}") from None


def _git_source(text: str) -> GitSource:
    address, _, path = text.partition("#")
    scheme = address.partition("://")[0]
    if scheme not in ("https", "file") and not (scheme == "http" and is_loopback(address)):
        raise BadSource(f"git+{scheme} is not allowed", f"write {GIT_FORM}")
    _refuse_credentials(address.rpartition("@")[0] if _has_revision(address) else address, _GIT_HAS_THEM)
    if not _has_revision(address):
        raise BadSource("a profile of a repository needs a commit", f"write {GIT_FORM}")
    repository, _, revision = address.rpartition("@")
    if not _REVISION.fullmatch(revision) or ".." in revision or revision.endswith((".lock", "/", ".")):
        raise BadSource(f'"{revision}" is no commit, branch or tag', f"write {GIT_FORM}")
    if "?" in repository or not urlsplit(repository).path.strip("/"):
        raise BadSource("a repository's address is missing", f"write {GIT_FORM}")
    path = posixpath.normpath(path) if path else ""
    if not path.endswith(SUFFIXES) or path.startswith(("/", "../")):
        raise BadSource("a path to a YAML file in the repository is missing", f"write {GIT_FORM}")
    return GitSource(repository.rstrip("/"), revision, path)


def _has_revision(address: str) -> bool:
    """Whether there is an `@` behind the host, not only one of `user@host`."""
    return "@" in address.partition("://")[2].partition("/")[2]


def _url_source(url: str, fragment: str) -> UrlSource:
    _refuse_credentials(url, f"take it by git+https: {_GIT_HAS_THEM}")
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(url):
        raise BadSource("http can be read and changed on its way", "use https")
    if parts.query:
        raise BadSource(
            "a profile's address has no ?", "what stands behind it may be a password, and would be told"
        )
    if not parts.path.endswith(SUFFIXES):
        raise BadSource("it does not name a YAML file", f"write {URL_FORM}")
    if not fragment:
        return UrlSource(url)
    key, _, sha256 = fragment.partition("=")
    if key != "sha256" or not _SHA256.fullmatch(sha256):
        raise BadSource("behind # stands no sha256", f"write {URL_FORM}, the hash as 64 hex digits")
    return UrlSource(url, sha256)


def _refuse_credentials(address: str, advice: str) -> None:
    if "@" in urlsplit(address).netloc:
        # What stands there may be a secret: it is not repeated.
        raise BadSource("an address holds no user name or password", advice)


def is_loopback(address: str) -> bool:
    """Whether the address is on this very machine."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def redacted(ref: str) -> str:
    """A reference as a message may repeat it: without what could be a secret of its user."""
    return re.sub(r"\?[^#\s]*", "?…", re.sub(r"(://)[^/?#\s]*@", r"\1…@", ref))
