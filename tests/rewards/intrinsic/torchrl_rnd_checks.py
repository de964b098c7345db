"""TorchRL's RND and ours, on the same weights, moments and data; run by test_rnd_torchrl.py where TorchRL is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor, nn
from torchrl.envs.transforms import RNDTransform
from torchrl.objectives import RNDLoss

from guerdon.rewards.intrinsic import RND
from guerdon.types import Rollout, Spec


class Features(nn.Module):
    """One of our networks as TorchRL calls it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net({"numbers": x})


def rollout(seed: int) -> Rollout:
    g = torch.Generator().manual_seed(seed)
    no = torch.zeros(50, 6, dtype=torch.bool)
    return Rollout(
        obs=TensorDict({"obs": 3 * torch.randn(51, 6, 7, generator=g) + 2}, [51, 6]), action=no.long(),
        extrinsic=torch.zeros(50, 6), terminated=no, truncated=no.clone(), valid=~no,
    )  # fmt: skip


@pytest.mark.parametrize("standardised", [False, True])
def test_bonus_and_loss_are_torchrls_times_the_number_of_features(standardised: bool) -> None:
    rnd, seen = RND(features=32), rollout(0)
    box = spaces.Box(-np.inf, np.inf, (7,), np.float32)
    spec = Spec(spaces.Dict({"obs": box}), spaces.Discrete(2), num_envs=6)
    rnd.build(spec, generator=torch.Generator().manual_seed(0))
    target, predictor = Features(rnd.net.targets[0]), Features(rnd.net.predictor)
    theirs = RNDTransform(target, predictor, normalize_obs=standardised, normalize_reward=False)
    if standardised:
        rnd.observe(rollout(1))
        theirs._maybe_init_rms(seen.obs["obs"][1:])
        theirs.obs_rms.update(rollout(1).obs["obs"][1:])
    theirs.eval()
    given = TensorDict({"observation": seen.obs["obs"][1:]}, [50, 6])
    with torch.no_grad():
        paid = theirs._step(given, given)["intrinsic_reward"][..., 0]
        torch.testing.assert_close(rnd.score(seen) / 32, paid, rtol=1e-6, atol=1e-6)
    if not standardised:
        data = TensorDict({"next": given}, [50, 6])
        loss = RNDLoss(predictor, target, update_fraction=1.0)(data.flatten())["loss_predictor"]
        ours = rnd.net.compare(seen)
        torch.testing.assert_close((ours.predicted - ours.targets[0]).square().mean(), loss, rtol=1e-6, atol=1e-6)
