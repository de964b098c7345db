import asyncio
import threading

import pytest
import scorers
import text_rewards

from guerdon.parts import concurrent_scoring
from guerdon.parts.concurrent_scoring import QueueFull, Scoring
from guerdon.parts.reward_scorer import RewardScorer


@pytest.fixture(autouse=True)
def gate():
    scorers.GATE.clear()
    yield
    scorers.GATE.set()  # lets go of what hangs


def rows(*completions, prompt=None):
    return [{"prompt": prompt or f"p{i}", "completion": c} for i, c in enumerate(completions)]


def outcomes(scores):
    return [s.value if s.reason is None else s.reason for s in scores]


@pytest.mark.parametrize(
    "function", [scorers.length, scorers.waits, scorers.Waits(), scorers.lengths, scorers.lengths_later]
)
def test_every_kind_gives_the_same_scores_in_order(function):
    texts = ["x" * (i % 7) for i in range(200)]
    with Scoring(function, batch=16) as scoring:
        assert outcomes(scoring.score_now(rows(*texts))) == [float(len(t)) for t in texts]
        assert scoring.score_now([]) == []
        assert scoring.rows_inside == 0


@pytest.mark.parametrize("function", [scorers.odd, scorers.odd_later])
def test_each_row_has_its_own_outcome(function):
    given = ["a", "raise", "exit", "hang", "nan", "text", "inf", "b"]
    with Scoring(function, timeout=0.2) as scoring:
        got = scoring.score_now(rows(*given))
        assert outcomes(got) == [1.0, "raised", "raised", "timeout", "not scored", "not a number", "not finite", 1.0]
        assert got[1].detail == "LookupError: no such thing"
        assert "0.2 s" in got[3].detail
        assert outcomes(scoring.score_now(rows("a"))) == [1.0]
        assert scoring.counts["timeout"] == 1


def test_an_async_scorer_that_will_not_be_cancelled_holds_nobody_up():
    with Scoring(scorers.odd_later, timeout=0.05, concurrency=1) as scoring:
        assert outcomes(scoring.score_now(rows("stubborn", "a"))) == ["timeout", 1.0]
        scorers.GATE.set()


def test_threads_that_hang_are_bounded(monkeypatch):
    monkeypatch.setattr(concurrent_scoring, "MOST_STUCK", 2)
    with Scoring(scorers.odd, timeout=0.05, concurrency=1) as scoring:
        assert outcomes(scoring.score_now(rows("hang", "hang", "a"))) == ["timeout", "timeout", "stuck"]
        hanging = set(scoring._stuck)
        scorers.GATE.set()
        for thread in hanging:
            thread.join()
        while scoring._stuck:  # the loop hears of it
            scoring.score_now([])
        assert outcomes(scoring.score_now(rows("a"))) == [1.0]


def test_a_row_that_spoils_its_batch_is_found():
    given = ["a"] * 64
    given[5], given[40] = "raise", "drop"
    with Scoring(scorers.many) as scoring:
        got = outcomes(scoring.score_now(rows(*given)))
    assert (got.pop(40), got.pop(5)) == ("wrong count", "raised")
    assert got == [1.0] * 62


def test_a_scorer_that_always_raises_is_not_called_for_ever():
    with Scoring(scorers.always_raises, batch=512) as scoring:
        assert set(outcomes(scoring.score_now(rows(*["a"] * 512)))) == {"raised"}
        assert scoring.counts["calls"] <= 1 + 4 * 10


def test_one_number_for_many_rows_is_no_score():
    with Scoring(scorers.one_number) as scoring:
        assert outcomes(scoring.score_now(rows("a", "b"))) == ["not a list"] * 2


def test_calls_run_side_by_side_up_to_the_bound():
    together, most, lock, inside = threading.Barrier(8), 0, threading.Lock(), 0

    def meets(completion):
        nonlocal most, inside
        with lock:
            inside += 1
            most = max(most, inside)
        together.wait(20)  # breaks unless 8 of us are here at once
        with lock:
            inside -= 1
        return 1.0

    with Scoring(meets, concurrency=8) as scoring:
        assert outcomes(scoring.score_now(rows(*["a"] * 32))) == [1.0] * 32
    assert most == 8


