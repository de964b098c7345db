"""The shapes that the reward server speaks, over a real socket."""

import socket

import httpx
import pytest
from serve.reward_process import RewardProcess

from guerdon.cli import main
from guerdon.models.reward_client import RewardClient

CHAT = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "abc"}]
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def server():
    with RewardProcess("scorers:odd", "--timeout", "0.5", "--trim", "<end>", "--trim", "\n") as running:
        yield running


@pytest.fixture(scope="module")
def rewards():
    with RewardProcess("0.5 * text_rewards:Longer() + text_rewards:Answer()") as running:
        yield running


def test_rows_get_a_value_or_a_reason_and_their_terms(rewards):
    rows = [{"prompt": "p", "completion": c, "answer": "bb"} for c in ("a", "bb")] + [
        {"prompt": "p", "completion": "c"}
    ]
    first, second, third = rewards.post("/rewards", {"rows": rows}).json()["scores"]
    assert first == {"value": 0.0, "reason": None, "detail": "", "terms": {"Longer": 0.0, "Answer": 0.0}}
    assert second == {"value": 1.5, "reason": None, "detail": "", "terms": {"Longer": 0.5, "Answer": 1.0}}
    assert (third["value"], third["reason"], third["terms"]) == (None, "raised", {})
    assert "needs the column 'answer'" in third["detail"]
    assert rewards.post("/rewards", {"rows": []}).json() == {"scores": []}


def test_openrlhf_gets_rewards_scores_and_numbers_to_log(rewards):
    body = {"query": ["<s>p: bb", "<s>p: a"], "prompts": ["p: ", "p: "], "labels": ["bb", "bb"]}
    reply = rewards.post("/get_reward", body).json()
    assert reply == {"rewards": [1.5, 0.0], "scores": [1.5, 0.0],
                     "extra_logs": {"Longer": [0.5, 0.0], "Answer": [1.0, 0.0]}}  # fmt: skip


def test_openrlhf_gets_no_number_that_nobody_gave(server):
    body = {"query": ["p a", "p raise", "p hang", "p nan"], "prompts": ["p "] * 4, "labels": None}
    reply = server.post("/get_reward", body)
    assert reply.status_code == 502
    error = reply.json()["error"]
    assert error["message"].startswith(
        "3 of 4 rows have no score: row 1: raised: LookupError: no such thing; row 2: timeout"
    )
    assert [(item["index"], item["reason"]) for item in error["items"]] == [
        (1, "raised"),
        (2, "timeout"),
        (3, "not scored"),
    ]
    reply = server.post("/get_reward", {**body, "allow_null": True}).json()
    assert reply["rewards"] == reply["scores"] == [1.0, None, None, None]
    assert [r and r.partition(":")[0] for r in reply["extra_logs"]["reason"]] == [
        None,
        "raised",
        "timeout",
        "not scored",
    ]


def test_endings_are_trimmed_where_asked(rewards, server):
    body = {"query": ["q text<end>\n<end>"], "prompts": ["q "]}
    assert server.post("/get_reward", body).status_code == 502, "'text' is what odd answers with a text to"
    kept = rewards.post("/get_reward", {**body, "labels": ["text<end>\n<end>"]}).json()
    assert kept["rewards"] == [1.0], "a server that was not asked to trim does not"


def test_vllm_shapes(server):
    reply = server.post("/pooling", {"model": "m", "messages": CHAT}).json()
    assert (reply["object"], reply["model"]) == ("list", "m")
    assert reply["data"] == [{"index": 0, "object": "pooling", "data": [1.0]}]
    reply = server.post("/pooling", {"input": ["a", "nan"], "use_activation": False, "task": "classify"}).json()
    assert reply["data"][1] == {"index": 1, "object": "pooling", "data": [None], "reason": "not scored: NaN"}
    for names in (("queries", "documents"), ("text_1", "text_2")):
        reply = server.post("/score", dict(zip(names, ("p", ["a", "raise"]), strict=True))).json()
        assert reply["data"][0] == {"index": 0, "object": "score", "score": 1.0}
        assert reply["data"][1]["score"] is None
        assert reply["data"][1]["reason"] == "raised: LookupError: no such thing"


