"""Fetches one file of a git repository at one commit, with git itself: no checkout, hook or filter runs."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from gptoss_flow.app.fetch_url import MAX_BYTES, NotThere, Unreachable, too_large
from gptoss_flow.lang.elsewhere import Fetched
from gptoss_flow.lang.sources import GitSource, redacted

TIMEOUT_S = 60.0
"""For each command of git."""
SAID_CHARS = 200

_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.askPass": "",
    "credential.interactive": "false",
    "fetch.recurseSubmodules": "false",
    "fetch.fsckObjects": "true",
    "gc.auto": "0",
    "http.followRedirects": "initial",
    "maintenance.auto": "false",
}
_KEPT = ("GIT_SSL_", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_EXEC_PATH")
"""git's own variables that count: the others (a hook's GIT_DIR, say) would lead to another repository."""
_FILES = ("100644", "100755")


def fetch_from_git(source: GitSource, commit: str | None, environ: Mapping[str, str]) -> Fetched:
    """The file at `commit`, else at the commit that its revision now is. Raises `Unreachable`."""
    scheme = source.repository.partition("://")[0]
    with tempfile.TemporaryDirectory(prefix="gptoss-flow-git-") as folder:
        git = Git(Path(folder), environ)
        git.run("init", "--quiet", "--bare", "--template=", folder)
        # Large files are left out, where the server can do so: a profile is none.
        git.run(
            "fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules",
            f"--filter=blob:limit={MAX_BYTES + 1}", "--", source.repository,
            f"{commit or source.revision}:refs/gptoss-flow/wanted", protocol=scheme,
        )  # fmt: skip
        found = git.run("rev-parse", "--verify", "--quiet", "--end-of-options", "refs/gptoss-flow/wanted^{commit}")
        at = found.decode("ascii", "replace").strip()
        if commit is not None and at != commit:
            raise Unreachable(f"the repository sent the commit {at}, not {commit}")
        mode, blob = _entry(git, at, source)
        if mode not in _FILES:
            raise NotThere(f"{source.path} is no file at that commit", "name a YAML file")
        if not git.can("cat-file", "-e", blob) or int(git.run("cat-file", "-s", blob)) > MAX_BYTES:
            raise too_large()
        content = git.run("cat-file", "blob", blob)
    return Fetched(content, at)


def _entry(git: Git, commit: str, source: GitSource) -> tuple[str, str]:
    """The mode and the name of the file's content."""
    listed = git.run("--literal-pathspecs", "ls-tree", "-z", "--full-tree", commit, "--", source.path)
    for line in listed.split(b"\0"):
        facts, _, name = line.partition(b"\t")
        if name == source.path.encode():
            mode, _, blob = facts.decode("ascii").split(" ")
            return mode, blob
    raise NotThere(f"there is no {source.path} at the commit {commit}", "check the path, it is case-sensitive")


class Git:
    """git in a repository of its own, with as little of the user's as fetching needs (proxy, credentials)."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = {
            **{
                name: value
                for name, value in environ.items()
                if not name.startswith("GIT_") or name.startswith(_KEPT)
            },
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "SSH_ASKPASS": "",
            "GIT_DIR": str(folder),
            "LC_ALL": "C",
        }

    def run(self, *args: str, protocol: str = "none") -> bytes:
        """What the command prints. `protocol`: the one by which it may fetch. Raises `Unreachable`."""
        command = ["git", *_settings(), *args]
        environ = {**self._environ, "GIT_ALLOW_PROTOCOL": protocol}
        try:
            git = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,  # git's own children end with it
            )
        except FileNotFoundError:
            raise Unreachable("git is not installed", "install git, or take the file by https") from None
        with git:
            try:
                printed, said = git.communicate(timeout=TIMEOUT_S)
            except BaseException as error:
                with suppress(ProcessLookupError):
                    os.killpg(git.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise Unreachable(f"git did not end within {TIMEOUT_S:g} s") from None
                raise
        if git.returncode != 0:
            raise Unreachable(_said(said), "check the repository and the revision, and git's credentials for it")
        return printed

    def can(self, *args: str) -> bool:
        """Whether the command succeeds."""
        try:
            self.run(*args)
        except Unreachable:
            return False
        return True


def _settings() -> Sequence[str]:
    return [part for key, value in _SETTINGS.items() for part in ("-c", f"{key}={value}")]


def _said(stderr: bytes) -> str:
    """git's last complaint."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "")
    # The user's own settings may have put a password into the address.
    return f"git says: {redacted(told)[:SAID_CHARS]}" if told else "git failed without a word"
