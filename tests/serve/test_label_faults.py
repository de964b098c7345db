"""`guerdon label` when servers are killed, replies are lost, recordings are gone, and visitors have no token."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from PIL import Image
from serve.label_work import ROWS, left, now, prefer, stored_answers
from serve.reward_process import RewardProcess

from guerdon.types import FIRST, SECOND, TIE


class LabelCommand(RewardProcess):
    """The command itself."""

    command, announces = "label", "open "


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
    assert len(stored_answers(work)) == 3


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
    assert len(stored_answers(work)) == 6


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
    assert len(stored_answers(work)) == 1


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
    assert len(stored_answers(work)) == 60


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
