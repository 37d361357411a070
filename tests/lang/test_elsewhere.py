"""Profiles that extend others elsewhere: what pins them, what they may name, where their values are from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import Invalid, Mark, Unavailable
from gptoss_flow.lang.elsewhere import Fetched, Pin, Sources
from gptoss_flow.lang.profile_places import SHIPPED, SearchPath
from gptoss_flow.lang.profiles import ResolvedProfile, resolve_profile
from gptoss_flow.lang.sources import GitSource, Source

OLD, NEW = "a" * 40, "b" * 40
REPO = "git+https://h/r"


class World:
    """Files elsewhere: of a repository by revision and path, of the web by URL."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = {name: text.encode() for name, text in files.items()}
        self.branches = {"main": NEW}
        self.asked: list[tuple[str, Pin]] = []

    def __call__(self, source: Source, pin: Pin) -> Fetched:
        self.asked.append((str(source), pin))
        commit = pin.commit
        if isinstance(source, GitSource):
            commit = commit or self.branches[source.revision]
        key = str(source.pinned(commit, "")).partition("#sha256")[0]
        if key not in self.files:
            raise Unavailable(f"{source} could not be fetched")
        return Fetched(self.files[key], commit)

    def sha256(self, name: str) -> str:
        return hashlib.sha256(self.files[name]).hexdigest()


def resolve(ref: str | dict[str, Any], sources: Sources) -> ResolvedProfile:
    return resolve_profile(
        ref, places=SearchPath((SHIPPED,)), base_dir=Path("/here"), needs_model=False, sources=sources
    )


def refusal(ref: str | dict[str, Any], sources: Sources) -> str:
    with pytest.raises(Invalid) as caught:
        resolve(ref, sources)
    return str(caught.value)


def test_a_profile_of_a_repository_extends_one_beside_it_and_one_that_ships() -> None:
    world = World(
        {
            f"{REPO}@{OLD}#p/team.yaml": "extends: ./base.yaml\nparallel: 3\n",
            f"{REPO}@{OLD}#p/base.yaml": "extends: demo\ncontext: 1024\n",
        }
    )
    sources = Sources(world)
    resolved = resolve({"extends": f"{REPO}@{OLD}#p/team.yaml", "seed": 1}, sources)
    profile = resolved.profile
    assert (profile.context, profile.parallel, profile.seed) == (1024, 3, 1)
    assert profile.model.pypi
    assert resolved.origin(("context",)) == Mark(f"{REPO}@{OLD}#p/base.yaml", 2, 10)
    assert resolved.chain[-3:] == (f"{REPO}@{OLD}#p/base.yaml", f"{REPO}@{OLD}#p/team.yaml", "inline profile")
    assert sources.used.keys() == {f"{REPO}@{OLD}#p/team.yaml", f"{REPO}@{OLD}#p/base.yaml"}


def test_its_name_is_the_files() -> None:
    assert resolve(f"{REPO}@{OLD}#p/team.yaml", Sources(World({f"{REPO}@{OLD}#p/team.yaml": "{}"}))).name == "team"


def test_a_branch_is_read_only_at_the_commit_that_a_lock_pins() -> None:
    text = "extends: base.yaml"
    world = World(
        {f"{REPO}@{OLD}#t.yaml": text, f"{REPO}@{OLD}#base.yaml": "seed: 7", f"{REPO}@{NEW}#t.yaml": "{}"}
    )
    ref = f"{REPO}@main#t.yaml"
    said = refusal(ref, Sources(world, lock_command="gptoss-flow lock a.yaml"))
    assert "nothing pins it" in said and "git ls-remote" in said and "run: gptoss-flow lock a.yaml" in said
    assert not world.asked
    pins = {
        ref: Pin(world.sha256(f"{REPO}@{OLD}#t.yaml"), OLD),
        f"{REPO}@main#base.yaml": Pin(world.sha256(f"{REPO}@{OLD}#base.yaml"), OLD),
    }
    assert resolve(ref, Sources(world, pins)).profile.seed == 7


def test_all_files_of_a_branch_are_of_one_commit_even_if_it_moves_meanwhile() -> None:
    world = World({f"{REPO}@{NEW}#t.yaml": "extends: base.yaml", f"{REPO}@{NEW}#base.yaml": "seed: 7"})
    sources = Sources(world, may_pin=True)
    original = world.__call__

    def moving(source: Source, pin: Pin) -> Fetched:
        fetched = original(source, pin)
        world.branches["main"] = OLD
        return fetched

    sources._fetch = moving
    assert resolve(f"{REPO}@main#t.yaml", sources).profile.seed == 7
    assert {pin.commit for pin in sources.used.values()} == {NEW}


