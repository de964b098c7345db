"""Gaussians with independent entries, in nats: how far apart, how uncertain, and how much an answer would tell.

Means `mu` and log-variances `log_var` are [..., Z].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gaussian_kl(mu: Tensor, log_var: Tensor, prior_mu: Tensor, prior_log_var: Tensor) -> Tensor:
    """KL(N(mu, e^log_var) || N(prior_mu, e^prior_log_var)), [...]: the true one, 1/2 included."""
    spread = log_var - prior_log_var
    return 0.5 * (spread.exp() + (mu - prior_mu).square() * (-prior_log_var).exp() - 1 - spread).sum(-1)


def gaussian_entropy(log_var: Tensor) -> Tensor:
    """H, [...]: half the sum of 1 + log 2 pi + log_var."""
    return 0.5 * (1 + math.log(2 * math.pi) + log_var).sum(-1)


def information_gain(mu: Tensor, log_var: Tensor, weight: Tensor) -> Tensor:
    """How much is learned of z by an answer y that leads to the posterior N(mu_y, e^log_var_y), by moment matching.

        1/2 log det Cov(sum_y p_y N_y) - sum_y p_y 1/2 sum log_var_y

    An upper bound of the mutual information, at least 0; 0 if every answer leads to the same posterior.

    `mu` and `log_var` are those after each of Y answers, [..., Y, Z], and `weight` [..., Y] their chances, which sum to
    1. The result is [...].
    """
    p = weight[..., None]
    centre = (p * mu).sum(-2, keepdim=True)
    off = (mu - centre) * p.sqrt()
    covariance = off.mT @ off + torch.diag_embed((p * log_var.exp()).sum(-2))
    return 0.5 * (torch.logdet(covariance) - (p * log_var).sum((-1, -2)))


def least_entropy(log_var: Tensor) -> Tensor:
    """The least entropy among the posteriors [..., Y, Z] that answers may lead to, [...]: smaller means a better query.

    The "posterior" score of VPL's code (2024).
    """
    return gaussian_entropy(log_var).amin(-1)
