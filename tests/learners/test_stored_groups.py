"""Stored answers go out group by group, and a policy learns from them without writing any of its own."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from guerdon.credit import GroupAdvantage
from guerdon.learners import Descent, TextLearner
from guerdon.learners.stored_groups import StoredGroups
from guerdon.models.tiny_model import tiny_model
from guerdon.parts.advantage_weighted_loss import AdvantageWeightedLoss
from guerdon.parts.token_policy_loss import PolicyLoss
from guerdon.types import About, Completions, Reward


class Stored(Reward):
    """What each answer was found to be worth."""

    about: ClassVar[About] = About(rewards="stored", paper="none", scores="Completions")

    def score(self, experience: Completions, **needed):
        return torch.tensor(experience.column("worth", self.name))


def tiny():
    return tiny_model(characters="ab ?", layers=1, width=16, heads=2)


def stored(model) -> Completions:
    made = model.generate(["a?", "b?", "a b?"], n=6, max_tokens=4, seed=3)
    made.columns = {"worth": [float(text.count("a")) for text in made.text]}
    return made


def test_groups_go_out_whole_and_in_order():
    model = tiny()
    kept = stored(model)
    sampler = StoredGroups(kept.rows(torch.randperm(18, generator=torch.Generator().manual_seed(0))))
    rows = sampler.rows
    assert sorted(row["prompt"] for row in rows) == ["a b?", "a?", "b?"]
    out = sampler([rows[2], rows[0], rows[2]], model, torch.Generator())
    assert out.group.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert list(out.prompt) == [rows[2]["prompt"]] * 6 + [rows[0]["prompt"]] * 6 + [rows[2]["prompt"]] * 6
    assert list(out.text)[:6] == list(out.text)[12:]
    assert sorted(list(out.text)[6:12]) == sorted(
        t for p, t in zip(kept.prompt, kept.text, strict=True) if p == rows[0]["prompt"]
    )
    kept.group = None
    with pytest.raises(ValueError, match=r"Completions\.group"):
        StoredGroups(kept)


@pytest.mark.parametrize("loss", [PolicyLoss(clip_high=0.2, beta=0.04), AdvantageWeightedLoss()])
def test_a_policy_learns_what_was_better(loss):
    policy = tiny()
    kept = stored(policy)
    made = TextLearner(
        policy, Stored(), sampler=StoredGroups(kept), loss=loss, reference=tiny(), prompts=3,
        credit=GroupAdvantage(spread="group"), descent=Descent(lr=3e-3),
    )  # fmt: skip
    advantage = made.credit(kept, Stored().evaluate(kept))
    before = policy.log_probs(kept).detach()
    torch.testing.assert_close(before, kept.log_prob, atol=1e-4, rtol=1e-4)
    for _ in made.train(StoredGroups(kept).rows, 15):
        pass
    gained = (policy.log_probs(kept).detach() - before) * kept.mask
    assert float(gained[advantage > 0.5].mean()) > 0.02
    assert float((gained * advantage).sum()) > 0
