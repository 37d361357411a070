from __future__ import annotations

from pathlib import Path

import pytest

from gptoss_flow.server.causes import classify
from gptoss_flow.server.oom import oom_kills


@pytest.mark.parametrize(
    ("groups", "file"),
    [
        ("9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n", "sys/fs/cgroup/memory/a/b/memory.oom_control"),
        ("0::/user.slice\n", "sys/fs/cgroup/user.slice/memory.events"),
        ("", "proc/vmstat"),
    ],
)
def test_the_count_of_our_group_is_read_or_else_the_machines(tmp_path: Path, groups: str, file: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    assert oom_kills(tmp_path) is None
    (tmp_path / "proc/self/cgroup").write_text(groups)
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 1\noom_kill 7\n")
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("under_oom 0\noom_kill 3\noom_kill_disable 0\n")
    assert oom_kills(tmp_path) == 3


def test_a_kill_for_want_of_memory_is_called_that_and_another_is_not() -> None:
    assert classify(-9, "", oom_killed=True).name == "out of memory"
    assert classify(-9, "").name == "killed"
    assert classify(1, "error: invalid argument: --x", oom_killed=True).name == "bad flag"
    thread = "terminate called\n  what():  Resource temporarily unavailable"
    assert classify(-6, thread).name == "out of memory"
    assert classify(-6, "/ggml.c:1644: GGML_ASSERT(ctx->mem_buffer != NULL) failed").name == "out of memory"
    assert classify(-6, "/ggml.c:1: GGML_ASSERT(a == b) failed").name == "assert"
