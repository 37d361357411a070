"""Ranks the files of a source tree by how much they tell of it, from their names and sizes alone.

The classes, most telling first: the README at the top; a manifest at the top; sources; other text (documents,
configuration); tests and examples; what says little: data, lock files, licences, histories, generated and
foreign code, hidden files, files of a line or so. Within a class: shallow before deep, entry points before the
rest, large before small, then by path.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TELLING_BYTES = 48
_README = re.compile(r"readme(\.(md|rst|txt|adoc|org|markdown))?", re.IGNORECASE)
_MANIFESTS = _words(
    "pyproject.toml setup.py setup.cfg package.json deno.json cargo.toml go.mod pom.xml build.gradle "
    "build.gradle.kts build.sbt mix.exs gemfile composer.json cmakelists.txt meson.build makefile justfile "
    "dockerfile package.swift dub.json rebar.config stack.yaml build.zig project.clj"
)
_SOURCES = _words(
    "py pyx pyi c h cc cpp cxx hh hpp cu m mm rs go java kt kts scala clj groovy cs fs vb swift js mjs cjs jsx "
    "ts tsx vue svelte dart rb php pl pm lua r jl hs ml mli elm ex exs erl zig nim d f90 f sh bash zsh fish "
    "ps1 sql proto graphql tf nix cmake asm s v sv vhd sol"
)
_ENTRY_POINTS = (
    "__init__",
    "index",
    "lib",
    "mod",
    "main",
    "__main__",
    "app",
    "cli",
    "core",
    "server",
    "cmd",
    "api",
)
"""What presents a package as a whole before what starts a program."""
_LESSER = _words(
    "test tests testing spec specs __tests__ e2e fixtures example examples sample samples demo demos bench "
    "benches benchmark benchmarks"
)
_LESSER_NAME = re.compile(r"(test_.*|conftest|.*[._-](test|tests|spec))", re.IGNORECASE)
_LITTLE = _words(
    "node_modules vendor vendored _vendor third_party thirdparty external deps dist build out target "
    "site-packages venv env __pycache__ data assets static locale locales i18n translations migrations generated "
    "gen snapshots"
)
_LITTLE_NAME = re.compile(
    r"(licen[sc]e|copying|notice|authors|contributors|changelog|changes|history|news|code_of_conduct|security"
    r"|.*[._-]?lock|.*-lock|go|_version|version|py)",
    re.IGNORECASE,
)
_LITTLE_SUFFIX = _words("csv tsv jsonl ndjson lock sum svg map log patch diff po pot ipynb typed")
_GENERATED = re.compile(
    r".*(\.min\.(js|css)|_pb2(_grpc)?\.pyi?|\.pb\.go|\.g\.dart|\.generated\..*)", re.IGNORECASE
)


def rank(path: str, size: int) -> tuple[int, int, int, int, str]:
    """A key to sort files by: `path` is POSIX and relative to the tree, `size` in bytes."""
    pure = PurePosixPath(path)
    depth = len(pure.parts) - 1
    kind = _kind(pure, depth) if size >= _TELLING_BYTES else 5
    stem = pure.name.split(".")[0].lower()
    is_entry_point = kind == 2 and stem in _ENTRY_POINTS
    return (kind, depth, _ENTRY_POINTS.index(stem) if is_entry_point else len(_ENTRY_POINTS), -size, path)


def _kind(path: PurePosixPath, depth: int) -> int:
    name, stem, suffix = path.name.lower(), path.name.split(".")[0], path.suffix.lower().lstrip(".")
    folders = {part.lower() for part in path.parts[:-1]}
    if depth == 0 and _README.fullmatch(name):
        return 0
    if depth == 0 and name in _MANIFESTS:
        return 1
    hidden = any(part.startswith(".") for part in path.parts)
    little = folders & _LITTLE or suffix in _LITTLE_SUFFIX or _GENERATED.fullmatch(name)
    if hidden or little or (_LITTLE_NAME.fullmatch(stem) and suffix not in _SOURCES):
        return 5
    if folders & _LESSER or _LESSER_NAME.fullmatch(stem):
        return 4
    return 2 if suffix in _SOURCES else 3
