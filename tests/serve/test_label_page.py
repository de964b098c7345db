"""`guerdon label` in a real browser, with the server in a process of its own."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image
from serve.label_process import LabelProcess
from serve.reward_process import RewardProcess

from guerdon.cli import main
from guerdon.judges.store import LabelStore
from guerdon.types import FIRST, SECOND, TIE

NASTY = '<script>window.hacked = true</script><img src=x onerror=hacked()> & "quotes" \x1b[2J \u202e\xff'
ROWS = [{"prompt": f"Question {i}?", "first": f"good answer {i}", "second": f"bad answer {i}"} for i in range(6)]


class LabelCommand(RewardProcess):
    """The command itself."""

    command, announces = "label", "open "


class Work:
    """A queue, its store, and people at work on it."""

    def __init__(self, folder: Path, browser: Any) -> None:
        self.queue, self.browser = folder / "queue.jsonl", browser
        self.server: LabelProcess | None = None
        self.contexts: list[Any] = []

    def serve(self, *words: str, rows: list[dict[str, Any]] | None = None, port: int = 0) -> LabelProcess:
        if rows is not None:
            self.queue.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.server = LabelProcess(str(self.queue), *words, port=port)
        return self.server

    def person(self, name: str) -> Any:
        """A page of a browser of its own, signed in; `page.said` is what it complained about."""
        assert self.server is not None
        context = self.browser.new_context()
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.said = []
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("console", lambda m: page.said.append(m.text) if "Security Policy" in m.text else None)
        page.goto(f"{self.server.url}/?token={self.server.token}")
        page.get_by_label("Your name").fill(name)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_selector("#state")
        return page

    def store(self) -> LabelStore:
        return LabelStore(self.queue.with_name("queue.jsonl.labels.sqlite"))

    def labels(self) -> dict[tuple[str, str], float | None]:
        """(who, the first text's last line) -> what was said."""
        rows = self.store().rows(prompt="Which is better?")
        return {(r.label.judge, r.label.item[0].split("\n")[-1]): r.label.value for r in rows}

    def close(self) -> None:
        for context in self.contexts:
            context.close()
        if self.server is not None:
            self.server.stop()


@pytest.fixture
def work(tmp_path, browser) -> Iterator[Work]:
    made = Work(tmp_path, browser)
    yield made
    made.close()


def now(page: Any) -> str:
    return page.locator("#state").get_attribute("data-pair")


def left(page: Any) -> str:
    return page.locator("#state").get_attribute("data-left")


def moves(page: Any, act: Callable[[], object]) -> None:
    """Does something and waits until the page shows another pair, or none."""
    before = now(page)
    act()
    page.wait_for_function("before => document.getElementById('state').dataset.pair !== before", arg=before)


def prefer(page: Any, side: str, *, by: str = "digit") -> None:
    """Says that the queue's first or second is better, wherever it stands."""
    on_left = left(page) == side
    keys = {"digit": ("1", "2"), "arrow": ("ArrowLeft", "ArrowRight")}[by]
    moves(page, lambda: page.keyboard.press(keys[0] if on_left else keys[1]))


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
    orders = set(_answers(work))
    assert len(orders) == 12
    swapped = {who: [s for w, _, s in orders if w == who] for who, _, _ in orders}
    assert any(0 < sum(values) < 6 for values in swapped.values()), "left and right are drawn"


def _answers(work: Work) -> list[tuple[int, bytes, bool]]:
    with work.store().engine.connect() as connection:
        query = sa.text("SELECT judge_id, key, swapped FROM guerdon_answer WHERE NOT undone")
        return [(a, bytes(b), bool(c)) for a, b, c in connection.execute(query)]


def test_a_server_killed_and_restarted_in_the_middle_loses_and_doubles_nothing(work):
    server = work.serve(rows=ROWS)
    page = work.person("Ada")
    prefer(page, "first")
    server.stop()
    key = "1" if left(page) == "second" else "2"
    page.keyboard.press(key)
    page.get_by_text("The server does not answer").wait_for()
    assert page.get_by_role("button", name="Tie").is_disabled()
    page.keyboard.press("t")  # nothing more is taken until the answer has been written
    before = now(page)
    work.serve(port=server.port)
    page.wait_for_function("before => document.getElementById('state').dataset.pair !== before", arg=before)
    assert work.labels() == {("person:Ada", "good answer 0"): FIRST, ("person:Ada", "good answer 1"): SECOND}
    assert page.locator("#said").inner_text() == ""
    prefer(page, "first")
    assert len(_answers(work)) == 3


def test_two_people_at_once_and_the_server_killed_under_both_of_them(work):
    server, given = work.serve(rows=ROWS), {}
    pages = {name: work.person(name) for name in ("Ada", "Bo")}
    for turn in range(3):
        if turn:
            server.stop()
        before = {name: now(page) for name, page in pages.items()}
        assert before["Ada"] != before["Bo"]
        for name, page in pages.items():
            question = re.search(r"Question (\d)", page.locator(".prompt").inner_text())[1]  # type: ignore[index]
            side = "first" if name == "Ada" else "second"
            given[f"person:{name}", f"good answer {question}"] = FIRST if name == "Ada" else SECOND
            page.keyboard.press("1" if left(page) == side else "2")
            if turn:
                page.get_by_text("The server does not answer").wait_for()
        if turn:
            server = work.serve(port=server.port)
        for name, page in pages.items():
            moved = "before => document.getElementById('state').dataset.pair !== before"
            page.wait_for_function(moved, arg=before[name])
    assert len(given) == 6
    assert work.labels() == given
    assert len(_answers(work)) == 6


def test_an_answer_outlives_a_page_that_is_closed_while_the_server_is_away(work):
    server = work.serve(rows=ROWS)
    page = work.person("Ada")
    server.stop()
    page.keyboard.press("t")
    page.get_by_text("The server does not answer").wait_for()
    page.close()
    server = work.serve(port=server.port)
    again = work.contexts[0].new_page()
    again.goto(server.url)
    again.get_by_text("You: 1 of 6").wait_for()
    assert work.labels() == {("person:Ada", "good answer 0"): TIE}
    again.reload()
    again.get_by_text("Question 1?").wait_for()
    assert len(_answers(work)) == 1


def test_an_answer_whose_reply_was_lost_counts_once(work):
    """The server is killed after it has written and before the page hears of it."""
    work.serve(rows=ROWS)
    page = work.person("Ada")
    lost = []

    def deliver_and_lose(route: Any) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.fetch().status)
        route.abort()

    page.route("**/answer", deliver_and_lose)
    prefer(page, "second")
    assert lost == [200]
    assert work.labels() == {("person:Ada", "good answer 0"): SECOND}
    with work.store().engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM guerdon_answer")) == 1


