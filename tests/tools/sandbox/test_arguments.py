"""What makes each kind of sandbox: its argument list, word by word. Only bubblewrap is run by other tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gptoss_flow.errors import ExitCode, StepError
from gptoss_flow.ports import Grants
from gptoss_flow.tools.sandbox import KINDS, bwrap, choose, container, sandbox_exec
from gptoss_flow.tools.sandbox.bwrap import Host
from gptoss_flow.tools.sandbox.guarded import Guarded
from gptoss_flow.tools.sandbox.job import INSIDE, LIMITS
from gptoss_flow.tools.sandbox.python_home import Python

WORKSPACE = Path("/home/ann/project")
KEPT = [
    Guarded((".gptoss-flow",), "hidden", 1, 2),
    Guarded((".git",), "read", 1, 3),
    Guarded((".venv",), "pinned", 1, 4),
]
PYTHON = Python(
    program="/home/ann/venv/bin/python",
    paths=("/home/ann/venv/bin", "/home/ann/venv/lib"),
    links=(("/opt/python/bin/python3.13", "/home/ann/bin/python3"),),
    search="/home/ann/venv/bin",
)
HOST = Host(PYTHON, (("bin", "usr/bin"),), ("/lib64",), ("/proc/kcore",))

BWRAP = f"""
--unshare-all --unshare-user --disable-userns --die-with-parent --new-session
--cap-drop ALL --clearenv --as-pid-1 --uid 1000 --gid 1000 --hostname sandbox
--ro-bind /usr /usr --symlink usr/bin /bin --ro-bind /lib64 /lib64
--symlink /run/gptoss-flow/passwd /etc/passwd --symlink /run/gptoss-flow/group /etc/group
--symlink /run/gptoss-flow/nsswitch.conf /etc/nsswitch.conf
--ro-bind-try /etc/ld.so.cache /etc/ld.so.cache --ro-bind-try /etc/alternatives /etc/alternatives
--symlink /run/gptoss-flow/hosts /etc/hosts
--proc /proc --remount-ro /proc --ro-bind /dev/null /proc/kcore
--dev /dev --perms 1777 --size 1000 --tmpfs /dev/shm --remount-ro /dev
--perms 1777 --size 1000 --tmpfs /tmp
--ro-bind /home/ann/venv/bin /home/ann/venv/bin --ro-bind /home/ann/venv/lib /home/ann/venv/lib
--ro-bind /opt/python/bin/python3.13 /home/ann/bin/python3
--ro-bind {INSIDE} /run/gptoss-flow
--bind /home/ann/project /workspace
--size 4096 --tmpfs /workspace/.gptoss-flow --remount-ro /workspace/.gptoss-flow
--ro-bind /home/ann/project/.git /workspace/.git
--bind /home/ann/project/.venv /workspace/.venv
--remount-ro / --chdir /workspace
"""

CONTAINER = f"""
run --rm --interactive --pull never --name it --hostname sandbox
--network none --read-only --cap-drop ALL --security-opt no-new-privileges --user 1001:1001 {{userns}}
--pids-limit 256 --memory 2147483648 --memory-swap 2147483648 --ulimit core=0
--tmpfs /tmp:rw,nosuid,nodev,mode=1777,size=536870912 --shm-size 536870912
--mount type=bind,src={INSIDE},dst=/run/gptoss-flow,readonly
--mount type=bind,src=/home/ann/project,dst=/workspace
--mount type=tmpfs,dst=/workspace/.gptoss-flow,tmpfs-size=4096,tmpfs-mode=0555
--mount type=bind,src=/home/ann/project/.git,dst=/workspace/.git,readonly
--mount type=bind,src=/home/ann/project/.venv,dst=/workspace/.venv
--workdir /workspace
"""

PROFILE = """\
(version 1)
(deny default)
(allow process-fork)
(allow process-exec)
(allow signal (target same-sandbox))
(allow sysctl-read)
(allow file-read-metadata)
(allow file-read* (subpath "/usr/lib") (subpath "/usr/bin") (subpath "/usr/share") (subpath "/bin") \
(subpath "/sbin") (subpath "/usr/sbin") (subpath "/System") (subpath "/Library/Frameworks") (subpath "/a \\"b\\""))
(allow file-read* file-write-data (literal "/dev/null") (literal "/dev/zero") (literal "/dev/random") \
(literal "/dev/urandom"))
(allow file-read* file-write* (subpath "/home/ann/project"))
(deny file-read* file-write* (subpath "/home/ann/project/.gptoss-flow"))
(deny file-write* (subpath "/home/ann/project/.git"))
(deny file-write-unlink (literal "/home/ann/project/.venv"))"""


def test_bubblewrap() -> None:
    given = bwrap.arguments(HOST, WORKSPACE, KEPT, network=False, temporary_bytes=1000)
    assert given == BWRAP.split()


def test_bubblewrap_shares_the_network_only_where_it_is_granted() -> None:
    given = bwrap.arguments(HOST, WORKSPACE, KEPT, network=True, temporary_bytes=1000)
    without = bwrap.arguments(HOST, WORKSPACE, KEPT, network=False, temporary_bytes=1000)
    assert "--share-net" in given and "--share-net" not in without
    assert "/etc/resolv.conf" in given and "/etc/resolv.conf" not in without


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_containers(engine: str) -> None:
    given = container.arguments(engine, "it", WORKSPACE, KEPT, LIMITS, network=False, user="1001:1001")
    userns = "--userns keep-id" if engine == "podman" else ""
    assert given == CONTAINER.format(userns=userns).split()
    networked = container.arguments(engine, "it", WORKSPACE, KEPT, LIMITS, network=True, user="1001:1001")
    assert networked[networked.index("--network") + 1] == "bridge"


@pytest.mark.parametrize(
    ("said", "why", "fix"),
    [
        ("Error response from daemon: No such image: x", "has no image", "docker pull"),
        ("Error: inspecting object: x: image not known", "has no image", "docker pull"),
        ("Cannot connect to the Docker daemon at unix:///x", "does not answer", "start docker"),
    ],
)
def test_an_engine_that_cannot_be_used_is_told_with_what_mends_it(said: str, why: str, fix: str) -> None:
    problem = container.explained("docker", said)
    assert why in problem.message and said in problem.message and problem.hint.startswith(fix)


def test_sandbox_exec() -> None:
    assert sandbox_exec.profile(WORKSPACE, KEPT, ['/a "b"'], network=False) == PROFILE
    networked = sandbox_exec.profile(WORKSPACE, KEPT, ['/a "b"'], network=True)
    assert networked == f"{PROFILE}\n(allow network*)\n(allow system-socket)"


def test_each_name_that_a_step_may_give_is_a_kind() -> None:
    assert list(KINDS) == ["bwrap", "sandbox-exec", "docker", "podman", "dangerously_none"]
    assert all(name == kind.name for name, kind in KINDS.items())


def test_without_a_sandbox_nothing_runs_unless_the_user_says_so_too() -> None:
    with pytest.raises(StepError, match="--allow-unsandboxed") as refused:
        choose(Grants(sandbox="dangerously_none"))
    assert refused.value.exit_code is ExitCode.UNAVAILABLE and not refused.value.retryable
    assert choose(Grants(sandbox="dangerously_none", unsandboxed=True)).name == "dangerously_none"


def test_the_users_word_alone_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bwrap, "probe", lambda: None)
    monkeypatch.setattr(sys, "platform", "linux")
    assert choose(Grants(unsandboxed=True)).name == "bwrap"


def test_a_kind_that_does_not_work_here_is_refused_with_exit_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(StepError, match="sandbox-exec is for macOS") as refused:
        choose(Grants(sandbox="sandbox-exec"))
    assert refused.value.exit_code is ExitCode.UNAVAILABLE
