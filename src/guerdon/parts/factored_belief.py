"""A factored belief: independent attributes, each with a distribution over its values, and what answers do to it.

A belief is [..., M, V]: M attributes, V the most values of any, probabilities 0 beyond an attribute's own values. Pure
functions; bits throughout. Independence overstates what is learnt of attributes that go together, by their mutual
information.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Updated(NamedTuple):
    """A belief after an answer."""

    belief: Tensor  # [..., M, V]
    contradicted: Tensor  # [..., M] bool: the answer had no belief left, and the attribute was begun anew


def check_belief(belief: Tensor, name: str = "belief") -> Tensor:
    """`belief` in double precision; raises ValueError for negative mass, or an attribute that does not sum to 1."""
    belief = belief.double()
    if belief.ndim < 2 or not bool(belief.isfinite().all()) or bool((belief < 0).any()):
        raise ValueError(f"{name} must be [..., M, V], finite and not negative, got {list(belief.shape)}")
    off = (belief.sum(-1) - 1).abs()
    if bool((off > 1e-6).any()):
        raise ValueError(f"{name}: an attribute sums to 1, and one of these is off by {float(off.max()):.2g}")
    return belief


def attribute_entropy(belief: Tensor) -> Tensor:
    """[..., M] H_j = -sum_v b_j(v) log2 b_j(v), in [0, log2 V]; 0 log 0 = 0."""
    return torch.special.entr(belief).sum(-1) / math.log(2)


def belief_entropy(belief: Tensor, weight: Tensor | None = None) -> Tensor:
    """[...] H = sum_j w_j H_j in bits; `weight` is [M], at least 0, and 1 if None."""
    entropy = attribute_entropy(belief)
    if weight is None:
        return entropy.sum(-1)
    if weight.shape != entropy.shape[-1:] or not bool((weight >= 0).all()):
        raise ValueError(f"{entropy.shape[-1]} attributes need as many weights of at least 0, got {weight.tolist()}")
    return (entropy * weight).sum(-1)


def hard_update(belief: Tensor, allowed: Tensor, prior: Tensor, *, floor: float = 0.0) -> Updated:
    """Keeps what an answer allows: b'_j(v) = b_j(v) [v in S_j] / sum over S_j; an attribute that allows all stays.

    An answer that no belief is left for is contradictory: the attribute becomes the prior on S_j, and is reported. With
    `floor`, excluded values keep the probability ``min(floor, prior)``, so that an answer misread is not for good; a
    later answer for them alone counts as contradictory. The same answer twice changes nothing; without a floor and
    contradictions the order of answers does not matter.

    Args:
        belief: [..., M, V].
        allowed: [..., M, V] bool.
        prior: [..., M, V] or [M, V], the belief before any answer.
        floor: see above; the card's is 1e-3 for parsers that err.

    Raises:
        ValueError: an answer that the prior excludes.
    """
    domain, allowed = prior > 0, allowed.bool()
    asked = (domain & ~allowed).any(-1)
    inside, at_first = torch.where(allowed, belief, 0.0), torch.where(allowed, prior, 0.0)
    mass, prior_mass = inside.sum(-1), at_first.sum(-1)
    if bool((prior_mass <= 0).any()):
        raise ValueError(
            "an answer allows only values that the prior excludes: is the attribute's set of values fixed?"
        )
    least = prior.clamp(max=floor)
    leftover = torch.where(allowed, least, 0.0).sum(-1)
    contradicted = asked & (mass <= leftover * (1 + 1e-6)) & (mass < prior_mass * (1 - 1e-6))
    kept = torch.where(contradicted[..., None], at_first / prior_mass[..., None], inside / mass[..., None])
    excluded = torch.where(allowed, 0.0, least)
    rest = 1 - excluded.sum(-1, keepdim=True)
    return Updated(torch.where(asked[..., None], kept * rest + excluded, belief), contradicted)


def soft_update(belief: Tensor, likelihood: Tensor, prior: Tensor) -> Updated:
    """Bayes: b'_j(v) in proportion to b_j(v) P(answer | v). The entropy may rise.

    An answer that is impossible under the belief starts the attribute anew from the prior, and is reported.

    Args:
        belief: [..., M, V].
        likelihood: [..., M, V], at least 0; ones where an attribute was not spoken of.
        prior: [..., M, V] or [M, V].

    Raises:
        ValueError: a negative or infinite likelihood, or an answer that is impossible under the prior, too.
    """
    if not bool((likelihood.isfinite() & (likelihood >= 0)).all()):
        raise ValueError("likelihoods of an answer must be finite and at least 0")
    joint, at_first = belief * likelihood, prior * likelihood
    evidence, prior_evidence = joint.sum(-1, keepdim=True), at_first.sum(-1, keepdim=True)
    if bool((prior_evidence <= 0).any()):
        raise ValueError("an answer is impossible under the prior: is the attribute's set of values fixed?")
    contradicted = evidence <= 0
    return Updated(torch.where(contradicted, at_first / prior_evidence, joint / evidence), contradicted[..., 0])
