"""What the names of a flow's tools mean, and what is wrong with them, at its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gptoss_flow.app.check import check_flow
from gptoss_flow.errors import Invalid
from gptoss_flow.tools.names import FileFunction, ModuleFunction, Other, ServerTool, meaning
from tests.tools.own_functions import compiled, problems

HEAD = "version: 1\nsteps:\n"


def step(name: str) -> str:
    return f'{HEAD}  a: {{tool: "{name}"}}\n'


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("./helpers.py:f", FileFunction("./helpers.py", "f")),
        ("../lib/x.py:f", FileFunction("../lib/x.py", "f")),
        ("package.module:f", ModuleFunction("package.module", "f")),
        ("time.now", ServerTool("time", "now")),
        ("time", ServerTool("time", "")),
        ("time.a.b", ServerTool("time", "a.b")),
        ("timer.now", Other("timer.now")),
        ("read_file", Other("read_file")),
    ],
)
def test_a_names_form_says_what_it_means(name: str, meant: object) -> None:
    assert meaning(name, {"time"}) == meant


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("reed_file", '"reed_file" is not a tool; did you mean "read_file"?'),
        ("./helpers.py:", '"" is not the name of a function; a function is named ./file.py:function'),
        ("./helpers:f", '"./helpers" is neither a file (.py) nor a module'),
        ("./helpers.py:g", '"helpers.py" has no function "g"; allowed: f'),
        ("./other.py:f", "there is no file other.py; a file is named relative to the flow's folder"),
        ("nowhere.at_all:f", "nowhere.at_all cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("sys:exit", "sys is not a module written in Python"),
        ("./broken.py:f", "broken.py cannot be imported: ZeroDivisionError: division by zero (broken.py:2)"),
        ("./unwritten.py:f", "unwritten.py cannot be imported: SyntaxError: '(' was never closed"),
        ("./quitting.py:f", "quitting.py cannot be imported: SystemExit: 0 (quitting.py:2)"),
    ],
)  # fmt: skip
def test_a_name_that_means_nothing_is_told_with_its_place(tmp_path: Path, name: str, said: str) -> None:
    found = problems(
        tmp_path, step(name), helpers="def f(): ...\n", broken="x = 1\n1 / 0\n", unwritten="f(\n",
        quitting="import sys\nsys.exit(0)\n",
    )  # fmt: skip
    assert len(found) == 1
    assert found[0].startswith(f"flow.yaml:3:13: {said}")


def test_arguments_of_own_functions_are_checked_before_the_run(tmp_path: Path) -> None:
    flow = HEAD + '  a: {tool: "./helpers.py:f", with: {x: "${{ 1 + 1 }}", y: 2}}\n'
    assert problems(tmp_path, flow, helpers="def f(x: str): ...\n") == [
        'flow.yaml:3:41: tool "f": x must be text, not 2',
        'flow.yaml:3:57: tool "f" has no argument "y"; allowed: x',
    ]


def test_a_name_that_seems_to_be_a_built_in_tool_or_stands_for_two_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, step("./helpers.py:read_file"), helpers="def read_file(): ...\n") == [
        'flow.yaml:3:13: "./helpers.py:read_file" is called read_file, as a built-in tool is; '
        "give the function another name"
    ]
    two = step("./one.py:f") + '  b: {tool: "./two.py:f"}\n'
    assert problems(tmp_path, two, one="def f(): ...\n", two="def f(): ...\n") == [
        'flow.yaml:4:13: "./two.py:f" and "./one.py:f" are both called f; give one of the functions another name'
    ]


def test_each_flow_has_the_files_of_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/inner.yaml").write_text(step("./helpers.py:f"))
    (tmp_path / "inner/helpers.py").write_text("def f(): return 'inner'\n")
    outer = step("./helpers.py:f") + "  b: {flow: inner/inner.yaml}\n"
    plan = compiled(tmp_path, outer, helpers="def f(): return 'outer'\n")
    inner = plan.nodes["b"].inner
    assert inner is not None
    assert plan.tools["./helpers.py:f"].code != inner.tools["./helpers.py:f"].code


def test_nothing_is_found_from_the_working_folder(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("helpers", "in_the_working_folder"):
        (elsewhere / f"{name}.py").write_text("from pathlib import Path\nPath('imported').touch()\ndef f(): ...\n")
    info = elsewhere / "x-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: x\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[gptoss_flow.tools]\nplanted = in_the_working_folder:f\n")
    names = ("./helpers.py:f", "in_the_working_folder:f", "planted")
    steps = "".join(f'  s{i}: {{tool: "{name}"}}\n' for i, name in enumerate(names))
    (tmp_path / "flow.yaml").write_text(HEAD + steps)
    for program in ([sys.executable, "-m", "gptoss_flow"], [str(Path(sys.executable).parent / "gptoss-flow")]):
        done = subprocess.run(
            [*program, "validate", "../flow.yaml"], cwd=elsewhere, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        for said in (
            "no file ../helpers.py",
            "No module named 'in_the_working_folder'",
            '"planted" is not a tool',
        ):
            assert said in done.stderr
    assert not (elsewhere / "imported").exists()


def test_tools_of_an_installed_package_go_by_their_entry_points_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", "pack", "measure = pack_code:f\n", "def f(x: int) -> int: return x + 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    plan = compiled(tmp_path, HEAD + "  a: {tool: measure, with: {x: 1}}\n")
    assert plan.tools["measure"].name == "measure"
    assert problems(tmp_path, step("measur")) == [
        'flow.yaml:3:13: "measur" is not a tool; did you mean "measure"?'
    ]
    package(tmp_path / "site", "other", "measure = other_code:f\n", "def f(): ...\n")
    assert problems(tmp_path, step("measure")) == [
        'flow.yaml:3:13: "measure" is a tool of package other and package pack; '
        "name the function itself: other_code:f"
    ]
    package(tmp_path / "site", "odd", "strange = odd_code\n", "")
    assert problems(tmp_path, step("strange")) == [
        'flow.yaml:3:13: "strange" of package odd is odd_code, not package.module:function'
    ]


def package(site: Path, name: str, entries: str, code: str) -> None:
    info = site / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[gptoss_flow.tools]\n{entries}")
    (site / f"{name}_code.py").write_text(code)


def test_of_an_untrusted_flow_nothing_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helpers.py").write_text("from pathlib import Path\nPath('imported').touch()\ndef f(): ...\n")
    (tmp_path / "flow.yaml").write_text(
        step("./helpers.py:f") + "tool_servers: {t: {command: [touch, imported]}}\n"
    )
    with pytest.raises(Invalid) as caught:
        check_flow("flow.yaml", tmp_path, untrusted=True)
    said = [str(problem) for problem in caught.value.problems]
    assert said[0].startswith('flow.yaml:3:7: an untrusted flow has no steps of the kind "tool"')
    assert said[1].startswith('flow.yaml:4:1: "tool_servers" cannot stand in an untrusted flow')
    assert not Path("imported").exists()


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        ("{t: {}}", 'needs "command" (a program to start) or "url" (one that runs)'),
        ("{t: {command: [x], url: http://127.0.0.1}}", "exclude each other"),
        ("{t: {url: http://127.0.0.1, env: [A]}}", '"env" is for a program that is started'),
        ("{t: {command: [x], headers: {A: b}}}", '"headers" are for a server with "url"'),
        ("{t: {url: ftp://x}}", '"url" begins with http:// or https://'),
        ("{t: {command: []}}", '"command" has too few entries'),
        ("{functions: {command: [x]}}", 'cannot be a tool server\'s name: models know it as something else'),
        ("{read_file: {command: [x]}}", "cannot be a tool server's name: it is a built-in tool's"),
        ('{t: {command: ["${{ secrets.KEY }}"]}}', "secrets"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_tool_server_is_told(tmp_path: Path, servers: str, said: str) -> None:
    found = problems(tmp_path, f"{HEAD}  a: {{set: {{x: 1}}}}\ntool_servers: {servers}\n")
    assert len(found) == 1 and found[0].startswith("flow.yaml:4:")
    assert said in found[0]


def test_tools_of_a_server_are_accepted_by_their_form(tmp_path: Path) -> None:
    server = "tool_servers: {time: {command: [x], tools: [now, today]}, any: {command: [y]}}\n"
    assert compiled(tmp_path, step("time.now") + server).tools["time.now"].name == "time.now"
    assert problems(tmp_path, step("time.zone") + server) == [
        'flow.yaml:3:13: "time.zone" is not among "tools" of the tool server "time"; did you mean "time.now"?'
    ]
    assert problems(tmp_path, step("time") + server) == [
        'flow.yaml:3:13: "time" is a tool server, not a tool; name one of its tools: time.now'
    ]
    assert problems(tmp_path, step("any.what ever") + server) == [
        'flow.yaml:3:13: "any.what ever" cannot be the name of a tool; allowed: up to 64 of A-Z a-z 0-9 _ . -'
    ]
