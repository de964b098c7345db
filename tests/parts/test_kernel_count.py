import math

import pytest
import torch

from guerdon.parts.kernel_count import KernelCount

YES = torch.ones(2, 1, dtype=torch.bool)
NONE = math.inf


def test_hand_computed_similarities():
    """Badia et al., algorithm 1, with three neighbours; the mean takes in a step's distances before they are used."""
    kernel = KernelCount(epsilon=1e-3, cluster=0.008, c=1e-3)
    squares = torch.tensor([[[0.0, 1.0, 2.0]], [[4.0, 5.0, NONE]]])
    first = [1.0, 1e-3 / (1 - 0.008 + 1e-3), 1e-3 / (2 - 0.008 + 1e-3)]  # the mean is (0 + 1 + 2) / 3 = 1
    mean = (0 + 1 + 2 + 4 + 5) / 5
    second = [1e-3 / (4 / mean - 0.008 + 1e-3), 1e-3 / (5 / mean - 0.008 + 1e-3)]
    expected = torch.tensor([[math.sqrt(sum(first)) + 1e-3], [math.sqrt(sum(second)) + 1e-3]])
    torch.testing.assert_close(kernel.similarity(squares, YES), expected)
    kernel.advance(squares, YES)
    assert kernel.total / kernel.number == pytest.approx(2.4)


def test_without_neighbours_only_c_is_left():
    similarity = KernelCount(c=0.5).similarity(torch.full((2, 1, 3), NONE), YES)
    assert similarity.tolist() == [[0.5], [0.5]]


def test_within_the_cluster_distance_two_are_one():
    kernel = KernelCount(cluster=0.008)
    squares = torch.tensor([[[0.0079, 1.9921]], [[0.0, 2.0]]])  # in units of a mean of 1
    similarity = kernel.similarity(squares, YES)
    assert (similarity > 1).all()
    assert similarity[0] == pytest.approx(float(similarity[1]), rel=1e-4)


def test_all_at_one_place_count_in_full():
    """n visits to one state, and nothing else ever: n of them, as a count has it."""
    similarity = KernelCount().similarity(torch.zeros(2, 1, 9), YES)
    torch.testing.assert_close(similarity, torch.full((2, 1), 3.001))


def test_what_is_not_there_does_not_move_the_mean():
    kernel, squares = KernelCount(), torch.tensor([[[1.0], [100.0]]])
    there = torch.tensor([[True, False]])
    assert kernel.similarity(squares, there)[0, 0] == KernelCount().similarity(squares[:, :1], there[:, :1])[0, 0]
    kernel.advance(squares, there)
    assert kernel.total == 1


def test_a_mean_that_stands_still_scores_any_order_alike():
    kernel = KernelCount()
    kernel.advance(torch.tensor([[[4.0]]]), YES[:1])
    squares = torch.tensor([[[1.0]], [[9.0]]])
    still = kernel.similarity(squares, YES, running=False)
    assert torch.equal(still.flip(0), kernel.similarity(squares.flip(0), YES, running=False))
    assert still[0] == pytest.approx(math.sqrt(1e-3 / (1 / 4 - 0.008 + 1e-3)) + 1e-3)


@pytest.mark.parametrize("wrong", [{"epsilon": 0.0}, {"c": 0.0}, {"cluster": -1.0}])
def test_wrong_constants_are_refused(wrong):
    with pytest.raises(ValueError, match="positive"):
        KernelCount(**wrong)
