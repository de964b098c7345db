from __future__ import annotations

import asyncio
import inspect
import math
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from adapters.trl_runs import ROWS, Ids, Letters, MeanLogProb, letters, recorded, train

from guerdon.adapters.trl import reward_func
from guerdon.models.tiny_model import tiny_model

CALL: dict[str, Any] = {
    "prompts": ["1+1=", "1+1=", "2+1="],
    "completions": ["2", "no", "3 3"],
    "completion_ids": [[5], [6, 7], [8, 9, 8]],
    "answer": ["2", "2", "3"],
    "trainer_state": SimpleNamespace(global_step=1),
}


class Log:
    """What a function reported."""

    def __init__(self) -> None:
        self.extra: dict[str, list] = {}
        self.metric: dict[str, float] = {}

    def hooks(self) -> dict[str, Any]:
        return {"log_extra": self.extra.__setitem__, "log_metric": self.metric.__setitem__}


def test_unscored_is_none_and_zero_is_zero():
    assert reward_func(Letters())(**(CALL | {"completions": ["x1", "--", "4"]})) == [None, 0.0, 4.0]


def test_terms_and_the_share_of_unscored_rows_are_logged():
    log = Log()
    function = reward_func(0.5 * Letters() + Ids(), name="both")
    assert function.__name__ == "both"
    values = function(**CALL, **log.hooks())
    assert values == pytest.approx([1.5 + 0.05, 0.13, 0.5 * 4 * 2 / 3 + 0.25])
    assert log.extra["both/Letters"] == pytest.approx([1.5, None, 4 / 3])
    assert log.extra["both/Ids"] == pytest.approx([0.05, 0.13, 0.25])
    assert log.metric == pytest.approx(
        {"both/Letters": (1.5 + 4 / 3) / 2, "both/Ids": 0.43 / 3, "both/not_scored": 0.0}
    )
    reward_func(Letters())(**(CALL | {"completions": ["x"] * 3}), **log.hooks())
    assert log.metric["Letters/not_scored"] == 1.0
    assert "Letters/Letters" not in log.metric, "there is no mean of nothing"


@pytest.mark.parametrize("name", ["completions", "completion_ids", "answer"])
def test_counts_that_disagree_raise(name):
    with pytest.raises(ValueError, match="3 prompts, but 2"):
        reward_func(Letters())(**(CALL | {name: CALL[name][:2]}))


def test_messages_are_read_with_and_without_a_tokenizer():
    given = CALL | {"completions": [[{"role": "assistant", "content": c}] for c in CALL["completions"]]}
    assert reward_func(Letters())(**given) == reward_func(Letters())(**CALL)
    tokenizer = tiny_model().tokenizer
    ids = tokenizer(["12x"], add_special_tokens=False)["input_ids"]
    given = {
        "prompts": [[{"role": "user", "content": "?"}]],
        "completions": [[{"role": "assistant", "content": "rest"}]],
    }
    value = reward_func(Letters(), tokenizer=tokenizer)(**given, completion_ids=[[*ids[0], 2]], answer=["2"])
    assert value == pytest.approx([2.0]), "the text is what the tokens say, without the end-of-text token"


def test_a_function_and_its_asynchronous_form_pickle_and_agree():
    function = reward_func(Letters(column="n"), name="half")
    waits = pickle.loads(pickle.dumps(reward_func(Letters(column="n"), name="half", asynchronous=True)))
    given = {k: v for k, v in CALL.items() if k != "answer"} | {"n": ["1", "2", "3"]}
    assert pickle.loads(pickle.dumps(function))(**given) == asyncio.run(waits(**given)) == function(**given)
    assert waits.__name__ == "half"
    assert inspect.iscoroutinefunction(waits.__call__)


