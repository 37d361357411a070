"""The whole loader under random edits of real flows: a plan, or `Invalid` with its problems (fault row D23)."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from gptoss_flow.app.check import check_flow
from gptoss_flow.errors import Invalid

FLOWS = sorted((Path(__file__).parents[2] / "flows").glob("*.yaml"))
CORPUS = [path.read_text() for path in FLOWS]
ROUNDS = int(os.environ.get("GPTOSS_FLOW_FUZZ_ROUNDS", "600"))
PIECES = [
    *(
        "${{",
        "}}",
        "{%",
        "%}",
        "{% for x in ",
        "{% endfor %}",
        "steps.",
        ".output",
        " | ",
        "default('')",
        "range(9)",
    ),
    *(
        "[",
        "]",
        "{",
        "}",
        ": ",
        "- ",
        "\n",
        "  ",
        "&a ",
        "*a",
        "<<: ",
        "|\n",
        ">-\n",
        "'",
        '"',
        "#",
        "!!x ",
        "---\n",
    ),
    *(
        "foreach: ",
        "matrix: ",
        "when: ",
        "repeat: {until: true, max: 2}\n",
        "on_error: ",
        "fallback: ",
        "needs: [a]",
    ),
    *(
        "flow: ",
        "tool: ",
        "prompt: ",
        "set: {x: 1}",
        "check: ",
        "finally:\n",
        "secrets: [A]\n",
        "env: [A]\n",
        "null",
    ),
    *("0x1F", "1e999", "9" * 40, "\t", "\x07", "\u202e", "é", "\U0001f600", "~", "../", "/dev/zero", "a" * 300),
]


def edited(chance: random.Random) -> str:
    text = chance.choice(CORPUS)
    for _ in range(chance.randint(1, 8)):
        at, end = sorted(chance.randrange(len(text) + 1) for _ in range(2))
        end = min(end, at + chance.choice([0, 1, 3, 20, 200]))
        match chance.randrange(5):
            case 0:
                text = text[:at] + text[end:]
            case 1:
                text = text[:at] + chance.choice(PIECES) + text[at:]
            case 2:
                text = text[:at] + chance.choice(PIECES) + text[end:]
            case 3:
                text = text[:end] + text[at:]
            case _:
                lines = text.splitlines(keepends=True) or [""]
                lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
                text = "".join(lines)
    return text


@pytest.mark.parametrize("seed", range(4))
def test_an_edited_flow_is_a_plan_or_is_refused(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    file = tmp_path / "flow.yaml"
    for _ in range(ROUNDS // 4):
        text = edited(chance)
        file.write_text(text, encoding="utf-8")
        for untrusted in (False, True):
            try:
                assert check_flow(file, tmp_path, offline=True, untrusted=untrusted).nodes
            except Invalid as error:
                assert error.problems
            except Exception as error:
                raise AssertionError(f"{error!r}\n{text}") from error
