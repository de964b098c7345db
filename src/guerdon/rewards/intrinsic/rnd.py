"""RND: a state is new as far as a trained network fails to predict a random one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.models.distillation import Distiller
from guerdon.types import About, Reward, Rollout, Spec


class RND(Reward):
    """Random network distillation: the squared error of a predictor p of a frozen random network f.

        r_t = sum over k features of (p(s') - f(s'))^2,     s' = clip((obs[t+1] - m) / sqrt(v), -clip, clip)

    [T, B] float32, at least 0, on no fixed scale; a terminal observation is paid as any other, an invalid step 0.
    `observe` takes observations into the running moments m, v after they were scored; `update` trains p on the valid
    steps by Adam, each kept with chance `fraction`. The paper normalises by the running spread of the non-episodic
    return, and gives the bonus a value head of its own:
    ``Stream(Normalise(RND(), episodic=False), gamma=0.99, episodic=False)``.

    Burda et al., "Exploration by Random Network Distillation", 2018. The sum over features is the paper's norm; TorchRL
    and RLLTE take the mean, 1/k of it, CleanRL half the sum. It differs in its sizes (see the arguments), and in
    training by passes of its own, where the release trains in PPO's minibatches.

    Args:
        features: k (our choice; release 512).
        hidden: dense layers of the predictor (our choice; release 512, 512 after the convolutions).
        target_hidden: of the random network; None takes `hidden` (release: none, after the convolutions).
        lr: of Adam (release: 1e-4).
        batch_size: of a training step (our choice).
        epochs: passes over a rollout (release: 4).
        fraction: of the steps that a pass keeps (release 0.25, for 128 environments).
        keys: of the observation; None means all. Leave out what never comes again, such as a clock.
        clip: of standardised observations (release 5).

    Raises:
        ValueError: NaN or infinite observations, or ones of another shape than the space says.
    """

    about: ClassVar[About] = About(
        rewards="states that a trained network cannot yet predict the random features of",
        paper="Exploration by Random Network Distillation (Burda et al., 2018)",
        link="https://arxiv.org/abs/1810.12894",
        claim="rdd",
    )

    def __init__(
        self,
        *,
        features: int = 64,
        hidden: Sequence[int] = (128, 128),
        target_hidden: Sequence[int] | None = None,
        lr: float = 1e-4,
        batch_size: int = 256,
        epochs: int = 4,
        fraction: float = 0.25,
        keys: Sequence[str] | None = None,
        clip: float = 5.0,
    ) -> None:
        super().__init__()
        self.features, self.hidden, self.target_hidden, self.lr = features, hidden, target_hidden, lr
        self.batch_size, self.epochs, self.fraction, self.keys, self.clip = batch_size, epochs, fraction, keys, clip

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        self.net = Distiller(spec, **self.config(), device=device, generator=generator, reader=self.name)

    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        predicted, targets = self.net.compare(experience)
        return (predicted - targets[0]).square().sum(-1).view(experience.shape)

    def observe(self, rollout: Rollout) -> None:
        self.net.observe(rollout)

    def update(self, experience: Any) -> dict[str, float]:
        """Trains the predictor on a Rollout, and passes over anything else."""
        return {f"{self.name}/loss": self.net.learn(experience)} if isinstance(experience, Rollout) else {}
