import asyncio
import pickle
import socket

import pytest
from judges.model_server import ModelServer, caption, completion, label, serving

from guerdon.judges import JudgeMisconfigured, JudgeUnavailable, OpenAICompatibleJudge
from guerdon.types import FIRST, SECOND, TIE, Label

KILL, WALL = "You kill the newt!", "It's a wall."


@pytest.fixture
def server():
    with serving() as model:
        yield model


def make(server: ModelServer, **options) -> OpenAICompatibleJudge:
    return OpenAICompatibleJudge(**({"url": server.url, "model": "tiny", "backoff": 0.001, "timeout": 10} | options))


def ask(judge, *items) -> list[Label]:
    return asyncio.run(judge.judge(items))


def outcome(judge, *items) -> list[tuple]:
    return [(row.value, row.reason) for row in ask(judge, *items)]


def test_captions_and_pairs_in_one_call(server):
    judge = make(server)
    items = [KILL, WALL, (KILL, WALL), (WALL, KILL), (KILL, "You kill the rat!")]
    rows = ask(judge, *items)
    assert [row.value for row in rows] == [1.0, 0.0, FIRST, SECOND, TIE]
    assert [row.item for row in rows] == items
    assert all((row.reason, row.judge, row.prompt) == (None, "tiny", judge.prompt) for row in rows)
    assert judge.counters() == {
        "calls": 5, "retries": 0, "answered": 5, "unparseable": 0, "failures": 0,
        "prompt_tokens": 500, "completion_tokens": 50, "cost": 0,
    }  # fmt: skip


def test_what_is_asked(server):
    judge = make(server, temperature=0.3, max_tokens=77, extra={"top_p": 0.9})
    ask(judge, KILL)
    (body,) = server.requests
    assert {k: v for k, v in body.items() if k != "messages"} == {
        "model": "tiny", "temperature": 0.3, "max_tokens": 77, "top_p": 0.9
    }  # fmt: skip
    assert [turn["role"] for turn in body["messages"]] == ["system", "user"]
    assert caption(body) == KILL


def test_no_call_where_none_is_needed(server):
    judge = make(server)
    assert outcome(judge, "", (KILL, KILL), ("", "")) == [(0.0, None), (TIE, None), (TIE, None)]
    assert outcome(judge) == []
    assert server.requests == []


def test_an_unparseable_reply_is_asked_for_once_more(server):
    server.script = lambda body, number: completion("FOO, I think") if number == 0 else label(body)
    judge = make(server)
    assert outcome(judge, KILL) == [(1.0, None)]
    assert len(server.requests) == 2
    assert judge.counters()["unparseable"] == 0


def test_and_then_is_no_label(server):
    server.script = lambda body, number: completion("FOO") if caption(body) == KILL else label(body)
    judge = make(server)
    assert outcome(judge, KILL, WALL) == [(None, "unparseable"), (0.0, None)]
    assert len(server.requests) == 3
    assert judge.counters()["unparseable"] == judge.counters()["failures"] == 1
    assert judge.counters()["answered"] == judge.counters()["calls"] == 3
    assert judge.counters()["completion_tokens"] == 30


@pytest.mark.parametrize(
    "reply", [completion(None, message={"refusal": "I will not."}), completion("", finish_reason="content_filter")]
)
def test_a_refusal_is_a_reason_and_not_asked_for_again(server, reply):
    server.script = lambda body, number: reply
    assert outcome(make(server), KILL) == [(None, "refused")]
    assert len(server.requests) == 1


def test_a_reply_without_text(server):
    server.script = lambda body, number: completion(None)
    assert outcome(make(server), KILL) == [(None, "unparseable")]


