"""The likelihood of a reference answer after a chain of thought, as a reward without a verifier."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from guerdon.parts.span_scores import (
    ANSWER_TAGS,
    Reduction,
    group_logmeanexp,
    over_spans,
    reduce_span,
    score_references,
)
from guerdon.types import About, Completions, LanguageModel, Reward

Kind = Literal["prob", "avg_prob", "logprob", "avg_logprob", "jepo"]
REDUCTION: dict[str, Reduction] = {
    "prob": "product", "avg_prob": "mean_prob", "logprob": "sum_logp", "avg_logprob": "mean_logp", "jepo": "sum_logp",
}  # fmt: skip


def likelihood_reward(log_prob: Tensor, mask: Tensor, kind: Kind = "logprob") -> Tensor:
    """[N] float32, differentiable: R of each chain from the log-probabilities [N, T] of its reference's tokens.

        prob  prod_t pi_t                    avg_prob     (1/T) sum_t pi_t
        logprob, jepo  sum_t log pi_t        avg_logprob  (1/T) sum_t log pi_t

    Raises ValueError for a positive or non-finite log-probability, an empty reference, or another kind.
    """
    if kind not in REDUCTION:
        raise ValueError(f"a kind of likelihood reward is one of {', '.join(REDUCTION)}, not {kind!r}")
    return reduce_span(log_prob, mask, REDUCTION[kind], name="likelihood_reward")


def likelihood_loss(reward: Tensor, group: Tensor | None, kind: Kind = "logprob") -> Tensor:
    """The supervised term of the gradient, to be minimised: what is left of grad E_z[R(z)] beside the policy gradient.

        -(1/N) sum_i R_i                     and for "jepo", of R_G = log (1/G) sum_i exp(R_i):  -(1/N) sum_groups R_G

    N is the number of rows, as in a policy loss that is summed over an answer's tokens and averaged over answers
    ("seq-mean-token-sum"). NaN rows add nothing. For "jepo", all rows of a group must be here at once.
    """
    scored = ~reward.isnan()
    kept = reward[scored]
    if kind == "jepo":
        if group is None:
            raise ValueError('likelihood_loss of kind "jepo" needs the group of each chain')
        kept = group_logmeanexp(kept, group[scored])
        kept = kept / (group[scored][:, None] == group[scored]).sum(1)
    return -kept.sum() / max(1, len(reward))


class AnswerLikelihood(Reward):
    """How likely the policy finds the reference answer a* after the chain of thought z that it wrote.

        logprob  log pi(a*|p,z)      avg_logprob  (1/|a*|) log pi(a*|p,z)      jepo  as logprob, with its own credit
        prob  pi(a*|p,z)             avg_prob  (1/|a*|) sum_t pi(a*_t|p,z,a*_<t)

    [N] float32; nats, at most 0, for the logarithms, else in [0, 1]. NaN where prompt, chain and reference are longer
    than the policy's context. The answer that a response may have given itself does not count: the reference is put in
    its place, at the end where there is no answer tag, and its tokens are found in the re-tokenised text.

    Since R depends on the policy, grad E_z[R] has two terms: (R - c) grad log pi(z|p), which a learner's policy loss
    makes of `score`, and grad R, which is `loss`. For log-probabilities the second is supervised learning of a* after
    own chains; for probabilities it is that times pi(a*|p,z), and vanishes with it. Use it on-policy with
    ``GroupAdvantage(baseline="leave-one-out", spread="none")``: dividing by the deviation of a group hides what
    vanishing rewards do. Kind "jepo" pays a group R_G = log (1/G) sum_i pi(a*|p,z_i): use `JEPOAdvantage`. Sample with
    stop=("<answer>",), so that every token with an advantage is one of the chain; further tokens only add noise. The
    two terms fit a policy loss with aggregation "seq-mean-token-sum", and for "jepo" micro-batches of whole groups.

    "Likelihood-Based Reward Designs for General LLM Reasoning", 2026; "prob" is VeriFree (2025), "jepo" is Tang et al.
    (2025). Where we differ: there, chains are cut before the last character of the tag; here tokens are found by
    characters, which comes to the same wherever the tag's ">" is a token of its own.

    Args:
        kind: see above. Only the logarithms work for long answers, where probabilities underflow.
        answer: the column with the reference.
        tags: around an answer.
        closing: whether the closing tag belongs to what must be predicted, so that "4" is not paid as a part of "42".
    """

    about: ClassVar[About] = About(
        rewards="chains after which the reference answer is likely",
        paper="Likelihood-Based Reward Designs for General LLM Reasoning (2026)",
        link="https://arxiv.org/abs/2602.03979",
        scores="Completions",
        claim="likelihood_rewards",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"policy"})

    def __init__(
        self,
        *,
        kind: Kind = "logprob",
        answer: str = "answer",
        tags: tuple[str, str] = ANSWER_TAGS,
        closing: bool = False,
    ) -> None:
        super().__init__()
        if kind not in REDUCTION:
            raise ValueError(f"AnswerLikelihood(kind=...) is one of {', '.join(REDUCTION)}, not {kind!r}")
        self.kind: Kind = kind
        self.answer, self.tags, self.closing = answer, tags, closing

    def score(self, experience: Completions, *, policy: LanguageModel) -> Tensor:
        scores = score_references(
            policy, experience, self.answer, name=self.name, tags=self.tags, force=True, closing=self.closing
        )
        return over_spans(scores, REDUCTION[self.kind], empty=torch.nan, name=self.name)

    def loss(self, experience: Completions, policy: LanguageModel) -> Tensor:
        return likelihood_loss(self.score(experience, policy=policy), experience.group, self.kind)
