"""Token F1 by hand, and what counts as a broken format."""

from __future__ import annotations

import pytest
import torch

from guerdon.rewards.verifiable.token_f1 import TokenF1, token_f1
from guerdon.types import Completions


@pytest.mark.parametrize(("answer", "references", "expected"), [
    ("Paris", "paris", 1.0),
    ("The city of Paris.", "Paris", 2 / 5),
    ("paris paris", "Paris", 1.0),  # sets, not bags
    ("U.S.A", ["United States", "USA"], 1.0),
    ("Rome", "Paris", 0.0),
    ("...", "Paris", 0.0),
])  # fmt: skip
def test_by_hand(answer, references, expected):
    assert token_f1(answer, references) == pytest.approx(expected)


def test_the_format_is_part_of_it():
    texts = [
        "<think>x</think><answer>Paris</answer>", "<think>x<answer>Paris</answer>", "<answer>Paris", "Paris",
        "<answer></answer>", "<answer>Rome</answer><answer>the Paris</answer>",
    ]  # fmt: skip
    made = Completions(
        prompt=["q"] * 6, text=texts, ids=torch.zeros(6, 1).long(), mask=torch.ones(6, 1).bool(),
        columns={"answer": [["Lutetia", "Paris"]] * 6},
    )  # fmt: skip
    assert TokenF1().score(made).tolist() == pytest.approx([1, -2, -2, -2, -2, 2 / 3])
    assert TokenF1(penalty=0.0, balanced=("answer",)).score(made).tolist() == pytest.approx([1, 1, 0, 0, 0, 2 / 3])


def test_bad_input():
    made = Completions(prompt=["q"], text=["a"], ids=torch.zeros(1, 1).long(), mask=torch.ones(1, 1).bool())
    with pytest.raises(ValueError, match="TokenF1"):
        TokenF1().score(made)
    made.columns = {"answer": ["?!"]}
    with pytest.raises(ValueError, match="TokenF1.*at least one word"):  # noqa: RUF043
        TokenF1().score(made)
