"""A measurement that is kept, to hold later ones against: how it is written, read, and matched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gptoss_flow.bench.fingerprint import BUILD, MACHINE, differences
from gptoss_flow.errors import Mark, StepError
from gptoss_flow.events import Json

FORMAT = "gptoss-flow bench/1"
LARGEST = 256 * 2**20
"""Bytes."""


def to_json(step: str, cases: Sequence[Mapping[str, Json]]) -> str:
    """The text of a baseline file."""
    return json.dumps({"format": FORMAT, "step": step, "trials": list(cases)}, indent=1, ensure_ascii=False) + "\n"


def read_baseline(path: Path, mark: Mark | None) -> list[dict[str, Any]]:
    """Its trials. Raises `StepError` where there is none, or it is another thing."""

    def refuse(said: str) -> StepError:
        return StepError("check", said, mark=mark, retryable=False)

    try:
        if path.stat().st_size > LARGEST:
            raise refuse(f"the baseline {path} is too large")
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise refuse(f"there is no baseline {path}; make it: gptoss-flow bench FLOW --save-baseline") from None
    except (OSError, ValueError, RecursionError) as error:
        raise refuse(f"the baseline {path} cannot be read: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise refuse(f"{path} is no baseline of this version; make it anew with --save-baseline")
    trials = data.get("trials")
    if not isinstance(trials, list) or not all(map(_is_whole, trials)):
        raise refuse(f"the baseline {path} is damaged; make it anew with --save-baseline")
    return trials


def _is_whole(trial: Any) -> bool:
    parts = (("label", str), ("metrics", dict), ("samples", list), ("fingerprint", dict), ("load", str))
    if not isinstance(trial, dict) or not all(isinstance(trial.get(name), kind) for name, kind in parts):
        return False
    return all(
        isinstance(each, dict)
        and isinstance(columns := each.get("columns"), list)
        and {"latency", "tokens"} <= set(map(str, columns))
        and isinstance(rows := each.get("rows"), list)
        and all(
            isinstance(row, list)
            and len(row) == len(columns)
            and all(value is None or type(value) in (int, float) for value in row)
            for row in rows
        )
        for each in trial["samples"]
    )


def foreign(before: Sequence[Mapping[str, Any]], now: Mapping[str, Json]) -> list[str]:
    """Why trials are of another machine or build than this one, in words."""
    if not before:
        return []
    return differences(before[0]["fingerprint"], now, (*MACHINE, *BUILD))


def changed(before: Sequence[Mapping[str, Any]], now: Mapping[str, Json]) -> list[str]:
    """What is meant to differ, and worth a word: the model and the profile."""
    return differences(before[0]["fingerprint"], now, ("model", "profile")) if before else []


def counterpart(before: Sequence[dict[str, Any]], case: Mapping[str, Json]) -> dict[str, Any] | None:
    """The same load on the same cell. Prompts and parameters are part of a load."""
    return next((each for each in before if each["label"] == case["label"] and each["load"] == case["load"]), None)
