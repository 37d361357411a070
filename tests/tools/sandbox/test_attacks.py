"""The whole list of attacks on the sandbox, as who runs the tests and as nobody, and where it cannot be had."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from gptoss_flow.testing.project import Project
from gptoss_flow.tools.sandbox import KINDS, bwrap
from tests.conftest import need
from tests.tools.sandbox.attack import Try, attack, attack_as_nobody, probed, python_of_everybody, targets
from tests.tools.sandbox.probes import PROBES

OPEN_WITHOUT = (
    "read_a_secret_by_its_path",
    "read_a_secret_through_a_link",
    "read_the_runs_record",
    "plant_a_result_in_the_cache",
    "plant_a_git_hook",
    "change_git_s_configuration",
    "make_a_program_that_runs_as_its_owner",
    "connect_to_a_server_on_loopback",
    "connect_to_it_by_its_other_names",
    "connect_to_a_socket_file",
    "connect_to_an_abstract_socket",
    "signal_a_process_of_the_host",
    "see_processes_of_the_host",
    "see_the_machines_connections",
)
"""What needs no right of its own, so that these are seen to reach what they try for."""
NO_NAMESPACES = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'


def reached(tries: list[Try]) -> dict[str, str]:
    return {one.name: one.said for one in tries if not one.blocked}


def test_every_attack_is_blocked(tmp_path: Path) -> None:
    need("bwrap", found=bwrap.probe() is None)
    tries = attack(tmp_path)
    assert reached(tries) == {}
    assert [one.name for one in tries[: len(PROBES)]] == list(PROBES)


def test_every_attack_by_nobody_is_blocked() -> None:
    need("bwrap", found=bwrap.probe() is None)
    need("the right to become another user", found=os.geteuid() == 0)
    python = python_of_everybody()
    need("a Python that every user can run", found=python is not None)
    assert python
    tries = attack_as_nobody(python)
    assert reached(tries) == {}
    assert [one.name for one in tries[: len(PROBES)]] == list(PROBES)


def test_the_probes_reach_what_no_sandbox_keeps_from_them(tmp_path: Path) -> None:
    with targets(tmp_path) as there:
        tries = probed(KINDS["dangerously_none"], there, OPEN_WITHOUT)
    assert set(reached(tries)) == set(OPEN_WITHOUT)


def test_nothing_is_typed_into_the_terminal_that_we_run_in(tmp_path: Path) -> None:
    need("bwrap", found=bwrap.probe() is None)
    code = (
        "import sys; from pathlib import Path; from tests.tools.sandbox.attack import *\n"
        "with targets(Path(sys.argv[1])) as there:\n"
        "    tries = probed(Bubblewrap(), there, [n for n in sys.argv[2].split(',')])\n"
        "print(json.dumps([[t.name, t.blocked] for t in tries]))\n"
    )
    names = [name for name in PROBES if "terminal" in name]
    assert len(names) == 4
    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), ",".join(names)],
            stdin=slave,
            capture_output=True,
            start_new_session=True,
            cwd=Path(__file__).parents[3],
        )
        os.set_blocking(slave, False)
        with pytest.raises(BlockingIOError):
            os.read(slave, 1)
    finally:
        os.close(master)
        os.close(slave)
    assert done.returncode == 0, done.stderr.decode()
    assert all(blocked for _, blocked in json.loads(done.stdout))


def without_namespaces(
    *argv: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it in a user namespace of its own, whose kernel grants no further one."""
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", NO_NAMESPACES, "sh", *argv]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def test_where_user_namespaces_are_forbidden_that_is_the_cause(tmp_path: Path) -> None:
    need("bwrap", found=bwrap.probe() is None)
    need("unshare")
    code = "from gptoss_flow.tools.sandbox.bwrap import probe; p = probe(); print(p.message); print(p.hint)"
    done = without_namespaces(sys.executable, "-c", code, cwd=Path(__file__).parents[3])
    assert done.stdout.startswith("no sandbox for tool code: user namespaces are forbidden (bwrap: ")
    assert done.stdout.endswith("sudo sysctl -w user.max_user_namespaces=15000\n")


FLOW = """\
version: 1
steps:
  a:
    tool: shell
    with: {command: touch ran}
"""


def test_a_run_that_cannot_have_its_sandbox_ends_with_3(tmp_path: Path) -> None:
    need("bwrap", found=bwrap.probe() is None)
    need("unshare")
    project = Project(tmp_path)
    project.write("flow.yaml", FLOW)
    done = without_namespaces(*project.command("run", "flow.yaml"), cwd=project.folder, env=project.environ)
    assert done.returncode == 3
    assert "user namespaces are forbidden" in done.stderr and "sudo sysctl -w" in done.stderr
    assert not (project.folder / "ran").exists()
    well = project.run("run", "flow.yaml")
    assert well.code == 0, well.err
    assert (project.folder / "ran").exists()


def test_a_step_without_a_sandbox_needs_the_users_word(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("flow.yaml", FLOW.replace("    with", "    sandbox: dangerously_none\n    with"))
    refused = project.run("run", "flow.yaml")
    assert refused.code == 3 and "--allow-unsandboxed" in refused.err
    assert not (project.folder / "ran").exists()
    allowed = project.run("run", "flow.yaml", "--allow-unsandboxed")
    assert allowed.code == 0, allowed.err
    assert (project.folder / "ran").exists()
    assert "runs without a sandbox" in allowed.err
