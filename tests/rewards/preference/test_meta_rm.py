import pytest
import torch

from guerdon.models.reward_encoder import Features
from guerdon.parts.meta_step import difference
from guerdon.parts.preference_strength import chosen_lead, pair_scores
from guerdon.rewards.preference import BradleyTerry
from guerdon.rewards.preference.meta_rm import meta_fit
from guerdon.types import FIRST, Completions, Pairs, Spec


def completions(x, group=None):
    n, empty = len(x), torch.zeros(len(x), 0, dtype=torch.long)
    columns = {"x": x.tolist()}
    return Completions(
        prompt=["?"] * n, text=["!"] * n, ids=empty, mask=empty.bool(), columns=columns, group=group
    )  # fmt: skip


def scorer(**kw):
    made = BradleyTerry(encoder=Features(["x"], width=4), hidden=(8,), lr=0.02, batch_size=16, epochs=4, **kw)
    made.build(Spec(), generator=torch.Generator().manual_seed(1))
    return made


@pytest.fixture
def task():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(64, 2, 4, generator=g)
    better = x[:, 0, :2].sum(1) > x[:, 1, :2].sum(1)
    x = torch.where(better[:, None, None], x, x.flip(1))
    pairs = Pairs(first=completions(x[:, 0]), second=completions(x[:, 1]), label=torch.full((64,), FIRST))
    return pairs, completions(torch.randn(24, 4, generator=g), torch.arange(24) % 6)  # six prompts, four answers


def spread(reward, answers):
    order = answers.group.argsort(stable=True)
    return float(difference(reward.score(answers.rows(order)).view(6, 4)).detach())


def weights(reward):
    return torch.cat([p.detach().flatten() for p in reward.parameters()])


def test_it_learns_the_pairs(task):
    pairs, answers = task
    reward = scorer()
    logs = meta_fit(reward, pairs, answers, eta=0.1)
    assert logs["loss"] < 0.69
    assert logs["difference"] == pytest.approx(spread(reward, answers))
    assert float((chosen_lead(pair_scores([reward], pairs)[0]) > 0).float().mean()) > 0.9


def test_without_a_look_ahead_it_is_the_usual_fit(task):
    pairs, answers = task
    ours, usual = scorer(max_grad_norm=None), scorer(max_grad_norm=None)
    meta_fit(ours, pairs, answers, eta=0.0, prompts=6)
    draw = torch.randperm
    for rows in usual.trainer.batches(64, 16, epochs=4):
        draw(6, generator=usual.trainer.rng)  # the prompts of ours
        usual.step(pairs.rows(rows))
    assert torch.allclose(weights(ours), weights(usual), atol=1e-6)


def test_what_is_deployed_and_the_control(task):
    pairs, answers = task
    plain, adapted, joint = scorer(), scorer(), scorer()
    meta_fit(plain, pairs, answers, eta=0.5)
    meta_fit(adapted, pairs, answers, eta=0.5, deploy="adapted")
    meta_fit(joint, pairs, answers, eta=0.5, mode="joint")
    assert spread(adapted, answers) > spread(plain, answers)
    assert spread(joint, answers) > spread(plain, answers)
    with pytest.raises(ValueError, match="'theta' or 'adapted'"):
        meta_fit(plain, pairs, answers, eta=0.5, deploy="both")


def test_answers_must_come_in_groups_of_one_size(task):
    pairs, _ = task
    with pytest.raises(ValueError, match="with a group"):
        meta_fit(scorer(), pairs, completions(torch.zeros(4, 4)), eta=0.1)
    with pytest.raises(ValueError, match="at least two"):
        meta_fit(scorer(), pairs, completions(torch.zeros(4, 4), torch.arange(4)), eta=0.1)
    uneven = completions(torch.zeros(9, 4), torch.arange(9) // 5)
    with pytest.raises(ValueError, match=r"\[4, 5\]"):
        meta_fit(scorer(), pairs, uneven, eta=0.1)
