"""The HTML report as Chromium shows it: no text of a run is active, nothing is loaded, keys and search work."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from gptoss_flow.events import Event
from gptoss_flow.ui.report.html import draw_html
from tests.conftest import need
from tests.ui.report.made import hostile, ordinary, report_of, resumed, thousand, with_panes

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        yield browser
        browser.close()


@dataclass
class Seen:
    """A page, and what it did that it must not."""

    page: Page
    amiss: list[str] = field(default_factory=list)

    def shown_steps(self) -> list[str]:
        return self.page.locator("#steps details.unit:not([hidden]) > summary .name").all_text_contents()

    def focused(self) -> str:
        return str(self.page.evaluate("document.activeElement.querySelector?.('.name')?.textContent ?? ''"))


Make = Callable[[], Sequence[Event]]
Show = Callable[..., Seen]


@cache
def drawn(make: Make) -> str:
    return draw_html(report_of(make()))


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Show]:
    """Opens the report of the events that `make` gives; at the end nothing may have been amiss."""
    opened: list[Seen] = []

    def opens(make: Make, scheme: str = "light", width: int = 1200, script: bool = True) -> Seen:
        path = tmp_path / f"report-{len(opened)}.html"
        path.write_text(drawn(make), encoding="utf-8")
        context = browser.new_context(
            color_scheme="dark" if scheme == "dark" else "light",
            viewport={"width": width, "height": 800},
            java_script_enabled=script,
            reduced_motion="reduce",
        )
        seen = Seen(context.new_page())
        page, amiss = seen.page, seen.amiss
        page.on("request", lambda r: amiss.append(f"request of {r.url}") if r.url != path.as_uri() else None)
        page.on("console", lambda message: amiss.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: amiss.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (amiss.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("popup", lambda popup: amiss.append(f"popup: {popup.url}"))
        page.goto(path.as_uri())
        opened.append(seen)
        return seen

    yield opens
    for seen in opened:
        assert seen.amiss == []
        seen.page.context.close()


ACTIVE = """() => {
  const found = [...document.querySelectorAll(
    'img, iframe, object, embed, form, base, video, audio, foreignObject, use, animate, set,'
    + 'meta[http-equiv=refresh]'
  )].map((node) => node.tagName);
  const scripts = document.querySelectorAll('script').length, styles = document.querySelectorAll('style').length;
  for (const node of document.querySelectorAll('*')) {
    for (const { name, value } of node.attributes) {
      if (name.startsWith('on') || name === 'style' || name === 'srcdoc') found.push(`${node.tagName} ${name}`);
      if ((name === 'href' || name === 'xlink:href') && !/^(#|data:,$)/.test(value)) found.push(value);
    }
  }
  return { found, scripts, styles };
}"""


def test_a_hostile_run_opens_clean(show: Show) -> None:
    seen = show(hostile)
    assert seen.page.evaluate(ACTIVE) == {"found": [], "scripts": 1, "styles": 1}
    seen.page.keyboard.press("e")
    text = str(seen.page.evaluate("document.body.textContent"))
    assert "<script>alert(1)</script>" in text, "it is there to be read"
    assert not set(text) & set("\x00\x07\x1b\x7f\x9b\u202e\u2066\u200b\u2028\ufeff")
    assert "\\u202egnp.exe\\u202c" in text
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_no_text_of_a_run_becomes_a_style_or_leaves_its_place(show: Show) -> None:
    page = show(hostile).page
    assert page.locator("#steps > details.unit").count() == 14
    assert page.evaluate("document.querySelector('footer').parentElement.tagName") == "MAIN"


def test_a_script_that_gets_in_all_the_same_does_not_run(show: Show) -> None:
    seen = show(ordinary)
    seen.page.evaluate(
        """() => {
          const box = document.createElement('div');
          box.innerHTML = '<img src="x:y" onerror="window.ran = 1">';
          document.body.append(box);
          const script = document.createElement('script');
          script.textContent = 'window.ran = 2';
          document.body.append(script);
        }"""
    )
    assert seen.page.evaluate("window.ran ?? 0") == 0
    assert all("Content Security Policy" in line or line == "request of x:y" for line in seen.amiss)
    assert seen.amiss, "Chromium says why"
    seen.amiss.clear()


def test_of_a_thousand_items_none_is_laid_out_before_it_is_unfolded(show: Show) -> None:
    page = show(thousand).page
    assert page.evaluate("document.documentElement.scrollHeight") < 3000
    item = "document.querySelector('.parts .answer pre').checkVisibility({contentVisibilityAuto: true})"
    assert page.evaluate(item) is False
    page.locator("#steps summary").first.click()
    assert page.locator("details.unit", has_text="each[0]").last.locator("summary").first.is_visible()


def test_search_leaves_the_steps_that_say_it_and_enter_goes_there(show: Show) -> None:
    seen = show(thousand)
    page = seen.page
    page.keyboard.press("/")
    page.keyboard.type("it is 1554.")
    expect(page.locator("#found")).to_have_text("1 place")
    assert seen.shown_steps() == ["each", "each[777]"]
    page.keyboard.press("Enter")
    item = page.locator("details.unit", has_text="What is 777 times two?").last
    assert item.evaluate("node => node.open")
    assert item.locator(".answer pre").is_visible()
    expect(page.locator("#found")).to_have_text("1 of 1")
    page.keyboard.press("Escape")
    assert len(page.locator("#steps details.unit:not([hidden])").all()) == 1001
    assert page.evaluate("document.activeElement === document.body")


def test_what_nothing_says_is_said_to_be_nowhere(show: Show) -> None:
    page = show(ordinary).page
    page.locator("#query").fill("no such word")
    page.locator("#nothing").wait_for(state="visible")
    expect(page.locator("#found")).to_have_text("0 places")


def test_an_outcome_can_be_chosen(show: Show) -> None:
    seen = show(ordinary)
    seen.page.get_by_role("button", name="1 failed").click()
    assert seen.shown_steps() == ["each", "each[1]"]
    assert seen.page.get_by_role("button", name="1 failed").get_attribute("aria-pressed") == "true"


def test_keys_walk_over_the_steps_and_unfold_them(show: Show) -> None:
    seen = show(ordinary)
    press = seen.page.keyboard.press
    press("j")
    assert seen.focused() == "tree"
    press("ArrowDown")
    assert seen.focused() == "each"
    press("k")
    assert seen.focused() == "tree"
    unit = seen.page.locator("#steps > details.unit").first
    before = unit.evaluate("node => node.open")
    press("Enter")
    assert unit.evaluate("node => node.open") is not before
    press("ArrowRight")
    assert unit.evaluate("node => node.open") is True
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert seen.page.evaluate(outline) == "solid", "the focus is seen"


def test_a_node_of_the_graph_and_a_bar_of_the_timeline_lead_to_their_step(show: Show) -> None:
    seen = show(ordinary)
    seen.page.locator(".graph a", has_text="polish").click()
    assert seen.focused() == "polish"
    seen.page.locator(".timeline .row", has_text="tree").locator("rect").first.click()
    assert seen.focused() == "tree"


def test_panes_are_shown_as_they_were_at_any_change(show: Show) -> None:
    page = show(with_panes).page
    shown = "[...document.querySelectorAll('.pane')].filter((n) => getComputedStyle(n).display !== 'none')"
    places = f"{shown}.map((n) => n.querySelector('.title').textContent + n.getAttribute('transform'))"
    assert page.evaluate(places) == ["Atranslate(300 40)", "B · criticaltranslate(100 100)"]
    expect(page.locator("#told")).to_contain_text("3 of 3: move a")
    page.get_by_role("button", name="The change before").click()
    assert page.evaluate(places) == ["Atranslate(100 100)", "B · criticaltranslate(100 100)"]
    page.locator("#change").fill("1")
    assert page.evaluate(places) == ["Atranslate(100 100)"]
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#told")).to_contain_text("3 of 3")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    assert page.evaluate("document.getAnimations().length") == 0, "who wants less motion sees none"


def test_panes_without_scripts_are_those_at_the_end(show: Show) -> None:
    page = show(with_panes, script=False).page
    assert page.locator(".pane").filter(visible=True).count() == 2
    assert not page.locator("#stepper").is_visible()
    assert page.locator(".changes li").count() == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_words_of_panes_stand_out_too(show: Show, scheme: str) -> None:
    page = show(with_panes, scheme).page
    fill = "getComputedStyle(document.querySelector('.pane:not(.past) {}')).fill"
    colors = [str(page.evaluate(fill.replace("{}", part))) for part in ("text:not(.title)", ".ground")]
    assert len(set(colors)) == 2


BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def test_it_is_dark_where_the_system_is_and_the_button_and_key_change_it(show: Show) -> None:
    light, dark = show(ordinary).page, show(ordinary, "dark").page
    colors = light.evaluate(BACKGROUND), dark.evaluate(BACKGROUND)
    assert colors == ("rgb(251, 251, 249)", "rgb(22, 24, 27)")
    light.keyboard.press("t")
    light.get_by_role("button", name="Theme: light").click()
    assert light.evaluate(BACKGROUND) == colors[1]


CONTRAST = """() => {
  const numbers = (color) => {
    const canvas = document.createElement('canvas').getContext('2d');
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let each = node; each; each = each.parentElement) {
      const color = numbers(getComputedStyle(each).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  const poor = new Set();
  for (const node of document.querySelectorAll('p, h1, h2, h3, h4, dt, dd, td, th, pre, button, .head span')) {
    if (!node.checkVisibility() || !node.textContent.trim()) continue;
    const [a, b] = [light(numbers(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.add(`${node.className || node.tagName}: ${ratio.toFixed(2)}`);
  }
  return [...poor];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(show: Show, scheme: str) -> None:
    page = show(ordinary, scheme).page
    page.keyboard.press("e")
    assert page.evaluate(CONTRAST) == []


def test_what_needs_a_name_for_those_who_do_not_see_has_one(show: Show) -> None:
    page = show(ordinary).page
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, a, section, [role=group], summary')]
          .filter((node) => !node.getAttribute('aria-label') && !node.textContent.trim())
          .map((node) => node.outerHTML)"""
    )
    assert nameless == []
    assert page.evaluate("document.documentElement.lang") == "en"


def test_without_scripts_all_can_be_read_by_hand(show: Show) -> None:
    page = show(ordinary, script=False).page
    assert not page.locator("#bar").is_visible(), "what would not work is not there"
    page.locator("#steps > details.unit", has_text="polish").first.locator("summary").first.click()
    assert page.locator(".answer pre", has_text="good").first.is_visible()


@pytest.mark.parametrize("make", [ordinary, resumed, hostile, with_panes], ids=lambda make: make.__name__)
def test_a_narrow_window_needs_no_scrolling_sideways(show: Show, make: Make) -> None:
    page = show(make, width=380).page
    page.keyboard.press("e")
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_it_can_be_printed(show: Show) -> None:
    page = show(ordinary, "dark").page
    page.emulate_media(media="print")
    assert not page.locator("#bar").is_visible()
    assert page.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")
