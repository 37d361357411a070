from __future__ import annotations

import json
from typing import Any

import pytest

from gptoss_flow.errors import StepError
from gptoss_flow.llama.request import ALLOWED, completion_body
from gptoss_flow.sampling import Params


def ranges(schema: dict[str, Any]) -> dict[str, Any]:
    """The branch of a parameter's schema that is neither null nor an expression."""
    branches = schema.get("anyOf", [schema])
    return next(b for b in branches if b["type"] not in ("null", "string"))


SCHEMAS = {name: ranges(schema) for name, schema in Params.model_json_schema()["properties"].items()}


def test_the_allowed_names_are_those_of_params() -> None:
    assert set(ALLOWED) == set(Params.model_fields)


@pytest.mark.parametrize("name", ALLOWED)
def test_the_allowed_ranges_are_those_of_params(name: str) -> None:
    schema, fits = SCHEMAS[name], ALLOWED[name]
    match schema["type"]:
        case "integer" | "number":
            for bound, outwards in (("minimum", -1), ("maximum", 1)):
                if bound in schema:
                    assert fits(schema[bound])
                    assert not fits(schema[bound] + outwards)
            assert fits(1.0) == (schema["type"] == "number")
            for wrong in (True, "1", None, float("nan"), float("inf"), 10**400):
                assert not fits(wrong), wrong
        case "boolean":
            assert fits(True)
            assert not fits(1)
        case "array":
            good, bad = (
                (["END"], [5]) if name == "stop" else ([[5, -1.0], ["x", False]], [[5], [1.5, 2], [5, "a"]])
            )
            assert fits(good)
            assert not any(fits([item]) for item in bad)
            assert not fits("END")
        case _:
            pytest.fail(f"no case for {schema}")


def test_a_body_asks_for_a_stream_of_ids_from_the_cache() -> None:
    assert completion_body([1, 2], {"max_tokens": 8, "temperature": 0, "seed": None}) == {
        "prompt": [1, 2],
        "n_predict": 8,
        "temperature": 0,
        "stream": True,
        "return_tokens": True,
        "cache_prompt": True,
    }


def test_an_answer_is_bounded_where_nobody_said() -> None:
    assert completion_body([1], {})["n_predict"] == 512


def test_reuse_of_the_cache_can_be_turned_off() -> None:
    assert completion_body([1], {"cache_prompt": False})["cache_prompt"] is False


@pytest.mark.parametrize("tokens", [[], [1, "a", 2], [-1], [True], [1.0], [None], [50], [2**31]])
def test_what_is_no_token_id_is_refused(tokens: list[Any]) -> None:
    with pytest.raises(StepError) as caught:
        completion_body(tokens, {}, n_vocab=50)
    assert (caught.value.kind, caught.value.retryable) == ("model", False)


@pytest.mark.parametrize(
    "params",
    [{"id_slot": 99}, {"top_k": -5}, {"n_predict": 4}, {"temprature": 1}, {"stream": False}, {"seed": 0.5}],
)
def test_a_parameter_that_the_server_would_swallow_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(StepError) as caught:
        completion_body([1], params)
    assert (caught.value.kind, caught.value.retryable) == ("model", False)
    assert next(iter(params)) in caught.value.message


def test_a_body_is_json() -> None:
    json.dumps(completion_body([1], {"logit_bias": [[1, False]], "stop": ["\ud800"]}), allow_nan=False)


def test_a_profiles_adapters_go_with_every_request_and_nothing_else_does_by_that_name() -> None:
    scales = [{"id": 0, "scale": 0.5}]
    assert completion_body([1], {"lora": scales})["lora"] == scales
    for wrong in ("0.5", [{"id": 0}], [{"id": -1, "scale": 1.0}], [{"id": 0, "scale": float("nan")}]):
        with pytest.raises(StepError, match="lora"):
            completion_body([1], {"lora": wrong})