def test_batches_fill_up_across_callers():
    sizes, first, release = [], threading.Event(), threading.Event()

    def batches(completions):
        sizes.append(len(completions))
        first.set()
        release.wait(20)
        return [1.0] * len(completions)

    with Scoring(batches, batch=8) as scoring:
        futures = [scoring.submit(rows("a", prompt="0"))]
        first.wait(20)
        futures += [scoring.submit(rows("a", prompt=str(i))) for i in range(1, 21)]  # one by one, as verl does
        release.set()
        assert [outcomes(f.result()) for f in futures] == [[1.0]] * 21
    assert sizes == [1, 8, 8, 4]


def test_a_batch_waits_for_company():
    sizes = []

    def batches(completions):
        sizes.append(len(completions))
        return [1.0] * len(completions)

    with Scoring(batches, batch=4, wait=60) as scoring:  # only a full batch ends the wait
        futures = [scoring.submit(rows("a", prompt=str(i))) for i in range(4)]
        assert [outcomes(f.result(20)) for f in futures] == [[1.0]] * 4
    assert sizes == [4]


def test_answers_to_one_prompt_stay_together_and_those_of_two_callers_apart():
    with Scoring(RewardScorer(text_rewards.Longer()), batch=4, wait=0.05) as scoring:
        one = scoring.submit([*rows("a", "bbb", "cc", prompt="x"), *rows("a", "bbb", prompt="y")])
        two = scoring.submit(rows("cccccc", prompt="x"))
        assert outcomes(one.result()) == [0.0, 1.0, 0.0, 0.0, 1.0]
        assert outcomes(two.result()) == ["not scored"]


def test_rows_with_other_columns_are_scored_apart():
    mixed = [rows("a")[0], {**rows("b")[0], "answer": "b"}, {**rows("c")[0], "answer": "d"}]
    with Scoring(RewardScorer(text_rewards.Answer()), wait=0.05) as scoring:
        got = scoring.score_now(mixed)
    assert outcomes(got) == ["raised", 1.0, 0.0]
    assert "needs the column 'answer'" in got[0].detail


def test_the_queue_is_bounded():
    with Scoring(scorers.odd, timeout=30, concurrency=1, queue=3) as scoring:
        kept = scoring.submit(rows("hang", "a", "a"))
        with pytest.raises(QueueFull, match="3 rows are waiting, 3 may") as caught:
            scoring.submit(rows("a"))
        assert caught.value.seconds > 0
        scorers.GATE.set()
        assert outcomes(kept.result()) == [1.0] * 3
        assert outcomes(scoring.score_now(rows(*["a"] * 5))) == [1.0] * 5, (
            "a call larger than the queue is let in alone"
        )


def test_closing_finishes_what_is_inside_or_says_that_it_did_not():
    scoring = Scoring(scorers.odd, concurrency=1)
    future = scoring.submit(rows("hang", "a"))
    threading.Timer(0.05, scorers.GATE.set).start()
    scoring.close(grace=20)
    assert outcomes(future.result()) == [1.0, 1.0]
    with pytest.raises(RuntimeError, match="closed"):
        scoring.submit(rows("a"))
    scorers.GATE.clear()
    scoring = Scoring(scorers.odd, concurrency=1)
    future = scoring.submit(rows("hang", "a"))
    scoring.close()
    assert outcomes(future.result()) == ["closed", "closed"]


def test_it_can_be_awaited():
    with Scoring(scorers.waits) as scoring:

        async def both():
            return await asyncio.gather(scoring.score(rows("a")), scoring.score(rows("bb")))

        assert [outcomes(s) for s in asyncio.run(both())] == [[1.0], [2.0]]


@pytest.mark.parametrize("wrong", [{"concurrency": -1}, {"batch": 0}, {"wait": -1}, {"timeout": 0.0}, {"workers": -1}])
def test_bounds_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="must be positive"):
        Scoring(scorers.length, **wrong)
