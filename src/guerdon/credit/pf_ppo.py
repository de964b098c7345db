"""PF-PPO: train on those answers of a prompt whose learned reward can be trusted, by their rank."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from guerdon.types import About, Completions, Scored

STRATEGIES = ("none", "BoN", "BR", "BW", "pow")


def filtration_weights(
    reward: Tensor, group: Tensor, strategy: str | Sequence[float] = "BR", *, power: float = 2.0
) -> Tensor:
    """[N], at least 0 and of sum 1 in every group: how probably each answer of a prompt is trained on.

    Of N answers in the order of their reward, the best first (equal ones in their order: one best, one worst):

        none  1/N each      BoN  (1, 0, ..., 0)      BR  (1/2, 1/2(N-1), ..., 1/2(N-1))      BW  (1/2, 0, ..., 0, 1/2)
        pow   in proportion to |r|^power, r standardised by the caller

    A group of one answer, or of equal rewards, is weighted evenly, with a warning. A sequence gives the weights by
    rank; it is brought to sum 1.

    Args:
        reward: [N], finite.
        group: [N] integers, the prompt of each answer; its rows need not stand together.
        strategy: see above.
        power: of "pow".

    Raises:
        ValueError: NaN or infinite rewards, unequal shapes, another strategy, weights by rank that are negative, sum to
            0 or are not as many as a group has answers.
    """
    if reward.ndim != 1 or reward.shape != group.shape:
        raise ValueError(f"rewards and groups must both be [N], got {list(reward.shape)} and {list(group.shape)}")
    if not bool(reward.isfinite().all()):
        raise ValueError("PF-PPO cannot rank rewards that are NaN or infinite: leave unscored answers out")
    _, at, size = group.unique(return_inverse=True, return_counts=True)
    order = reward.argsort(descending=True, stable=True)
    order = order[at[order].argsort(stable=True)]  # group by group, the best first
    rank = torch.empty_like(at)
    rank[order] = torch.arange(len(at), device=at.device) - (size.cumsum(0) - size)[at[order]]
    n = size[at].to(reward.dtype)
    weight = _by_rank(strategy, reward, rank, n, power)
    total = torch.zeros(len(size), dtype=reward.dtype, device=reward.device).index_add(0, at, weight)
    first = reward.new_zeros(len(size)).scatter(0, at, reward)
    even = (torch.zeros_like(total).index_add(0, at, (reward != first[at]).to(reward.dtype)) == 0) | (size < 2)
    if bool(even.any()) and strategy != "none":
        warnings.warn("PF-PPO: answers of a prompt with one answer or equal rewards are weighted evenly", stacklevel=2)
    if bool((total[~even] <= 0).any()):
        raise ValueError("PF-PPO's weights of a prompt sum to 0")
    return torch.where(even[at], 1.0 / n, weight / total.masked_fill(even, 1.0)[at])


def _by_rank(strategy: Any, reward: Tensor, rank: Tensor, n: Tensor, power: float) -> Tensor:
    """Weights before they are brought to sum 1."""
    best, worst = (rank == 0).to(reward.dtype), (rank == n - 1).to(reward.dtype)
    if strategy == "none":
        return torch.ones_like(reward)
    if strategy == "BoN":
        return best
    if strategy == "BR":
        return torch.where(rank == 0, 0.5, 0.5 / (n - 1).clamp(min=1))
    if strategy == "BW":
        return best + worst
    if strategy == "pow":
        return reward.abs() ** power
    if isinstance(strategy, str):
        raise ValueError(f"a filtration strategy is one of {', '.join(STRATEGIES)}, not {strategy!r}")
    given = torch.as_tensor(strategy, dtype=reward.dtype, device=reward.device)
    if bool((n != len(given)).any()):
        raise ValueError(f"{len(given)} weights by rank do not fit groups of {sorted(set(n.long().tolist()))} answers")
    if not bool(given.isfinite().all()) or bool((given < 0).any()) or not bool(given.sum() > 0):
        raise ValueError(f"weights by rank must be at least 0 and not all 0, got {given.tolist()}")
    return given[rank]


class PolicyFiltration:
    """A filter for the text learner: weights [N] of the answers, from their rank in their prompt's group.

    As PPO on the filtered policy mu(y|c) = sum_k w_k P(y has rank k); ratios and KL stay those of the sampling policy.
    Advantages and their whitening come before it. Answers without a score (NaN) get 0 and no rank.

    Shen & Zhang, "Policy Filtration for RLHF to Mitigate Noise in Reward Models", 2024/2025. Ranks are within a
    prompt's group (Completions.group), where verl ranks the whole batch and keeps all ties at the ends.

    Args:
        strategy: see `filtration_weights`; the paper uses "BR" or "BW".
        variant: "reweight": the weight times the size of the group, of mean 1. "resample": how often an answer comes up
            when as many as there are are drawn with replacement, in proportion to the weights. "select": 1 for the
            answers that are kept, else 0; for "BR" the best and one random other; not defined for "pow" and ranks.
        power: of "pow".
        standardise: for "pow", whether to standardise the batch's rewards first (our choice; the release has the reward
            model's running mean and deviation).
        seed: of the draws; the state of the generator is in `state_dict`.
    """

    about: ClassVar[About] = About(
        rewards="weighs the answers to a prompt by the rank of their reward",
        paper="Policy Filtration for RLHF to Mitigate Noise in Reward Models (Shen & Zhang, 2024)",
        link="https://arxiv.org/abs/2409.06957",
        scores="Completions",
        claim="pf_ppo",
    )

    def __init__(
        self,
        *,
        strategy: str | Sequence[float] = "BR",
        variant: Literal["reweight", "resample", "select"] = "reweight",
        power: float = 2.0,
        standardise: bool = True,
        seed: int = 0,
    ) -> None:
        if variant not in ("reweight", "resample", "select"):
            raise ValueError(f"PolicyFiltration's variant is reweight, resample or select, not {variant!r}")
        if variant == "select" and strategy not in ("none", "BoN", "BR", "BW"):
            raise ValueError(f"{strategy!r} selects no answers: use variant='resample'")
        self.strategy, self.variant, self.power, self.standardise = strategy, variant, power, standardise
        self.seed = seed
        self.generator_state = torch.Generator().manual_seed(seed).get_state()

    def __call__(self, completions: Completions, scored: Scored) -> Tensor:
        """[N] float32 weights; raises ValueError if the completions are in no groups."""
        if completions.group is None:
            raise ValueError("PolicyFiltration ranks answers within a prompt's group: set Completions.group")
        reward = scored.value.float()
        reward = reward.sum(1) if reward.ndim == 2 else reward
        known = ~reward.isnan()
        reward, group = reward[known], completions.group[known]
        if self.strategy == "pow" and self.standardise and len(reward):
            reward = (reward - reward.mean()) / reward.std(correction=0).clamp(min=1e-8)
        weights = torch.zeros(len(known), device=known.device)
        if len(reward):
            weights[known] = self._drawn(filtration_weights(reward, group, self.strategy, power=self.power), group)
        return weights

    def _drawn(self, weight: Tensor, group: Tensor) -> Tensor:
        _, at, size = group.unique(return_inverse=True, return_counts=True)
        if self.variant == "reweight":
            return weight * size[at]
        generator = torch.Generator()
        generator.set_state(self.generator_state)
        if self.variant == "resample":
            drawn = torch.multinomial((weight * size[at]).cpu(), len(weight), replacement=True, generator=generator)
            kept = torch.bincount(drawn, minlength=len(weight)).to(weight)
        else:
            kept = (weight > 0).to(weight)
            if self.strategy == "BR":
                lots = torch.rand(len(weight), generator=generator).to(weight)
                top = torch.zeros(len(size), device=weight.device).scatter_reduce(0, at, weight, "amax")
                others = torch.where(weight < top[at], lots, -1.0)
                luckiest = torch.full_like(top, -1.0).scatter_reduce(0, at, others, "amax")
                even = luckiest[at] < 0  # one answer, two, or equal rewards: all are kept
                kept = torch.where(even, 1.0, (weight == top[at]) | (others == luckiest[at])).to(weight)
        self.generator_state = generator.get_state()
        return kept

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator_state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator_state = state["generator"]


class Reliability(NamedTuple):
    """How well a reward tells true scores apart among the answers that a strategy trains on."""

    r_squared: float  # of the weighted regression of the true score on the reward, in [0, 1]
    effective: float  # share of the answers that is left: (sum w)^2 / (N sum w^2), in (0, 1]


def reliability(
    reward: Tensor, score: Tensor, strategy: str | Sequence[float] = "none", *, bins: int = 20, power: float = 2.0
) -> Reliability:
    """R^2 = 1 - SSE / SST of the weighted linear regression of true scores on rewards, under a filtration strategy.

    With `bins`, answers are first put into that many bins of equal count by the rank of their reward, and each bin's
    weighted means are regressed, with the bin's weight [reconstructed]; with 0 the answers themselves are.

    Args:
        reward: [B, M], M answers to each of B prompts by the policy to be trained.
        score: [B, M] true scores, such as the share of tests passed.
        strategy: see `filtration_weights`.
        bins: see above; 20 is our choice.
        power: of "pow", on the rewards as they are.

    Raises:
        ValueError: shapes disagree, a number is not finite, or the true scores do not vary (R^2 is undefined).
    """
    if reward.ndim != 2 or reward.shape != score.shape:
        shapes = f"{list(reward.shape)} and {list(score.shape)}"
        raise ValueError(f"reliability needs rewards and scores [B, M], got {shapes}")
    r, s = reward.double().flatten(), score.double().flatten()
    if not bool(s.isfinite().all()):
        raise ValueError("reliability needs finite true scores")
    group = torch.arange(len(reward), device=r.device).repeat_interleave(reward.shape[1])
    w = filtration_weights(r, group, strategy, power=power)
    effective = float(w.sum() ** 2 / (len(w) * (w**2).sum()))
    if bins:
        order = r.argsort(stable=True)
        at = torch.empty_like(order)
        at[order] = torch.arange(len(r), device=r.device) * bins // len(r)

        def binned(x: Tensor) -> Tensor:
            return r.new_zeros(bins).index_add(0, at, x)

        total = binned(w)
        used = total > 0
        r, s, w = binned(w * r)[used] / total[used], binned(w * s)[used] / total[used], total[used]
    w = w / w.sum()
    r, s = r - (w * r).sum(), s - (w * s).sum()
    variance = float((w * s * s).sum())
    if variance <= 1e-12 * max(1.0, float(score.double().abs().max()) ** 2):
        raise ValueError("R^2 is undefined: the true scores of the answers trained on do not vary")
    spread = float((w * r * r).sum())
    return Reliability(float((w * r * s).sum()) ** 2 / (spread * variance) if spread else 0.0, effective)


def choose_filtration(
    reward: Tensor,
    score: Tensor,
    *,
    strategies: Iterable[str] = STRATEGIES,
    bins: int = 20,
    power: float = 2.0,
    least: float = 0.25,
) -> tuple[str, dict[str, Reliability]]:
    """The strategy of the highest R^2 among those that leave a share `least` of the answers, and the table of all.

    To be done once for a reward model, before training: sample M answers to each of some prompts with the policy that
    training starts from, M as many as training will, score them with the reward model and with the truth, and hand both
    in as [B, M]. For "pow" the rewards are standardised over all answers. Arguments as in `reliability`; `least` is our
    choice. Raises ValueError as it does, and if no strategy leaves enough.
    """
    standard = (reward - reward.double().mean()) / reward.double().std(correction=0).clamp(min=1e-8)
    table: dict[str, Reliability] = {}
    for strategy in strategies:
        scale = standard if strategy == "pow" else reward
        table[strategy] = reliability(scale, score, strategy, bins=bins, power=power)
    enough = [strategy for strategy, found in table.items() if found.effective >= least]
    if not enough:
        raise ValueError(f"no strategy leaves a share of {least} of the answers: {table}")
    return max(enough, key=lambda strategy: table[strategy].r_squared), table