def test_columns_reach_the_reward_in_every_shape(rewards):
    columns = {"answer": ["a", "x"]}
    reply = rewards.post("/score", {"queries": "p", "documents": ["a", "bb"], "columns": columns}).json()
    assert [d["score"] for d in reply["data"]] == [1.0, 0.5]
    reply = rewards.post("/pooling", {"input": ["a", "bb"], "columns": columns}).json()
    assert [d["data"] for d in reply["data"]] == [[1.0], [0.5]]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [("/get_reward", {"query": ["a"], "prompts": []}, "1 query, but 0 prompts"),
     ("/get_reward", {"query": ["a"], "labels": [1, 2]}, "1 query, but 2 answer"),
     ("/get_reward", {"query": ["abc"], "prompts": ["x"]}, "query 0 does not contain its prompt"),
     ("/get_reward", {"queries": ["a"]}, "body.query: Field required"),
     ("/rewards", {"rows": [{"prompt": "p", "completion": "a"}, {"prompt": "p"}]}, 'row 1: "completion" must be'),
     ("/rewards", {"rows": [{"prompt": 1, "completion": "a"}]}, 'row 0: "prompt" must be'),
     ("/rewards", [], "body: Input should be"), ("/rewards", {"rows": [1]}, "body.rows.0"),
     ("/pooling", {}, "either messages or input"),
     ("/pooling", {"input": "a", "messages": CHAT}, "either messages or input"),
     ("/pooling", {"messages": CHAT[:1]}, "at least 2"), ("/pooling", {"input": [1, 2]}, "body.input"),
     ("/pooling", {"input": "a", "use_activation": True}, "use_activation"),
     ("/pooling", {"input": "a", "truncate_prompt_tokens": 8}, "truncate_prompt_tokens"),
     ("/pooling", {"input": "a", "task": "embed"}, "body.task"),
     ("/score", {"queries": ["a", "b"], "documents": ["c"]}, "1 documents, but 2 queries"),
     ("/score", {"queries": "a"}, "give queries and documents"),
     ("/score", {"queries": "a", "documents": "b", "text_1": "c", "text_2": "d"}, "give queries and documents")],
)  # fmt: skip
def test_what_is_malformed_is_refused_with_its_place(server, path, body, message):
    reply = server.post(path, body)
    assert reply.status_code == 422
    assert message in reply.json()["error"]["message"]


def test_what_is_not_json_is_refused(server):
    for content, headers, statuses in [
        (b'{"rows": [', JSON, {422}), (b'{"rows": []}', {"content-type": "text/plain"}, {415}),
        (b"\xff\xfe", JSON, {400, 422}), (b"[" * 100_000, JSON, {400, 422}),
    ]:  # fmt: skip
        reply = httpx.post(f"{server.url}/rewards", content=content, headers=headers)
        assert reply.status_code in statuses
        assert reply.json()["error"]["message"]
    assert server.get("/rewards").status_code == 405
    assert server.get("/nothing").status_code == 404


def test_any_text_comes_back_in_one_piece(server):
    (score,) = RewardClient(url=server.url).score_now(
        [{"prompt": "\ud800", "completion": "\ud800é\x00", "\udfff": "x"}]
    )
    assert score.value == 1.0
    reply = httpx.post(f"{server.url}/rewards", content=b'{"rows": [{"\\ud800": 1}], "x": NaN}',
                       headers=JSON)  # fmt: skip
    assert reply.status_code == 422


def test_health_and_metrics(server):
    assert server.get("/healthz").json()["status"] == "ok"
    server.post("/rewards", {"rows": [{"prompt": "p", "completion": "inf"}]})
    lines = server.get("/metrics").text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(values['guerdon_rows_total{outcome="not finite"}']) >= 1
    assert float(values['guerdon_requests_total{path="/rewards",status="200"}']) >= 1
    assert values["guerdon_rows_inside"] == "0"


def test_the_token_is_asked_for(monkeypatch):
    monkeypatch.setenv("REWARD_TOKEN", "s3cret")
    body = {"rows": [{"prompt": "p", "completion": "a"}]}
    with RewardProcess("scorers:odd", "--token-env", "REWARD_TOKEN") as running:
        for headers in (
            {},
            {"Authorization": "Bearer s3cre"},
            {"Authorization": "Basic s3cret"},
            {"Authorization": "é"},
        ):
            encoded = {k: v.encode() for k, v in headers.items()}
            reply = running.post("/rewards", body, headers=encoded)
            assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
            assert running.get("/metrics", headers=encoded).status_code == 401
        assert running.post("/rewards", body, headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert running.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["scorers:odd", "--token-env", "NO_SUCH_VARIABLE"], "no such environment variable"),
     (["scorers:odd", "--workers", "1", "--model", "x"], "one or the other"),
     (["scorers:odd", "--max-tokens", "5"], "--max-characters"), (["Extrinsic()"], "scores a Rollout"),
     (["scorers:nothing"], "is no function"), (["scorers:odd", "--port", "PORT"], "in use")],
)  # fmt: skip
def test_what_cannot_be_served_is_said_at_once(arguments, message, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = [str(taken.getsockname()[1]) if word == "PORT" else word for word in arguments]
        with pytest.raises(SystemExit) as left:
            main(["serve", *words])
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_a_missing_extra_names_its_cure(monkeypatch, capsys):
    monkeypatch.setattr("guerdon.commands.serve.find_spec", lambda name: None if name == "uvicorn" else True)
    with pytest.raises(SystemExit):
        main(["serve", "scorers:odd"])
    assert "guerdon serve needs uvicorn: pip install 'guerdon[serve]'" in capsys.readouterr().err
