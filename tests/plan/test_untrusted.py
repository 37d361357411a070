"""What a flow that its user does not trust may not do: each is refused at its place, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptoss_flow.app.check import check_flow
from gptoss_flow.app.record_bound import RecordBound
from gptoss_flow.errors import Invalid, RecordError
from gptoss_flow.events import Stamped, StepFinished

STEPS = "version: 1\nsteps:\n"
ASK_MAIN = "steps: {a: {prompt: {user: x, server: main}}}\n"
ASK = "steps: {a: {prompt: {user: x}}}\n"
REFUSED = {
    "a tool": (STEPS + "  a: {tool: list_files}\n", '3:7: an untrusted flow has no steps of the kind "tool"'),
    "a tool in a fallback": (
        STEPS + "  a: {set: {x: 1}, on_error: {fallback: {tool: list_files}}}\n",
        "3:42: an untrusted flow has no steps",
    ),
    "a tool at the end": (
        STEPS + "  a: {set: {x: 1}}\nfinally: {z: {tool: list_files}}\n", "4:15: an untrusted flow has no steps"
    ),
    "a tool inside": (STEPS + "  a: {flow: tool.yaml}\n", "tool.yaml:2:13: an untrusted flow has no steps"),
    "the environment": ("version: 1\nenv: [HOME]\n" + ASK, '2:1: "env" cannot stand in an untrusted flow'),
    "secrets": ("version: 1\nsecrets: [KEY]\n" + ASK, '2:1: "secrets" cannot stand'),
    "a workspace": ("version: 1\nworkspace: /\n" + ASK, '2:1: "workspace" cannot stand'),
    "a record": ("version: 1\nrecord: {dir: ../../x}\n" + ASK, '2:1: "record" cannot stand'),
    "tools for a model": (
        STEPS + "  a: {prompt: {user: x, tools: [read_file]}}\n",
        '3:25: "tools" cannot stand in a prompt of an untrusted flow',
    ),
    "permissions": ("version: 1\npermissions: {network: true}\n" + ASK, '2:1: "permissions" cannot stand'),
    "a path": (
        "version: 1\ninputs: {p: {type: path, default: /etc}}\n" + ASK,
        '2:35: input "p" of an untrusted flow is a path',
    ),
    "a flow from outside": (STEPS + "  a: {flow: ../outside.yaml}\n", '3:13: "../outside.yaml" lies outside'),
    "a link to outside": (STEPS + "  a: {flow: link.yaml}\n", '3:13: "link.yaml" lies outside'),
    "a profile beside it": (
        "version: 1\nservers: {main: ./own.yaml}\n" + ASK,
        'server "main" of an untrusted flow takes its profile from',
    ),
    "a profile of its project": (
        "version: 1\nservers: {main: theirs}\n" + ASK,
        'server "main" of an untrusted flow takes its profile from',
    ),
    "a server behind a server": (
        "version: 1\nservers: {main: {extends: evil}, evil: {extends: demo, extra_args: [--x]}}\n" + ASK_MAIN,
        '2:56: server "evil" of an untrusted flow sets "extra_args"',
    ),
    "expressions": (
        'version: 1\nservers: {main: {extends: demo, context: "${{ 1024 }}"}}\n' + ASK,
        '2:17: server "main" of an untrusted flow holds expressions',
    ),
    "a profile from elsewhere": (
        f"version: 1\nservers: {{main: 'git+https://example.com/r@{40 * '0'}#p.yaml'}}\n" + ASK,
        "2:17: an untrusted flow reads no profile from elsewhere",
    ),
    **{
        key: (
            f"version: 1\nservers: {{main: {{extends: demo, {key}: {value}}}}}\n" + ASK,
            f'2:33: server "main" of an untrusted flow sets "{key}"',
        )
        for key, value in {
            "extra_args": "[--verbose]",
            "allow_unsafe_args": "true",
            "binary": "/bin/sh",
            "env": "{A: b}",
            "api_key": "env:HOME",
            "slots_dir": "/tmp",
            "log": "{file: /tmp/x}",
            "keepalive": "{pid_file: /tmp/x}",
            "listen": "{host: 0.0.0.0}",
            "chat_template_file": "/etc/passwd",
            "lora": "[{path: /x.gguf}]",
        }.items()
    },
    "an address": (
        "version: 1\nservers: {main: {url: 'http://10.0.0.1'}}\n" + ASK,
        '2:18: server "main" of an untrusted flow sets "url"',
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "outside.yaml": "version: 1\nsteps: {a: {set: {x: 1}}}\n",
        "theirs/tool.yaml": "version: 1\nsteps: {s: {tool: list_files}}\n",
        "theirs/own.yaml": "version: 1\nextends: demo\n",
        "theirs/profiles/theirs.yaml": "version: 1\nextends: demo\n",
        "theirs/inner.yaml": "version: 1\nsteps: {a: {prompt: {user: x}}}\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "theirs/link.yaml").symlink_to("../outside.yaml")
    return tmp_path / "theirs"


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_could_do_harm_is_refused_at_its_place(folder: Path, text: str, said: str) -> None:
    (folder / "flow.yaml").write_text(text)

    with pytest.raises(Invalid) as caught:
        check_flow(folder / "flow.yaml", folder, untrusted=True)

    assert any(said in str(problem) for problem in caught.value.problems), caught.value
    assert all(problem.mark is not None for problem in caught.value.problems)


@pytest.mark.parametrize(
    "text",
    [
        STEPS + "  a: {prompt: {user: x, schema: ../secret.env}}\n",
        STEPS + "  a: {flow: ../secret.env}\n",
        "version: 1\nservers: {main: ../secret.env}\n" + ASK,
    ],
    ids=["schema", "flow", "profile"],
)
def test_nothing_is_shown_of_a_file_outside_that_the_flow_names(folder: Path, text: str) -> None:
    (folder.parent / "secret.env").write_text("KEY: [hunter2\nhunter3: hunter4\n")
    (folder / "flow.yaml").write_text(text)

    with pytest.raises(Invalid, match="is not what an untrusted flow takes it for") as caught:
        check_flow(folder / "flow.yaml", folder, untrusted=True)

    assert all(p.mark is None or p.mark.source.endswith("flow.yaml") for p in caught.value.problems)


def test_what_only_asks_models_is_allowed(folder: Path) -> None:
    (folder / "flow.yaml").write_text(
        "version: 1\ninputs: {p: {type: path}}\n"
        "servers: {main: {extends: demo, context: 1024, request: {seed: 1}}}\n"
        "limits: {time: 5m}\nsteps:\n  a: {prompt: {user: x, params: {seed: 3}}}\n  b: {flow: inner.yaml}\n"
        "  c: {check: [true]}\n"
    )

    assert len(check_flow(folder / "flow.yaml", folder, untrusted=True).nodes) == 3


def test_a_profile_that_the_user_chose_is_his_own_affair(folder: Path) -> None:
    (folder / "flow.yaml").write_text("version: 1\nservers: {main: ./own.yaml}\n" + ASK)

    assert check_flow(folder / "flow.yaml", folder, untrusted=True, chosen=["main"]).servers.keys() == {"main"}


def test_the_record_of_an_untrusted_flow_is_bounded() -> None:
    event = StepFinished(step="a", outcome="succeeded", output="x" * 1000)
    bound = RecordBound(3000)

    bound.take(Stamped(1, 0.0, event))
    with pytest.raises(RecordError, match="untrusted"):
        for seq in range(2, 5):
            bound.take(Stamped(seq, 0.0, event))
