from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.completions_from_tokens import completions_from_tokens

ROWS = st.lists(st.lists(st.integers(1, 9), max_size=5), min_size=1, max_size=6)


def test_padding_groups_and_turns():
    made = completions_from_tokens(
        ["a", "a", "b"], ["x", "y", "z"], [[1, 2, 3, 4, 5], [6], []],
        generated=[[0, 1, 0, 0, 1], [1], []], prompt_ids=[[7], [7, 8], [9]],
        log_probs=[[-1.0, -2.0, -3.0, -4.0, -5.0], [-6.0], []], columns={"n": [1, None, "x"]},
    )  # fmt: skip
    assert made.ids.tolist() == [[1, 2, 3, 4, 5], [6, 0, 0, 0, 0], [0] * 5]
    assert made.mask[0].tolist() == [False, True, False, False, True]
    assert made.mask[1:].sum(1).tolist() == [1, 0]
    assert made.group.tolist() == [0, 0, 1]
    assert made.step[0].tolist() == [0, 0, 1, 1, 1]
    assert made.step_ends()[0].tolist() == [False, True, False, False, True]
    assert made.log_prob[1].tolist() == [-6, 0, 0, 0, 0]
    assert made.prompt_ids.tolist() == [[0, 7], [7, 8], [0, 9]]
    assert made.prompt_mask.tolist() == [[False, True], [True, True], [False, True]]
    assert made.columns == {"n": [1, None, "x"]}


@given(ROWS)
def test_tokens_come_back_in_order(rows: list[list[int]]):
    count = len(rows)
    made = completions_from_tokens(["p"] * count, [""] * count, rows, prompt_ids=rows)
    assert [row[kept].tolist() for row, kept in zip(made.ids, made.mask, strict=True)] == rows
    assert [row[kept].tolist() for row, kept in zip(made.prompt_ids, made.prompt_mask, strict=True)] == rows
    assert made.group.tolist() == [0] * count
    assert not made.step[made.mask].any(), "one turn"


def test_groups_that_are_told_are_kept():
    group = torch.tensor([4, 4])
    assert completions_from_tokens(["a", "b"], ["", ""], [[1], [2]], group=group).group.tolist() == [4, 4]
    assert completions_from_tokens(["a", "b", "a"], [""] * 3, [[1]] * 3).group.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"texts": ["x"]}, "2 prompts, but 1 texts"),
        ({"ids": [[1]]}, "2 prompts, but 1 ids"),
        ({"columns": {"n": [1, 2, 3]}}, r"2 prompts, but 3 columns\['n'\]"),
        ({"generated": [[1], [1]]}, r"generated needs one entry a token of ids: \[1, 1\] for \[2, 1\]"),
        ({"log_probs": [[-1.0, -1.0]]}, "2 prompts, but 1 log_probs"),
    ],
)
def test_counts_that_disagree_raise(wrong: dict[str, Any], says: str):
    right: dict[str, Any] = {"prompts": ["a", "b"], "texts": ["x", "y"], "ids": [[1, 2], [3]]}
    with pytest.raises(ValueError, match=says):
        completions_from_tokens(**(right | wrong))
