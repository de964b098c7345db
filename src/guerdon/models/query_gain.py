"""Which comparisons would tell most about a user?"""

from __future__ import annotations

import itertools
import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.models.latent_reward import LatentReward, Seen
from guerdon.parts.diagonal_gaussian import information_gain, least_entropy

MOST_ANSWERS = 64
"""Label vectors that a set of queries is tried with: all of them up to 6 pairs, drawn ones of more."""

Score = Literal["answers", "gain", "posterior"]


class Answered(NamedTuple):
    """Pairs that a user has labelled: both sides, and q, the chance that the second is better, [n]."""

    first: Seen
    second: Seen
    q: Tensor


@torch.no_grad()
def query_gains(
    net: LatentReward, known: Answered, first: Seen, second: Seen, sets: Tensor, *, by: Score = "answers",
    labelled: bool = True, draws: int = 256, generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """[Q]: how much the answers to each set of pairs would tell of a user's z.

    "answers" is I(y; z) by what the model foretells of the answers y for `draws` of z from the present belief: the
    entropy of y less that of y given z, 0 to ln 2 a pair. The others trust the encoder's posteriors: "gain" is the
    `information_gain` over those that the answers lead to, each as likely as foretold, which bounds the same number;
    "posterior" is minus the least entropy of them.

    `net` is the model, `known` what the user has answered (possibly nothing), `first` and `second` P candidates, `sets`
    rows of them, [Q, n]. `labelled` False hides answers from the encoder, whose posteriors then gain nothing.
    """
    mu, log_var = net.belief(*_rows(known, first, second, sets[:1, :0], sets.new_zeros(1, 0).to(known.q), labelled))
    z = mu + (0.5 * log_var).exp() * torch.randn(draws, net.latent, generator=generator).to(mu)
    candidates = first.x.shape[1]
    every = torch.arange(candidates).repeat(draws)
    a, b = net.values(first.at(every), second.at(every), z.repeat_interleave(candidates, 0))
    lead = (b - a).view(draws, candidates)[:, sets]  # [draws, Q, n]
    count = sets.shape[1]
    if exact := 2**count <= MOST_ANSWERS:
        each = torch.tensor(list(itertools.product((0.0, 1.0), repeat=count)), device=lead.device)
        answers = each.expand(len(sets), -1, -1)
    else:
        drawn = torch.randint(draws, (MOST_ANSWERS,), generator=generator)
        chance = lead[drawn].sigmoid().movedim(0, 1)  # [Q, Y, n]
        answers = (torch.rand(chance.shape, generator=generator).to(chance) < chance).to(chance)
    said = torch.stack([F.logsigmoid((2 * answers - 1) * one[:, None]).sum(-1) for one in lead])  # [draws, Q, Y]
    foretold = said.logsumexp(0) - math.log(draws)
    if by == "answers" and exact:
        return ((said.exp() * said).mean(0) - foretold.exp() * foretold).sum(-1)
    if by == "answers":
        return (said[drawn, :, torch.arange(MOST_ANSWERS)].T - foretold).mean(-1)
    weight = foretold.softmax(-1) if exact else torch.full_like(foretold, 1 / MOST_ANSWERS)
    rows = sets[:, None].expand(answers.shape).flatten(0, 1)
    mu, log_var = (
        x.view(*answers.shape[:2], -1)
        for x in net.belief(*_rows(known, first, second, rows, answers.flatten(0, 1), labelled))
    )
    return information_gain(mu, log_var, weight) if by == "gain" else -least_entropy(log_var)


def _rows(
    known: Answered, first: Seen, second: Seen, rows: Tensor, q: Tensor, labelled: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `belief` takes: the known pairs, and behind them those of `rows` [B, n] with answers q [B, n]."""
    b = len(rows)
    sides = [
        torch.cat([old.mean.expand(b, -1, -1), new.mean[rows]], 1)
        for old, new in ((known.first, first), (known.second, second))
    ]
    q = torch.cat([known.q.expand(b, -1), q], 1)
    return sides[0], sides[1], q if labelled else torch.full_like(q, 0.5), torch.ones_like(q, dtype=torch.bool)
