"""KL in the reward is the k1 estimate, token by token."""

from __future__ import annotations

import pytest
import torch
from text_learning import QUESTIONS, Vowels, Watched, learner, tiny

from guerdon.credit import GroupAdvantage
from guerdon.rewards.shaping import ReferenceKL


def test_it_is_the_difference_of_log_probabilities_at_the_sampling_temperature():
    policy, reference = tiny(), tiny(1)
    made = policy.generate([q["prompt"] for q in QUESTIONS], n=3, max_tokens=6, temperature=0.7, seed=0)
    value = ReferenceKL(temperature=0.7).score(made, reference=reference)
    expected = reference.log_probs(made, temperature=0.7) - policy.log_probs(made, temperature=0.7)
    torch.testing.assert_close(value, expected.detach() * made.mask, atol=1e-5, rtol=1e-4)
    assert not ReferenceKL(temperature=0.7).score(made, reference=policy).abs().gt(1e-5).any()
    made.log_prob = None
    with pytest.raises(ValueError, match="the sampler sets"):
        ReferenceKL().score(made, reference=reference)


def test_its_mean_is_the_kl_of_the_first_token():
    policy, reference = tiny(spread=0.2), tiny(1, spread=0.2)
    made = policy.generate(["a:"], n=4000, max_tokens=1, seed=0)
    estimate = -ReferenceKL().score(made, reference=reference).sum(1)
    prompt = torch.tensor([policy.encode("a:")])
    p, q = (m.module(prompt).logits[0, -1].log_softmax(0) for m in (policy, reference))
    exact = float((p.exp() * (p - q)).sum())
    assert exact > 0.05
    assert float(estimate.mean()) == pytest.approx(exact, abs=4 * float(estimate.std()) / 4000**0.5)


def test_learning_with_it_alone_leads_back_to_the_reference():
    made = learner(
        ReferenceKL() + 1e-6 * Vowels(), reference=tiny(1), descent=Watched(go=True, lr=5e-3),
        credit=GroupAdvantage(spread="none"),
    )  # fmt: skip
    seen = [-made.step()[0]["term/ReferenceKL/mean"] for _ in range(40)]
    assert sum(seen[-5:]) / 5 < 0.7 * sum(seen[:5]) / 5
