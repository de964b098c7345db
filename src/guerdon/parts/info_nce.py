"""InfoNCE: how well scores tell what belongs together from what does not."""

from __future__ import annotations

import torch
from torch import Tensor


def info_nce(scores: Tensor, positive: Tensor | None = None) -> Tensor:
    """[n]: c_j = log( exp s[j, p_j] / ((1/m) sum_k exp s[j, k]) ), the InfoNCE estimate of each row, in nats.

    Its mean over rows drawn from a joint distribution, with the other columns drawn from the marginal, is a lower bound
    of the mutual information of rows and columns. No c_j exceeds log m; scores that are all alike give exactly 0.
    Minus its mean is the loss known as InfoNCE, less log m.

    van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018
    (https://arxiv.org/abs/1807.03748).

    Args:
        scores: [n, m], of each row with each of m columns; divide them by a temperature before, if there is one.
        positive: [n], the column that belongs to each row; None means column j to row j.

    Raises:
        ValueError: fewer than two columns, of which none is a negative; or fewer columns than rows without `positive`.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(f"InfoNCE needs scores [n, m] with m >= 2 columns, got {list(scores.shape)}")
    rows, columns = scores.shape
    if positive is None:
        if columns < rows:
            raise ValueError(f"{rows} rows have only {columns} columns: say which is whose by `positive`")
        positive = torch.arange(rows, device=scores.device)
    top = scores.detach().amax(1, keepdim=True)
    mean = (scores - top).exp().mean(1).log() + top[:, 0]  # so that equal scores give 0 to the last bit
    return scores.gather(1, positive[:, None])[:, 0] - mean