def test_content_that_differs_from_its_pin_is_refused_with_both_hashes() -> None:
    world = World({"https://h/x.yaml": "seed: 1"})
    now, other = world.sha256("https://h/x.yaml"), "0" * 64
    said = refusal(f"https://h/x.yaml#sha256={other}", Sources(world))
    assert now in said and other in said and "write its new hash" in said
    locked = Sources(world, {"https://h/x.yaml": Pin(other)}, lock_command="gptoss-flow lock a.yaml")
    said = refusal("https://h/x.yaml", locked)
    assert now in said and f"flow.lock says {other}" in said and "gptoss-flow lock a.yaml --upgrade" in said
    assert resolve(f"https://h/x.yaml#sha256={now}", Sources(world)).profile.seed == 1


def test_a_locked_flow_reads_nothing_that_its_lock_does_not_pin() -> None:
    world = World({f"{REPO}@{OLD}#t.yaml": "{}"})
    said = refusal(f"{REPO}@{OLD}#t.yaml", Sources(world, {}, lock_command="gptoss-flow lock f", is_locked=True))
    assert "flow.lock has no pin for" in said and "run: gptoss-flow lock f" in said
    assert not world.asked


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: /etc/x.yaml", "cannot name one of this machine"),
        ("extends: ~/x.yaml", "cannot name one of this machine"),
        ("extends: ../../x.yaml", "leads out of the repository"),
        (f"extends: git+file:///srv/r@{OLD}#x.yaml", "cannot name one of this machine"),
        ("extends: http://127.0.0.1:1/x.yaml", "cannot name one of this machine"),
        ("extends: git+https://me:secret@h/r@m#x.yaml", "no user name or password"),
        ("model: {path: models/a.gguf}", "model.path: models/a.gguf is relative"),
        ("lora: [{path: /a.gguf}, {path: b.gguf}]", "lora.1.path: b.gguf is relative"),
        ("binary: ./llama-server", "binary: ./llama-server is relative"),
        ("- no mapping", "a profile is a mapping"),
        ("parallel: 0", f"{REPO}@{OLD}#p/t.yaml:1:11"),
        ("extends: t.yaml", "in a cycle: t ("),
    ],
)
def test_a_profile_from_elsewhere_names_nothing_of_this_machine(text: str, said: str) -> None:
    found = refusal(f"{REPO}@{OLD}#p/t.yaml", Sources(World({f"{REPO}@{OLD}#p/t.yaml": text})))
    assert said in found and "secret" not in found
    assert f"{REPO}@{OLD}#p/t.yaml:1:" in found


def test_a_web_page_is_no_profile() -> None:
    world = World({f"{REPO}@{OLD}#t.yaml": "\n<!DOCTYPE html><title>p.yaml: a repository</title>"})
    said = refusal(f"{REPO}@{OLD}#t.yaml", Sources(world))
    assert "#t.yaml is a web page, not a YAML file; name the file itself" in said


def test_full_paths_of_a_profile_from_elsewhere_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    text = "model: {path: ~/m/a.gguf}\nbinary: llama-server\nchat_template_file: /t.jinja"
    profile = resolve(f"{REPO}@{OLD}#t.yaml", Sources(World({f"{REPO}@{OLD}#t.yaml": text}))).profile
    assert (profile.model.path, profile.binary, profile.chat_template_file) == (
        "/home/me/m/a.gguf",
        "llama-server",
        "/t.jinja",
    )


def test_what_cannot_be_fetched_says_where_it_is_named() -> None:
    with pytest.raises(Unavailable) as caught:
        resolve(f"{REPO}@{OLD}#t.yaml", Sources(World({f"{REPO}@{OLD}#t.yaml": "parallel: 2\nextends: no.yaml"})))
    assert str(caught.value).startswith(f"{REPO}@{OLD}#t.yaml:2:10: {REPO}@{OLD}#no.yaml could not be fetched")


def test_the_number_of_files_from_elsewhere_is_bounded() -> None:
    files = {f"{REPO}@{OLD}#{n}.yaml": f"seed: {n}" for n in range(70)}
    assert "more than 64 files" in refusal({"extends": list(files)}, Sources(World(files)))


def test_nothing_is_fetched_where_nobody_said_how() -> None:
    with pytest.raises(Unavailable, match="nothing is fetched here"):
        resolve(f"{REPO}@{OLD}#t.yaml", Sources())
