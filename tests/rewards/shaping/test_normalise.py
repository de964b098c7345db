import numpy as np
import pytest
import samples
import torch
from gymnasium.wrappers.utils import RunningMeanStd

from guerdon.rewards.shaping import CountGate, Extrinsic, Normalise


def built(**options) -> Normalise:
    made = Normalise(Extrinsic(), **options)
    made.build(samples.spec())
    return made


def returns_by_hand(rollouts, *, gamma: float, episodic: bool) -> np.ndarray:
    """G of every counted step, step by step and environment by environment."""
    found, running = [], [0.0] * 4
    for r in rollouts:
        for t in range(r.shape[0]):
            for b in range(4):
                reward = r.extrinsic[t, b].item()
                if r.valid[t, b] and not np.isnan(reward):
                    running[b] = gamma * running[b] + reward
                    found.append(running[b])
                if episodic and (r.terminated[t, b] or r.truncated[t, b]):
                    running[b] = 0.0
    return np.array(found)


@pytest.mark.parametrize("episodic", [True, False])
def test_by_returns_divides_by_their_running_deviation(episodic):
    made = built(gamma=0.9, episodic=episodic)
    rollouts = [samples.rollout(seed=s) for s in (1, 2, 3)]
    rollouts[1].extrinsic[4, 2] = torch.nan
    for r in rollouts:
        made.observe(r)
    deviation = returns_by_hand(rollouts, gamma=0.9, episodic=episodic).std()
    r = samples.rollout(seed=9)
    torch.testing.assert_close(made.score(r), r.extrinsic / deviation, rtol=1e-4, atol=1e-6)


def test_by_moments_centres_and_scales():
    made = built(by="moments")
    rollouts = [samples.rollout(seed=s) for s in (1, 2, 3)]
    rollouts[0].extrinsic[0, 0] = torch.nan
    for r in rollouts:
        made.observe(r)
    seen = np.concatenate([r.extrinsic[r.valid & ~r.extrinsic.isnan()].numpy() for r in rollouts])
    r = samples.rollout(seed=9)
    expected = ((r.extrinsic - seen.mean()) / seen.std()).masked_fill(~r.valid, 0.0)
    torch.testing.assert_close(made.score(r), expected, rtol=1e-4, atol=1e-5)


def test_the_statistics_agree_with_gymnasiums():
    made, peer = built(episodic=False), RunningMeanStd(shape=())
    running = np.zeros(4)
    for seed in range(3):
        r = samples.rollout(seed=seed)
        r.valid[:] = True
        made.observe(r)
        for t in range(8):
            running = running * 0.99 + r.extrinsic[t].numpy()
            peer.update(running)
    assert made.moments.var.item() == pytest.approx(peer.var, rel=1e-4)


def test_the_first_rollout_is_scored_as_it_is():
    r = samples.rollout()
    torch.testing.assert_close(built().score(r), r.extrinsic)


def test_a_reward_without_spread_stays_finite():
    made, r = built(), samples.rollout()
    r.extrinsic[:] = 0.0
    for _ in range(3):
        made.observe(r)
    assert (made.score(r) == 0).all()


def test_the_inner_reward_is_observed_after_it_was_read():
    class Ages(Extrinsic):
        seen = 0

        def score(self, experience):
            return torch.full(experience.shape, float(self.seen))

        def observe(self, rollout):
            self.seen += 1

    made = Normalise(Ages(), by="moments")
    made.build(samples.spec())
    r = samples.rollout()
    r.valid[:] = True
    made.observe(r)
    assert made.reward.seen == 1
    assert made.moments.mean.item() == 0.0
    made.observe(r)
    assert made.moments.mean.item() == pytest.approx(0.5, abs=1e-4)


def test_every_stage_is_logged():
    made, r = Normalise(CountGate(Extrinsic())), samples.rollout()
    made.build(samples.spec())
    stages = made.evaluate(r).stages
    assert set(stages) == {
        "Extrinsic", "CountGate(Extrinsic)/in", "CountGate(Extrinsic)/out",
        "Normalise(CountGate(Extrinsic))/in", "Normalise(CountGate(Extrinsic))/out",
    }  # fmt: skip


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="'returns' or 'moments'"):
        Normalise(Extrinsic(), by="return")
    with pytest.raises(RuntimeError, match=r"Normalise\(Extrinsic\) is not built"):
        Normalise(Extrinsic()).score(samples.rollout())
    with pytest.raises(ValueError, match="built for 4 environments, got 2"):
        built().observe(samples.rollout(num_envs=2))


def test_what_was_scored_is_not_scored_again_to_be_observed(monkeypatch):
    made, r = built(), samples.rollout(seed=1)
    calls = []
    score = type(made.reward).score
    monkeypatch.setattr(type(made.reward), "score", lambda self, x, **k: (calls.append(x), score(self, x, **k))[1])
    made.evaluate(r)
    made.observe(r)
    assert len(calls) == 1
    made.update(r)
    made.observe(r)
    assert len(calls) == 2, "after learning its score may be another"
    made.observe(samples.rollout(seed=2))
    assert len(calls) == 3
