"""What a reward server meets: scorers that fail, too much at once, rubbish, and its own end."""

import asyncio
import collections
import signal
import socket
import threading
import time

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from serve.reward_process import RewardProcess

from guerdon.models.reward_client import RewardClient
from guerdon.parts.http_client import NoAnswer, Refused


def row(completion, prompt="p"):
    return {"prompt": str(prompt), "completion": completion}


@pytest.fixture(scope="module")
def server():
    limits = ("--max-items", "8", "--max-characters", "100", "--max-megabytes", "0.01")
    with RewardProcess("scorers:odd", "--timeout", "0.5", *limits) as running:
        yield running
        assert running.process.poll() is None, "the server has crashed"


def asked(path):
    """Waits until the scorer `until` has been asked about `path`."""
    while not path.with_suffix(".asked").exists():
        time.sleep(0.01)


def listens(running):
    """Whether somebody still takes connections."""
    try:
        socket.create_connection(("127.0.0.1", running.port)).close()
    except OSError:
        return False
    return True


def in_background(call):
    """What `call` returns, later."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(call()))
    thread.start()
    return lambda: (thread.join(), answers[0])[1]


def test_every_fault_of_a_scorer_is_named_and_none_is_a_number(server):
    faults = {"raise": "raised", "exit": "raised", "hang": "timeout", "nan": "not scored", "text": "not a number",
              "inf": "not finite"}  # fmt: skip
    scores = server.post("/rewards", {"rows": [row(c) for c in ["a", *faults]]}).json()["scores"]
    assert [s["value"] for s in scores] == [1.0] + [None] * len(faults)
    assert [s["reason"] for s in scores[1:]] == list(faults.values())


def test_too_few_values_are_no_values():
    with RewardProcess("scorers:many") as running:
        scores = running.post("/rewards", {"rows": [row("a", 1), row("drop", 2), row("a", 3)]}).json()["scores"]
    assert [(s["value"], s["reason"]) for s in scores] == [(1.0, None), (None, "wrong count"), (1.0, None)]


def test_scorers_that_die_are_replaced():
    with RewardProcess("scorers:odd", "--workers", "2") as running:
        scores = running.post("/rewards", {"rows": [row("die"), row("a"), row("die"), row("a")]}).json()["scores"]
        assert [s["reason"] for s in scores] == ["worker died", None] * 2


@pytest.mark.parametrize(
    ("body", "limit"),
    [({"rows": [row("a")] * 9}, "9 rows are more than 8"),
     ({"rows": [row("a"), row("a" * 100)]}, "row 1 has 101 characters"),
     ({"rows": [row("a" * 20_000)]}, "larger than 10485 bytes")],
)  # fmt: skip
def test_more_than_the_limits_is_refused_with_the_limit(server, body, limit):
    reply = server.post("/rewards", body)
    assert (reply.status_code, reply.json()["error"]["type"]) == (413, "too_large")
    assert limit in reply.json()["error"]["message"]


def test_a_body_without_a_length_is_bounded_too(server):
    def drips():
        for _ in range(200):
            yield b" " * 1000

    reply = httpx.post(f"{server.url}/rewards", content=drips(), headers={"content-type": "application/json"})
    assert reply.status_code == 413


def test_tokens_are_limited(tmp_path):
    from guerdon.models.tiny_model import tiny_model

    model = tiny_model()
    model.module.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    with RewardProcess("text_rewards:Answer()", "--model", str(tmp_path), "--max-tokens", "10") as running:
        rows = [row("a" * 5) | {"answer": "a"}, row("a" * 30) | {"answer": "a"}]
        reply = running.post("/rewards", {"rows": rows})
        assert reply.status_code == 413
        assert "row 1 has" in reply.json()["error"]["message"]
        assert "tokens, the limit of this server is 10" in reply.json()["error"]["message"]
        assert running.post("/rewards", {"rows": rows[:1]}).json()["scores"][0]["value"] == 0.0


def test_a_full_queue_asks_to_come_back(tmp_path):
    gate = tmp_path / "gate"
    with RewardProcess("scorers:until", "--queue", "4", "--concurrency", "2") as running:
        first = in_background(lambda: running.post("/rewards", {"rows": [row("abc", gate)] * 4}))
        asked(gate)
        refused = running.post("/rewards", {"rows": [row("abc", gate)]})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert "4 rows are waiting, 4 may" in refused.json()["error"]["message"]
        client = RewardClient(url=running.url)
        patient = in_background(lambda: client.score_now([row("ab", gate)]))
        while not client.counts["retries"]:
            time.sleep(0.01)
        gate.touch()
        assert [s["value"] for s in first().json()["scores"]] == [3.0] * 4
        assert [s.value for s in patient()] == [2.0]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_is_finished_and_nothing_new_is_begun(tmp_path, how):
    gate = tmp_path / "gate"
    with RewardProcess("scorers:until") as running:
        answer = in_background(lambda: running.post("/rewards", {"rows": [row("abc", gate)]}))
        asked(gate)
        running.process.send_signal(how)
        while listens(running):
            time.sleep(0.01)
        gate.touch()
        assert answer().json()["scores"][0]["value"] == 3.0
        assert running.stop() == 0
        assert running.said[-1] == "stopped: 1 rows scored, 0 left out, 0 failed\n"


def test_a_scorer_that_hangs_does_not_keep_a_server_alive(tmp_path):
    with RewardProcess("scorers:until", "--grace", "1", "--timeout", "1000") as running:
        in_background(lambda: running.try_post("/rewards", {"rows": [row("a", tmp_path / "no")]}))
        asked(tmp_path / "no")
        assert running.stop() == 0


def test_a_server_that_goes_and_comes_back_costs_a_step_nothing(tmp_path):
    gate = tmp_path / "gate"
    first = RewardProcess("scorers:until")
    with first:
        client = RewardClient(url=first.url, batch=2)
        step = in_background(lambda: client.score_now([row("a" * i, gate if i < 4 else gate.parent) for i in range(8)]))
        asked(gate)
        first.stop(signal.SIGKILL)
    while not client.counts["retries"]:
        time.sleep(0.01)
    gate.touch()
    with RewardProcess("scorers:until", port=first.port):
        assert [s.value for s in step()] == [float(i) for i in range(8)]


def test_a_client_gives_up_on_what_will_not_be(server):
    with pytest.raises(NoAnswer, match="9 rows are more than 8"):
        RewardClient(url=server.url).score_now([row("a")] * 9)
    assert len(RewardClient(url=server.url, batch=4).score_now([row("a", i) for i in range(9)])) == 9
    with pytest.raises(NoAnswer, match="cannot be reached"):
        RewardClient(url="http://127.0.0.1:9", retries=0).score_now([row("a")])
    with pytest.raises(Refused, match="404"):
        RewardClient(url=f"{server.url}/v1").score_now([row("a")])
    with pytest.raises(TypeError, match="not JSON serializable"):
        RewardClient(url=server.url).score_now([row("a") | {"answer": object()}])


def test_a_client_can_be_a_scorer_itself(server):
    from guerdon.parts.concurrent_scoring import Scoring

    with Scoring(RewardClient(url=server.url), batch=8) as scoring:
        values = [s.value for s in scoring.score_now([row(c, i) for i, c in enumerate(["a", "nan", "a"])])]
    assert values == [1.0, None, 1.0]


def test_a_thousand_malformed_requests(server):
    """Made from the server's own schema: no crash, no 500, and nothing that is malformed is scored."""
    schema = schemathesis.openapi.from_dict(server.get("/openapi.json").json())
    schema.config.update(base_url=server.url)
    counts = collections.Counter()

    def storm(operation, mode):
        @hypothesis.settings(max_examples=150, database=None, suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            reply = case.call()
            assert reply.status_code < 500 or reply.status_code == 502
            assert reply.status_code >= 400 or mode is not schemathesis.GenerationMode.NEGATIVE, case.body
            counts[reply.status_code] += 1

        check()

    for operation in (o.ok() for o in schema.get_all_operations()):
        if operation.method.upper() == "POST":
            for mode in (schemathesis.GenerationMode.NEGATIVE, schemathesis.GenerationMode.POSITIVE):
                storm(operation, mode)
    assert sum(counts.values()) >= 1000
    assert counts[422] >= 500


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def test_rows_of_anything_have_as_many_outcomes(server):
    @hypothesis.settings(max_examples=300, database=None)
    @hypothesis.given(
        st.lists(st.fixed_dictionaries({"prompt": JUNK, "completion": JUNK}, optional={"answer": JUNK}), max_size=4)
    )
    def check(rows):
        reply = server.post("/rewards", {"rows": rows}) if _finite(rows) else None
        if reply is None:
            return
        assert reply.status_code in (200, 413, 422)
        if reply.status_code == 200:
            assert len(reply.json()["scores"]) == len(rows)

    check()


def _finite(value):
    try:
        httpx.Request("POST", "http://x", json=value)
    except ValueError:
        return False
    return True


def test_many_at_once_each_get_their_own(server):
    async def ask():
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:
            bodies = [{"rows": [row("nan" if i % 3 == 0 else "a", i)]} for i in range(200)]
            return await asyncio.gather(*(client.post(f"{server.url}/rewards", json=b) for b in bodies))

    values = [r.json()["scores"][0]["value"] for r in asyncio.run(ask())]
    assert values == [None if i % 3 == 0 else 1.0 for i in range(200)]
