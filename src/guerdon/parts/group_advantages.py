"""From the rewards of many answers to one prompt to advantages: what makes an answer better than its siblings.

One function, `group_advantages`, with a choice of baseline and of spread; the known estimators are rows of a table:

| estimator | baseline | spread | otherwise |
|---|---|---|---|
| GRPO (Shao et al., 2024) | group | group | TRL eps 1e-4, verl 1e-6, OpenRLHF 1e-9 |
| GRPO in verl, groups of one allowed | group | group | singleton="raw" |
| Dr.GRPO (Liu et al., 2025) | group | none | loss aggregation seq-mean-token-sum-norm |
| DAPO (Yu et al., 2025) | group | group | groups without spread are dropped first: `group_filter` |
| RLOO (Ahmadian et al., 2024) | leave-one-out | none | in verl singleton="raw" |
| REINFORCE++-baseline (Hu et al., 2025) | group | none | then `token_returns.whiten` over the batch's tokens |
| REINFORCE with a batch baseline | batch | none | with spread="batch": normalised REINFORCE |
| REINFORCE | none | none | |
| TRL scale_rewards="batch" | group | batch | eps 1e-4 |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Baseline = Literal["group", "leave-one-out", "batch", "none"]
Spread = Literal["auto", "group", "batch", "none"]
Singleton = Literal["raise", "raw", "zero"]
SMALL = 8  # answers a group, up to which spread="auto" leaves two-valued rewards undivided


def group_advantages(
    reward: Tensor,
    group: Tensor | None,
    *,
    baseline: Baseline = "group",
    spread: Spread = "group",
    eps: float = 1e-6,
    constant: Literal["zero", "unscaled"] = "zero",
    singleton: Singleton = "raise",
) -> Tensor:
    """What each answer got more than its baseline: A_i = (R_i - b_i) / (s_i + eps).

    b is the mean of the answer's group, the mean of the others in it (leave-one-out), of the batch, or 0. s is the
    sample standard deviation (divisor n - 1) of the rewards in the group or in the batch; with "none" nothing is
    divided. "auto" divides by the group's, except where all rewards of the batch take at most two values and no group
    has more than 8 members: there the deviation says only how hard the prompt is (our choice).

    NaN rewards are not scored: they count in no mean and no deviation, and their advantage is 0; so is that of an
    answer whose siblings are all unscored. Where all rewards of a group are equal, its own baseline leaves exactly 0.

    Args:
        reward: [N], any finite numbers or NaN.
        group: [N] integers in any order, groups of any size; may be None where neither choice looks at groups.
        baseline: see above.
        spread: see above.
        eps: added to the deviation.
        constant: where s = 0 and the baseline is not the group's own, "zero" gives 0, "unscaled" leaves R - b.
        singleton: a group of one answer has no baseline. "raise"; "raw" gives it A = R as verl does; "zero".

    Returns:
        [N], in the rewards' floating-point type.

    Raises:
        ValueError: wrong shapes, an infinite reward, no groups, or a group of one answer.
    """
    _check(reward, *(() if group is None else (group,)))
    if group is not None and group.is_floating_point():
        raise ValueError(f"group ids must be integers, got {group.dtype}")
    reward = reward if reward.dtype in (torch.float32, torch.float64) else reward.float()
    everyone = torch.zeros_like(reward, dtype=torch.long)
    looks_at_groups = baseline in ("group", "leave-one-out") or spread in ("group", "auto")
    if group is None and looks_at_groups:
        raise ValueError(f"baseline={baseline!r} with spread={spread!r} compares answers within groups: pass `group`")
    index = everyone if group is None else torch.unique(group, return_inverse=True)[1]

    own, batch = pool_statistics(reward, index), pool_statistics(reward, everyone)
    if spread == "auto":
        spread = "none" if _two_valued(reward) and _largest(index) <= SMALL else "group"
    if baseline == "leave-one-out":
        advantage = own.count / (own.count - 1).clamp(min=1) * (reward - own.mean)
    else:
        means = {"group": own.mean, "batch": batch.mean, "none": torch.zeros_like(reward)}
        advantage = reward - _pick(means, baseline, "baseline")
    if spread != "none":
        std = _pick({"group": own.std, "batch": batch.std}, spread, "spread")
        divided = advantage / (std + eps)
        flat = torch.zeros_like(advantage) if constant == "zero" else advantage
        advantage = torch.where(std == 0, flat, divided)
    if looks_at_groups and group is not None:
        alone = torch.bincount(index)[index] == 1
        if singleton == "raise" and bool(alone.any()):
            raise ValueError(
                f"group {group[alone][0].item()} has one answer, and baseline={baseline!r} with spread={spread!r} "
                "compares answers: sample at least two a prompt, or pass singleton='raw' or 'zero'"
            )
        advantage = torch.where(alone, reward if singleton == "raw" else 0.0, advantage)
    return advantage.nan_to_num(nan=0.0)


def sum_then_normalise(
    rewards: Tensor, group: Tensor, weights: Sequence[float] | None = None, *, spread: Spread = "group",
    eps: float = 1e-4, singleton: Singleton = "raise",
) -> Tensor:  # fmt: skip
    """GRPO on the weighted sum of K rewards [N, K] -> [N] (TRL's default); NaN terms are skipped.

    An answer with no term scored is left out of its group and gets 0. `weights` are 1 unless given. Errors as in
    `group_advantages`.
    """
    total = (rewards * _weights(rewards, weights)).nansum(1)
    total = total.masked_fill(rewards.isnan().all(1), torch.nan)
    return group_advantages(total, group, spread=spread, eps=eps, singleton=singleton)


def normalise_then_sum(
    rewards: Tensor, group: Tensor, weights: Sequence[float] | None = None, *, spread: Spread = "group",
    eps: float = 1e-4, singleton: Singleton = "raise", over_batch: bool = True,
) -> Tensor:  # fmt: skip
    """Each of K rewards [N, K] normalised within its groups, then their weighted sum over the batch -> [N].

    A_i = (z_i - mean(z)) / (std(z) + eps) with z_i = sum_k w_k GRPO(R_k)_i: a reward of large numbers or rare ones
    weighs no more than its `weights` entry says (GDPO; TRL's "normalize_then_sum"). NaN terms are skipped; an answer
    with none scored gets 0. Without `over_batch` it is z itself. Errors as in `group_advantages`.
    """
    weights_ = _weights(rewards, weights)
    each = [group_advantages(r, group, spread=spread, eps=eps, singleton=singleton) for r in rewards.unbind(1)]
    total = (torch.stack(each, 1) * weights_).sum(1)
    if not over_batch:
        return total
    total = total.masked_fill(rewards.isnan().all(1), torch.nan)
    return group_advantages(total, None, baseline="batch", spread="batch", eps=eps)


def gigpo_advantages(
    episode_return: Tensor,
    step_return: Tensor,
    group: Tensor,
    trajectory: Tensor,
    anchor: Tensor,
    *,
    weight: float = 1.0,
    divide: bool = False,
    eps: float = 1e-6,
) -> Tensor:
    """GiGPO (Feng et al., 2025, https://arxiv.org/abs/2505.10978): A = A_episode + weight * A_step, a row a step.

    A_episode compares an episode's return with those of its group, every trajectory once however many steps it has.
    A_step compares a step's discounted reward-to-go with those of all steps of the group that began at the same
    observation (`anchor`); a step nobody else began at gets 0. Both subtract the mean; with `divide` they are also
    divided by the sample standard deviation plus `eps`.

    Args:
        episode_return: [M] return of the episode that each step belongs to.
        step_return: [M] discounted reward-to-go of each step.
        group: [M] integers, the prompt or task.
        trajectory: [M] integers, the episode; of one group and one return each.
        anchor: [M] integers, equal where the observations are.
        weight: of the step term.
        divide: whether to divide by the standard deviation ("mean_std_norm").
        eps: added to it.

    Returns:
        [M].

    Raises:
        ValueError: wrong shapes, an infinite return, a group of one trajectory, or a trajectory with two returns.
    """
    _check(episode_return, step_return, group, trajectory, anchor)
    spread = "group" if divide else "none"
    which = torch.unique(trajectory, return_inverse=True)[1]
    first = torch.full((int(which.max()) + 1 if len(which) else 0,), len(which), device=which.device)
    first = first.scatter_reduce(0, which, torch.arange(len(which), device=which.device), "amin")
    same = (episode_return[first][which] - episode_return).nan_to_num() == 0
    if not bool((same & (group[first][which] == group)).all()):
        raise ValueError("the steps of one trajectory must have one episode_return and one group")
    episode = group_advantages(episode_return[first], group[first], spread=spread, eps=eps)[which]
    here = torch.unique(torch.stack([group, anchor]), dim=1, return_inverse=True)[1]
    return episode + weight * group_advantages(step_return, here, spread=spread, eps=eps, singleton="zero")


def on_tokens(advantage: Tensor, mask: Tensor) -> Tensor:
    """One advantage a row [N] on every token of it [N, L]; 0 where `mask` is False."""
    return torch.where(mask.bool(), advantage[:, None], 0.0)


def row_rewards(value: Tensor, mask: Tensor) -> Tensor:
    """The reward of each answer, [N] from [N] or [N, L] (summed over `mask`); NaN where one of its tokens has NaN."""
    if value.shape == mask.shape:
        return torch.where(mask, value, 0.0).sum(1)
    if value.ndim != 1 or len(value) != len(mask):
        raise ValueError(f"rewards must have shape [N] or [N, L] = {list(mask.shape)}, got {list(value.shape)}")
    return value


class PoolStatistics(NamedTuple):
    """Of the pool that a row belongs to, over its scored rows; [N] each."""

    count: Tensor
    mean: Tensor
    std: Tensor  # exactly 0 where all are equal


def pool_statistics(reward: Tensor, index: Tensor) -> PoolStatistics:
    """For every row, count, mean and sample deviation of the rewards with its `index` (integers from 0); NaN left out.

    Raises ValueError for wrong shapes or an infinite reward.
    """
    _check(reward, index)
    pools = int(index.max()) + 1 if len(index) else 0
    scored = ~reward.isnan()

    def summed(x: Tensor) -> Tensor:
        return x.new_zeros(pools).index_add(0, index, x.masked_fill(~scored, 0.0))

    def extreme(start: float, how: str) -> Tensor:
        filled = reward.masked_fill(~scored, start)
        return reward.new_full((pools,), start).scatter_reduce(0, index, filled, how)

    count = summed(torch.ones_like(reward))
    low, high = extreme(torch.inf, "amin"), extreme(-torch.inf, "amax")
    mean = torch.where(low == high, low, summed(reward) / count.clamp(min=1))
    std = (summed((reward - mean[index]) ** 2) / (count - 1).clamp(min=1)).sqrt()
    return PoolStatistics(count[index], mean[index], std[index])


def _two_valued(reward: Tensor) -> bool:
    return len(torch.unique(reward[~reward.isnan()])) <= 2


def _largest(index: Tensor) -> int:
    return int(torch.bincount(index).max()) if len(index) else 0


def _pick(table: dict[str, Tensor], name: str, what: str) -> Tensor:
    if name not in table:
        raise ValueError(f"no {what} is called {name!r}")
    return table[name]


def _weights(rewards: Tensor, weights: Sequence[float] | None) -> Tensor:
    if rewards.ndim != 2 or (weights is not None and len(weights) != rewards.shape[1]):
        count = "" if weights is None else f" and one weight for each of its K columns, got {len(weights)}"
        raise ValueError(f"rewards must have shape [N, K], got {list(rewards.shape)}{count}")
    return rewards.new_ones(rewards.shape[1]) if weights is None else rewards.new_tensor(list(weights))


def _check(reward: Tensor, *others: Tensor) -> None:
    if reward.ndim != 1 or any(other.shape != reward.shape for other in others):
        shapes = [list(x.shape) for x in (reward, *others)]
        raise ValueError(f"rewards and group ids must all have shape [N], got {shapes}")
    if bool(reward.isinf().any()):
        raise ValueError(f"{int(reward.isinf().sum())} of {len(reward)} rewards are infinite")
