"""MetaRM: fitting a reward model to old comparisons so that it still tells a newer policy's answers apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from guerdon.parts.meta_step import ascended, difference, meta_step
from guerdon.types import Completions, Pairs, Reward


class PairLearner(Protocol):
    """What is needed of a reward: `BradleyTerry` has it."""

    trainer: Any  # with `optimiser` and `batches(n, size, epochs=)`
    batch_size: int
    epochs: int

    def losses(self, pairs: Pairs) -> Iterator[Tensor]:
        """The loss of these pairs, in parts that sum to it."""
        ...


def meta_fit(
    reward: Any, pairs: Pairs, answers: Completions, *, eta: float, prompts: int = 8,
    mode: Literal["meta", "joint"] = "meta", deploy: Literal["theta", "adapted"] = "theta",
) -> dict[str, float]:  # fmt: skip
    """`reward.epochs` passes over the labelled pairs by `meta_step`, each with some prompts' unlabelled answers.

    For iterated training of a policy: after each round sample fresh answers from the policy as it is then, and fit the
    same pairs again (the paper's third or fourth round was best, later ones worse). Wang et al., "Secrets of RLHF in
    Large Language Models Part II: Reward Modeling", 2024 (https://arxiv.org/abs/2401.06080).

    Args:
        reward: a built `PairLearner` that is a Reward; its weights are moved.
        pairs: labelled pairs.
        answers: of the newest policy; rows of one `group` answer the same prompt, all groups alike in size, at least 2.
        eta: size of the look-ahead (the paper gives none; the learning rate is our choice).
        prompts: groups a step (our choice).
        mode: "joint" is a control, see `meta_step`.
        deploy: "theta" leaves the weights as the steps left them (the paper); "adapted" moves them once more up J of
            all answers, by eta: the scorer that the pairs were last told right by.

    Returns:
        "loss", the mean over steps, and "difference", J of the answers at the end.

    Raises:
        ValueError: no groups, or groups of several sizes or of one answer.
    """
    if deploy not in ("theta", "adapted"):
        raise ValueError(f"deploy is 'theta' or 'adapted', not {deploy!r}")
    rows = _groups(answers)
    learner: PairLearner = reward

    def told_apart(at: Tensor) -> Tensor:
        return difference(_answers(reward, answers.rows(at.flatten())).view(at.shape))

    seen = []
    order = learner.trainer.batches(len(pairs.label), learner.batch_size, epochs=learner.epochs)
    for batch in pairs.picks(order):
        some = rows[torch.randperm(len(rows), generator=learner.trainer.rng)[:prompts]]
        seen.append(
            meta_step(
                reward,
                lambda batch=batch: torch.stack(list(learner.losses(batch))).sum(),
                lambda some=some: told_apart(some),
                learner.trainer.optimiser,
                eta=eta,
                mode=mode,
            )
        )
    if deploy == "adapted":
        with ascended(reward, lambda: told_apart(rows), eta):
            there = [p.detach().clone() for p in reward.parameters()]
        with torch.no_grad():
            for p, moved in zip(reward.parameters(), there, strict=True):
                p.copy_(moved)
    with torch.no_grad():
        return {"loss": sum(seen) / len(seen), "difference": float(told_apart(rows))}


def _groups(answers: Completions) -> Tensor:
    """[m, k] the rows of each group."""
    if answers.group is None or not len(answers.text):
        raise ValueError("MetaRM needs answers with a group, the prompt that each belongs to")
    order = answers.group.argsort(stable=True)
    counts = answers.group.unique(return_counts=True)[1]
    if int(counts.min()) != int(counts.max()) or int(counts.min()) < 2:
        raise ValueError(
            f"MetaRM needs as many answers to each prompt, at least two; here {sorted(set(counts.tolist()))}"
        )
    return order.view(len(counts), -1)


def _answers(reward: Reward, answers: Completions) -> Tensor:
    value = reward.score(answers)
    return value.sum(1) if value.ndim > 1 else value
