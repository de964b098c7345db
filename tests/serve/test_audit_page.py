"""The audit's page: what it shows, and that nobody's text does anything in it."""

import re

import pytest
from serve.conftest import NASTY

from guerdon.compare.audit import audit
from guerdon.compare.suites import Suite
from guerdon.parts.questions import Question
from guerdon.serve.audit_page import page


def found():
    questions = [
        Question(f"{NASTY} {i}", f"{NASTY}\nprompt {i}", (f"right\n{NASTY}",), (f"wrong {NASTY}" * 9,), NASTY)
        for i in range(12)
    ]
    return audit(Suite("pairs", questions, [f"note {NASTY}"]), [[0.0, float(i)] for i in range(12)])


def test_the_page_holds_scores_findings_and_cases():
    html = page(found(), title="my model", how="scores")
    assert "<h1>my model</h1>" in html
    assert html.count("<details") == 12
    assert html.index("wrong by 11") < html.index("wrong by 10")
    assert "Worse than chance" in html
    assert "likes length" in html


def test_a_perfect_model_has_no_worst_cases():
    questions = [Question(str(i), "?", ("a",), ("b",), "s") for i in range(3)]
    html = page(audit(Suite("pairs", questions), [[1.0, 0.0]] * 3), title="x")
    assert "No wrong answer leads a right one." in html


def test_no_tag_comes_from_a_text():
    html = page(found(), title=NASTY)
    assert not re.findall(r"<(script|img)", html)
    assert "\x1b" not in html
    assert "\u202e" not in html


@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_nothing_runs_and_nothing_hangs_over(browser, tmp_path, width):
    path = tmp_path / "audit.html"
    path.write_text(page(found(), title=NASTY))
    shown = browser.new_page(viewport={"width": width, "height": 900})
    said, asked = [], []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(path.as_uri())
    shown.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert shown.evaluate("window.hacked") is None
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [shown.url]
    shown.close()
