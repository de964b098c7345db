"""Disagreement: a step is interesting as far as models that learnt from different samples differ about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.models.actions import ActionCode
from guerdon.models.dynamics import ForwardEnsemble, encode
from guerdon.models.observation_net import ObservationInput, ObservationNet, next_obs
from guerdon.models.seeded import Trainer, seeded
from guerdon.types import About, Reward, Rollout, Spec


class Disagreement(Reward):
    """The variance of an ensemble of forward models, in features of a frozen random network phi.

        r_t = mean over E members of |f_e(phi(obs[t]), action[t]) - f|^2,        f = the members' mean

    [T, B] float32, at least 0, on no fixed scale. It depends on the state and the action that were, not on what came of
    them: a terminal step is paid as any other, an invalid step 0 and never learnt from. All members learn the mean of a
    random outcome, so noise, too, stops paying once it is known.

    `update` trains each member by Adam on the squared error (summed over features) of steps that it draws for itself,
    with replacement, from the rollout's valid ones. All members are computed in one batched product.

    Pathak et al., "Self-Supervised Exploration via Disagreement", 2019. The sum over features is the paper's norm; the
    authors' code and RLLTE take its mean (1/k of ours), RLLTE with the sample variance (E / (E - 1) of it). The paper
    draws with replacement, which we do; the authors' code leaves out a fifth of each batch; RLLTE hands every batch to
    one member in turn, so that a member sees 1/E of the steps (here: ``share=1 / E``). Forward models have one hidden
    layer, the authors' four residual blocks. It also differs in standardising observations by their running moments.

    Args:
        members: E (5: paper).
        share: of a rollout's steps, how many a member draws in a pass (0.8: the authors' code keeps as many).
        features: k, size of phi (128: RLLTE; release 512).
        hidden: dense layers of phi's network, after the convolutions if there are any (RLLTE's for vectors).
        lr: of Adam (1e-3: RLLTE; release 1e-4).
        batch_size: steps of each member's training step (RLLTE).
        epochs: passes over a rollout (RLLTE; release 3).
        keys: of the observation; None means all.
        standardise: observations by their running moments (our choice); False leaves numbers as they are.

    Raises:
        ValueError: fewer than two members, a share that is not positive; NaN or infinite observations, or ones of
            another shape than the space says.
    """

    about: ClassVar[About] = About(
        rewards="steps about which models of the dynamics disagree",
        paper="Self-Supervised Exploration via Disagreement (Pathak et al., 2019)",
        link="https://arxiv.org/abs/1906.04161",
    )

    def __init__(
        self,
        *,
        members: int = 5,
        share: float = 0.8,
        features: int = 128,
        hidden: Sequence[int] = (256,),
        lr: float = 1e-3,
        batch_size: int = 256,
        epochs: int = 1,
        keys: Sequence[str] | None = None,
        standardise: bool = True,
    ) -> None:
        super().__init__()
        if members < 2 or not share > 0:
            raise ValueError(f"Disagreement needs 2 members and a positive share, got {members} and {share}")
        self.members, self.share, self.features, self.hidden, self.lr = members, share, features, hidden, lr
        self.batch_size, self.epochs, self.keys, self.standardise = batch_size, epochs, keys, standardise

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        self.given = ObservationInput(
            spec.observation_space, keys=self.keys, standardise=self.standardise, reader=self.name
        )
        self.code = ActionCode(spec.action_space, reader=self.name)
        with seeded(generator):
            self.net = ObservationNet(self.given, self.features, hidden=self.hidden)
            self.ensemble = ForwardEnsemble(self.features, self.code.size, members=self.members)
        self.net.requires_grad_(False)
        self.to(device)
        self.trainer = Trainer(self.ensemble.parameters(), lr=self.lr, generator=generator)

    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        features = encode(self.net, self.given, experience.obs)[:-1].flatten(0, 1)
        guesses = self.ensemble(features, self.code(experience.action.flatten(0, 1)))
        spread = (guesses - guesses.mean(0)).square().sum(-1)  # faster than guesses.var(0), whose members lie far apart
        return spread.mean(0).view(experience.shape)

    def observe(self, rollout: Rollout) -> None:
        self.given.observe(next_obs(rollout.obs, self.given.keys), rollout.valid.bool().flatten())

    def update(self, experience: Any) -> dict[str, float]:
        """Trains the members on a Rollout, and passes over anything else."""
        if not isinstance(experience, Rollout):
            return {}
        with torch.no_grad():
            features = encode(self.net, self.given, experience.obs)
        before, after = features[:-1].flatten(0, 1), features[1:].flatten(0, 1)
        code = self.code(experience.action.flatten(0, 1))
        usable = experience.valid.bool().flatten().nonzero().flatten()
        total, seen = torch.zeros((), device=before.device), 0
        for drawn in self._draws(len(usable)):
            rows = usable[drawn.to(usable.device)]
            loss = (self.ensemble(before[rows], code[rows]) - after[rows]).square().sum(-1)
            self.trainer.step(loss.mean(1).sum())  # a member's gradient is that of its own mean
            total, seen = total + loss.detach().sum(), seen + loss.numel()
        return {f"{self.name}/loss": float(total) / seen} if seen else {}

    def _draws(self, n: int) -> list[Tensor]:
        """Indices below `n` [E, m <= batch_size], every member its own, until each has had its share `epochs` times."""
        drawn = torch.randint(
            max(1, n), (self.members, round(n * self.share * self.epochs)), generator=self.trainer.rng
        )
        return list(drawn.split(self.batch_size, 1)) if drawn.numel() else []