TROUBLES = {
    "429": (429, {}, b"slow down"),
    "429, retry after a date that has passed": (429, {"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, b""),
    "500": (500, {}, b"<html>oops</html>"),
    "503": (503, {"Retry-After": "0"}, b""),
    "half a JSON": (200, {}, completion("<label>FOO</label>")[2][:40]),
    "less than promised": (200, {"Content-Length": "5000"}, b'{"choices": '),
    "nothing": None,
    "an empty body": (200, {}, b""),
    "another schema": (200, {}, b'{"error": {"message": "overloaded"}}'),
    "no choice": (200, {}, b'{"choices": []}'),
    "a list": (200, {}, b"[1, 2]"),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_passing_trouble_is_outlived(server, trouble):
    def script(body, number):
        if number < 2:
            if trouble and trouble[1].get("Content-Length"):
                return trouble[0], trouble[1] | {"Connection": "close"}, trouble[2]
            return trouble
        return label(body)

    server.script = script
    judge = make(server, timeout=1.0 if trouble and trouble[1].get("Content-Length") else 10)
    assert outcome(judge, KILL) == [(1.0, None)]
    counts = judge.counters()
    assert (counts["calls"], counts["retries"], counts["answered"], counts["failures"]) == (3, 2, 1, 0)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [(TROUBLES["500"], "http 500"), (TROUBLES["half a JSON"], "malformed"), (TROUBLES["another schema"], "malformed"),
     (TROUBLES["429"], "unavailable"), (None, "unavailable"), ((400, {}, b"too long"), "http 400")],
)  # fmt: skip
def test_lasting_trouble_with_one_item_is_only_that_items_reason(server, trouble, reason):
    server.script = lambda body, number: trouble if caption(body) == KILL else label(body)
    judge = make(server, retries=2, concurrency=1)
    assert outcome(judge, WALL, KILL, "You kill the rat!") == [(0.0, None), (None, reason), (1.0, None)]
    assert judge.counters()["failures"] == 1
    assert judge.counters()["retries"] == (0 if reason == "http 400" else 2)


def test_an_answer_after_the_time_out_is_asked_for_again(server):
    server.gate.clear()
    judge = make(server, timeout=0.2, retries=50)

    async def asked_again_before_the_gate_opens():
        task = asyncio.create_task(judge.judge([KILL]))
        await asyncio.to_thread(lambda: [server.crowd.acquire() for _ in range(2)])
        server.gate.set()
        return await task

    (row,) = asyncio.run(asked_again_before_the_gate_opens())
    assert row.value == 1.0
    assert judge.counters()["retries"] >= 1


def test_a_server_that_never_answers_is_down(server):
    server.gate.clear()
    with pytest.raises(JudgeUnavailable, match=r"no answer in 0.5 s"):
        ask(make(server, timeout=0.5, retries=1, concurrency=1), KILL, WALL)
    assert len(server.requests) == 2  # the second item was not tried as well


@pytest.mark.parametrize("trouble", [TROUBLES["500"], TROUBLES["429"], TROUBLES["half a JSON"], None])
def test_a_server_that_answers_nothing_right_is_down(server, trouble):
    server.script = lambda body, number: trouble
    with pytest.raises(JudgeUnavailable, match=server.url):
        ask(make(server, retries=1), KILL, WALL)


def test_nobody_there_and_back_again():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        judge = OpenAICompatibleJudge(
            url=f"http://127.0.0.1:{closed.getsockname()[1]}/v1", model="tiny", backoff=0.001, retries=2, concurrency=2
        )
        with pytest.raises(JudgeUnavailable, match="cannot be reached"):
            ask(judge, *(f"caption {i}" for i in range(50)))
    assert judge.counters()["calls"] <= 2 * 3, "every item tried a server that is down"
    with serving() as server:
        judge.url = server.url
        judge.__dict__.pop("_server")
        assert outcome(judge, KILL) == [(1.0, None)]


@pytest.mark.parametrize(
    ("reply", "message"),
    [((401, {}, b"who?"), "api_key_env"), ((403, {}, b""), "api_key_env"),
     ((404, {}, b"no model tiny"), "no model tiny"),
     ((301, {"Location": "/x"}, b""), "url"), ((400, {}, b"unknown field top_k"), "unknown field top_k")],
)  # fmt: skip
def test_what_will_not_go_away_is_said_at_once(server, reply, message):
    server.script = lambda body, number: reply
    with pytest.raises(JudgeMisconfigured, match=message):
        ask(make(server), KILL, WALL)
    assert len(server.requests) <= 2


def test_a_wrong_path_is_said(server):
    with pytest.raises(JudgeMisconfigured, match="ends in /v1"):
        ask(make(server, url=server.url.removesuffix("/v1")), KILL)


def test_requests_at_once_are_bounded_and_used(server):
    server.gate.clear()
    judge = make(server, concurrency=5)

    async def two_calls_at_the_same_time():
        calls = [asyncio.create_task(judge.judge([f"caption {c} {i}" for i in range(20)])) for c in range(2)]
        await asyncio.to_thread(lambda: [server.crowd.acquire() for _ in range(5)])
        server.gate.set()
        return await asyncio.gather(*calls)

    rows = asyncio.run(two_calls_at_the_same_time())
    assert [len(r) for r in rows] == [20, 20]
    assert len(server.requests) == 40
    assert server.most_at_once == 5


def test_tokens_and_cost_are_counted(server):
    server.script = lambda body, number: completion("<label>FOO</label>", prompt_tokens=1500, completion_tokens=200)
    judge = make(server, price_per_million_prompt_tokens=2.0, price_per_million_completion_tokens=10.0)
    ask(judge, KILL, WALL)
    assert judge.counters()["prompt_tokens"] == 3000
    assert judge.counters()["completion_tokens"] == 400
    assert judge.counters()["cost"] == pytest.approx(0.006 + 0.004)


def logprobs(**shares: float):
    import math

    tokens = [{"token": t.replace("_", " "), "logprob": math.log(p)} for t, p in shares.items()]
    return completion(None, logprobs={"content": [{"token": "x", "logprob": -1.0, "top_logprobs": tokens}]})


def test_the_log_probability_route(server):
    judge = make(server, route="logprobs")
    server.script = lambda body, number: (
        logprobs(FOO=0.6, _F=0.12, BAR=0.18, The=0.1) if "<message>" in body["messages"][1]["content"]
        else logprobs(**{"1": 0.2, "2": 0.5, "None": 0.3})
    )  # fmt: skip
    rows = ask(judge, KILL, (KILL, WALL))
    assert rows[0].value == pytest.approx(0.8)
    assert rows[1].value == SECOND
    for body in server.requests:
        assert (body["max_tokens"], body["logprobs"], body["top_logprobs"]) == (1, True, 20)
    assert judge.prompt != make(server).prompt


def test_log_probabilities_of_other_words_are_no_label_and_not_asked_for_again(server):
    server.script = lambda body, number: logprobs(The=0.9, I=0.1)
    assert outcome(make(server, route="logprobs"), KILL) == [(None, "unparseable")]
    server.script = lambda body, number: completion("", logprobs={"content": []})
    assert outcome(make(server, route="logprobs"), KILL) == [(None, "unparseable")]
    assert len(server.requests) == 2


def test_a_server_without_log_probabilities_is_named(server):
    server.script = lambda body, number: completion("FOO", logprobs=None)
    with pytest.raises(JudgeMisconfigured, match="choose route='chat'"):
        ask(make(server, route="logprobs"), KILL)


def test_the_key_is_sent_and_shown_nowhere(server, monkeypatch):
    monkeypatch.setenv("GUERDON_TEST_KEY", "sk-very-secret")
    judge = make(server, api_key_env="GUERDON_TEST_KEY")
    ask(judge, KILL)
    assert server.headers[0]["Authorization"] == "Bearer sk-very-secret"
    assert "sk-very" not in repr(judge) + repr(judge._server) + repr(judge.counters())
    assert b"sk-very" not in pickle.dumps(judge)
    server.script = lambda body, number: (401, {}, b"wrong key")
    with pytest.raises(JudgeMisconfigured) as caught:
        ask(judge, KILL)
    assert "sk-very" not in repr(caught.value)


def test_without_a_key_none_is_sent(server, monkeypatch):
    monkeypatch.delenv("GUERDON_TEST_KEY", raising=False)
    ask(make(server, api_key_env="GUERDON_TEST_KEY"), KILL)
    assert "Authorization" not in server.headers[0]


def test_pickles_before_and_after_use(server):
    judge = make(server)
    ask(judge, KILL)
    again = pickle.loads(pickle.dumps(judge))
    assert repr(again) == repr(judge) == repr(eval(repr(judge)))
    assert outcome(again, KILL) == [(1.0, None)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "localhost:8000/v1"}, "http://"),
        ({"url": "https://me:secret@host/v1"}, "api_key_env"),
        ({"route": "logprob"}, "did you mean 'logprobs'"),
        ({"concurrency": 0}, "concurrency"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        OpenAICompatibleJudge(**({"url": "http://host/v1", "model": "tiny"} | options))
