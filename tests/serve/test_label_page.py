"""`guerdon label` in a real browser."""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
from serve.label_work import ROWS, left, moves, now, prefer, stored_answers

from guerdon.cli import main
from guerdon.types import FIRST, SECOND, TIE

NASTY = '<script>window.hacked = true</script><img src=x onerror=hacked()> & "quotes" \x1b[2J \u202e\xff'


def test_the_keyboard_answers_ties_skips_and_undoes(work, tmp_path, capsys, monkeypatch):
    work.serve(rows=ROWS)
    page = work.person("Ada")
    assert "token" not in page.url
    assert "You: 0 of 6" in page.locator(".progress").inner_text()
    prefer(page, "first")
    prefer(page, "second", by="arrow")
    moves(page, lambda: page.keyboard.press("t"))
    moves(page, lambda: page.keyboard.press("s"))
    said = {f"good answer {i}": v for i, v in enumerate((FIRST, SECOND, TIE, None))}
    assert work.labels() == {("person:Ada", text): value for text, value in said.items()}
    moves(page, lambda: page.keyboard.press("u"))
    moves(page, lambda: page.keyboard.press("U"))
    assert "Question 2?" in page.locator(".prompt").inner_text()
    assert set(work.labels()) == {("person:Ada", f"good answer {i}") for i in (0, 1)}
    prefer(page, "first")
    page.get_by_role("button", name="Skip").click()
    for i in (4, 5):
        page.get_by_text(f"Question {i}?").wait_for()
        page.get_by_role("button", name="1 is better" if left(page) == "first" else "2 is better").click()
    page.get_by_text("Nothing is left for you").wait_for()
    assert "You: 6 of 6" in page.locator(".progress").inner_text()
    assert page.said == []

    main(["label", str(work.queue), "--export", str(tmp_path / "pairs.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    labels = {0: "first", 1: "second", 2: "first", 4: "first", 5: "first"}
    expected = [(f"Question {i}?", label, "Ada") for i, label in labels.items()]
    assert [(r["prompt"], r["label"], r["user"]) for r in rows] == expected
    assert "5 labels" in (told := capsys.readouterr().out)
    assert "1 skipped left out" in told
    monkeypatch.setenv("COLUMNS", "200")
    main(["labels", str(work.store().shown)])
    told = capsys.readouterr().out
    assert told.count("person:Ada") > 6, "in the table, and with each answer"
    assert "skipped" in told


def test_keys_do_nothing_while_one_types_holds_them_down_or_has_turned_them_off(work):
    work.serve(rows=ROWS)
    page = work.person("Ada")
    page.keyboard.press("Control+1")
    page.evaluate("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '1', repeat: true, bubbles: true}))")
    page.get_by_label("Keys").uncheck()
    page.keyboard.press("2")
    page.get_by_label("Keys").check()
    moves(page, lambda: page.keyboard.press("t"))
    assert len(work.labels()) == 1


def test_two_people_at_once_never_get_the_same_pair_when_one_label_is_wanted(work):
    work.serve(rows=ROWS)
    ada, bo = work.person("Ada"), work.person("Bo")
    seen: Counter[str] = Counter()
    for _ in range(3):
        assert now(ada) != now(bo)
        seen.update([now(ada), now(bo)])
        prefer(ada, "first")
        prefer(bo, "second")
    assert set(seen.values()) == {1}
    assert len(work.labels()) == 6
    for page in (ada, bo):
        page.get_by_text("Nothing is left for you").wait_for()


def test_who_waits_for_others_is_given_what_they_give_back(work):
    work.serve(rows=ROWS[:1])
    ada, bo = work.person("Ada"), work.person("Bo")
    bo.get_by_text("Others have the last pairs").wait_for()
    ada.get_by_role("button", name="Sign out Ada").click()
    ada.get_by_label("Token").wait_for()
    bo.get_by_text("Question 0?").wait_for()
    prefer(bo, "first")
    assert set(work.labels()) == {("person:Bo", "good answer 0")}


def test_each_pair_by_two_people_and_how_far_they_agree(work):
    server = work.serve("--each", "2", rows=ROWS)
    ada, bo = work.person("Ada"), work.person("Bo <b>")
    for page, most in [(ada, 3), (bo, 4)] * 6:
        number = int(re.search(r"Question (\d)", page.locator(".prompt").inner_text())[1])  # type: ignore[index]
        prefer(page, "first" if number < most else "second")
    ada.goto(f"{server.url}/agreement")
    table = ada.locator("table").nth(1).inner_text()
    assert re.search(r"Ada\s+Bo <b>\s+6\s+83%\s+0\.67", table)  # p_o 5/6, p_e 1/2: (5/6 - 1/2) / (1/2)
    assert "0.66" in ada.locator("section").first.inner_text()  # Fleiss: p_e = (7/12)^2 + (5/12)^2
    orders = set(stored_answers(work))
    assert len(orders) == 12
    swapped = {who: [s for w, _, s in orders if w == who] for who, _, _ in orders}
    assert any(0 < sum(values) < 6 for values in swapped.values()), "left and right are drawn"


def test_what_scores_can_hardly_tell_apart_is_asked_first(work):
    scores = [[0, 3], [2, 2], [1, 1.1], [5, 0]]
    work.serve(rows=[row | {"scores": found} for row, found in zip(ROWS, scores, strict=False)])
    page, asked = work.person("Ada"), []
    while now(page):
        asked.append(page.locator(".prompt pre").inner_text())
        moves(page, lambda: page.keyboard.press("s"))
    assert asked == [f"Question {i}?" for i in (1, 2, 0, 3)]


def test_texts_are_texts_whatever_they_hold(work):
    nasty = NASTY + "</pre></script><svg onload=hacked()>"
    work.serve("--question", NASTY, rows=[{"prompt": nasty, "first": "\n" + nasty, "second": '{{ 7 * 7 }} &amp; "'}])
    page = work.person("<img src=x onerror=hacked()>")
    shown = page.locator("pre").all_inner_texts()
    spelled = nasty.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert shown[0] == spelled
    assert {text.strip() for text in shown[1:]} == {spelled, '{{ 7 * 7 }} &amp; "'}
    assert page.locator("h1").inner_text().startswith("<script>")
    assert page.evaluate("window.hacked") is None
    assert page.locator("#work :is(script, img, svg)").count() == 0
    moves(page, lambda: page.keyboard.press("t"))
    page.goto(f"{work.server.url}/agreement")
    assert "<img src=x" in page.locator("table").first.inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.said == []


def test_recordings_play_side_by_side(work, tmp_path):
    clear = "\x1b[2J\x1b[H"
    lines = [{"version": 2, "width": 80, "height": 24}]
    lines += [[i / 10, "o", f"{clear}\x1b[1;31mframe\x1b[0m {i} {NASTY[:30]}"] for i in range(5)]
    (tmp_path / "game.cast").write_text("\n".join(map(json.dumps, lines)))
    frames = np.zeros((4, 8, 8, 3), np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None, None] * 60
    np.savez(tmp_path / "game.npz", frames=frames, fps=10.0)
    rows = [{"first_file": "game.cast", "second_file": "game.npz"}]
    work.serve(rows=rows)
    page = work.person("Ada")
    page.locator(".transport").wait_for()
    page.locator("#at").evaluate("e => { e.value = 1000; e.dispatchEvent(new Event('input')); }")
    assert page.locator(".screen div").first.inner_text().startswith("frame 4 <script>")
    assert page.locator(".screen .i1.bold").inner_text() == "frame"
    last = page.locator(".replay img").get_attribute("src")
    page.locator("#at").evaluate("e => { e.value = 0; e.dispatchEvent(new Event('input')); }")
    assert page.locator(".screen div").first.inner_text().startswith("frame 0")
    assert page.locator(".replay img").get_attribute("src") != last
    page.keyboard.press("p")  # plays to its end by itself
    page.wait_for_function("() => document.querySelector('.screen div').innerText.startsWith('frame 4')")
    assert page.evaluate("window.hacked") is None
    prefer(page, "first")
    (row,) = work.store().rows()
    assert [text.split()[0] for text in row.label.item] == ["game.cast", "game.npz"]
    assert page.said == []


def test_it_fits_a_narrow_window_in_either_theme(work):
    rows = [{"prompt": "x" * 300, "first": "word " * 300, "second": "w" * 900}]
    work.serve(rows=rows)
    page = work.person("A" * 40)
    colours = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (320, 700, 1200):
            page.set_viewport_size({"width": width, "height": 700})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.get_by_role("button", name="1 is better").is_visible()
        colours.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
