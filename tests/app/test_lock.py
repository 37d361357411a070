"""flow.lock: what is written, what stays, what is found to be out of date."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.app import lock as module
from gptoss_flow.app.check import check_flow
from gptoss_flow.app.fetch import SourceFetcher
from gptoss_flow.app.lock import Locked, lock_flow
from gptoss_flow.app.lock_file import write_lock_file
from gptoss_flow.app.tool_servers import list_tools
from gptoss_flow.errors import Invalid
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.lang.lock import read_lock
from tests.app.repositories import Repository
from tests.conftest import need
from tests.server.web import Web, serving

FLOW = """\
version: 1
servers:
  main: %s
steps:
  line: {prompt: {user: Hello}}
"""


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    (project / "flows").mkdir(parents=True)
    (project / "gptoss-flow.yaml").touch()
    monkeypatch.chdir(project)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home" / name))


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        yield web


def write(ref: str, name: str = "a") -> Path:
    flow = Path(f"flows/{name}.yaml")
    flow.write_text(FLOW % ref)
    return flow


def lock(flow: Path, *, upgrade: bool = False, check: bool = False) -> Locked:
    return lock_flow(flow, Path.cwd(), SourceFetcher.here(), list_tools, upgrade=upgrade, check=check)


def refusal(flow: Path, *, locked: bool = True) -> str:
    with pytest.raises(Invalid) as caught:
        check_flow(flow, locked=locked)
    return str(caught.value)


def parallel(flow: Path, *, locked: bool = True) -> int:
    return check_flow(flow, locked=locked).loaded.profiles["main"].profile.parallel


def test_a_branch_stays_what_it_was_until_it_is_upgraded(tmp_path: Path) -> None:
    need("git")
    repository = Repository.create(tmp_path / "team")
    old = repository.commit(p__team="extends: base.yaml\nparallel: 2", p__base="extends: demo")
    flow = write(f"{repository.url}@main#p/team.yaml")
    assert "nothing pins it" in refusal(flow, locked=False)
    first = lock(flow)
    assert {source.commit for source in first.after.sources.values()} == {old} and len(first.after.sources) == 2
    new = repository.commit(p__team="extends: base.yaml\nparallel: 3")
    assert parallel(flow) == parallel(flow, locked=False) == 2
    assert not lock(flow).is_changed and not lock(flow, check=True).is_changed
    changed = lock(flow, upgrade=True)
    assert {source.commit for source in changed.after.sources.values()} == {new}
    assert [line[0] for line in changed.changes] == ["~", "~", "~"]
    assert parallel(flow) == 3


def test_the_file_is_sorted_and_the_same_for_the_same_flow(web: Web) -> None:
    web.files |= {"/z.yaml": b"{extends: demo}", "/a.yaml": b"{parallel: 1}"}
    flow = write(f"{{extends: [{web.url}/z.yaml, {web.url}/a.yaml]}}")
    lock(flow)
    text = Path("flows/flow.lock").read_text()
    assert text.startswith("# What the flows in this folder are made of.")
    assert text.index("/a.yaml:") < text.index("/z.yaml:")
    assert "sha256: b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53" in text
    Path("flows/flow.lock").unlink()
    lock(flow)
    assert Path("flows/flow.lock").read_text() == text


def test_flows_of_one_folder_share_the_file_and_leave_each_other_alone(web: Web) -> None:
    web.files["/t.yaml"] = b"extends: demo"
    first, second = write(f"{web.url}/t.yaml", "first"), write("demo", "second")
    lock(first)
    lock(second)
    web.files["/t.yaml"] = b"{extends: demo, parallel: 2}"
    lock(second, upgrade=True)
    assert parallel(first) == 4
    write("demo", "first")
    assert lock(first).after.sources == {}


def test_content_that_changed_is_refused_with_both_hashes(web: Web, tmp_path: Path) -> None:
    web.files["/t.yaml"] = b"extends: demo"
    flow = write(f"{web.url}/t.yaml")
    old = lock(flow).after.sources[f"{web.url}/t.yaml"].sha256
    web.files["/t.yaml"] = b"{extends: demo, parallel: 2}"
    assert parallel(flow) == 4  # the cache has what is pinned
    for kept in (tmp_path / "home").rglob("content/*"):
        kept.unlink()
    said = refusal(flow, locked=False)
    assert f"flow.lock says {old}" in said and "run: gptoss-flow lock flows/a.yaml --upgrade" in said
    lock(flow, upgrade=True)
    assert parallel(flow) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: Path("flows/flow.lock").unlink(), "there is no flows/flow.lock"),
        (
            lambda: write("{extends: demo, parallel: 2}"),
            "flows/flow.lock:7:7: the profile of server main has the hash",
        ),
        (
            lambda: write("demo\n  more: demo\ndefaults: {prompt: {server: main}}"),
            "server more is not in the lock",
        ),
        (lambda: Path("flows/a.yaml").rename("flows/b.yaml"), "flows/flow.lock has nothing of b.yaml"),
    ],
)
def test_a_lock_that_is_missing_or_out_of_date_is_refused_with_the_command(change: object, said: str) -> None:
    flow = write("demo")
    lock(flow)
    check_flow(flow, locked=True)
    assert callable(change)
    change()
    flow = next(Path("flows").glob("*.yaml"))
    check_flow(flow)
    found = refusal(flow)
    assert said in found and f"run: gptoss-flow lock {flow}" in found
    with pytest.raises(Invalid):
        lock(flow, check=True)


def test_a_shared_profile_of_the_project_is_part_of_the_lock() -> None:
    Path("profiles").mkdir()
    Path("profiles/team.yaml").write_text("{extends: demo, parallel: 2, description: Ours.}")
    flow = write("team")
    lock(flow)
    Path("profiles/team.yaml").write_text("{extends: demo, parallel: 2, description: Another text.}")
    assert parallel(flow) == 2
    Path("profiles/team.yaml").write_text("{extends: demo, parallel: 3}")
    assert "the profile of server main has the hash" in refusal(flow)


def test_the_same_project_elsewhere_has_the_same_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = []
    for name in ("one", "other"):
        folder = tmp_path / name / "checkout"
        (folder / "flows").mkdir(parents=True)
        (folder / "gptoss-flow.yaml").touch()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("HOME", str(tmp_path / name))
        monkeypatch.setenv("GPT_OSS_CTX", "64" if name == "one" else "128")
        lock(write("{extends: demo, lora: [{path: ../l.gguf}], speculative: {model: ~/d.gguf}}"))
        texts.append((folder / "flows/flow.lock").read_text())
    assert texts[0] == texts[1]


def test_a_server_that_needs_values_is_locked_as_it_is_written(web: Web) -> None:
    web.files["/t.yaml"] = b"extends: demo"
    profile = f"{{extends: {web.url}/t.yaml, parallel: '${{{{ inputs.n }}}}'}}"
    flow = write(f"{profile}\ninputs: {{n: {{type: integer, default: 2}}}}")
    locked = lock(flow)
    assert list(locked.after.sources) == [f"{web.url}/t.yaml"]
    check_flow(flow, locked=True)


@pytest.mark.parametrize(
    "text", ["version: 2\n", "a: [", "- x\n", "version: 1\nflows: {a.yaml: {sources: {x: {}}}}\n"]
)
def test_a_lock_that_cannot_be_read_says_so_and_what_to_do(text: str) -> None:
    flow = write("demo")
    Path("flows/flow.lock").write_text(text)
    said = refusal(flow, locked=False)
    assert said.startswith("flows/flow.lock:") and "delete it and run: gptoss-flow lock FLOW" in said


def test_the_servers_of_a_flow_that_a_step_runs_are_locked_too(web: Web) -> None:
    web.files["/t.yaml"] = b"extends: demo"
    write(f"{web.url}/t.yaml", "inner")
    outer = Path("flows/outer.yaml")
    outer.write_text("version: 1\nsteps: {sub: {flow: ./inner.yaml}}\n")
    assert "nothing pins it" in refusal(outer, locked=False)
    after = lock(outer).after
    assert list(after.sources) == [f"{web.url}/t.yaml"] and set(after.servers) == {"main", "inner.yaml#main"}
    check_flow(outer, locked=True)
    write(f"{{extends: {web.url}/t.yaml, parallel: 2}}", "inner")
    assert "the profile of server inner.yaml#main has the hash" in refusal(outer)


def test_a_flow_with_mistakes_is_not_locked() -> None:
    with pytest.raises(Invalid, match="nobody"):
        lock(write("nobody"))
    assert not Path("flows/flow.lock").exists()


def test_a_model_of_the_hub_is_pinned_once_it_is_here(tmp_path: Path) -> None:
    flow = write("{model: {hf: 'owner/repo:Q4_0'}}")
    assert lock(flow).after.servers["main"].models[0].files == {}
    repo = tmp_path / "home/HF_HOME/hub/models--owner--repo"
    for folder in ("blobs", "refs", "snapshots/1"):
        (repo / folder).mkdir(parents=True)
    (repo / "refs/main").write_text("1")
    for sha256 in ("ab" * 32, "cd" * 32):
        (repo / "blobs" / sha256).write_bytes(b"GGUF")
    link = repo / "snapshots/1/m-Q4_0.gguf"
    link.symlink_to(repo / "blobs" / ("ab" * 32))
    assert lock(flow).after.servers["main"].models[0].files == {"m-Q4_0.gguf": "ab" * 32}
    link.unlink()
    assert not lock(flow).is_changed  # what this machine has not is as the lock says
    link.symlink_to(repo / "blobs" / ("cd" * 32))
    assert "server main has another model than the lock says" in refusal(flow)


def test_flows_that_are_locked_at_once_are_all_in_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    flows = [write("demo", name) for name in "abcdef"]
    lock(flows[0])
    read, all_have_read = module._loaded, threading.Barrier(len(flows))

    def loaded(*args: Any) -> LoadedFlow:
        all_have_read.wait(20)
        return read(*args)

    monkeypatch.setattr(module, "_loaded", loaded)
    with ThreadPoolExecutor(len(flows)) as pool:
        list(pool.map(lambda flow: lock(flow, upgrade=True), flows))
    assert [*read_lock(Path("flows/flow.lock").read_bytes(), "").file.flows] == [
        f"{name}.yaml" for name in "abcdef"
    ]
    assert sorted(path.name for path in Path("flows").iterdir()) == sorted(
        ["flow.lock", *(flow.name for flow in flows)]
    )


def test_a_lock_that_cannot_be_written_is_said_and_leaves_nothing() -> None:
    path = Path("flows/flow.lock")
    path.mkdir()
    with pytest.raises(Invalid, match=r"cannot write flows/flow\.lock: Is a directory; check"):
        write_lock_file(path, "version: 1")
    with pytest.raises(Invalid, match=r"cannot read flows/flow\.lock: Is a directory; check"):
        lock(write("demo"))
    assert sorted(file.name for file in Path("flows").iterdir()) == ["a.yaml", "flow.lock"]


def test_a_lock_is_written_in_utf_8_whatever_the_locale() -> None:
    environ = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    code = "from gptoss_flow.app.lock_file import *; write_lock_file(Path('flow.lock'), '# f\\xfcr alle')"
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert Path("flow.lock").read_text("utf-8") == "# für alle"
