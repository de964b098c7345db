import os

import pytest
import scorers
import text_rewards

from guerdon.parts.concurrent_scoring import Scoring
from guerdon.parts.reward_scorer import RewardScorer
from guerdon.parts.worker_pool import WorkerPool


def rows(*completions):
    return [{"prompt": f"p{i}", "completion": c} for i, c in enumerate(completions)]


def outcomes(scores):
    return [s.value if s.reason is None else s.reason for s in scores]


def test_processes_that_hang_or_die_are_replaced():
    with Scoring(scorers.odd, workers=2, timeout=0.5) as scoring:
        got = scoring.score_now(rows("a", "raise", "exit", "die", "hang", "nan", "object", "a", "a"))
        assert outcomes(got) == [
            1.0,
            "raised",
            "raised",
            "worker died",
            "timeout",
            "not scored",
            "not a number",
            1.0,
            1.0,
        ]
        assert "code 7" in got[3].detail
        assert outcomes(scoring.score_now(rows(*["a"] * 8))) == [1.0] * 8


def test_work_is_done_elsewhere_and_by_rewards_too():
    with Scoring(scorers.where, workers=1) as scoring:
        assert scoring.score_now(rows("a"))[0].value != os.getpid()
    with Scoring(RewardScorer(text_rewards.Longer()), workers=1) as scoring:
        pair = [{"prompt": "p", "completion": "a"}, {"prompt": "p", "completion": "bb"}]
        assert outcomes(scoring.score_now(pair)) == [0.0, 1.0]


def test_what_cannot_be_sent_or_started_is_said_at_once():
    with pytest.raises(ValueError, match="top level of a module"):
        WorkerPool(lambda completion: 0.0, 1)
    with pytest.raises(RuntimeError, match="cannot start: ZeroDivisionError"):
        WorkerPool(Unloadable(), 1)


class Unloadable:
    def __call__(self, completion):
        return 0.0

    def __reduce__(self):
        return divmod, (1, 0)
