import math

import pytest
import samples
import torch
from table_model import TableModel, completions

from guerdon.credit.ema_std_filter import EmaStdFilter, group_stds
from guerdon.types import Scored


def batch(*rewards: list[float]):
    """Groups of these rewards, scored."""
    prompts = [f"p{i}" for i, group in enumerate(rewards) for _ in group]
    value = torch.tensor([r for group in rewards for r in group])
    return completions(prompts, ["x"] * len(prompts), model=TableModel()), Scored(value, {"r": value}, {})


def spread(std: float) -> list[float]:
    """Two rewards with this sample deviation."""
    return [0.5, 0.5 + std * math.sqrt(2)]


def test_deviations_by_hand():
    reward = torch.tensor([1.0, 5.0, 3.0, math.nan, 7.0, math.nan])
    group = torch.tensor([0, 1, 0, 1, 2, 2])
    expected = torch.tensor([math.sqrt(2), math.nan, math.sqrt(2), math.nan, math.nan, math.nan])
    torch.testing.assert_close(group_stds(reward, group), expected, equal_nan=True)


def test_nothing_is_dropped_before_step_eleven_and_half_after():
    keep = EmaStdFilter()
    shares = [float(keep(*batch(spread(0.02), spread(0.3))).mean()) for _ in range(30)]
    assert shares == [1.0] * 10 + [0.5] * 20
    assert keep.ema == pytest.approx(0.16)


def test_the_first_steps_do_not_count_and_later_ones_count_little():
    keep = EmaStdFilter(collect_from=3, start=4)
    for std in (9.0, 9.0, 1.0, 2.0):
        keep(*batch(spread(std), spread(std)))
    assert keep.ema == pytest.approx(1.5)
    kept = keep(*batch(spread(0.1), spread(3.9)))
    assert keep.ema == pytest.approx(0.99 * 1.5 + 0.01 * 2.0)
    assert kept.tolist() == [0.0, 0.0, 1.0, 1.0]


def test_unscored_groups_are_no_evidence():
    keep = EmaStdFilter(collect_from=1, start=1)
    kept = keep(*batch(spread(0.2), [math.nan, math.nan], [math.nan, 1.0]))
    assert keep.ema == pytest.approx(0.2)
    assert kept.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    keep(*batch([math.nan, math.nan]))
    assert keep.ema == pytest.approx(0.2)


def test_state_goes_on_where_it_was():
    keep, again = EmaStdFilter(), EmaStdFilter()
    for _ in range(8):
        keep(*batch(spread(0.02), spread(0.3)))
    again.load_state_dict(keep.state_dict())
    for _ in range(5):
        assert torch.equal(keep(*batch(spread(0.02), spread(0.3))), again(*batch(spread(0.02), spread(0.3))))
    assert again.ema == keep.ema


def test_groups_are_needed():
    c = samples.replace(samples.solutions(), group=None)
    value = torch.zeros(6)
    with pytest.raises(ValueError, match="EmaStdFilter"):
        EmaStdFilter()(c, Scored(value, {"r": value}, {}))
