"""How certain a model is of what it writes: token by token, and the one form that label-free rewards share.

p is a model's next-token distribution over V tokens, H the entropy in nats, U the uniform distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from guerdon.types import Completions, TokenScores

if TYPE_CHECKING:
    from guerdon.types import LanguageModel


def entropy(logits: Tensor) -> Tensor:
    """[...]: H(p) = -sum_v p(v) log p(v) of logits [..., V], in [0, log V]; a logit of -inf is a token ruled out."""
    log_p = _log_p(logits)
    return -torch.where(log_p.isneginf(), 0.0, log_p.exp() * log_p).sum(-1)


def self_certainty(logits: Tensor) -> Tensor:
    """[...]: KL(U || p) = -(1/V) sum_v log p(v) - log V of logits [..., V], at least 0 and 0 for uniform p.

    Raises ValueError for a logit of -inf, with which it would be infinite.
    """
    log_p = _log_p(logits)
    if bool(log_p.isneginf().any()):
        raise ValueError("self-certainty is infinite with a logit of -inf: take the logits of the tokens not ruled out")
    return -log_p.mean(-1) - torch.log(torch.tensor(float(logits.shape[-1])))


def margin(logits: Tensor) -> Tensor:
    """[...]: largest minus second largest probability of logits [..., V], in [0, 1]."""
    if logits.shape[-1] < 2:
        raise ValueError("a margin needs at least two tokens")
    top = _log_p(logits).topk(2, -1).values.exp()
    return top[..., 0] - top[..., 1]


def _log_p(logits: Tensor) -> Tensor:
    if not logits.shape or logits.shape[-1] == 0:
        raise ValueError(f"logits must be [..., V] with at least one token, got {list(logits.shape)}")
    if bool((logits.isnan() | logits.isposinf()).any()):
        raise ValueError("logits hold NaN or +inf")
    return logits.float().log_softmax(-1)


def cross_entropy(q: Tensor, log_p: Tensor) -> Tensor:
    """[...]: CE(q, p) = -sum_v q(v) log p(v) of [..., V] each; +inf where p rules out what q does not."""
    if q.shape != log_p.shape:
        raise ValueError(f"q {list(q.shape)} and log_p {list(log_p.shape)} must have the same shape")
    return -torch.where(q == 0, 0.0, q * log_p).sum(-1)


def unified(
    cross_entropies: Tensor, mask: Tensor, *, sign: float, psi: Callable[[Tensor], Tensor] = lambda x: x
) -> Tensor:
    """[N]: psi((sign / |I|) sum over i in I of CE(q_i, p_i)), the form of every reward from the model itself.

        self-certainty      q_i = U, sign +1, psi(x) = x - log V      I = the tokens
        token entropy       q_i = p_i, sign -1                        I = the tokens
        trajectory entropy  q_i = the token written, sign -1          I = the tokens
        probability         q = the text written, sign -1, psi = exp  I = {the whole text}: one cross-entropy a row
        majority            q = the winner, p = the own answer, sign -1, psi = exp   I = {the answer}

    "How Far Can Unsupervised RLVR Scale LLM Training?", 2026 (how each fits the form is reconstructed).

    Args:
        cross_entropies: [N, I].
        mask: [N, I], True on I.
        sign: +1 or -1.
        psi: increasing, applied at the end.
    """
    total = torch.where(mask.bool(), sign * cross_entropies, 0.0).sum(1)
    return psi(total / mask.sum(1))  # a row with an empty I is NaN: not scored


def mean_over_tokens(values: Tensor, mask: Tensor) -> Tensor:
    """[N]: the mean of `values` [N, L] over the tokens of `mask`; NaN (not scored) for a row without any."""
    if values.shape != mask.shape or values.ndim != 2:
        raise ValueError(f"values {list(values.shape)} and mask {list(mask.shape)} must both be [N, L]")
    return torch.where(mask.bool(), values, 0.0).sum(1) / mask.sum(1)


def own_scores(completions: Completions, policy: LanguageModel, *, also: Sequence[str] = ()) -> TokenScores:
    """What `policy` makes of each generated token: scores [N, L] in place, 0 where ``completions.mask`` is False.

    Tokens that others wrote between a row's first and last generated one (tool output) are read, not scored.
    A row without a generated token is 0 everywhere.
    """
    mask = completions.mask.bool()
    places = torch.arange(mask.shape[1], device=mask.device)
    lengths = torch.where(mask, places + 1, 0).amax(1).tolist() if mask.numel() else [0] * len(mask)
    rows = [row for row, length in enumerate(lengths) if length]
    if not rows:
        nothing = mask.new_zeros(mask.shape, dtype=torch.float32)
        return TokenScores(nothing, mask, **dict.fromkeys(also, nothing))
    ids, prompts = completions.ids.tolist(), _prefixes(completions, policy)
    found = policy.score([prompts[row] for row in rows], [ids[row][: lengths[row]] for row in rows], also=also)

    def in_place(values: Tensor) -> Tensor:
        wide = values.new_zeros(mask.shape)
        at = torch.tensor(rows, device=values.device)
        width = min(values.shape[1], mask.shape[1])
        wide = wide.index_put((at[:, None], torch.arange(width, device=values.device)), values[:, :width])
        return torch.where(mask.to(values.device), wide, 0.0)

    log_prob = in_place(found.log_prob)
    return TokenScores(log_prob, mask.to(log_prob.device), **{name: in_place(getattr(found, name)) for name in also})


def _prefixes(completions: Completions, policy: LanguageModel) -> list[list[int]]:
    ids, mask = completions.prompt_ids, completions.prompt_mask
    if ids is None or mask is None:
        return [policy.encode(policy.render(prompt)) for prompt in completions.prompt]
    return [row[kept].tolist() for row, kept in zip(ids.cpu(), mask.bool().cpu(), strict=True)]
