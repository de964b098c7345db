"""The page about completions, in a real browser; it has no scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from guerdon.serve.explain_page import page as explain_page
from guerdon.serve.explain_page import visible, write_explanation
from guerdon.serve.explain_rows import sample

NASTY = '<script>window.hacked = true</script>" onmouseover="window.hacked = 1'
ROWS: list[dict[str, Any]] = [
    {
        "prompt": NASTY, "text": "a\nb", "tokens": ["a", "\n", "b", " ", NASTY], "steps": [0, 0, 1, 1, 1],
        "value": [1.0, None, -2.0, 0.0, 0.5], "terms": {"Sense": 0.25, NASTY: None},
        "advantage": [1.0, -1.0, 0.0, 0.5, 0.25],
        "stages": {"Clip/in": [9.0, 8.0, 7.0, 6.0, 5.5], "Once/in": 3.0}, "log_prob": [-0.1, -2.0, -8.0, -20.0, 0.0],
    },
    {"prompt": "q", "text": "", "tokens": [], "value": 0.5, "terms": {}, "stages": {}},
]  # fmt: skip


@pytest.fixture
def page(browser, tmp_path) -> Iterator[Any]:
    path = write_explanation([sample(row) for row in ROWS], tmp_path / "deep" / "page.html", title="What was paid")
    page = browser.new_page()
    page.said, page.asked = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    page.close()


def paint(page: Any, token: int) -> tuple[str, str]:
    """How a token looks: its background and what underlines it."""
    script = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).borderBottomStyle]"
    colour, line = page.locator(".tokens .t").nth(token).evaluate(script)
    return colour, line


def choose(page: Any, name: str) -> None:
    page.get_by_label(name, exact=True).check()


def test_loads_by_itself_and_runs_nothing(page):
    page.wait_for_load_state("networkidle")
    assert page.said == []
    assert [url for url in page.asked if not url.startswith("data:")] == [page.url]
    assert page.locator("script").count() == 0
    page.locator(".tokens .t").nth(4).hover()
    assert page.evaluate("window.hacked") is None
    assert NASTY in page.locator("pre").first.inner_text()


def test_colours_follow_the_choice_and_tell_sign_size_and_unscored_apart(page):
    assert page.get_by_label("advantage", exact=True).is_checked(), "the first choice is what was trained on"
    advantage = [paint(page, i) for i in range(5)]
    assert advantage[2][0] == "rgba(0, 0, 0, 0)", "exactly zero has no colour"
    assert [line for _, line in advantage] == ["solid", "dashed", "solid", "solid", "solid"]
    assert len({colour for colour, _ in advantage}) == 5
    choose(page, "reward")
    reward = [paint(page, i) for i in range(5)]
    assert reward[1][1] == "dotted"
    assert reward[3][0] == "rgba(0, 0, 0, 0)"
    assert reward[1][0] == "rgba(0, 0, 0, 0)", "hatched, not painted"
    assert reward[2] != reward[0]
    choose(page, "term Sense")
    assert len({paint(page, i) for i in range(5)}) == 1, "a value of the whole answer colours all of it"
    choose(page, "no colours")
    assert {paint(page, i)[0] for i in range(5)} == {"rgba(0, 0, 0, 0)"}


def test_the_legend_is_that_of_the_choice(page):
    def legends() -> list[str]:
        return [line.inner_text() for line in page.locator(".legend").all() if line.is_visible()]

    (shown,) = legends()
    assert "to -1" in shown
    assert "not scored" in shown
    choose(page, "log-probability")
    (shown,) = legends()
    assert "to -8" in shown
    assert "+" not in shown, "log-probabilities are never positive"
    choose(page, "no colours")
    assert legends() == []


def test_numbers_stand_in_tooltips_and_tables(page):
    title = page.locator(".tokens .t").nth(1).get_attribute("title")
    assert title is not None
    assert title.splitlines()[:4] == [r"'\n'", "log-probability: -2", "reward: not scored", "advantage: -1"]
    rows = [row.inner_text() for row in page.locator("section").first.locator("table").first.locator("tr").all()]
    assert any(re.search(r"reward\s+not scored\s+sum of its tokens; 1 of 5 not scored", row) for row in rows)
    assert any(re.search(r"term Sense\s+\+0\.25\s+of the whole answer", row) for row in rows)
    assert page.get_by_text("Steps", exact=True).count() == 1, "only the answer that has several"
    page.get_by_text("Every token's numbers").first.click()
    numbers = page.locator("details table").first.inner_text()
    assert "stage Clip/in" in numbers
    assert "+5.5" in numbers
    assert "stage Once/in: +3" in page.locator("details").first.inner_text()


def test_the_choice_is_made_with_the_keyboard_and_nothing_overflows(page):
    page.get_by_label("advantage", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    assert page.get_by_label("reward", exact=True).is_checked()
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth <= 360")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_every_colour(page, scheme):
    """At least 4.5 to 1 (WCAG AA) on the strongest shades, in both themes."""
    page.emulate_media(color_scheme=scheme)
    for name in ("advantage", "reward", "log-probability"):
        choose(page, name)
        for token in page.locator(".tokens .t").all():
            ink, ground = token.evaluate("e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]")
            if not ground.startswith("rgba(0, 0, 0, 0"):
                assert contrast(parsed(ink), parsed(ground)) >= 4.5, (name, ink, ground)


def parsed(colour: str) -> list[float]:
    """Channels from 0 to 1 of ``rgb(...)`` or ``color(srgb ...)``."""
    numbers = [float(n) for n in re.findall(r"[\d.]+", colour.removeprefix("color(srgb"))][:3]
    return numbers if colour.startswith("color") else [n / 255 for n in numbers]


def contrast(first: list[float], second: list[float]) -> float:
    def luminance(channels: list[float]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_nothing_to_explain_and_blanks_that_can_be_seen(tmp_path):
    with pytest.raises(ValueError, match="no completions"):
        explain_page([])
    assert [visible(t) for t in (" ", "  ", "a b", "\n", " a")] == ["·", "··", "a b", "↵\n", " a"]
    write_explanation([sample(ROWS[1])], tmp_path / "a.html")
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]
