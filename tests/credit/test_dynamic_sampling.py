from __future__ import annotations

import math

import pytest
import samples
import torch

from guerdon.credit import DynamicSampling
from guerdon.types import Scored

COMPLETIONS = samples.completions(rows=6, length=5)
VARIED = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.5, math.nan])


def scored(value: torch.Tensor, **terms: torch.Tensor) -> Scored:
    return Scored(value, terms, {})


def test_only_scored_answers_of_varied_groups_weigh():
    assert DynamicSampling()(COMPLETIONS, scored(VARIED)).tolist() == [0, 0, 1, 1, 0, 0]


def test_the_spread_of_a_term_decides_where_one_is_named():
    shaped = torch.arange(6.0)
    assert DynamicSampling()(COMPLETIONS, scored(shaped, correct=VARIED)).tolist() == [1] * 6
    assert DynamicSampling(term="correct")(COMPLETIONS, scored(shaped, correct=VARIED)).tolist() == [0, 0, 1, 1, 0, 0]
    with pytest.raises(ValueError, match="no term 'right', but"):
        DynamicSampling(term="right")(COMPLETIONS, scored(shaped, correct=VARIED))


def test_too_many_batches_for_nothing_raise_and_the_count_travels():
    empty = scored(torch.ones(6))
    keep = DynamicSampling(max_empty=3)
    keep(COMPLETIONS, empty)
    keep(COMPLETIONS, scored(VARIED))  # starts the count again
    keep(COMPLETIONS, empty)
    again = DynamicSampling(max_empty=3)
    again.load_state_dict(keep.state_dict())
    again(COMPLETIONS, empty)
    with pytest.raises(RuntimeError, match="3 batches in a row"):
        again(COMPLETIONS, empty)


def test_groups_must_be_there():
    with pytest.raises(ValueError, match="these completions have none"):
        DynamicSampling()(samples.replace(COMPLETIONS, group=None), scored(VARIED))
