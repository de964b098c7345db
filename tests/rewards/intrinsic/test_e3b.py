import pytest
import torch
from rewards.intrinsic.remembering import built, rollout, scores, spec, stream

from guerdon.rewards.intrinsic import E3B


def in_features(made, features, num_envs, size):
    """The reward with features that a function makes of observations."""
    built(made, num_envs, of=spec(num_envs) if size == 1 else None)
    made.net.encode = lambda obs: features(obs["obs"])
    return made


def test_with_indicators_it_counts_visits():
    """1 / (n + 1) after n visits in the episode, the first observation among them; anew after an end."""
    made = in_features(E3B(ridge=1.0, features=4), lambda x: torch.eye(4)[x[..., 0].long()], 1, 1)
    walk = rollout([0, 1, 0, 0, 2, 2, 1], ends=[(3, 0)], invalid=[(4, 0)])
    expected = torch.tensor([1, 1 / 2, 1 / 3, 1, 0, 1])
    torch.testing.assert_close(scores(made, walk).flatten(), expected)
    torch.testing.assert_close(scores(made, rollout([1, 1, 2])).flatten(), torch.tensor([1 / 2, 1 / 2]))


@pytest.mark.parametrize("ridge", [0.1, 3.0])
def test_equals_the_direct_inverse_over_a_long_stream(ridge):
    made = in_features(E3B(ridge=ridge, features=3), lambda x: x, 4, 3)
    cov, started = [ridge * torch.eye(3, dtype=torch.float64) for _ in range(4)], False
    for seed in range(4):
        r = stream(seed=seed)
        paid, x = scores(made, r), r.obs["obs"].double()
        for b in range(4):
            if not started:
                cov[b] += torch.outer(x[0, b], x[0, b])
            for t in range(40):
                if not r.valid[t, b]:
                    cov[b] = ridge * torch.eye(3, dtype=torch.float64)
                row = x[t + 1, b]
                expected = row @ torch.linalg.inv(cov[b]) @ row * r.valid[t, b]
                assert paid[t, b] == pytest.approx(float(expected), rel=1e-4)
                cov[b] += torch.outer(row, row)
        started = True


def test_noise_that_no_action_controls_is_unlearnt():
    """Features of what the action did to the first number grow beside those of noise in the others."""
    torch.manual_seed(0)
    made = built(E3B(features=8), 4)

    def walk(seed):
        r = stream(steps=64, seed=seed)
        r.terminated[:] = False
        r.valid[:] = True
        moved = (r.action.float() - 1.5).cumsum(0)
        r.obs["obs"][..., 0] = torch.cat([moved[:1] * 0, moved]) / 10
        return r

    @torch.no_grad()
    def share(made):
        r, other = walk(99), walk(99)
        other.obs["obs"][..., 0] += 0.5
        noisy = walk(99)
        noisy.obs["obs"][..., 1:] = walk(98).obs["obs"][..., 1:]
        changes = [(made.net.encode(x.obs) - made.net.encode(r.obs)).square().mean() for x in (other, noisy)]
        return float(changes[0] / changes[1])

    before = share(made)
    for seed in range(60):
        made.observe(walk(seed))
        made.update(walk(seed))
    assert share(made) > 2 * before


def test_updates_pass_over_other_things():
    assert built(E3B()).update([]) == {}
