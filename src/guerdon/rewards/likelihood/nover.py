"""NOVER: chains of thought ranked by how well they explain the reference answer."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from guerdon.parts.span_scores import ANSWER_TAGS, over_spans, score_references
from guerdon.parts.tag_format import THINK_TAGS, follows_format
from guerdon.types import About, Completions, LanguageModel, Reward


def reasoning_perplexity(mean_log_prob: Tensor, length: Tensor) -> Tensor:
    """[N] at least 1: P = exp(-(1/(T N)) sum_t log p_t), with N = max(1, 1 + ln |z|); lower is better.

    `mean_log_prob` [N] is (1/T) sum_t log p_t over the reference's tokens, `length` [N] is |z| in tokens.
    """
    return (-mean_log_prob / (1 + length.clamp(min=1).log())).exp()


def rank_rewards(perplexity: Tensor, length: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """[N] each, in [0, 1]: the share of its group that a chain beats, and the share it beats while being shorter too.

    Beaten is who has a higher perplexity; a tie in perplexity counts half in the first. NaN rows beat nobody, are
    beaten by nobody, and get NaN; a chain without rivals gets 0 (rank rules reconstructed).
    """
    rival = group[:, None] == group
    rival = rival & ~torch.eye(len(group), dtype=torch.bool, device=group.device) & ~perplexity.isnan()
    lower, tied = perplexity[:, None] < perplexity, perplexity[:, None] == perplexity
    count = rival.sum(1).clamp(min=1)
    reasoning = ((lower + 0.5 * tied) * rival).sum(1) / count
    efficiency = (lower & (length[:, None] < length) & rival).sum(1) / count
    unscored = perplexity.isnan()
    return reasoning.masked_fill(unscored, torch.nan), efficiency.masked_fill(unscored, torch.nan)


class NOVER(Reward):
    """Format, and for well-formed responses the rank of the chain's perplexity in its group, and its efficiency.

        P = exp(-(1/(T N)) sum_t log p(y*_t | x, z, y*_<t)),   N = max(1, 1 + ln |z|)
        r = w_f f + f (w_r R_r + w_e R_e)

    f is 1 if each of the four tags occurs once and in order. R_r is the share of the group's well-formed others with a
    higher P, R_e the share of those that are longer, too (both rank rules are reconstructed). [N] float32 in [0, w_f +
    w_r + w_e]; NaN where a well-formed response and the reference are too long for the model's context. |z| is the
    number of generated tokens.

    Liu et al., "NOVER: Incentive Training for Language Models via Verifier-Free Reinforcement Learning", 2025. p is of
    the reference model: in the paper a copy of the policy that follows it every few steps, so hand such a copy as
    "reference" (interval not published); a frozen one works as well.

    Args:
        answer: the column with the reference answer.
        format_weight: w_f.
        reasoning_weight: w_r.
        efficiency_weight: w_e (all weights our choice).
        think_tags: around the chain.
        tags: around the answer.
    """

    about: ClassVar[About] = About(
        rewards="chains that explain the reference answer better, and more briefly, than their siblings",
        paper="NOVER: Incentive Training via Verifier-Free Reinforcement Learning (Liu et al., 2025)",
        link="https://arxiv.org/abs/2505.16022",
        scores="Completions",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    def __init__(
        self,
        *,
        answer: str = "answer",
        format_weight: float = 1.0,
        reasoning_weight: float = 1.0,
        efficiency_weight: float = 1.0,
        think_tags: tuple[str, str] = THINK_TAGS,
        tags: tuple[str, str] = ANSWER_TAGS,
    ) -> None:
        super().__init__()
        self.answer, self.think_tags, self.tags = answer, think_tags, tags
        self.format_weight, self.reasoning_weight = format_weight, reasoning_weight
        self.efficiency_weight = efficiency_weight

    def score(self, experience: Completions, *, reference: LanguageModel) -> Tensor:
        if experience.group is None:
            raise ValueError("NOVER ranks responses within groups, and these completions have none")
        with torch.no_grad():
            scores = score_references(reference, experience, self.answer, name=self.name, tags=self.tags)
            mean = over_spans(scores, "mean_logp", empty=torch.nan, name=self.name)
        formed = torch.tensor(follows_format(experience.text, [*self.think_tags, *self.tags]), device=mean.device)
        length = experience.mask.bool().sum(1).float()
        perplexity = torch.where(formed, reasoning_perplexity(mean, length), torch.nan)
        reasoning, efficiency = rank_rewards(perplexity, length, experience.group)
        ranked = self.format_weight + self.reasoning_weight * reasoning + self.efficiency_weight * efficiency
        return torch.where(formed, ranked, 0.0)
