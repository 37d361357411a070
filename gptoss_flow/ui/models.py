"""Draws model files as text for people; nothing that a file says can steer the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.ui.paths import short_path
from gptoss_flow.ui.table import table

HEAD = ("NAME", "ARCH", "QUANT", "SIZE", "CONTEXT", "PATH")


def draw_models(models: Sequence[Mapping[str, Json]]) -> str:
    """A table, one line for each; the mappings are those of `app.model_files.model_json`."""
    rows = [
        (
            *(_known(model[key]) for key in ("name", "architecture", "quant")),
            _size(model["size_bytes"]),
            _known(model["context_tokens"]),
            short_path(model["path"]),
        )
        for model in models
    ]
    return table(HEAD, rows)


def draw_facts(facts: Mapping[str, Json]) -> str:
    """One model, a line for each thing; the mapping is that of `app.model_files.facts_json`."""
    said = {
        "name": facts["name"],
        "path": f"{short_path(facts['path'])}" + (f" and {facts['parts'] - 1} more" if facts["parts"] > 1 else ""),
        "architecture": _known(facts["architecture"]),
        "parameters": f"{facts['parameters']:,}",
        "quant": _known(facts["quant"]),
        "size": f"{_size(facts['size_bytes'])}, weights {_size(facts['weights_bytes'])}",
        "context": f"{_count(facts['context_tokens'])} tokens in training",
        "layers": _layers(facts),
        "heads": f"{_count(facts['heads'])}, {_count(facts['kv_heads'])} of them with keys and values",
        "tokenizer": f"{_known(facts['tokenizer'])}, {_count(facts['vocabulary'])} tokens",
        "chat template": "yes" if facts["chat_template"] else "no",
    }
    if facts["experts"]:
        said["experts"] = f"{facts['experts']}, {facts['experts_used']} used for a token"
    width = max(map(len, said))
    return "\n".join(f"{key:<{width}}  {one_line(str(value))}" for key, value in said.items())


def _layers(facts: Mapping[str, Json]) -> str:
    windowed = facts["windowed_layers"]
    seen = f", {windowed} of them with a window of {facts['sliding_window']:,} tokens" if windowed else ""
    return _count(facts["layers"]) + seen


def _known(value: Json) -> str:
    return "?" if value in (None, "") else str(value)


def _count(value: Json) -> str:
    return "?" if value is None else f"{value:,}"


def _size(count: Json) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
