"""Draws the labelling page: ``python docs/draw_label.py [QUEUE] -> docs/img/label.png``.

Chromium shows what `guerdon label` serves for two answers, or for the first pair of a queue (see its --make).
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

from guerdon.judges.answers import Answers
from guerdon.judges.store import LabelStore
from guerdon.serve.label_app import LabelApp
from guerdon.serve.label_queue import LabelQueue

EXAMPLE = {
    "prompt": "A shop sells pens at 3 for 2 euros. How much are 12 pens?",
    "first": "12 pens are 12 / 3 = 4 packs of three.\nEach pack is 2 euros, so 4 * 2 = 8.\nThe answer is 8 euros.",
    "second": "Each pen costs 3 / 2 = 1.50 euros.\n12 * 1.50 = 18.\nThe answer is 18 euros.",
}


def draw(queue: Path, store: Path) -> Image.Image:
    """The page with the first pair of a queue."""
    answers = Answers(LabelStore(store), "Which is better?")
    config = uvicorn.Config(LabelApp(LabelQueue(queue), answers, token="picture").app, port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 640}, reduced_motion="reduce")
        page.goto(f"http://127.0.0.1:{port}/?token=picture")
        page.get_by_label("Your name").fill("Ada")
        page.get_by_role("button", name="Sign in").click()
        page.locator(".transport:visible, pre").last.wait_for()
        if page.locator("#at").count():
            page.locator("#at").evaluate("e => { e.value = 700; e.dispatchEvent(new Event('input')); }")
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        picture.load()
        browser.close()
    server.should_exit = True
    thread.join()
    return picture


def main() -> None:
    out = Path(__file__).parent / "img" / "label.png"
    with tempfile.TemporaryDirectory() as name:
        queue = Path(sys.argv[1]) if sys.argv[1:] else Path(name) / "queue.jsonl"
        if not sys.argv[1:]:
            queue.write_text(json.dumps(EXAMPLE) + "\n")
        draw(queue, Path(name) / "labels.sqlite").convert("RGB").quantize(64).save(out, optimize=True)
    print(out)


if __name__ == "__main__":
    main()