def test_many_people_while_the_server_is_killed_again_and_again(work):
    """Four people answer over HTTP through five kills: each pair gets one label, each answer is there once."""
    rows = [{"prompt": "", "first": f"one {i}", "second": f"two {i}"} for i in range(60)]
    server = work.serve(rows=rows)
    port, given, done = server.port, Counter[str](), threading.Event()

    def person(name: str) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            token = server.token
            page = insist(lambda: client.post("/sign-in", data={"token": token, "name": name}, follow_redirects=True))
            csrf = re.search('name="csrf" content="([0-9a-f]+)"', page)[1]  # type: ignore[index]
            number = 0
            while key := re.search('data-pair="([0-9a-f]{32})"', page):
                number += 1
                body = {
                    "answer": f"{number:031d}{ord(name) % 16:x}",
                    "pair": key[1],
                    "choice": "first",
                    "left": "first",
                }
                body |= {"seconds": 0.5}
                page = insist(lambda body=body: client.post("/answer", json=body, headers={"X-CSRF": csrf}))
                given[key[1]] += 1

    def insist(ask: Callable[[], httpx.Response]) -> str:
        while True:
            try:
                reply = ask()
                if reply.status_code == 200:
                    return reply.text
                assert reply.status_code == 503, reply.text
            except httpx.TransportError:
                done.wait(0.02)

    people = [threading.Thread(target=person, args=(name,)) for name in "ABCD"]
    for thread in people:
        thread.start()
    for kill in range(5):
        while given.total() < 10 * (kill + 1) - 5 and any(thread.is_alive() for thread in people):
            done.wait(0.005)
        work.server.stop()
        work.serve(port=port)
    for thread in people:
        thread.join()
    assert len(given) == 60
    assert set(given.values()) == {1}, "no pair was handed to two people"
    assert len(work.labels()) == 60
    assert len(_answers(work)) == 60


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


