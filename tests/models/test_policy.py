from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from guerdon.models.policy import ActorCritic, as_tensors

MIXED = spaces.Dict(
    {
        "glyphs_crop": spaces.Box(0, 5991, (9, 9), np.int16),
        "chars": spaces.Box(0, 255, (21, 79), np.uint8),
        "blstats": spaces.Box(-(2**31), 2**31 - 1, (27,), np.int64),
        "message": spaces.Box(0, 255, (256,), np.uint8),
        "image": spaces.Box(0, 255, (24, 24, 3), np.uint8),
        "vector": spaces.Box(-1, 1, (4,), np.float32),
        "direction": spaces.Discrete(4),
    }
)


def observations(space: spaces.Dict, n: int, seed: int = 0) -> dict[str, torch.Tensor]:
    space.seed(seed)
    rows = [space.sample() for _ in range(n)]
    return as_tensors({k: np.stack([np.asarray(r[k]) for r in rows]) for k in space})


def test_mixed_observations_give_finite_logits_and_one_value_a_stream():
    policy = ActorCritic(MIXED, spaces.Discrete(5), streams=3)
    out = policy(observations(MIXED, 6))
    assert out.logits.shape == (6, 5)
    assert out.value.shape == (6, 3)
    assert bool(out.logits.isfinite().all() and out.value.isfinite().all())


def test_masked_actions_are_never_drawn_and_the_mask_is_not_seen():
    space = spaces.Dict({"x": spaces.Box(-1, 1, (2,), np.float32), "action_mask": spaces.MultiBinary(4)})
    policy = ActorCritic(space, spaces.Discrete(4))
    obs = {"x": torch.zeros(512, 2), "action_mask": torch.tensor([[0, 1, 0, 1]] * 512, dtype=torch.int8)}
    action, log_prob = policy.sample(policy(obs).logits, torch.Generator().manual_seed(0))
    assert set(action.tolist()) == {1, 3}
    assert bool((log_prob > -5).all())
    assert "action_mask" not in policy.encoder.keys


def test_samples_follow_the_probabilities():
    policy = ActorCritic(spaces.Dict({"x": spaces.Box(-1, 1, (1,))}), spaces.Discrete(3))
    logits = torch.tensor([[0.0, 1.0, 2.0]]).expand(60_000, 3)
    action, log_prob = policy.sample(logits, torch.Generator().manual_seed(1))
    share = torch.bincount(action, minlength=3) / len(action)
    expected = logits[0].softmax(-1)
    assert (share - expected).abs().max() < 4 * (0.25 / len(action)) ** 0.5  # four standard errors
    torch.testing.assert_close(log_prob, logits.log_softmax(-1)[torch.arange(len(action)), action])
    assert policy.entropy(logits[:1]).item() == pytest.approx(
        torch.distributions.Categorical(expected).entropy().item()
    )


def test_continuous_actions_have_the_gaussian_s_density():
    policy = ActorCritic(spaces.Dict({"x": spaces.Box(-1, 1, (3,))}), spaces.Box(-1, 1, (2,)))
    logits = policy({"x": torch.randn(5, 3)}).logits
    action, log_prob = policy.sample(logits, torch.Generator().manual_seed(0))
    mean, log_std = logits.chunk(2, -1)
    reference = torch.distributions.Normal(mean, log_std.exp())
    torch.testing.assert_close(log_prob, reference.log_prob(action).sum(-1))
    torch.testing.assert_close(policy.entropy(logits), reference.entropy().sum(-1))


def test_a_sequence_gives_what_stepping_gives_with_resets_in_its_midst():
    space = spaces.Dict({"x": spaces.Box(-1, 1, (3,))})
    policy = ActorCritic(space, spaces.Discrete(2), recurrent=True)
    t, b = 7, 4
    x, state = torch.randn(t, b, 3), torch.randn(b, policy.hidden)
    starts = torch.rand(t, b, generator=torch.Generator().manual_seed(3)) < 0.3
    whole = policy({"x": x.flatten(0, 1)}, state, starts)
    h, logits = state, []
    for i in range(t):
        h = torch.where(starts[i][:, None], 0.0, h)
        out = policy({"x": x[i]}, h)
        h = out.state
        logits.append(out.logits)
    torch.testing.assert_close(whole.logits, torch.cat(logits))
    torch.testing.assert_close(whole.state, h)


def test_what_does_not_fit_is_refused():
    space = spaces.Dict({"x": spaces.Box(-1, 1, (3,))})
    with pytest.raises(TypeError, match="Discrete or flat Box"):
        ActorCritic(space, spaces.MultiDiscrete([2, 2]))
    with pytest.raises(ValueError, match="observation has no"):
        ActorCritic(space, spaces.Discrete(2), keys=("y",))
    with pytest.raises(TypeError, match="no encoder for observation 'text'"):
        ActorCritic(spaces.Dict({"text": spaces.Text(5)}), spaces.Discrete(2))
