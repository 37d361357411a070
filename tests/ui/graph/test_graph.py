"""Every drawing shows every step and every edge, and is well-formed."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from gptoss_flow.ui.graph import FORMATS
from tests.flows import compile_text

PLAN = compile_text(
    "version: 1\nname: end\nsteps:\n"
    "  end: {set: {x: [1]}}\n"
    '  each: {foreach: "${{ steps.end.output.x }}", prompt: {user: "${{ item }}"}}\n'
    "  last: {when: always, needs: [each, end], check: [true]}\n"
)


@pytest.mark.parametrize("form", FORMATS)
def test_every_step_and_its_kind_are_shown(form: str) -> None:
    drawn = FORMATS[form](PLAN)
    for said in ("end", "each", "last", "prompt @main, foreach", "check, always"):
        assert said in drawn


def test_text_names_what_a_step_needs() -> None:
    assert "last  check, always          <- each, end" in FORMATS["text"](PLAN)


def test_mermaid_takes_no_id_for_one_of_its_own_words() -> None:
    drawn = FORMATS["mermaid"](PLAN)
    assert drawn.startswith("flowchart TD\n")
    assert "s_end --> s_each" in drawn
    assert drawn.count("-->") == 3


def test_dot_quotes_ids() -> None:
    assert '"end" -> "each";' in FORMATS["dot"](PLAN)


def test_svg_is_xml_with_a_box_for_each_step_and_a_line_for_each_edge() -> None:
    root = ElementTree.fromstring(FORMATS["svg"](PLAN))
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}rect")) == 3
    assert len(root.findall(f"{space}path")) == 3
    tops = {r.get("y") for r in root.findall(f"{space}rect")}
    assert len(tops) == 3, "each step stands below those that it needs"
