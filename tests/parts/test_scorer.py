import math

import numpy as np
import pytest
import scorers
import torch

from guerdon.parts.scorer import NotScored, Score, Scorer, read_score

ROWS = [{"prompt": "p", "completion": "abc", "answer": "abc"}, {"prompt": "q", "completion": "d", "answer": "e"}]


@pytest.mark.parametrize(
    ("function", "form", "awaits"),
    [(scorers.length, "completion", False), (scorers.waits, "completion", True), (scorers.Waits(), "completion", True),
     (scorers.lengths, "completions", False), (scorers.lengths_later, "completions", True),
     (scorers.rows_as_they_are, "rows", False)],
)  # fmt: skip
def test_how_a_function_is_called_stands_in_its_parameters(function, form, awaits):
    scorer = Scorer(function)
    assert (scorer.form, scorer.awaits, scorer.takes_many) == (form, awaits, form != "completion")


def test_a_function_that_names_none_of_them_is_no_scorer():
    with pytest.raises(TypeError, match="takes text; a scorer takes completion"):
        Scorer(lambda text: 0.0)


def test_columns_are_handed_over_by_name():
    assert [Scorer(scorers.matches).call([row]) for row in ROWS] == [True, False]
    seen = {}

    def trl(prompts, completions, **columns):
        seen.update(prompts=prompts, completions=completions, **columns)

    Scorer(trl).call(ROWS)
    assert seen == {"prompts": ["p", "q"], "completions": ["abc", "d"], "answer": ["abc", "e"]}
    Scorer(lambda completions, answer, floor=0: None).call(ROWS)  # takes what it names, and no more


def test_a_missing_column_is_named():
    with pytest.raises(NotScored, match="matches needs answer, but the row has prompt, completion") as caught:
        Scorer(scorers.matches).call([{"prompt": "p", "completion": "abc"}])
    assert caught.value.reason == "missing column"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("none", None, "not scored"), ("nan", None, "not scored"), ("inf", None, "not finite"),
     ("text", None, "not a number"), ("huge", None, "not finite"), ("list", None, "not a number"),
     ("object", None, "not a number"), ("numpy", 0.25, None), ("array", None, "not a number"),
     ("bool", 1.0, None), ("mapping", 2.0, None), ("no score", None, "not a number")],
)  # fmt: skip
def test_one_score(name, value, reason):
    score = read_score(scorers.ODD[name])
    assert (score.value, score.reason) == (value, reason)
    assert type(score.value) in (float, type(None))
    assert score.failed == (reason not in (None, "not scored"))


def test_a_tensor_of_one_number_is_a_score():
    assert read_score(torch.tensor([0.5])) == Score(0.5)


def test_terms_of_a_mapping_are_its_other_numbers():
    assert read_score({"score": 1, "format": True, "note": "x", "empty": None}) == Score(1.0, terms={"format": 1.0})


def test_a_score_of_ours_is_checked_too():
    assert read_score(Score(math.nan)).reason == "not scored"
    assert read_score(Score(None, "timeout", "5 s")) == Score(None, "timeout", "5 s")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [([1.0], "wrong count"), ([1.0] * 3, "wrong count"), (1.0, "not a list"), (None, "not a list"),
     ("ab", "not a list"), ({"a": 1, "b": 2}, "not a list"), ([], "wrong count")],
)  # fmt: skip
def test_answers_that_cannot_be_told_apart(answer, reason):
    with pytest.raises(NotScored) as caught:
        Scorer(scorers.lengths).read(answer, 2)
    assert caught.value.reason == reason


def test_arrays_and_generators_are_lists_of_scores():
    for answer in (np.array([1, 2]), torch.tensor([1.0, 2.0]), (x for x in (1, 2)), [True, 2]):
        assert [s.value for s in Scorer(scorers.lengths).read(answer, 2)] == [1.0, 2.0]
