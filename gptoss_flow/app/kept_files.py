"""What a run was made of and what it gave, as files beside its record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gptoss_flow.events import Json
from gptoss_flow.lang.dump import to_yaml
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.lang.profiles import ResolvedProfile
from gptoss_flow.record.append import record_error
from gptoss_flow.record.folder import make_private
from gptoss_flow.ui.profile import draw_profile

FLOW = "flow.yaml"
CHANGES = "set.yaml"
ARTIFACTS = "artifacts"


class KeptFiles:
    """The files of one life of a run. What was kept is never written anew: a resumed life that differs from the
    lives before it has the files in which it does in `resumed-N/`."""

    def __init__(self, folder: Path, clean: Callable[[str], str], life: int = 0) -> None:
        """`clean` takes secrets out of a text. `life`: how often the run was resumed."""
        self._folders = [folder, *(folder / f"resumed-{n}" for n in range(1, life + 1))]
        self._clean = clean

    def flow(self, loaded: LoadedFlow, changes: Sequence[str]) -> None:
        """The flow's file, those of flows inside it, and what `--set` changed. Raises `RecordError`."""
        self._keep(FLOW, loaded.document.text)
        taken = Counter[str]()
        for path, text in sorted(_inner(loaded).items()):
            taken[path.name] += 1
            number = f"-{taken[path.name]}" if taken[path.name] > 1 else ""
            self._keep(f"flows/{path.stem}{number}{path.suffix}", text)
        if changes:
            said = {path: value for path, _, value in (change.partition("=") for change in changes)}
            self._keep(CHANGES, "# What --set changed in the flow.\n" + to_yaml(said))

    def profile(self, server: str, resolved: ResolvedProfile) -> None:
        """The profile of a server, merged, with the place of each value. Raises `RecordError`."""
        self._keep(f"profiles/{server}.yaml", draw_profile(resolved))

    def _keep(self, name: str, text: str) -> None:
        text = self._clean(text)
        kept = (_read(folder / name) for folder in reversed(self._folders))
        if next((before for before in kept if before is not None), None) != text:
            _write(self._folders[0], self._folders[-1] / name, text)


def keep_outputs(folder: Path, outputs: Mapping[str, Json]) -> None:
    """Each output as a file of its own: a text as it is, any other value as JSON. Raises `RecordError`."""
    for name, value in outputs.items():
        if isinstance(value, str):
            _write(folder, folder / ARTIFACTS / f"{name}.txt", value)
        elif value is not None:
            text = json.dumps(value, indent=2, ensure_ascii=False)
            _write(folder, folder / ARTIFACTS / f"{name}.json", text + "\n")


def _inner(loaded: LoadedFlow) -> dict[Path, str]:
    """The files of the flows inside a flow, each once."""
    found: dict[Path, str] = {}
    for inner in loaded.flows.values():
        found |= {inner.path.resolve(): inner.document.text, **_inner(inner)}
    return found


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError):
        return None


def _write(run: Path, path: Path, text: str) -> None:
    try:
        for folder in reversed(path.relative_to(run).parents[:-1]):
            make_private(run / folder)
        path.write_bytes(text.encode("utf-8", "backslashreplace"))
        path.chmod(0o600)
    except OSError as error:
        raise record_error("write", path, error) from error
