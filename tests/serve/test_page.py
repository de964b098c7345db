"""The report in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guerdon.serve import write_report


@pytest.fixture
def page(browser, three_arms, tmp_path) -> Iterator[Any]:
    """The report of three arms, with all that the page says or asks for kept in `page.said` and `page.asked`."""
    path = write_report(three_arms, tmp_path / "report.html")
    page = browser.new_page()
    page.said, page.asked = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    page.close()


def test_loads_by_itself_without_a_complaint(page):
    page.wait_for_load_state("networkidle")
    assert page.said == []
    assert [url for url in page.asked if not url.startswith("data:")] == [page.url]


def test_every_chart_has_a_line_an_arm_and_answers_the_pointer(page):
    figures = page.locator("figure[data-chart]")
    assert figures.count() > 6
    assert figures.first.locator("path.mean").count() == 3
    assert figures.first.locator("path.band").count() == 3
    assert figures.first.locator("path.seed").count() == 9
    figures.first.locator("svg").hover()
    tip = figures.first.locator(".tip")
    assert tip.is_visible()
    assert "random labels" in tip.inner_text()


def test_markup_in_a_caption_is_inert(page):
    assert page.evaluate("window.hacked") is None
    assert page.locator("main script, main img").count() == 0
    cell = page.locator("td.text", has_text="window.hacked").first
    assert "<script>window.hacked = true</script>" in cell.inner_text()
    assert r"\x1b[2J \u202eÿ" in cell.inner_text()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hangs_over_the_edge(page, width, scheme, tmp_path: Path):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert len(page.screenshot(path=tmp_path / "page.png", full_page=True)) > 20_000


def test_the_button_changes_the_colours(page):
    page.emulate_media(color_scheme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(colour)
    page.get_by_role("button").click()
    assert page.evaluate(colour) != before
