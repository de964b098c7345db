"""Disagreement by hand, and that it ends where the data do not."""

import pytest
import samples
import torch

from guerdon.rewards.intrinsic import Disagreement


def built(**options):
    reward = Disagreement(**options)
    reward.build(samples.spec(), generator=torch.Generator().manual_seed(0))
    return reward


def test_the_variance_of_the_members():
    reward, experience = built(members=3, features=5), samples.rollout()
    scored = reward.score(experience)
    for t, b in ((0, 0), (4, 3)):
        phi = reward.net(reward.given({"obs": experience.obs["obs"][t, b][None]}))
        code = torch.eye(4)[experience.action[t, b]][None]
        guesses = reward.ensemble(phi, code)[:, 0]
        expected = sum((g - guesses.mean(0)).square().sum() for g in guesses) / 3
        torch.testing.assert_close(scored[t, b], expected)


def test_what_came_of_it_does_not_matter():
    reward, experience = built(), samples.rollout()
    changed = samples.replace(experience)
    changed.obs["obs"][-1] = 7.0
    torch.testing.assert_close(reward.score(changed), reward.score(experience))


def test_members_that_agree_pay_nothing():
    reward = built()
    with torch.no_grad():
        for p in reward.ensemble.parameters():
            p.copy_(p[:1].expand_as(p))
    assert reward.score(samples.rollout()).abs().max() < 1e-9


def test_noise_stops_paying_and_unseen_actions_do_not():
    reward = built(epochs=40, lr=1e-3)
    experience = samples.rollout(steps=64)
    experience.obs["obs"][:-1] = 0.0  # one state whose successor is chance
    experience = samples.replace(experience, action=torch.zeros_like(experience.action))
    experience.obs["obs"][1:] = torch.randn(64, 4, 3).sign() * (torch.arange(64) % 2)[:, None, None]
    unseen = samples.replace(experience, action=torch.full_like(experience.action, 3))
    first = reward.score(experience)[0, 2]
    for _ in range(6):
        reward.update(experience)
    assert reward.score(experience)[0, 2] < 0.1 * first
    assert reward.score(unseen)[0, 2] > 3 * reward.score(experience)[0, 2]


def test_members_draw_for_themselves_and_have_their_share():
    reward = built(share=0.5, batch_size=10, epochs=2)
    draws = reward._draws(40)
    assert [d.shape[1] for d in draws] == [10, 10, 10, 10]
    drawn = torch.cat(draws, 1)
    assert drawn.min() >= 0
    assert drawn.max() < 40
    assert not torch.equal(drawn[0], drawn[1])


def test_the_random_network_is_never_trained():
    reward = built()
    before = {k: v.clone() for k, v in reward.net.state_dict().items()}
    reward.update(samples.rollout())
    assert all(torch.equal(v, before[k]) for k, v in reward.net.state_dict().items())


def test_invalid_steps_are_never_learnt_from():
    one, other, experience = built(), built(), samples.rollout()
    changed = samples.replace(experience)
    changed.action[~experience.valid] = (changed.action[~experience.valid] + 1) % 4
    one.update(experience)
    other.update(changed)
    torch.testing.assert_close(one.score(experience), other.score(experience))


def test_nothing_to_learn_from():
    reward, experience = built(), samples.rollout()
    before = reward.score(experience)
    assert reward.update(samples.replace(experience, valid=torch.zeros_like(experience.valid))) == {}
    torch.testing.assert_close(reward.score(experience), before)


@pytest.mark.parametrize("options", [{"members": 1}, {"share": 0.0}])
def test_bad_options(options):
    with pytest.raises(ValueError, match="Disagreement"):
        Disagreement(**options)
