"""Values as the report shows them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.ui.report.json_form import indented, readable

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text().filter(lambda t: "\n" not in t),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(PLAIN)
def test_a_value_without_lines_is_json_for_people(value: Any) -> None:
    assert readable(value) == (
        value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    )


def test_a_text_of_several_lines_in_a_value_stands_as_lines() -> None:
    result = {"exit_code": 1, "stdout": "F\n== FAILURES ==\n", "files": [{"text": "a\n\nb"}, "one line\n"]}
    assert readable(result).split("\n") == [
        "{",
        '  "exit_code": 1,',
        '  "stdout": |',
        "    F",
        "    == FAILURES ==",
        '  "files": [',
        "    {",
        '      "text": |',
        "        a",
        "        ",
        "        b",
        "    },",
        r'    "one line\n"',
        "  ]",
        "}",
    ]


@given(st.text())
def test_no_text_in_a_value_can_end_where_it_stands(text: str) -> None:
    lines = readable({"stdout": f"{text}\nx", "exit_code": 0}).split("\n")
    assert [line for line in lines if not line.startswith("    ")] == [
        "{",
        '  "stdout": |',
        '  "exit_code": 0',
        "}",
    ]


def test_what_is_nested_too_deep_for_that_is_json_all_the_same() -> None:
    value: Any = "a\nb"
    for _ in range(400):
        value = [value]
    assert "a" in readable(value)
    assert indented("a\nb") == "a\nb"
