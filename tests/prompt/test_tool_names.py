from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.errors import StepError
from gptoss_flow.ports import ToolSpec
from gptoss_flow.prompt.harmony_tools import called, recipient
from gptoss_flow.prompt.tool_names import ToolNames, spoken


def tool(name: str) -> ToolSpec:
    return ToolSpec(name=name, description="", parameters={})


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a\nb", "<|end|>", "x<|call|>", "functions/x", "é", "a" * 65, "x to=assistant",
     "x\u200b", "a;b", "a\x00"],
)  # fmt: skip
def test_what_is_no_name_is_refused(name: str) -> None:
    for use in (spoken, recipient, lambda n: ToolNames([tool(n)])):
        with pytest.raises(StepError, match="is no name of a tool") as caught:
            use(name)
        assert not caught.value.retryable


def test_names_that_a_model_could_not_tell_apart_are_refused() -> None:
    with pytest.raises(StepError, match=r"two tools are called a__b: a\.b and a__b"):
        ToolNames([tool("a.b"), tool("a__b")])
    with pytest.raises(StepError, match="longer than 64 characters"):
        spoken("a." * 32)


@given(st.lists(st.from_regex(r"\A[a-z]{1,8}(\.[a-z]{1,8})?\Z"), unique=True, max_size=6))
def test_every_name_comes_back(names: list[str]) -> None:
    known = ToolNames(list(map(tool, names)))
    assert [known.told(spoken(name)) for name in names] == names
    assert [known.told(name) for name in names] == names
    for name in names:
        assert called(recipient(name), known) == name


@pytest.mark.parametrize("name", ["python", "browser.search", "browser.open", "browser.find"])
def test_what_gpt_oss_was_trained_with_goes_by_its_own_name(name: str) -> None:
    assert recipient(name) == name
    assert called(name, ToolNames([])) == called(f"functions.{name}", ToolNames([])) == name
    assert recipient("browser.click") == "functions.browser__click"
