"""Sets that help are kept, sets of random or inverted labels are not."""

import math

import pytest
import torch

from guerdon.parts.data_utility import helpful, missing

TABLE = torch.tensor([[0.9, 0.5, 0.45], [0.52, 0.56, 0.47], [0.1, 0.2, 0.5], [0.4, 0.8, 0.35], [0.9, 0.9, 0.2]])


def test_by_hand():
    assert helpful(TABLE).tolist() == [True, False, False, True, False]
    assert helpful(TABLE, clear=0.35).tolist() == [True, False, False, False, True]
    assert missing(TABLE) == [2]
    assert missing(TABLE[1:3]) == [0, 1, 2], "nothing helps"


@pytest.mark.parametrize("bad", [torch.rand(3), torch.tensor([[1.2]]), torch.tensor([[math.nan]]), torch.zeros(2, 0)])
def test_what_is_no_table_of_accuracies_is_refused(bad):
    with pytest.raises(ValueError, match="utility matrix"):
        helpful(bad)


def test_clear_is_a_distance():
    with pytest.raises(ValueError, match="clear"):
        helpful(TABLE, clear=0.0)
