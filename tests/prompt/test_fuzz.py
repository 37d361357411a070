"""Fault E06: whatever a model generates comes to a typed result, and only a sound call calls a tool.

`GPTOSS_FLOW_E06_SEQUENCES=1000000` asks for the figure of the catalogue; `python -m tests.faults E06` does.
"""

from __future__ import annotations

import os
from random import Random

from gptoss_flow.prompt.harmony import Harmony
from tests.prompt.fuzz import CALL, misread, pieces_of, sequence
from tests.prompt.test_harmony_stream import ids

SEQUENCES = int(os.environ.get("GPTOSS_FLOW_E06_SEQUENCES", "4000"))


def test_no_sequence_of_tokens_calls_a_tool_unsoundly(harmony: Harmony) -> None:
    random, pieces, whole = Random(6), pieces_of(harmony), ids(harmony, CALL)
    called = 0
    for _ in range(SEQUENCES):
        tokens = sequence(random, pieces, whole)
        assert (misread(harmony.spell, tokens), tokens) == ("", tokens)
        called += tokens == whole
    assert called  # the undamaged one is among them
