import math

import pytest
import torch

from guerdon.parts.likelihood_metrics import monte_carlo_log_prob, reference_perplexity


def test_more_chains_under_estimate_less():
    value = torch.tensor([0.5, 0.1, 0.4, 0.2, math.nan]).log()
    group = torch.tensor([0, 0, 1, 1, 2])
    assert monte_carlo_log_prob(value, group) == pytest.approx(math.log(0.3))
    alone = monte_carlo_log_prob(value[:4], torch.arange(4))
    assert alone == pytest.approx(float(value[:4].mean()))
    assert alone <= monte_carlo_log_prob(value, group)
    with pytest.raises(ValueError, match="no answer is scored"):
        monte_carlo_log_prob(value[4:], group[4:])


def test_perplexity_by_answer_and_by_token():
    log_prob = torch.tensor([[0.5, 0.5, 0.5], [0.125, 1.0, 1.0]]).log()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert reference_perplexity(log_prob, mask) == pytest.approx(4.0)  # 2 and 8, in the logarithm's mean
    assert reference_perplexity(log_prob, mask, per="token") == pytest.approx(2**1.5)
    with pytest.raises(ValueError, match="reference_perplexity"):
        reference_perplexity(log_prob, torch.zeros(2, 3))
