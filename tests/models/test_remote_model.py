"""A model behind a real HTTP server says what the same model says here."""

import asyncio
import json
import pickle

import pytest
import torch

pytest.importorskip("transformers")

from judges.model_server import TROUBLE, serving
from models.completions_server import answer

from guerdon.models import RemoteLM, tiny_model
from guerdon.parts.http_client import NoAnswer, Refused
from guerdon.types import Completions
from guerdon.types.protocols import ContextOverflow

MODEL = tiny_model(seed=4, max_length=64, spread=0.3)
PROMPTS = ["hi there", "yo", [{"role": "user", "content": "what?"}]]
PREFIXES, SPANS = [[1, 20, 30], [1, 20], [1, 40, 41, 42]], [[31, 32], [30, 31, 32], [5]]


@pytest.fixture
def server():
    with serving() as made:
        made.path = "/v1/completions"
        made.script = lambda body, number: answer(MODEL, body)
        yield made


@pytest.fixture
def remote(server):
    return RemoteLM(server.url, "tiny", MODEL.tokenizer, max_length=64, backoff=0.001)


def test_scores_are_those_of_the_model_here(remote, server):
    made = remote.score(PREFIXES, SPANS, also=("margin",))
    expected = MODEL.score(PREFIXES, SPANS, also=("margin",))
    for field in ("log_prob", "mask", "margin"):
        torch.testing.assert_close(getattr(made, field), getattr(expected, field).detach(), atol=1e-4, rtol=0)
    assert made.entropy is None
    assert len(server.requests) == 2  # the first two are the same tokens
    assert all(body["model"] == "tiny" for body in server.requests)


def test_greedy_completions_are_those_of_the_model_here(remote):
    made = remote.generate(PROMPTS, n=2, max_tokens=20, temperature=0.0)
    expected = MODEL.generate(PROMPTS, n=2, max_tokens=20, temperature=0.0)
    assert list(made.text) == list(expected.text)
    for field in ("ids", "mask", "group", "prompt_ids", "prompt_mask"):
        assert torch.equal(getattr(made, field), getattr(expected, field))
    torch.testing.assert_close(made.log_prob, expected.log_prob, atol=1e-4, rtol=0)


def test_sampled_completions(remote, server):
    made = remote.generate(PROMPTS, n=3, max_tokens=12, seed=5, stop=["e", "x"])
    assert made.group.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert sorted(body["seed"] for body in server.requests) == [5, 8, 11]
    torch.testing.assert_close(made.log_prob, remote.log_probs(made), atol=1e-4, rtol=0)
    torch.testing.assert_close(remote.log_probs(made), MODEL.log_probs(made).detach(), atol=1e-4, rtol=0)
    again = remote.generate(PROMPTS, n=3, max_tokens=12, seed=5, stop=["e", "x"])
    assert list(again.text) == list(made.text)
    for row in range(9):
        own = made.ids[row][made.mask[row]].tolist()
        assert made.text[row] == MODEL.decode([i for i in own if i != MODEL.tokenizer.eos_token_id])
        assert not any(s in made.text[row][:-1] for s in ("e", "x"))


def test_log_probs_at_another_temperature_are_not_made_up(remote, server):
    assert remote.generate(["a"], max_tokens=3, temperature=0.5, seed=0).log_prob is None
    processed = RemoteLM(server.url, "tiny", MODEL.tokenizer, max_length=64, logprobs="processed")
    assert processed.generate(["a"], max_tokens=3, temperature=0.5, seed=0).log_prob is not None
    with pytest.raises(ValueError, match=r"temperature 1 only, not 0\.5; use a local model"):
        remote.log_probs(MODEL.generate(["a"], max_tokens=3, seed=0), temperature=0.5)


def test_what_a_server_cannot_say(remote):
    with pytest.raises(ValueError, match=r"entropy or self_certainty.*CausalLM"):
        remote.score(PREFIXES, SPANS, also=("entropy", "self_certainty", "margin"))


