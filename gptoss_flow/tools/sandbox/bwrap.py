"""bubblewrap: namespaces of its own, nothing of the host but /usr, the interpreter and the workspace."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gptoss_flow.errors import Problem
from gptoss_flow.tools.sandbox import seccomp
from gptoss_flow.tools.sandbox.guarded import Guarded, checked, guarded
from gptoss_flow.tools.sandbox.job import INSIDE, TOOLS_AT, WORKSPACE_AT, Job, Launch, unavailable
from gptoss_flow.tools.sandbox.programs import trusted_program
from gptoss_flow.tools.sandbox.python_home import Python, this_python

PLACES = ("/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap", "/run/current-system/sw/bin/bwrap")
"""Where it is looked for: never on the PATH, never in the working folder."""
USER = "1000"
"""What the program takes itself for; to the host it is the user who runs us, without any capability."""
PROBE_S = 20.0
KERNEL_COUNTS_SINCE = (5, 14)
"""Since then a limit on processes counts those of the sandbox alone, not all that the user has."""
ROOT_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
NETWORK_FILES = ("/etc/resolv.conf", "/etc/ssl", "/etc/ca-certificates", "/etc/pki")
OF_THE_KERNEL = (
    *("kcore", "kmsg", "keys", "key-users", "kallsyms", "kpagecgroup", "kpagecount", "kpageflags", "iomem"),
    *("ioports", "modules", "sched_debug", "slabinfo", "timer_list", "vmallocinfo", "pagetypeinfo", "mtrr"),
)
"""Files of /proc that tell of the whole machine, which root may read."""


NO_FILTER = Problem(
    None,
    f"no sandbox for tool code: no filter of system calls is known for {platform.machine()}",
    f"choose docker or podman; known are {', '.join(seccomp.AUDIT_ARCH)}",
)


@dataclass(frozen=True, slots=True)
class Host:
    """What of this machine decides the arguments."""

    python: Python
    links: tuple[tuple[str, str], ...]
    """Names in / that are links, and where to (`bin`, `usr/bin`)."""
    folders: tuple[str, ...]
    """Those of them that are folders of their own."""
    masked: tuple[str, ...]
    """Files of /proc to hide."""


@cache
def this_host() -> Host:
    links, folders = [], []
    for name in ROOT_LINKS:
        path = Path("/", name)
        if path.is_symlink():
            links.append((name, str(path.readlink())))
        elif path.is_dir():
            folders.append(str(path))
    masked = tuple(f"/proc/{name}" for name in OF_THE_KERNEL if os.path.lexists(f"/proc/{name}"))
    return Host(this_python(), tuple(links), tuple(folders), masked)


def arguments(
    host: Host, workspace: Path, kept: Sequence[Guarded], *, network: bool, temporary_bytes: int
) -> list[str]:
    """bubblewrap's own, without program and command. Nothing of them is secret: others may read them."""
    return [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
        *("--cap-drop", "ALL", "--clearenv", "--as-pid-1", "--uid", USER, "--gid", USER, "--hostname", "sandbox"),
        *(("--share-net",) if network else ()),
        *("--ro-bind", "/usr", "/usr"),
        *(word for name, target in host.links for word in ("--symlink", target, f"/{name}")),
        *(word for folder in host.folders for word in ("--ro-bind", folder, folder)),
        *_etc(network=network),
        # Read only: whoever is root outside could set the machine's kernel through it.
        *("--proc", "/proc", "--remount-ro", "/proc"),
        *(word for path in host.masked for word in ("--ro-bind", "/dev/null", path)),
        *("--dev", "/dev", "--perms", "1777", "--size", str(temporary_bytes), "--tmpfs", "/dev/shm"),
        *("--remount-ro", "/dev", "--perms", "1777", "--size", str(temporary_bytes), "--tmpfs", "/tmp"),
        *(word for path in host.python.paths for word in ("--ro-bind", path, path)),
        *(word for real, path in host.python.links for word in ("--ro-bind", real, path)),
        *("--ro-bind", str(INSIDE), TOOLS_AT),
        *("--bind", str(workspace), WORKSPACE_AT),
        *(word for one in kept for word in _kept(workspace, one)),
        *("--remount-ro", "/", "--chdir", WORKSPACE_AT),
    ]


def _etc(*, network: bool) -> Iterator[str]:
    for name in ("passwd", "group", "nsswitch.conf"):
        yield from ("--symlink", f"{TOOLS_AT}/{name}", f"/etc/{name}")
    for path in ("/etc/ld.so.cache", "/etc/alternatives"):
        yield from ("--ro-bind-try", path, path)
    if network:
        for path in ("/etc/hosts", *NETWORK_FILES):
            yield from ("--ro-bind-try", path, path)
    else:
        yield from ("--symlink", f"{TOOLS_AT}/hosts", "/etc/hosts")


def _kept(workspace: Path, one: Guarded) -> tuple[str, ...]:
    inside = "/".join((WORKSPACE_AT, *one.parts))
    if one.how == "hidden":
        return ("--size", "4096", "--tmpfs", inside, "--remount-ro", inside)
    return ("--ro-bind" if one.how == "read" else "--bind", str(workspace.joinpath(*one.parts)), inside)


