import asyncio
import pickle

import pytest

from guerdon.judges.keyword import KeywordJudge
from guerdon.types import FIRST, SECOND, TIE


def labels(judge: KeywordJudge, items) -> list:
    return [row.value for row in asyncio.run(judge.judge(items))]


def test_captions_and_pairs_follow_the_words():
    judge = KeywordJudge(words=("door", "gold"))
    assert labels(judge, ["you open a door", "a wall", "gold!", ""]) == [1, 0, 1, 0]
    assert labels(judge, [("a door", "a wall"), ("a wall", "a door"), ("gold", "door")]) == [FIRST, SECOND, TIE]
    inverted = KeywordJudge(words=("door",), invert=True)
    assert labels(inverted, ["a door", "a wall", "", ("a door", "a wall")]) == [0, 1, 0, SECOND]


def test_noise_is_a_share_of_the_captions_and_stays_with_them():
    texts = [f"door {i}" for i in range(4000)]
    for noise in (0.05, 0.5):
        judge = KeywordJudge(words=("door",), noise=noise)
        assert sum(labels(judge, texts)) / 4000 == pytest.approx(1 - noise, abs=0.03)
        assert labels(judge, texts) == labels(pickle.loads(pickle.dumps(judge)), texts)
        assert labels(judge, texts) != labels(KeywordJudge(words=("door",), noise=noise, seed=1), texts)


def test_rows_say_who_judged_and_an_expression_makes_the_judge_again():
    judge = KeywordJudge(words=("door",), noise=0.1, latency=0.01)
    row = asyncio.run(judge.judge(["door"]))[0]
    assert (row.item, row.judge, row.reason) == ("door", "KeywordJudge(words=('door',), noise=0.1)", None)
    assert eval(repr(judge)) == judge
    assert judge.counters() == {"asked": 1}


@pytest.mark.parametrize("wrong", [{"words": ()}, {"words": "door"}, {"words": ("a",), "noise": 2}])
def test_options_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="KeywordJudge"):
        KeywordJudge(**wrong)
