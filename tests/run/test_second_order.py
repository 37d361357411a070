"""A value is never evaluated a second time, by whatever way it comes: what looks like an expression stays text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptoss_flow.app.bind import Given
from gptoss_flow.app.check import check_flow
from gptoss_flow.app.run import run_flow_sync
from gptoss_flow.events import Json, PromptRendered

TEXT = "${{ 1 + 1 }}{% if true %}yes{% endif %}${{ steps }}"
FLOW = """
version: 1
env: [ROUTE]
inputs:
  text: {type: string}
  default: {type: string, default: "${{ 1 + 1 }}"}
  list: {type: array}
vars:
  var: ${{ inputs.text }}
  again: ${{ vars.var }}
steps:
  item: {foreach: "${{ inputs.list }}", set: {x: "${{ item }}", key: "${{ item.k }}"}}
  keys: {foreach: "${{ inputs.list[0] }}", set: {x: "${{ loop.key }}${{ item }}"}}
  cell: {matrix: {t: "${{ inputs.list | map(attribute='k') | list }}"}, set: {x: "${{ matrix.t }}"}}
  inner: {flow: inner.yaml, with: {given: "${{ inputs.text }}"}}
  failing:
    tool: read_file
    with: {path: "${{ inputs.text }}"}
    on_error: {fallback: {set: {x: "${{ error.message }}"}}}
  gone: {tool: read_file, with: {path: "${{ inputs.text }}"}, on_error: continue}
  file: {tool: read_file, with: {path: file.txt}}
  asked:
    prompt: {user: "${{ env.ROUTE }} ${{ steps.gone.error.message }} ${{ steps.file.output }}"}
    retry: {attempts: 2, backoff: 0s, feedback: true}
    expect: [output == inputs.text]
    on_error: {fallback: {set: {x: "${{ error.message }}"}}}
  round:
    set: {x: "${{ inputs.text }}"}
    repeat: {until: output.x == inputs.text, max: 2}
  reply: {prompt: {user: hi}}
  later: {set: {x: "${{ steps.reply.output }} ${{ steps.reply.messages }}"}}
finally:
  end: {set: {x: "${{ run.status }} ${{ steps.reply.output }}"}}
outputs:
  all: ${{ [inputs, vars, env, steps.item.output, steps.keys.output, steps.cell.output, steps.inner.output,
    steps.failing.output, steps.asked.output, steps.round.output, steps.later.output, steps.file.output] }}
"""
INNER = """
version: 1
inputs: {given: {type: string}}
vars: {v: "${{ inputs.given }}"}
steps:
  a: {set: {x: "${{ vars.v }}"}}
outputs: {o: "${{ steps.a.output.x }}", "p": "in ${{ inputs.given }}"}
"""


class Seen:
    """A view that keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def take(self, stamped: object) -> None:
        event = getattr(stamped, "event", None)
        if isinstance(event, PromptRendered):
            self.asked += [str(message["content"]) for message in event.messages]

    def close(self) -> None:
        pass


def test_a_value_stays_text_on_every_way_through_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTE", TEXT)
    for name, text in {
        "flow.yaml": FLOW,
        "inner.yaml": INNER,
        "file.txt": TEXT,
        "replies.yaml": json.dumps({"replies": [{"step": "asked", "text": f"no {TEXT}"}], "default": TEXT}),
    }.items():
        (tmp_path / name).write_text(text)
    inputs: dict[str, Json] = {"text": TEXT, "list": [{"k": TEXT}, {"k": TEXT}]}
    seen = Seen()

    done = run_flow_sync(
        check_flow(tmp_path / "flow.yaml", tmp_path),
        Given(inputs=inputs, servers={}, cwd=tmp_path),
        views=[seen],
        model=f"scripted:{tmp_path / 'replies.yaml'}",
    )

    assert done.result.status == "succeeded", done.result.error
    told = json.loads(json.dumps(done.result.outputs["all"]))
    texts = list(_texts(told)) + seen.asked + list(_texts(done.state.steps["end"].output))
    assert sum(TEXT in text for text in texts) >= 20
    assert told[0]["default"] == "${{ 1 + 1 }}"
    assert not any("2yes" in text or text == "2" for text in texts)
    assert any("was not accepted" in text and TEXT in text for text in seen.asked)


def _texts(value: Json) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []
