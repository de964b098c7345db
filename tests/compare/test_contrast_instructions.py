"""Contrast Instructions: both consistencies, building items, reading files."""

import pytest
import torch

from guerdon.compare import contrast_instructions as ci

G = torch.Generator().manual_seed(0)


def test_a_reward_that_reads_no_instruction():
    quality = torch.randn(200, 1, 2, generator=G).expand(200, 2, 2)  # r(I, R) = g(R)
    found = ci.consistency(quality)
    assert (found.response, found.instruction) == (0.5, 0)
    assert (found.response_ties, found.instruction_ties) == (0, 1)


def test_a_reward_that_reads_no_response():
    found = ci.consistency(torch.randn(200, 2, 1, generator=G).expand(200, 2, 2))
    assert (found.response, found.instruction, found.response_ties) == (0, 0.5, 1)


def test_a_perfect_match_and_its_opposite():
    match = torch.eye(2).expand(5, 2, 2)
    assert ci.consistency(match)[:2] == (1, 1)
    assert ci.consistency(-match)[:2] == (0, 0)


def test_by_hand():
    rewards = torch.tensor([[[3.0, 1.0], [4.0, 2.0]]])  # r(I,R) r(I,R'); r(I',R) r(I',R')
    found = ci.consistency(rewards)
    assert found.response == 0.5  # 3 > 1, and 2 < 4
    assert found.instruction == 0.5  # 3 < 4, and 2 > 1


def test_questions_carry_all_four_scores():
    rewards = torch.randn(7, 2, 2, generator=G)
    items = [ci.Contrast(f"I{i}", f"J{i}", f"R{i}", f"S{i}") for i in range(7)]
    lookup = {}
    for r, (a, b, of_a, of_b) in zip(rewards, items, strict=True):
        lookup |= {(a, of_a): r[0, 0], (a, of_b): r[0, 1], (b, of_a): r[1, 0], (b, of_b): r[1, 1]}
    questions = ci.as_questions(items)
    values = torch.tensor([[lookup[q.prompt, a] for a in q.answers] for q in questions])
    torch.testing.assert_close(ci.from_scores(values), rewards)


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        (torch.zeros(3, 2), "n, 2, 2"),
        (torch.zeros(0, 2, 2), "at least one"),
        (torch.full((1, 2, 2), torch.nan), "item 0"),
    ],
)
def test_bad_rewards_are_refused(rewards, said):
    with pytest.raises(ValueError, match=said):
        ci.consistency(rewards)


def unit(*degrees):
    angle = torch.tensor(degrees).deg2rad()
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_the_most_similar_within_the_band_is_taken_once():
    names = ["a", "near-duplicate of a", "b", "far"]
    e = unit(0.0, 10.0, 35.0, 120.0)  # cosines with a: 0.98, 0.82, -0.5; of the duplicate with b: 0.91
    found = ci.build_contrasts(names, ["1", "2", "3", "4"], e)
    assert found == [ci.Contrast("a", "b", "1", "3")]
    assert ci.build_contrasts(names, ["same"] * 4, e) == []


def test_bad_bands_counts_and_embeddings_are_refused():
    with pytest.raises(ValueError, match="low < high"):
        ci.build_contrasts(["a"], ["b"], torch.ones(1, 2), low=0.9, high=0.8)
    with pytest.raises(ValueError, match=r"\[1, 2, 1\]"):
        ci.build_contrasts(["a"], ["b", "c"], torch.ones(1, 2))
    with pytest.raises(ValueError, match="length 0"):
        ci.build_contrasts(["a"], ["b"], torch.zeros(1, 2))


def item(**changes):
    made = {
        "query": "I",
        "retrieval": "J",
        "query_response_k": "R",
        "retrieval_response_k": "S",
        "query_response_j": "x",
    }
    return made | changes


def test_files_of_the_authors():
    found, left_out = ci.read_contrasts([item(), item(retrieval_response_k="R")])
    assert found == [ci.Contrast("I", "J", "R", "S")]
    assert left_out == 1
    for bad, said in (
        (item(retrieval="I"), "the same"),
        (item(query=3), "no text query"),
        (item(retrieval_response_k="R"), "no item"),
    ):
        with pytest.raises(ValueError, match=said):
            ci.read_contrasts([bad])
