"""Confinement: what a path may reach, on trees that do their best to lead out."""

from __future__ import annotations

import errno
import os
import posixpath
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.errors import StepError
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools import workspace as confinement
from gptoss_flow.tools.workspace import locate, open_at
from tests.conftest import need
from tests.tools.conftest import Call, plant

OPENERS = [pytest.param(True, id="openat2"), pytest.param(False, id="component walk")]


@pytest.fixture(params=OPENERS, autouse=True)
def opener(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param and not confinement._has_openat2:
        pytest.skip("openat2 is Linux's")
    monkeypatch.setattr(confinement, "_has_openat2", request.param)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    plant(tmp_path, {"outside/secret.txt": "secret\n"})
    return tmp_path / "outside" / "secret.txt"


def test_a_path_may_be_written_in_any_form_that_stays_inside(call: Call, workspace: Path) -> None:
    plant(workspace, {"a/b.txt": "inside\n"})
    for path in (
        "a/b.txt",
        "./a//b.txt",
        "a/../a/b.txt",
        str(workspace / "a/b.txt"),
        f"../{workspace.name}/a/b.txt",
    ):
        assert call("read_file", path=path) == "inside\n"


def test_a_path_that_leads_out_is_refused_and_named(call: Call, workspace: Path, secret: Path) -> None:
    for path in ("../outside/secret.txt", str(secret), "a/../../outside/secret.txt", "/etc/passwd"):
        with pytest.raises(StepError, match=f'path "{path}" is outside the workspace') as caught:
            call("read_file", path=path)
        assert caught.value.kind == "tool"
        assert not caught.value.retryable


def test_a_folder_whose_name_merely_begins_like_the_workspace_is_outside(call: Call, workspace: Path) -> None:
    plant(workspace.parent, {f"{workspace.name}-other/x": "x"})
    with pytest.raises(StepError, match="outside the workspace"):
        call("read_file", path=f"../{workspace.name}-other/x")


def test_a_refusal_shows_no_control_characters(call: Call) -> None:
    with pytest.raises(StepError, match=r"\\x1b\[31m\\n") as caught:
        call("read_file", path="../\x1b[31m\nx")
    assert "\x1b" not in caught.value.message


def test_a_nul_in_a_path_is_refused(call: Call) -> None:
    with pytest.raises(StepError, match="NUL"):
        call("read_file", path="a\0b")


def test_no_link_is_followed_wherever_it_leads(call: Call, workspace: Path, secret: Path) -> None:
    plant(workspace, {"real/file.txt": "inside\n"})
    (workspace / "out.txt").symlink_to(secret)
    (workspace / "out").symlink_to(secret.parent)
    (workspace / "in.txt").symlink_to("real/file.txt")
    (workspace / "loop").symlink_to("loop")
    (workspace / "magic").symlink_to("/proc/self/root")
    for path in ("out.txt", "out/secret.txt", "in.txt", "loop", "loop/x", "magic/etc/passwd"):
        with pytest.raises(StepError, match="leads through a symbolic link"):
            call("read_file", path=path)
    with pytest.raises(StepError, match="leads through a symbolic link"):
        call("list_files", path="out")


def test_what_is_no_regular_file_is_refused_at_once(call: Call, workspace: Path) -> None:
    os.mkfifo(workspace / "fifo")
    (workspace / "folder").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    try:
        here = Path.cwd()
        os.chdir(workspace)  # a socket's path is short
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        for path, said in (
            ("fifo", "not a regular file"),
            ("socket", "not a regular file"),
            ("folder", "is a folder"),
        ):
            with pytest.raises(StepError, match=said):
                call("read_file", path=path)
    finally:
        listener.close()


def test_a_device_is_refused(call: Call, workspace: Path) -> None:
    try:
        os.mknod(workspace / "zero", 0o644 | 0o020000, os.makedev(1, 5))
        (workspace / "zero").open("rb").close()
    except PermissionError:
        need("mknod of a device", found=False)
    with pytest.raises(StepError, match="not a regular file"):
        call("read_file", path="zero")


def test_what_is_not_there_or_below_a_file_says_so(call: Call, workspace: Path) -> None:
    plant(workspace, {"file": "x"})
    for path, said in (("none", '"none" does not exist in'), ("file/x", "below a file"), (".", "is a folder")):
        with pytest.raises(StepError, match=said):
            call("read_file", path=path)
    for path, said in (("none", "does not exist"), ("file", "is not a folder")):
        with pytest.raises(StepError, match=said):
            call("list_files", path=path)


def test_a_file_that_may_not_be_read_says_so(call: Call, workspace: Path) -> None:
    plant(workspace, {"closed": "x"})
    (workspace / "closed").chmod(0)
    if os.access(workspace / "closed", os.R_OK):
        pytest.skip("nothing is closed to root")  # no program that could be installed: never a failure
    with pytest.raises(StepError, match="permission denied"):
        call("read_file", path="closed")


def test_a_path_longer_than_the_kernel_takes_in_one_call_is_walked(workspace: Path) -> None:
    names = ("d" * 250,) * 20
    here = os.open(workspace, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    os.close(open_at(workspace, (*names, "leaf")))


def test_a_machine_without_openat2_walks(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def syscall(self, *_: object) -> int:
            confinement.ctypes.set_errno(errno.ENOSYS)
            return -1

    plant(workspace, {"a/b": "x"})
    monkeypatch.setattr(confinement, "_libc", Refusing())
    monkeypatch.setattr(confinement, "_has_openat2", True)
    os.close(open_at(workspace, ("a", "b")))
    (workspace / "link").symlink_to("a")
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        open_at(workspace, ("link", "b"))


def test_a_tree_that_is_swapped_while_it_is_read_gives_nothing_from_outside(
    call: Call, workspace: Path, secret: Path
) -> None:
    plant(workspace, {"d/secret.txt": "harmless\n"})
    (workspace / "evil").symlink_to(secret.parent)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            (workspace / "d").rename(workspace / "kept")
            (workspace / "evil").rename(workspace / "d")
            (workspace / "d").rename(workspace / "evil")
            (workspace / "kept").rename(workspace / "d")

    swapper = threading.Thread(target=swap)
    swapper.start()
    read, refused = set(), 0
    try:
        while refused < 100 or not read:
            try:
                read.add(os.read(descriptor := open_at(workspace, ("d", "secret.txt")), 100))
                os.close(descriptor)
            except OSError:
                refused += 1
    finally:
        done.set()
        swapper.join()
    assert read == {b"harmless\n"}


def test_what_the_user_gave_is_readable_by_its_path_and_below_it(call: Call, secret: Path) -> None:
    assert call("read_file", path=str(secret), readable=(secret.parent,)) == "secret\n"
    assert call("read_file", path="../outside/secret.txt", readable=(secret.parent,)) == "secret\n"
    assert call("list_files", path="../outside", readable=(secret.parent,)) == [{"path": "secret.txt", "bytes": 7}]
    assert call("read_file", path=str(secret), readable=(secret,)) == "secret\n"


def test_what_the_user_gave_opens_nothing_beside_it(call: Call, secret: Path) -> None:
    plant(secret.parent, {"beside.txt": "no"})
    for path in (secret.parent / "beside.txt", secret.parent):
        with pytest.raises(StepError, match="outside the workspace"):
            call("read_file", path=str(path), readable=(secret,))


def test_what_the_user_gave_may_be_named_from_the_folder_that_he_called_in(
    call: Call, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(secret.parent.parent)
    assert call("read_file", path="outside/secret.txt", readable=(secret.parent,)) == "secret\n"


def test_a_link_that_the_user_gave_leads_to_what_it_meant_when_he_gave_it(
    call: Call, workspace: Path, secret: Path
) -> None:
    (workspace / "link").symlink_to(secret.parent)
    assert call("read_file", path="link/secret.txt", readable=(secret.parent.resolve(),)) == "secret\n"


def test_a_folder_given_inside_the_workspace_stays_confined_when_it_becomes_a_link(
    call: Call, workspace: Path, secret: Path
) -> None:
    (workspace / "given").symlink_to(secret.parent)
    with pytest.raises(StepError, match="symbolic link"):
        call("read_file", path="given/secret.txt", readable=(workspace / "given",))
    with pytest.raises(StepError, match="outside the workspace"):
        call("read_file", path=str(secret), readable=(workspace / "given",))


def test_a_workspace_may_itself_be_named_through_a_link(tmp_path: Path) -> None:
    plant(tmp_path, {"real/x": "x"})
    (tmp_path / "link").symlink_to("real")
    context = ToolContext(workspace=tmp_path / "link")
    for path in ("x", str(tmp_path / "real" / "x"), str(tmp_path / "link" / "x")):
        os.close(open_at(tmp_path / "link", locate(path, context).parts))


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b", "…", "a ", "~", "-"]), max_size=8), st.booleans())
def test_a_path_is_either_refused_or_a_list_of_plain_names(parts: list[str], absolute: bool) -> None:
    root = Path("/work space/root")
    path = ("/work space/root/" if absolute else "") + "/".join(parts)
    wanted = posixpath.normpath(posixpath.join("/work space/root", path))
    inside = wanted == "/work space/root" or wanted.startswith("/work space/root/")
    try:
        place = locate(path, ToolContext(workspace=root))
    except StepError:
        assert not inside
    else:
        assert inside
        assert not {"..", ".", ""} & set(place.parts)
        assert str(root.joinpath(*place.parts)) == wanted