def test_a_recording_that_is_gone_or_leads_elsewhere_is_not_sent(work, tmp_path):
    inside, outside = tmp_path / "queue", tmp_path / "secret.png"
    inside.mkdir()
    work.queue = inside / "queue.jsonl"
    for path in (inside / "a.png", inside / "b.png", outside):
        Image.new("RGB", (4, 4), "red" if path.name == "a.png" else "blue").save(path)
    work.serve(rows=[{"first_file": "a.png", "second_file": "b.png"}])
    (inside / "a.png").unlink()
    (inside / "a.png").symlink_to(outside)
    page = work.person("Ada")
    page.get_by_text("This recording cannot be shown").wait_for()
    key = now(page)
    assert page.request.get(f"{work.server.url}/replay/{key}/first").status == 404
    assert page.request.get(f"{work.server.url}/replay/{key}/second").ok
    for path in (f"/replay/{'0' * 32}/first", "/replay/..%2f..%2fsecret.png/first", "/../../secret.png"):
        assert page.request.get(work.server.url + path).status == 404


def test_only_those_with_the_token_come_in_and_only_the_page_can_post(work):
    server = work.serve(rows=ROWS)
    assert server.get("/").status_code == 401
    assert server.get("/?token=wrong").status_code == 401
    assert server.get("/?token=%C3%A9").status_code == 401
    assert "Question" not in server.get("/?token=wrong").text
    for path in ("/pair", "/agreement", f"/replay/{'0' * 32}/first"):
        assert server.get(path).status_code == 401
        assert server.get(path, headers={"Authorization": f"Bearer {server.token}"}).status_code == 401
    form = {"token": server.token, "name": "Ada"}
    for bad in ({"token": "wrong"}, {"token": ""}):
        assert httpx.post(server.url + "/sign-in", data=form | bad).status_code == 401
    for name in ("", " ", "a" * 41, "a\x00b", "a\u202eb"):
        assert httpx.post(server.url + "/sign-in", data=form | {"name": name}).status_code == 422
    reply = httpx.post(server.url + "/sign-in", data=form)
    assert reply.status_code == 303
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert server.token not in cookie
    name, _, value = cookie.partition(";")[0].partition("=")
    forged = f"{b'Bo'.hex()}.{value.partition('.')[2]}"
    for wrong in (forged, value[:-1], "", "zz.zz"):
        assert server.get("/pair", cookies={name: wrong}).status_code == 401
    page = server.get("/", cookies={name: value})
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "'unsafe" not in page.headers["content-security-policy"]
    key = re.search('data-pair="([0-9a-f]+)"', page.text)[1]  # type: ignore[index]
    body = {"answer": "0" * 32, "pair": key, "choice": "first", "left": "first", "seconds": 1.0}
    csrf = {"X-CSRF": re.search('name="csrf" content="([0-9a-f]+)"', page.text)[1]}  # type: ignore[index]

    def post(body: Any, headers: dict[str, str], path: str = "/answer") -> int:
        return httpx.post(server.url + path, json=body, headers=headers, cookies={name: value}).status_code

    assert post(body, {}) == 403
    assert post(body, {"X-CSRF": "0" * 64}) == 403
    assert post({"answer": "0" * 32}, {}, "/undo") == 403
    assert httpx.post(server.url + "/sign-out", cookies={name: value}).status_code == 403
    for change in ({"choice": "both"}, {"answer": "x"}, {"seconds": -1}, {"more": 1}, {"left": None}):
        assert post(body | change, csrf) == 422
    assert post(body | {"pair": "0" * 32}, csrf) == 409
    assert post(body | {"answer": "0" * 20_000}, csrf) == 413
    endless = httpx.post(server.url + "/sign-in", content=(b"name=" + b"a" * 1000 for _ in range(30)))
    assert endless.status_code == 413
    assert work.labels() == {}
    assert post(body, csrf) == 200
    assert len(work.labels()) == 1
    assert Path(f"{work.queue}.token").stat().st_mode & 0o077 == 0


def test_the_command_stops_when_told(tmp_path):
    queue = tmp_path / "queue.jsonl"
    queue.write_text(json.dumps(ROWS[0]))
    with LabelCommand(str(queue), "--token-env", "LABEL_TOKEN", env={"LABEL_TOKEN": "mine"}) as server:
        assert server.query == "token=mine"
        assert server.get("/?token=mine").status_code == 200
        assert server.stop(signal.SIGTERM) == 0
    assert "every answer that was given is in the store" in server.said[-1]


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
