"""The schema of a journal's lines says what the lines are."""

from __future__ import annotations

import json

import jsonschema
import pytest

from gptoss_flow.record.codec import encode
from gptoss_flow.record.schema import event_schema
from tests.record.samples import RECORDED, a_run, stamp

VALIDATOR = jsonschema.Draft202012Validator(event_schema())


def test_the_schema_is_a_schema_and_can_be_written_as_json() -> None:
    jsonschema.Draft202012Validator.check_schema(event_schema())
    assert json.loads(json.dumps(event_schema())) == event_schema()


def test_every_type_that_is_recorded_is_in_it_and_no_other() -> None:
    types = [definition["properties"]["type"]["const"] for definition in event_schema()["$defs"].values()]
    assert types == [cls.type for cls in RECORDED]


def test_every_record_fits() -> None:
    for stamped in stamp(a_run("é\n")):
        VALIDATOR.validate(json.loads(encode(stamped)))


@pytest.mark.parametrize(
    "change", [{"seq": 0}, {"type": "tea"}, {"t": "now"}, {"step": None}, {"outcome": "perhaps"}, {"items": "x"}]
)
def test_what_is_no_record_does_not_fit(change: dict[str, object]) -> None:
    record = json.loads(encode(stamp(a_run())[4]))
    VALIDATOR.validate(record)
    assert not VALIDATOR.is_valid({**record, **change})


def test_a_boundary_record_needs_its_sum() -> None:
    record = json.loads(encode(stamp(a_run())[0]))
    VALIDATOR.validate(record)
    del record["crc"]
    assert not VALIDATOR.is_valid(record)


def test_docstrings_have_become_descriptions() -> None:
    definitions = event_schema()["$defs"]
    assert definitions["RunStarted"]["properties"]["flow"]["description"] == "The flow's name."
    assert definitions["StepFinished"]["description"].startswith("The end of a step, or of an item.")
    assert "description" not in definitions["Warned"]