def find() -> str | Problem:
    """The program, by its absolute path."""
    found = trusted_program(PLACES)
    if isinstance(found, str):
        return found
    why = (
        f"{found.passed_over} is not root's alone to write" if found.passed_over else "bubblewrap is not installed"
    )
    return Problem(None, f"no sandbox for tool code: {why}", "install it: apt install bubblewrap")


class Bubblewrap:
    """Satisfies `job.Kind`."""

    name = "bwrap"

    def problem(self) -> Problem | None:
        return probe()

    def program(self, name: str) -> list[str]:
        return [this_python().program, "-I", f"{TOOLS_AT}/{name}"]

    def launch(self, job: Job) -> Launch:
        program = find()
        if isinstance(program, Problem):
            raise unavailable(program)
        workspace = checked(job.workspace, job.own_files)
        kept = guarded(workspace, job.own_files)
        given = arguments(
            this_host(),
            workspace,
            kept,
            network=job.network,
            temporary_bytes=job.limits.temporary_bytes,
        )
        rules = seccomp.filter_for()
        if rules is None:
            raise unavailable(NO_FILTER)
        descriptor = os.memfd_create("seccomp")
        os.write(descriptor, rules)
        os.lseek(descriptor, 0, os.SEEK_SET)
        warden = [this_python().program, "-I", "-S", f"{TOOLS_AT}/warden.py"]
        return Launch(
            argv=[program, *given, "--seccomp", str(descriptor), "--", *warden],
            pass_fds=(descriptor,),
            base_env=environment(),
            counts_processes=_kernel() >= KERNEL_COUNTS_SINCE,
            same=[
                ("/".join((WORKSPACE_AT, *one.parts)), one.device, one.inode)
                for one in kept
                if one.how != "hidden"
            ],
        )


def environment() -> dict[str, str]:
    """What every program finds: no home but /tmp, and no more threads than leave a model server its cores."""
    python = this_python()
    folders = dict.fromkeys((python.search, "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"))
    return {
        "PATH": ":".join(folders),
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "USER": "tool",
        "LOGNAME": "tool",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "4",
        "OPENBLAS_NUM_THREADS": "4",
    }


def _kernel() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", platform.release())[:2]))


@cache
def probe() -> Problem | None:
    """Make a sandbox that does nothing, once in a process: 6 ms."""
    if platform.system() != "Linux":
        fix = "choose another sandbox: docker, podman, or sandbox-exec on macOS"
        return Problem(None, "no sandbox for tool code: bubblewrap is for Linux", fix)
    program = find()
    if isinstance(program, Problem):
        return program
    if seccomp.filter_for() is None:
        return NO_FILTER
    host = this_host()
    given = [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--cap-drop", "ALL"),
        *("--size", "4096", "--perms", "0755", "--tmpfs", "/tmp", "--ro-bind", "/usr", "/usr"),
        *(word for name, target in host.links for word in ("--symlink", target, f"/{name}")),
        *(word for folder in host.folders for word in ("--ro-bind", folder, folder)),
        *("--proc", "/proc", "--dev", "/dev", "--", "/usr/bin/true"),
    ]
    try:
        done = subprocess.run(
            [program, *given],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
            timeout=PROBE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Problem(None, f"no sandbox for tool code: {program} cannot be run: {error}")
    if done.returncode == 0:
        return None
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return explained(said[0] if said else f"it ended with {done.returncode}", Settings.read())


# --- why it does not work ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settings:
    """What of the kernel and of where we run decides whether a user may make namespaces."""

    apparmor_restricts: bool = False
    userns_clone: bool = True
    """Debian's own switch."""
    max_user_namespaces: int | None = None
    in_container: bool = False

    @classmethod
    def read(cls) -> Settings:
        return cls(
            apparmor_restricts=_number("kernel/apparmor_restrict_unprivileged_userns") == 1,
            userns_clone=_number("kernel/unprivileged_userns_clone") != 0,
            max_user_namespaces=_number("user/max_user_namespaces"),
            in_container=any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv"))),
        )


def _number(name: str) -> int | None:
    try:
        return int(Path("/proc/sys", name).read_text())
    except (OSError, ValueError):
        return None


def explained(said: str, settings: Settings) -> Problem:
    """bubblewrap's own words, the cause as far as it can be told, and what mends it in one line."""
    cause, fix = _cause(said, settings)
    return Problem(None, f"no sandbox for tool code: {cause} ({said})", fix)


def _cause(said: str, settings: Settings) -> tuple[str, str]:
    if "nknown option" in said:
        return "bubblewrap is older than 0.8", "install a newer one, or choose docker or podman"
    if settings.max_user_namespaces == 0:
        return "user namespaces are forbidden", "sudo sysctl -w user.max_user_namespaces=15000"
    if not settings.userns_clone:
        return "user namespaces are forbidden to users", "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if settings.in_container:
        return (
            "this container may not make namespaces",
            "start it with --security-opt seccomp=unconfined --security-opt systempaths=unconfined "
            "--cap-add SYS_ADMIN, or run outside of it",
        )
    if settings.apparmor_restricts:
        return (
            "AppArmor lets no program of yours make user namespaces",
            "sudo apt install apparmor-profiles && "
            "sudo ln -s /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ && "
            "sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict",
        )
    return "bubblewrap does not work here", "try it yourself: bwrap --unshare-all --ro-bind / / true"
