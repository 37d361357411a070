"""The checkers that a change must pass: ruff, mypy, fresh schemas, valid examples."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing

from gptoss_flow.app.check import check_flow
from gptoss_flow.lang.document import read_document
from gptoss_flow.lang.schema import flow_schema, profile_schema
from gptoss_flow.record.schema import event_schema

ROOT = Path(__file__).parent.parent
SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "flow": flow_schema,
    "profile": profile_schema,
    "event": event_schema,
}
FLOWS = sorted((ROOT / "flows").glob("*.yaml"))
PROFILES = sorted([*(ROOT / "flows/profiles").glob("*.yaml"), *(ROOT / "gptoss_flow/profiles").glob("*.yaml")])


def check(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    check("ruff", "check", ".")


def test_the_code_is_formatted() -> None:
    check("ruff", "format", "--check", ".")


@pytest.mark.timeout(300)
def test_the_types_are_right() -> None:
    check("mypy")


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_fresh(name: str) -> None:
    """Renew with: gptoss-flow schema NAME > schemas/NAME.schema.json"""
    made = json.dumps(SCHEMAS[name](), indent=2, ensure_ascii=False) + "\n"
    assert (ROOT / f"schemas/{name}.schema.json").read_text() == made


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_an_example_flow_compiles_and_fits_its_schema(path: Path) -> None:
    check_flow(path)
    assert path.read_text().startswith("# yaml-language-server: $schema=../schemas/flow.schema.json\n")
    profile = referencing.Resource.from_contents(profile_schema())
    registry = referencing.Registry().with_resource("profile.schema.json", profile)
    jsonschema.Draft202012Validator(flow_schema(), registry=registry).validate(read_document(path).data)


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_profile_fits_its_schema(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.partition("=")[2]).resolve() == ROOT / "schemas/profile.schema.json"
    jsonschema.Draft202012Validator(profile_schema()).validate(read_document(path).data)


def test_every_attribute_of_the_schemas_is_described() -> None:
    bare = []
    for name, make in SCHEMAS.items():
        schema = make()
        for owner, part in {name: schema, **schema.get("$defs", {})}.items():
            bare += [
                f"{owner}.{key}"
                for key, value in part.get("properties", {}).items()
                if name != "event" and "description" not in json.dumps(value) and "$ref" not in json.dumps(value)
            ]
    assert bare == []
