"""The smallest reward model there is: one weight a feature, fitted by gradient descent on all pairs at once."""

import torch

from guerdon.parts.pair_loss import pair_loss
from guerdon.types import About, Completions, Pairs, Reward


class Linear(Reward):
    about = About(rewards="features", paper="", scores="Completions")

    def __init__(self, weight):
        super().__init__()
        self.w = torch.nn.Parameter(weight)

    def score(self, experience, **needed):
        return torch.tensor(experience.column("x", self.name)) @ self.w


def completions(x):
    n, empty = len(x), torch.zeros(len(x), 0, dtype=torch.long)
    return Completions(prompt=["?"] * n, text=["!"] * n, ids=empty, mask=empty.bool(), columns={"x": x.tolist()})


def made_pairs(x, label):
    """Pairs of x [n, 2, d]."""
    return Pairs(first=completions(x[:, 0]), second=completions(x[:, 1]), label=label)


def fitted(pairs, seed=0, *, steps=60, share=0.8):
    """A model of a drawn share of the pairs, so that seeds differ."""
    x = [torch.tensor(side.column("x", "fit")) for side in (pairs.first, pairs.second)]
    rows = torch.randperm(len(pairs.label), generator=torch.Generator().manual_seed(seed))
    rows = rows[: max(1, round(share * len(rows)))]
    model = Linear(torch.zeros(x[0].shape[1]))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(steps):
        optimiser.zero_grad()
        pair_loss(x[0][rows] @ model.w, x[1][rows] @ model.w, pairs.label[rows]).mean().backward()
        optimiser.step()
    return model
