"""Imports go downward only, in no circle, none hidden in a function; each library is at home in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parent.parent / "gptoss_flow"

LAYERS: list[set[str]] = [
    {
        "errors",
        "events",
        "fields",
        "ports",
        "sampling",
        "escape",
        "words",
        "metrics",
        "refs",
        "arguments",
        "patterns",
        "permissions",
        "described",
        "structured",
        "tool_marks",
        "sites",
        "vocabulary",
        "trials",
        "private_folders",
        "urls",
        "user_path",
    },
    {"steps"},
    {"lang"},
    {"plan", "record.state"},
    {"run", "server", "llama", "prompt", "tools", "record"},
    {"bench"},
    {"ui", "testing"},
    {"app"},
    {"cli", "library"},
    {"__main__"},
]
"""From the ground up. A module may import its own layer's leaves (see `SIDEWAYS`) and everything below."""

SIDEWAYS = {0}
"""Layers whose members may import each other. The others' members meet only from above."""

HOMES = {
    "yaml": {"lang"},
    "networkx": {"plan"},
    "httpx": {"llama"},
    "httpcore": {"tools"},
    "idna": {"sites"},
    "lxml": {"tools"},
    "openai_harmony": {"prompt"},
    "jinja2": {"refs", "ui"},
    "re2": {"patterns", "record"},
    "rich": {"ui"},
    "xllamacpp": {"server"},
    "click": {"cli"},
    "psutil": {"server"},
    "opentelemetry": {"record"},
    "mcp": {"tools"},
    "mcp_types": {"tools"},
    "httpx2": {"tools"},
    "anyio": {"tools"},
}
"""Each of these libraries is used in one room."""

LAZY = {
    "app/tool_servers.py",
    "cli/asked.py",
    "cli/bench.py",
    "cli/complete.py",
    "cli/main.py",
    "cli/otel.py",
    "cli/run.py",
    "cli/plan.py",
    "llama/plain_http.py",
    "plan/compile.py",
    "server/built.py",
    "server/embedded.py",
    "server/engines.py",
    "server/guardian/child.py",
    "tools/browser/tool.py",
    "tools/http.py",
    "tools/mcp/keeper.py",
}
"""Where a function may import: click's lazy commands and what is to be quick to answer, the wheel that only some
machines have, what the web tools dial and parse with, the package mcp (half a second to import), networkx (a tenth
of the time to check a flow, and only a circle of steps needs it), and the guardian and the tool servers' keeper,
which start in milliseconds by loading next to nothing."""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        yield ".".join(parts), path


def room(module: str) -> str:
    """The layer member that a module belongs to: its folder, or itself where it is named."""
    named = {name for layer in LAYERS for name in layer}
    return module if module in named else module.split(".")[0]


def layer(module: str) -> int:
    return next(i for i, members in enumerate(LAYERS) if room(module) in members)


@cache
def known() -> set[str]:
    return {f"gptoss_flow.{name}" for name, _ in modules()}


@cache
def imported(path: Path) -> list[tuple[str, int, bool]]:
    """Each import as (dotted name, line, whether it is within a function)."""
    return list(imports_of(ast.parse(path.read_text()), path))


def imports_of(tree: ast.Module, path: Path) -> Iterator[tuple[str, int, bool]]:
    local = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in local
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in known() else node.module or ""), node.lineno, id(node) in local


def ours(path: Path) -> Iterator[tuple[str, int]]:
    for name, line, _ in imported(path):
        if name.startswith("gptoss_flow."):
            yield name.removeprefix("gptoss_flow."), line


def test_every_module_has_a_layer() -> None:
    assert [module for module, _ in modules() if module and not any(room(module) in m for m in LAYERS)] == []


def test_imports_go_down() -> None:
    wrong = []
    for module, path in modules():
        if not module:
            continue
        for target, line in ours(path):
            if room(target) == room(module) or layer(target) < layer(module):
                continue
            if layer(target) == layer(module) and layer(module) in SIDEWAYS:
                continue
            wrong.append(f"{path.relative_to(ROOT)}:{line}: {room(module)} imports {target}")
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph: nx.DiGraph[str] = nx.DiGraph()
    for module, path in modules():
        graph.add_edges_from((module, target) for target, _ in ours(path))
    assert [c for c in nx.strongly_connected_components(graph) if len(c) > 1] == []


def test_functions_hide_no_imports() -> None:
    hidden = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for _, path in modules()
        for name, line, local in imported(path)
        if local and str(path.relative_to(ROOT)) not in LAZY
    ]
    assert hidden == []


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_at_home_in_one_room(library: str) -> None:
    users = {
        module.split(".")[0]
        for module, path in modules()
        for name, _, _ in imported(path)
        if name.split(".")[0] == library
    }
    assert users <= HOMES[library]
    assert users, f"nothing uses {library}: remove it"
