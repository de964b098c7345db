"""The weighted log-likelihood by hand, its gradient, and pieces of a batch."""

from __future__ import annotations

import pytest
import torch

from guerdon.parts.advantage_weighted_loss import AdvantageWeightedLoss

LOG_PROB = torch.tensor([[-1.0, -2.0], [-0.5, -7.0]])
ADVANTAGE = torch.tensor([[2.0, -1.0], [0.5, 9.0]])
MASK = torch.tensor([[True, True], [True, False]])


def test_by_hand():
    loss, seen = AdvantageWeightedLoss()(LOG_PROB, None, ADVANTAGE, MASK)
    assert float(loss) == pytest.approx((2.0 + 0.25) / 3)
    assert seen["imitated"] == pytest.approx(2 / 3)
    assert float(AdvantageWeightedLoss(least=None)(LOG_PROB, None, ADVANTAGE, MASK)[0]) == pytest.approx(0.25 / 3)
    rows, _ = AdvantageWeightedLoss(aggregation="seq-mean-token-sum")(LOG_PROB, None, ADVANTAGE, MASK)
    assert float(rows) == pytest.approx(2.25 / 2)


def test_the_gradient_raises_good_tokens_only():
    log_prob = LOG_PROB.clone().requires_grad_()
    AdvantageWeightedLoss()(log_prob, None, ADVANTAGE, MASK)[0].backward()
    torch.testing.assert_close(log_prob.grad, -torch.tensor([[2.0, 0.0], [0.5, 0.0]]) / 3)


def test_pieces_add_up():
    made = AdvantageWeightedLoss()
    pieces = [
        made(LOG_PROB[i : i + 1], None, ADVANTAGE[i : i + 1], MASK[i : i + 1], global_tokens=3)[0] for i in (0, 1)
    ]
    assert float(sum(pieces)) == pytest.approx(float(made(LOG_PROB, None, ADVANTAGE, MASK)[0]))


def test_bad_input():
    with pytest.raises(ValueError, match=r"\[N, L\]"):
        AdvantageWeightedLoss()(LOG_PROB, None, ADVANTAGE[:1], MASK)
    with pytest.raises(ValueError, match="NaN"):
        AdvantageWeightedLoss()(LOG_PROB, None, torch.full((2, 2), torch.nan), MASK)
