"""RewardFusion: a reward averaged with what it gave to the nearest of its own training examples."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.models.reward_encoder import Embeddings, RewardEncoder, plain
from guerdon.models.sentence_encoder import PACKAGED, bag_of_words
from guerdon.parts.group_advantages import row_rewards
from guerdon.parts.growing import grown
from guerdon.parts.knn_memory import LifelongMemory
from guerdon.types import (
    About,
    Completions,
    Experience,
    Labels,
    Pairs,
    Reward,
    Rollout,
    Scored,
    Spec,
    as_reward,
    check_score,
)


class RewardFusion(Reward):
    """r(t) averaged with the rewards of the up to k examples of a corpus whose cosine with t is `threshold` or more.

        r'(t) = (r(t) + sum_j s_j r(t_j)) / (1 + sum_j s_j),   s_j = cos(e(t), e(t_j)) >= threshold

    t is an instruction with its response, or a step. A convex combination: r' lies between the least and the largest of
    what goes in, and without a neighbour it is r. [N] for Completions (tokens' scores are summed first), [T, B] for a
    Rollout; NaN stays NaN. Shen et al., "The Trickle-down Impact of Reward (In-)consistency on RLHF", 2023.

    `update` fills the corpus with what it is handed, both sides of Pairs, embedded and scored once; it does not teach
    the reward inside, which must be finished, since the corpus keeps its scores. A corpus of preferred responses alone
    pulls every score to one level; so hand in the others, too.

    Args:
        reward: what to average.
        encoder: a packaged sentence encoder or a folder with one: instruction and response are embedded apart, by what
            the encoder reads of their beginnings; "bag-of-words" likewise by their words; or a `RewardEncoder`.
        k: neighbours at most (5: the paper's script).
        threshold: least cosine of a neighbour (0.9: the paper's script).
        capacity: examples; then the oldest make way (our choice).

    Raises:
        ValueError: k is negative, or the threshold outside of -1..1.
    """

    about: ClassVar[About] = About(
        rewards="another reward, averaged with its nearest examples'",
        paper="The Trickle-down Impact of Reward (In-)consistency on RLHF (Shen et al., 2023)",
        link="https://arxiv.org/abs/2309.16155",
        scores="any",
        example="RewardFusion(Extrinsic(), encoder=Observations(standardise=False), threshold=0.5)",
        claim="contrast_instructions",
    )
    rewards: Tensor  # [m], of the memory's entries

    def __init__(
        self, reward: Any, *, encoder: str | RewardEncoder = PACKAGED, k: int = 5, threshold: float = 0.9,
        capacity: int = 100_000,
    ) -> None:  # fmt: skip
        super().__init__()
        if k < 0 or not -1 <= threshold <= 1:
            raise ValueError(f"RewardFusion needs k >= 0 and a threshold in -1..1, got {k} and {threshold}")
        self.reward, self.encoder, self.k = as_reward(reward), encoder, k
        self.threshold, self.capacity = threshold, capacity

    @property
    def name(self) -> str:
        return f"RewardFusion({self.reward.name})"

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        super().build(spec, device=device, generator=generator)
        if isinstance(self.encoder, RewardEncoder):
            self.encoder.build(spec, device=device, generator=generator, reader=self.name)
            size = self.encoder.size
        elif self.encoder == "bag-of-words":
            size = 2 * bag_of_words([""]).shape[1]
        else:
            self.texts = Embeddings(model=self.encoder, prompt=False, truncate=True)
            self.texts.build(spec, device=device, reader=self.name)
            size = 2 * self.texts.size
        self.memory = LifelongMemory(size, self.capacity).to(device)
        self.register_buffer("rewards", torch.zeros(0, device=device))

    def evaluate(self, experience: Experience, **needed: Any) -> Scored:
        inner = self.reward.evaluate(experience, **needed)
        value = self._whole(inner.value, experience)
        if self.k and len(self.memory):
            with torch.no_grad():
                square, at = self.memory.nearest(self._embed(experience), self.k)
            cosine = 1 - square / 2
            weight = torch.where((cosine >= self.threshold) & (at >= 0), cosine, 0.0)
            near = (weight * self.rewards[at.clamp(min=0)]).sum(1), weight.sum(1)
            value = ((value.flatten() + near[0]) / (1 + near[1])).view(value.shape)
        return inner.then(self.name, check_score(value, experience, self.name))

    @torch.no_grad()
    def update(self, experience: Experience | Pairs | Labels) -> dict[str, float]:
        sides = [experience.first, experience.second] if isinstance(experience, Pairs) else [experience]
        for side in sides:
            if isinstance(side, (Completions, Rollout)) and not self.reward.needs:
                self._add(side)
        return {"corpus": float(len(self.memory))}

    def _add(self, examples: Completions | Rollout) -> None:
        scores = self._whole(self.reward.evaluate(examples).value, examples).flatten()
        counted = ~scores.isnan()
        if isinstance(examples, Rollout):
            counted &= examples.valid.bool().flatten()
        scores, vectors = scores[counted][-self.capacity :], self._embed(examples)[counted][-self.capacity :]
        slot = (self.memory.count + torch.arange(len(scores), device=scores.device)) % self.capacity
        self.memory.add(vectors)
        self.rewards = grown(self.rewards, len(self.memory))
        self.rewards[slot] = scores

    def _whole(self, value: Tensor, experience: Experience) -> Tensor:
        """[N] or [T, B]: tokens' scores are summed."""
        if isinstance(experience, Completions):
            value = row_rewards(value, experience.mask.bool())
        return value

    def _embed(self, experience: Experience) -> Tensor:
        """[n, D] of length 1: of each completion, or of each step."""
        if isinstance(self.encoder, RewardEncoder):
            return F.normalize(self.encoder(experience).flatten(0, -2), dim=-1)
        if not isinstance(experience, Completions):
            raise TypeError(f"{self.name} embeds texts: for a {type(experience).__name__} give it a RewardEncoder")
        prompts = experience.rows(slice(None))
        prompts.text = [plain(p) for p in experience.prompt]
        asked, said = self._texts(prompts), self._texts(experience)
        return F.normalize(torch.cat([F.normalize(asked, dim=-1), F.normalize(said, dim=-1)], -1), dim=-1)

    def _texts(self, completions: Completions) -> Tensor:
        if self.encoder == "bag-of-words":
            return bag_of_words(list(completions.text)).to(self.rewards)
        return self.texts(completions)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *more: Any) -> None:
        if (saved := state.get(f"{prefix}rewards")) is not None:
            self.rewards = self.rewards.new_zeros(saved.shape)
        super()._load_from_state_dict(state, prefix, *more)
