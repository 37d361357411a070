"""The page's text: one file, closed to the outside, escaped throughout, with all that happened in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from base64 import b64encode
from functools import cache
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gptoss_flow.escape import is_unsafe
from gptoss_flow.events import RunStarted
from gptoss_flow.ui.report.html import draw_html
from gptoss_flow.ui.report.shown_text import chunks, marked
from tests.record.samples import run_started
from tests.ui.report.made import HOSTILE, done, hostile, ordinary, report_of, thousand, with_panes

ROOT = Path(__file__).parents[3]
VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """Tags with their attributes, and the text that is shown."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.code: dict[str, str] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.code[self.open[-1]] = self.code.get(self.open[-1], "") + data
        else:
            self.texts.append(data)


@cache
def hostile_page() -> Page:
    return Page(draw_html(report_of(hostile())))


def test_it_is_the_same_whatever_the_locale() -> None:
    code = """
from gptoss_flow.ui.report.html import draw_html
from tests.ui.report.made import ordinary, report_of
import sys; sys.stdout.buffer.write(draw_html(report_of(ordinary())).encode())
"""
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**os.environ, **ascii_only}, capture_output=True, cwd=ROOT)
    assert done.stderr == b""
    assert done.stdout.decode() == draw_html(report_of(ordinary()))


def test_its_tags_are_those_of_the_template_and_all_are_closed() -> None:
    page = hostile_page()
    assert page.open == []
    others = [Page(draw_html(report_of(make()))) for make in (ordinary, with_panes)]
    assert {tag for tag, _ in page.tags} <= {tag for other in others for tag, _ in other.tags} | {"i"}
    names = {name for _, attributes in page.tags for name in attributes}
    assert not [name for name in names if name.startswith("on") or name == "style"]


def test_nothing_that_steers_or_hides_is_in_it() -> None:
    html = draw_html(report_of(hostile()))
    assert not [hex(ord(char)) for char in set(html) if is_unsafe(char) and char != "\n"]
    assert html.encode()


def test_every_hostile_text_is_there_to_be_read() -> None:
    text = "".join(hostile_page().texts)
    for said in (
        "<script>alert(1)</script>",
        "<iframe src=//evil.example>",
        "{{ 7*7 }} ${{ x }} {% raw %} {# c #}",
    ):
        assert said in text
    assert "\\u202egnp.exe\\u202c" in text
    assert "\\x1b[31mred\\x1b]0;title\\x07" in text


def test_links_lead_nowhere_but_into_the_page() -> None:
    page = hostile_page()
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {attributes["href"] or "" for tag, attributes in page.tags if tag == "a"}
    assert links
    assert {link[1:] for link in links} <= ids
    assert {link[0] for link in links} == {"#"}


def test_the_policy_allows_its_own_style_and_script_alone() -> None:
    page = hostile_page()
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for kind in ("style", "script"):
        digest = b64encode(sha256(page.code[kind].encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    assert "unsafe" not in policy


def test_all_that_was_asked_answered_and_called_is_in_it() -> None:
    text = re.sub(r"\s+", " ", "".join(Page(draw_html(report_of(ordinary()))).texts))
    for said in (
        "Say something of each[0].",
        "Let me look at the callers.",
        "It is fine.",
        '{ "pattern": "*.py" }',
        "attempt 1 of 2 failed: model: the answer is empty",
        "flows/a.yaml:7:3",
        "round 1 was not the last",
        "its fallback, a set step, ran in its place",
        "a word of warning",
        "its condition was false",
        "30 prompt tokens, 10 reused · 8 generated",
        "TTFT 2.0 ms",
        "decode 80.0/s",
        "key: a.py",
    ):
        assert said in text


def test_a_long_text_that_many_items_share_stands_there_once() -> None:
    html = draw_html(report_of(thousand()))
    assert html.count("Answer in one word. Answer in one word.") == 15
    assert html.count("The same text as before") == 999
    assert len(html) < 2_000_000


def test_a_step_without_its_order_on_record_is_listed_and_not_drawn() -> None:
    html = draw_html(report_of([done("lost", 1)]))
    assert "The record does not tell how the run began." in html
    assert ">lost</span>" in html
    assert 'class="graph"' not in html


def test_the_graph_has_a_node_for_each_step_and_an_edge_for_each_need() -> None:
    page = Page(draw_html(report_of(ordinary())))
    started = ordinary()[0]
    assert isinstance(started, RunStarted)
    edges = [a for tag, a in page.tags if tag == "path" and (a.get("class") or "").startswith("edge")]
    assert len(edges) == sum(map(len, started.needs.values()))
    said = [a["aria-label"] for tag, a in page.tags if tag == "a" and "aria-label" in a]
    assert "more, set, skipped" in said
    assert len(said) == len(started.steps)


def test_a_graph_that_nobody_could_read_is_not_drawn() -> None:
    steps = {f"s{n}": "set" for n in range(401)}
    assert 'class="graph"' not in draw_html(report_of([run_started(steps=steps)]))


@pytest.mark.parametrize("said", HOSTILE)
def test_a_text_is_marked_where_it_cannot_be_seen(said: str) -> None:
    shown = marked(said)
    assert set(re.findall(r"<[^>]*>", shown)) <= {"<i>", "</i>"}
    assert not any(is_unsafe(char) and char != "\n" for char in shown)


def test_a_text_full_of_controls_does_not_become_a_page_full_of_tags() -> None:
    assert "<i>" not in marked("a\x1b" * 3000)
    assert marked("a\x1b") == "a<i>\\x1b</i>"


def test_a_long_text_is_laid_out_in_pieces_that_end_with_its_lines() -> None:
    text = "".join(f"line {n}\n" for n in range(20_000))
    pieces = chunks(text)
    assert "\n".join(pieces) == text
    assert max(map(len, pieces)) <= 20_000
    assert chunks("x" * 100_000) == ["x" * 100_000], "a line is never broken"
