"""`model ls|pull|info`, and the refusal of what cannot fit, as a user types them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy
import pytest

from gptoss_flow.testing.project import Project
from gptoss_flow.testing.tiny_gpt_oss import ensure_tiny_model
from gptoss_flow.vocabulary import SHA256
from tests.server.gguf_files import write_gguf
from tests.server.web import Web, serving

HOSTILE = "\x1b[31m\u202e\u009b"
VARIABLES = dict.fromkeys(
    ("GPT_OSS_GGUF_MODEL_PATH", "GPT_OSS_MODEL_DIR", "LLAMA_CACHE", "HF_HUB_CACHE", "HF_HOME", "LLAMA_SERVER"), ""
)
"""What would show the project models of the machine."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path, VARIABLES)
    project.write("gptoss-flow.yaml", "version: 1\n")
    return project


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with serving() as web:
        web.files["/web-Q4_1.gguf"] = write_gguf(tmp_path / "source.gguf", "llama").read_bytes()
        yield web


def hostile_model(path: Path, name: str = HOSTILE, layers: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, name)
    writer.add_name(name)
    writer.add_tokenizer_model(name)
    writer.add_chat_template("{% for i in range(10**9) %}{% endfor %}")
    writer.add_block_count(layers)
    writer.add_tensor("a", numpy.zeros((4, 4), dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_machine_without_models_says_how_to_get_one(project: Project) -> None:
    done = project.run("model", "ls")
    assert (done.code, done.out) == (0, "")
    assert done.err == (
        "no model is on this machine; fetch the small demo model with: gptoss-flow model pull demo\n"
    )
    assert project.run("model", "ls", "--json").json == []


def test_models_of_profiles_downloads_and_gpt_oss_are_listed_once_each(project: Project) -> None:
    named = write_gguf(project.folder / "models" / "named.gguf", "llama")
    found = write_gguf(project.home / "models" / "gpt-oss-20b-MXFP4.gguf")
    cached = write_gguf(project.home / ".cache/gptoss-flow/models/x-1/cached.gguf", "qwen3")
    for number in (1, 2):
        write_gguf(project.home / f"models/gpt-oss-120b-0000{number}-of-00002.gguf")
    (project.home / "models" / "gpt-oss-broken.gguf").write_bytes(b"GGUF")
    project.write("profiles/mine.yaml", "model: {path: ../models/named.gguf}\n")
    project.write("profiles/again.yaml", "model: {path: ../models/../models/named.gguf}\n")
    project.write("profiles/broken.yaml", "model: [")
    lines = [line.split() for line in project.run("model", "ls").out.splitlines()]
    assert lines[0] == ["NAME", "ARCH", "QUANT", "SIZE", "CONTEXT", "PATH"]
    assert [line[0] for line in lines[1:]] == ["cached", "gpt-oss-120b", "gpt-oss-20b-MXFP4", "named"]
    assert lines[4][-1].endswith("models/named.gguf") and lines[3][-1] == "~/models/gpt-oss-20b-MXFP4.gguf"
    listed = {str(Path(each["path"]).resolve()): each for each in project.run("model", "ls", "--json").json}
    assert set(listed[str(named)]["profiles"]) == {"mine", "again"}
    assert {"local", "gpt-oss"} <= set(listed[str(found)]["profiles"])
    assert listed[str(cached)]["architecture"] == "qwen3" and listed[str(cached)]["profiles"] == []


def test_pull_fetches_once_and_prints_the_path_alone(project: Project, web: Web) -> None:
    sha256 = hashlib.sha256(web.files["/web-Q4_1.gguf"]).hexdigest()
    project.write("profiles/web.yaml", f"model: {{url: '{web.url}/web-Q4_1.gguf', sha256: {sha256}}}\n")
    offline = project.run("model", "pull", "web", "--offline")
    assert (offline.code, offline.out, web.asked) == (3, "", [])
    assert "is not on this machine yet; run once without --offline" in offline.err
    assert "fetch it with: gptoss-flow model pull web" in project.run("model", "info", "web").err
    done = project.run("model", "pull", "web")
    assert done.code == 0 and f"downloading {web.url}/web-Q4_1.gguf" in done.err
    path = Path(done.out.removesuffix("\n"))
    assert path.read_bytes() == web.files["/web-Q4_1.gguf"]
    assert project.run("model", "pull", "web", "--offline").out == done.out and len(web.asked) == 1
    assert project.run("model", "info", "web", "--json").json["path"] == str(path)
    (listed,) = project.run("model", "ls", "--json").json
    assert (listed["path"], listed["profiles"]) == (str(path), ["web"])


@pytest.mark.parametrize(
    ("profile", "code", "said"),
    [("dmo", 2, 'there is no profile "dmo"'), ("far", 2, "somebody else runs"), ("base", 2, "names no model")],
)
def test_what_has_no_model_to_pull_is_refused(project: Project, profile: str, code: int, said: str) -> None:
    project.write("profiles/far.yaml", "url: http://127.0.0.1:9\n")
    done = project.run("model", "pull", profile)
    assert done.code == code and said in done.err and done.out == ""


def test_info_of_a_model_that_cannot_be_fetched_says_where_it_was_looked_for(project: Project) -> None:
    project.write("profiles/mine.yaml", "extends: base\nmodel: {dir: ../m, file: a.gguf}\n")
    done = project.run("model", "info", "mine")
    assert done.code == 3 and "model pull" not in done.err
    assert (
        done.err.startswith("profiles/mine.yaml:2:14: model.dir ")
        and "; put the model there, name another folder" in done.err
    )
    assert "no.gguf does not exist; correct the path" in project.run("model", "info", "no.gguf").err
    project.write("profiles/far.yaml", "url: http://127.0.0.1:9\n")
    assert "somebody else runs: it has its own model" in project.run("model", "info", "far").err


def test_info_says_what_the_file_says(project: Project) -> None:
    write_gguf(project.folder / "a.gguf", "llama")
    said = dict(line.split("  ", 1) for line in project.run("model", "info", "a.gguf").out.splitlines())
    said = {key: value.strip() for key, value in said.items()}
    assert said["architecture"] == "llama" and said["parameters"] == f"{32 * 32 + 32 * 64:,}"
    assert said["chat template"] == "no" and said["tokenizer"] == "?, 3 tokens" and said["layers"] == "1"
    facts = project.run("model", "info", "a.gguf", "--json").json
    assert facts["size_bytes"] == (project.folder / "a.gguf").stat().st_size
    assert facts["vocabulary"] == 3 and facts["context_tokens"] is None and facts["chat_template"] is False


def test_what_a_file_says_cannot_steer_the_terminal_and_its_template_is_not_run(project: Project) -> None:
    hostile_model(project.folder / "evil.gguf")
    project.write("profiles/evil.yaml", "model: {path: ../evil.gguf}\n")
    for arguments in (("info", "evil.gguf"), ("info", "evil"), ("ls",)):
        done = project.run("model", *arguments)
        assert done.code == 0 and "\\x1b[31m\\u202e\\x9b" in done.out
        assert not set(HOSTILE) & {"\x1b", "\u202e", "\x9b"} & set(done.out + done.err)
    assert "chat template" in project.run("model", "info", "evil.gguf").out


def test_damaged_metadata_is_an_error_and_does_not_spoil_the_list(project: Project) -> None:
    hostile_model(project.home / ".cache/gptoss-flow/models/x/huge.gguf", layers=2**32 - 1)
    path = project.home / ".cache/gptoss-flow/models/x/huge.gguf"
    done = project.run("model", "info", str(path))
    assert done.code == 3 and "is damaged: its" in done.err and not {"\x1b", "\u202e", "\x9b"} & set(done.err)
    assert project.run("model", "ls").out.splitlines()[1].split()[0] == "huge"


@pytest.mark.parametrize(
    ("content", "said"), [(None, "does not exist"), (b"junk" * 99, "is not a GGUF file"), (b"", "is empty")]
)
def test_a_file_that_is_no_model_is_said(project: Project, content: bytes | None, said: str) -> None:
    if content is not None:
        project.write("a.gguf", content)
    done = project.run("model", "info", "a.gguf")
    assert done.code == 3 and said in done.err and "Traceback" not in done.err


def test_a_context_that_cannot_fit_is_refused_before_anything_starts(project: Project) -> None:
    writer = gguf.GGUFWriter(project.folder / "a.gguf", "llama")
    writer.add_block_count(100)
    writer.add_embedding_length(1024)
    writer.add_head_count(8)
    writer.add_tensor("a", numpy.zeros((4, 4), dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    project.write(
        "profiles/huge.yaml",
        "model: {path: ../a.gguf}\nengine: embedded\ngpu_layers: 0\ncontext: 1000000\nparallel: 4\n",
    )
    project.write(
        "flow.yaml",
        "version: 1\nname: a\nservers: {main: huge}\nsteps: {one: {prompt: {mode: raw, text: Hi}}}\n",
    )
    for arguments in (("server", "start", "huge"), ("run", "flow.yaml")):
        done = project.run(*arguments)
        assert done.code == 3, done
        assert "a would need 1,6" in done.err and "lower context from 1,000,000 to at most" in done.err
    states = {event["state"] for event in project.events() if event["type"] == "server_changed"}
    assert states <= {"stopped"}


def test_what_was_fetched_is_told_as_data_too(project: Project, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "here.gguf", "llama")
    project.write("profiles/here.yaml", f"model: {{path: {path}}}\n")
    assert project.run("model", "pull", "here").out == f"{path}\n"
    assert project.run("model", "pull", "here", "--json").json["path"] == str(path)


def test_the_vocabulary_is_rebuilt_from_a_model_byte_for_byte(project: Project, tmp_path: Path) -> None:
    table = tmp_path / "table" / "o200k_base.tiktoken"
    model = ensure_tiny_model(tmp_path / "cache")
    done = project.run("model", "vocabulary", str(model), "--to", str(table))
    assert (done.code, done.out) == (0, f"{table}\n")
    assert hashlib.sha256(table.read_bytes()).hexdigest() == SHA256


def test_another_models_vocabulary_is_none(project: Project, tmp_path: Path) -> None:
    other = write_gguf(tmp_path / "other.gguf", "llama")
    done = project.run("model", "vocabulary", str(other))
    assert done.code == 3
    assert f"the vocabulary of {other} is not that of gpt-oss; name a model file of gpt-oss" in done.err
    assert not (project.folder / "o200k_base.tiktoken").exists()


def test_the_tiny_profile_has_its_model_without_network(project: Project) -> None:
    assert "not on this machine" in project.run("model", "info", "tiny").err
    done = project.run("model", "pull", "tiny", "--offline")
    assert done.code == 0 and "assembling tiny-gpt-oss-" in done.err
    path = done.out.strip()
    facts = project.run("model", "info", "tiny", "--json").json
    assert (facts["path"], facts["architecture"], facts["chat_template"]) == (path, "gpt-oss", True)
    (listed,) = project.run("model", "ls", "--json").json
    assert (listed["path"], listed["profiles"]) == (path, ["tiny"])
    assert "assembling" not in project.run("model", "pull", "tiny").err