def test_what_needs_a_model_says_where_to_get_it():
    class Needs(Letters):
        needs = frozenset({"reference", "policy"})

    with pytest.raises(ValueError, match=r"needs reference: reward_func\(\.\.\., reference=CausalLM"):
        reward_func(Needs())
    function = reward_func(Needs(), reference=tiny_model())
    with pytest.raises(ValueError, match=r"needs the policy: train with guerdon\.adapters\.trl_trainer"):
        function(**CALL)
    with pytest.raises(TypeError, match="is not a reward"):
        reward_func(3)
    served = reward_func(MeanLogProb(), policy=tiny_model())
    turns = [[{"role": "assistant", "content": "1"}, {"role": "tool", "content": "2"}]] * 3
    with pytest.raises(ValueError, match="several messages"):
        served(**(CALL | {"completions": turns}))


def test_a_model_handed_in_scores_what_it_would_score_itself():
    model = tiny_model()
    value = reward_func(MeanLogProb(), tokenizer=model.tokenizer, policy=model)(**CALL)
    prefix = [model.encode(p) for p in CALL["prompts"]]
    scored = model.score(prefix, CALL["completion_ids"])
    assert value == pytest.approx((scored.log_prob.sum(1) / scored.mask.sum(1)).tolist())


def test_what_trl_logs_and_trains_on_is_what_the_reward_gave(tmp_path):
    """Three functions, one of them awaited, in TRL's own trainer."""
    calls: list[dict[str, Any]] = []
    tokens = reward_func(Ids(), name="tokens")
    waiting = reward_func(Letters(), name="waiting", asynchronous=True)
    first = recorded(reward_func(Letters()), calls)
    trainer = train(tmp_path, [first, tokens, waiting], reward_weights=[1.0, 0.0, 0.0], scale_rewards="none")
    history = [row for row in trainer.state.log_history if "rewards/Letters/mean" in row]
    assert len(history) == len(calls) == 2
    for row, call in zip(history, calls, strict=True):
        known = [v for v in call["returned"] if v is not None]
        assert 0 < len(known) < 8, "the test needs rows of both kinds"
        assert call["returned"] == pytest.approx(
            [None if math.isnan(v) else v for v in map(letters, call["completions"], call["answer"])]
        )
        assert row["rewards/Letters/mean"] == pytest.approx(sum(known) / len(known))
        assert row["rewards/waiting/mean"] == pytest.approx(row["rewards/Letters/mean"])
        assert row["waiting/Letters"] == pytest.approx(row["rewards/Letters/mean"])
        assert row["Letters/not_scored"] == pytest.approx(1 - len(known) / 8)
        assert row["rewards/tokens/mean"] == pytest.approx(sum(sum(ids) / 100 for ids in call["completion_ids"]) / 8)
    assert list(trainer._logs["rewards"]["Letters"]) == pytest.approx(
        [math.nan if v is None else v for v in calls[-1]["returned"]], nan_ok=True
    )
    assert list(trainer._logs["extra"]["Letters/Letters"]) == calls[-1]["returned"]


def test_rows_without_a_score_are_in_no_baseline(tmp_path):
    calls: list[dict[str, Any]] = []
    trainer = train(tmp_path, [recorded(reward_func(Letters()), calls)], scale_rewards="none")
    given = calls[-1]["returned"]
    for start in (0, 4):
        group = given[start : start + 4]
        mean = sum(v for v in group if v is not None) / max(1, sum(v is not None for v in group))
        expected = [0.0 if v is None else v - mean for v in group]
        assert list(trainer._logs["advantages"])[start : start + 4] == pytest.approx(expected, abs=1e-6)
    assert None in given


def test_conversations(tmp_path):
    rows = [{"prompt": [{"role": "user", "content": row["prompt"]}], "answer": row["answer"]} for row in ROWS]
    calls: list[dict[str, Any]] = []
    train(tmp_path, [recorded(reward_func(Letters()), calls)], rows=rows, max_steps=1)
    said = [messages[0]["content"] for messages in calls[0]["completions"]]
    expected = [letters(*pair) for pair in zip(said, calls[0]["answer"], strict=True)]
    assert calls[0]["returned"] == pytest.approx([None if math.isnan(v) else v for v in expected])
    assert any(v is not None for v in calls[0]["returned"])
    assert torch.tensor([len(c) for c in calls[0]["completion_ids"]]).max() > 1
