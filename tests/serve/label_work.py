"""People at work on the page of `guerdon label`, each with a browser of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from serve.label_process import LabelProcess

from guerdon.judges.store import LabelStore

ROWS = [{"prompt": f"Question {i}?", "first": f"good answer {i}", "second": f"bad answer {i}"} for i in range(6)]


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


def stored_answers(work: Work) -> list[tuple[int, bytes, bool]]:
    with work.store().engine.connect() as connection:
        query = sa.text("SELECT judge_id, key, swapped FROM guerdon_answer WHERE NOT undone")
        return [(a, bytes(b), bool(c)) for a, b, c in connection.execute(query)]
