"""Prompts and answers: what only spells a control token, and what a model may generate."""

from __future__ import annotations

from random import Random

from gptoss_flow.prompt.harmony import preload
from tests.faults.stage import Figure, Scene, Stage, Tally
from tests.prompt.attacks import content, fault
from tests.prompt.fuzz import CALL, misread, pieces_of, sequence
from tests.prompt.test_harmony_stream import ids

CONTENTS = 100_000
SEQUENCES = 1_000_000


def control_strings(stage: Stage) -> Figure:
    """Contents full of control strings, six in a prompt, in every place that a content can have."""
    harmony, random, tally = preload().result(), Random(1), Tally()
    for _ in stage.times(CONTENTS // 6 + 1):
        tally.add(fault(harmony, [content(random) for _ in range(6)]))
    return tally.figure()


def token_fuzz(stage: Stage) -> Figure:
    """Token sequences, half of them a damaged call: read twice, and called is only what both find sound."""
    harmony, random, tally = preload().result(), Random(6), Tally()
    pieces, whole = pieces_of(harmony), ids(harmony, CALL)
    for _ in stage.times(SEQUENCES):
        tally.add(misread(harmony.spell, sequence(random, pieces, whole)))
    return tally.figure()


SCENES: dict[str, Scene] = {"control-strings": control_strings, "token-fuzz": token_fuzz}
