"""The annotator with a model server that fails: no label is lost, and what failed for a while is asked again."""

from collections import Counter
from urllib.parse import urlsplit

from judges.model_server import TROUBLE, caption, label, serving
from judges.scripted_judge import eventually

from guerdon.judges import OpenAICompatibleJudge
from guerdon.judges.annotator import Annotator
from guerdon.types import Item, Label

CAPTIONS = [f"You {'kill' if i % 3 == 0 else 'miss'} rat number {i}." for i in range(40)]


def judge_at(url: str, *, retries: int = 1) -> OpenAICompatibleJudge:
    return OpenAICompatibleJudge(url=url, model="tiny", retries=retries, backoff=0.001, timeout=30, concurrency=4)


def collect(annotator: Annotator, found: dict[Item, Label], until: int) -> None:
    def enough() -> bool:
        found.update((row.item, row) for row in annotator.poll())
        return len(found) >= until

    eventually(enough, f"{len(found)} of {until} labels")


def right(found: dict[Item, Label]) -> None:
    assert {item: row.value for item, row in found.items()} == {c: float("kill" in c) for c in CAPTIONS}


def test_a_server_that_fails_twice_at_every_caption(tmp_path):
    times: Counter[str] = Counter()

    def script(body, number):
        times[caption(body)] += 1  # requests about one caption come one after the other
        return TROUBLE[number % len(TROUBLE)] if times[caption(body)] <= 2 else label(body)

    with serving() as server:
        server.script = script
        with Annotator(
            judge_at(server.url, retries=2), store=tmp_path / "labels.sqlite", batch=8, backoff=(0.001, 0.01)
        ) as annotator:
            found: dict[Item, Label] = {}
            annotator.submit(CAPTIONS)
            collect(annotator, found, len(CAPTIONS))
            right(found)
            assert annotator.counters()["retries"] == 2 * len(CAPTIONS)


def test_a_server_that_goes_down_and_comes_back(tmp_path):
    found: dict[Item, Label] = {}
    with serving() as server:
        port = urlsplit(server.url).port
        annotator = Annotator(
            judge_at(server.url), store=tmp_path / "labels.sqlite", batch=4, concurrency=2, backoff=(0.001, 0.05)
        )
        annotator.submit(CAPTIONS[:20])
        collect(annotator, found, 20)
    with annotator:
        annotator.submit(CAPTIONS[20:])
        eventually(lambda: annotator.counters()["judge_down"] >= 3, "nobody noticed that the server is down")
        assert annotator.poll() == []
        with serving(port) as server:
            collect(annotator, found, 40)
            asked = {caption(body) for body in server.requests}
        assert asked == set(CAPTIONS[20:]), "a label was paid for twice"
    right(found)
    with serving() as server, Annotator(judge_at(server.url), store=tmp_path / "labels.sqlite") as again:
        again.submit(CAPTIONS)
        again.drain(60)
        right({row.item: row for row in again.poll()})
        assert server.requests == []
