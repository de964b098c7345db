"""How well a model foresees reference answers: what likelihood rewards are evaluated by."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from guerdon.parts.span_scores import check_span, group_logmeanexp


def monte_carlo_log_prob(log_likelihood: Tensor, group: Tensor) -> float:
    """The mean over prompts of log (1/N) sum_i pi(a*|p,z_i), nats an answer; log pi(a*|p,z_i) of N chains a prompt.

    It under-estimates log pi(a*|p), the less the larger N; N = 1 is the mean log-likelihood. `log_likelihood` and
    `group` are [rows]; NaN rows are not scored. Raises ValueError if none is.
    """
    value = group_logmeanexp(log_likelihood, group)
    found = [value[group == number] for number in group.unique()]
    prompts = [rows.nanmean() for rows in found if not rows.isnan().all()]
    if not prompts:
        raise ValueError("monte_carlo_log_prob: no answer is scored")
    return float(sum(prompts[1:], prompts[0])) / len(prompts)


def reference_perplexity(log_prob: Tensor, mask: Tensor, *, per: Literal["answer", "token"] = "answer") -> float:
    """exp(-mean log-probability of a reference token), [N, T] with mask; at least 1.

    The mean is taken of each answer's mean ("answer"), or of all tokens alike ("token"), which long answers dominate.
    Raises as `check_span` does.
    """
    inside, mask = check_span(log_prob, mask, "reference_perplexity"), mask.bool()
    total = inside.sum(1)
    mean = (total / mask.sum(1)).mean() if per == "answer" else total.sum() / mask.sum()
    return math.exp(-float(mean))
