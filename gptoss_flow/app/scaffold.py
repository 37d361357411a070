"""Begins a project: writes a first flow, a profile, the schemas that editors want, and a CI file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gptoss_flow.app.origin import requirement
from gptoss_flow.errors import Invalid
from gptoss_flow.lang.schema import flow_schema, profile_schema
from gptoss_flow.record.folder import STATE_FOLDER

TEMPLATES = Path(__file__).parent.parent / "scaffold"
CI_FILE = ".github/workflows/flows.yml"
COPIED = {
    "flows/first.yaml": "first.yaml",
    "profiles/team.yaml": "team.yaml",
    CI_FILE: "flows.yml",
}
SCHEMAS = {"schemas/flow.schema.json": flow_schema, "schemas/profile.schema.json": profile_schema}
GIT_IGNORE = ".gitignore"
IGNORED = f"{STATE_FOLDER}/"

Change = Literal["written", "replaced", "left alone", "added to"]


@dataclass(frozen=True, slots=True)
class Laid:
    """One file of the project, and what was done to it."""

    path: Path
    change: Change


def begin_project(folder: Path, *, force: bool = False) -> list[Laid]:
    """Write what is not there; with `force` also over what is. Raises `Invalid` where it cannot be written."""
    texts = {path: (TEMPLATES / name).read_text("utf-8") for path, name in COPIED.items()}
    texts[CI_FILE] = texts[CI_FILE].replace("@GPTOSS_FLOW@", requirement("local") or "")
    texts |= {path: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n" for path, schema in SCHEMAS.items()}
    laid = []
    try:
        for path, text in texts.items():
            laid.append(Laid(folder / path, _lay(folder / path, text, force)))
        laid.append(Laid(folder / GIT_IGNORE, _ignore(folder / GIT_IGNORE)))
    except OSError as error:
        raise Invalid(f"cannot write {error.filename or folder}: {error.strerror}") from None
    return laid


def _lay(path: Path, text: str, force: bool) -> Change:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        if not force or path.read_bytes() == text.encode():
            return "left alone"
        path.write_text(text, encoding="utf-8")
        return "replaced"
    return "written"


def _ignore(path: Path) -> Change:
    """Records hold whatever a run saw: they are not for version control. A file that is there gets a line."""
    was = path.read_bytes() if path.exists() else b""
    lines = was.decode("utf-8", "replace").splitlines()
    if any(line.strip().strip("/") == STATE_FOLDER for line in lines):
        return "left alone"
    with path.open("ab") as file:
        file.write(b"\n" * (was != b"" and not was.endswith(b"\n")) + IGNORED.encode() + b"\n")
    return "added to" if was else "written"