def test_it_is_patient(remote, server):
    server.script = lambda body, number: TROUBLE[number] if number < 5 else answer(MODEL, body)
    made = remote.score(PREFIXES[:1], SPANS[:1])
    torch.testing.assert_close(made.log_prob, MODEL.score(PREFIXES[:1], SPANS[:1]).log_prob.detach(), atol=1e-4, rtol=0)
    assert remote.counters()["retries"] == 5
    assert remote.counters()["prompt_tokens"] == 5


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        ((500, {}, b"oops"), NoAnswer, "500"),
        ((400, {}, b"maximum context length"), NoAnswer, "maximum context"),
        ((401, {}, b""), Refused, "key"),
        ((404, {}, b""), Refused, "ends in /v1"),
        ((200, {}, b"<html>"), NoAnswer, "something else"),
        ((200, {}, b'{"choices": [{"prompt_logprobs": [null]}]}'), NoAnswer, "something else"),
        ((200, {}, b'{"choices": [{"text": ""}]}'), ValueError, "no prompt_logprobs.*vLLM"),
    ],
)
def test_what_does_not_help_is_said(server, reply, error, said):
    server.script = lambda body, number: reply
    remote = RemoteLM(server.url, "tiny", MODEL.tokenizer, max_length=64, retries=1, backoff=0.0)
    with pytest.raises(error, match=said):
        remote.score(PREFIXES, SPANS)


def test_a_server_that_names_no_tokens_cannot_write(remote, server):
    server.script = lambda body, number: (
        200,
        {},
        b'{"choices": [{"index": 0, "text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": [-1.0]}}]}',
    )
    with pytest.raises(ValueError, match="which tokens it wrote"):
        remote.generate(["a"], max_tokens=1)
    with pytest.raises(ValueError, match="1 completions for a prompt and n=2"):
        remote.generate(["a"], n=2, max_tokens=1)


def test_no_more_requests_at_once_than_allowed(server):
    remote = RemoteLM(server.url, "tiny", MODEL.tokenizer, max_length=64, concurrency=2)
    remote.score([[1, i] for i in range(4, 24)], [[30]] * 20)
    assert len(server.requests) == 20
    assert server.most_at_once <= 2


def test_from_within_an_event_loop(remote):
    async def inside():
        return remote.score(PREFIXES, SPANS)

    torch.testing.assert_close(asyncio.run(inside()).log_prob, remote.score(PREFIXES, SPANS).log_prob)


def test_too_long_is_not_even_asked(remote, server):
    with pytest.raises(ContextOverflow, match="65"):
        remote.score([[1] * 60], [[5] * 5])
    assert not server.requests


def test_the_key_and_further_fields_are_sent(server, monkeypatch):
    monkeypatch.setenv("THE_KEY", "s3cret")
    remote = RemoteLM(server.url, "m", MODEL.tokenizer, max_length=64, api_key_env="THE_KEY", extra={"priority": 3})
    remote.score(PREFIXES, SPANS)
    assert server.headers[0]["Authorization"] == "Bearer s3cret"
    assert server.requests[0]["priority"] == 3
    assert "s3cret" not in str(pickle.dumps(remote))


def test_it_pickles(remote):
    again = pickle.loads(pickle.dumps(remote))
    torch.testing.assert_close(again.score(PREFIXES, SPANS).log_prob, remote.score(PREFIXES, SPANS).log_prob)


def test_an_end_that_the_tokenizer_does_not_know(server):
    """The server stopped at "Q", an end-of-turn token: it is in the tokens and not in the text."""
    end = MODEL.tokenizer.convert_tokens_to_ids("Q")
    said = {"tokens": ["token_id:9", f"token_id:{end}"], "token_logprobs": [-1, -2]}
    reply = json.dumps({"choices": [{"index": 0, "logprobs": said}]}).encode()
    server.script = lambda body, number: (200, {}, reply)
    remote = RemoteLM(server.url, "tiny", MODEL.tokenizer, max_length=64, ends=[end])
    made = remote.generate(["a"], max_tokens=4)
    assert isinstance(made, Completions)
    assert made.ids.tolist() == [[9, end]]
    assert list(made.text) == [MODEL.decode([9])]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base_url": "localhost:8000"}, "http"),
        ({"max_length": None}, "max_length"),
        ({"logprobs": "cooked"}, "raw"),
        ({"concurrency": 0}, "needed"),
    ],
)
def test_options_that_cannot_be(options, said):
    given = {"base_url": "http://x/v1", "model": "m", "tokenizer": MODEL.tokenizer, "max_length": 8} | options
    with pytest.raises(ValueError, match=said):
        RemoteLM(**given)
