"""Claim of VPL: a few comparisons tell what a user wants, and a reward that knows it serves everybody.

Users of two kinds k = -1, 1 want 3 k x_1 + x_2 of things x ~ N(0, 1)^2 (3 gives Bradley-Terry the accuracy .60 of the
card's pilot), and compare two things with noise: P = sigmoid of the difference. 2000 users of 16 pairs are learned
from; all figures are of new users. Models, beliefs, queries and scales are guerdon's; local are users, arms and
policies. Two latents, 64 units, 1500 steps, KL weight .01. Stated beforehand, as the 95 % bootstrap interval of the
mean of 5 seeds:

1. Accuracy without noise after 8 noisy pairs: VPL at least .9 and within .03 of Bradley-Terry models that are fitted to
   one kind each; Bradley-Terry on all at most .65. (Pilot: .995 and .600.)
2. One latent correlates above .8 with the kind (pilot .955), and the posterior shrinks from 1 to 8 pairs: the geometric
   mean of its standard deviations.
3. Sets of n of 40 pairs that are chosen by what their answers tell identify 90 % of users (nearest of the kinds' mean
   latents) with at least 25 % fewer pairs than random sets; n = 1 to 8.
4. Bandits of 10 arms: taking the best by r(x, z) reaches .9 of what is to be had over a random arm, on average and for
   the worse served kind; with Bradley-Terry that kind gets less than half.
5. One kind's utilities 20 times as large; a policy softmax(r / tau) with one tau for all users, .15 of the standard
   deviation of all their rewards. Raw rewards give the other kind less than .85 of what is to be had, self-play scores
   ("spo") at least .9.
6. Controls: hidden labels, and a KL weight of 1, come within .05 of Bradley-Terry's accuracy, the latter at a KL below
   .05 nats (pilot: .602, .003).

1, 2 and 6 were piloted for the card. tau and the bounds of 5 were chosen on seeds 0 to 2, where a smaller tau serves
everybody and a larger one nobody. Revised once, after a run on seeds 20 to 24: accuracies are over 1000 pairs of
things, not 50, whose noise reached over the bounds of 6; and 3 chooses by the information in the answers
(`by="answers"`, now the default), since the card's form of it, moment matching of the encoder's posteriors
(`by="gain"`), saved 0.1 [0, 0.3] there: small posteriors make doubtful pairs look good. What that form saves is still
measured, and shown. The posterior of 2 gave .88 [.75, 1.06] there and is left as it was.

    python claims/vpl.py [--toy]
"""

from __future__ import annotations

import argparse
import inspect
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _claim import RESULTS, Expected, in_parallel, write
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor

import guerdon.models.latent_reward
import guerdon.models.query_gain
import guerdon.models.set_encoder
import guerdon.parts.diagonal_gaussian
from guerdon.models.reward_encoder import Features
from guerdon.rewards.preference import VPL, BradleyTerry
from guerdon.types import Pairs, Rollout, Spec

LONG = False
SEEDS = tuple(range(40, 45))
USERS, PAIRS, STEPS, POOLS, ARMS, TAU, LARGE = 2000, 16, 1500, 20, 10, 0.15, 20.0
SPEC = Spec(observation_space=spaces.Dict({"x": spaces.Box(-9.0, 9.0, (2,))}), action_space=spaces.Discrete(2))
EXPECTED = [
    Expected("accuracy: VPL", "of target pairs", at_least=0.9),
    Expected("accuracy: Bradley-Terry", "of target pairs", at_most=0.65),
    Expected("accuracy: a model for each kind", "less VPL's", at_most=0.03),
    Expected("latent and kind", "largest absolute correlation", at_least=0.8),
    Expected("posterior", "standard deviation after 8 pairs, over that after 1", at_most=1.0),
    Expected("queries", "share of pairs saved by choosing", at_least=0.25),
    Expected("bandit: mean", "share of what is to be had", at_least=0.9),
    Expected("bandit: worse kind", "share of what is to be had", at_least=0.9),
    Expected("bandit: worse kind, Bradley-Terry", "share of what is to be had", at_most=0.5),
    Expected("20 times: raw", "share of what is to be had, the other kind", at_most=0.85),
    Expected("20 times: spo", "share of what is to be had, the worse kind", at_least=0.9),
    Expected("labels hidden", "accuracy over Bradley-Terry's", at_most=0.05),
    Expected("KL weight 1", "accuracy over Bradley-Terry's", at_most=0.05),
    Expected("KL weight 1: KL", "nats", at_most=0.05),
]


def kinds(users: int) -> Tensor:
    """-1 or 1 of each user, in turn."""
    return 2.0 * (torch.arange(users) % 2) - 1


def wants(kind: Tensor) -> Tensor:
    """What users of these kinds want of x_1 and x_2, [users, 2]."""
    return torch.stack([3 * kind, torch.ones_like(kind)], -1)


def things(x: Tensor) -> Rollout:
    """x [n, 2] as segments of one step that led there."""
    no = torch.zeros(1, len(x), dtype=torch.bool)
    obs = TensorDict({"x": torch.stack([torch.zeros_like(x), x])}, (2, len(x)))
    return Rollout(obs=obs, action=no.long(), extrinsic=no.float(), terminated=no, truncated=no, valid=~no)


def answers(a: Tensor, b: Tensor, kind: Tensor, g: torch.Generator, scale: float = 1.0) -> Pairs:
    """Comparisons of a and b [users, n, 2] by users of these kinds; kind 1 feels `scale` times as strongly."""
    felt = wants(kind) * torch.where(kind > 0, scale, 1.0)[:, None]
    lead = ((b - a) * felt[:, None]).sum(-1)
    label = (torch.rand(lead.shape, generator=g) < lead.sigmoid()).long()
    users = torch.arange(len(kind)).repeat_interleave(a.shape[1]).tolist()
    first, second = (things(side.flatten(0, 1)) for side in (a, b))
    return Pairs(first=first, second=second, label=label.flatten(), columns={"user": users})


def some(users: int, n: int, g: torch.Generator, scale: float = 1.0) -> Pairs:
    """n random pairs of each of so many users."""
    a, b = torch.randn(2, users, n, 2, generator=g)
    return answers(a, b, kinds(users), g, scale)


def fit(pairs: Pairs, seed: int, steps: int, **options: Any) -> tuple[VPL, dict[str, float]]:
    """A fitted VPL, and its logs."""
    made = VPL(encoder=Features(["x"]), latent=2, hidden=(64, 64), comparisons=200, iterations=steps, **options)
    made.build(SPEC, generator=torch.Generator().manual_seed(seed))
    return made, made.update(pairs)


def plain(pairs: Pairs, seed: int, epochs: int) -> BradleyTerry:
    """Bradley-Terry of the same size on pairs of whoever."""
    made = BradleyTerry(encoder=Features(["x"]), hidden=(64, 64), batch_size=256, epochs=epochs)
    made.build(SPEC, generator=torch.Generator().manual_seed(seed))
    made.update(pairs)
    return made


@torch.no_grad()
def scores(model: Any, x: Tensor, z: Tensor | None, users: int) -> Tensor:
    """Scores [users, n] of things [n, 2]."""
    if isinstance(model, VPL):
        return model.score_as(things(x), z)[:, 0]
    return model.score(things(x)).expand(users, -1)


def accuracy(models: dict[float, Any] | Any, z: Tensor | None, g: torch.Generator, users: int = 200) -> float:
    """Share of pairs that are ordered as each user would without noise; `models` may be one by kind."""
    kind, x = kinds(users), torch.randn(2000, 2, generator=g)
    if isinstance(models, dict):
        told = torch.stack([scores(models[float(k)], x, None, 1)[0] for k in kind])
    else:
        told = scores(models, x, z, users)
    true = wants(kind) @ x.T
    return float((told.view(users, 1000, 2).diff() * true.view(users, 1000, 2).diff() > 0).float().mean())


def had(model: Any, z: Tensor | None, g: torch.Generator, *, bandits: int = 100, tau: float = 0.0) -> np.ndarray:
    """Share of what is to be had over a random arm, by kind: of the best arm, or of softmax(scores / tau)."""
    users = 200 if z is None else len(z)
    x = torch.randn(bandits * ARMS, 2, generator=g)
    told = scores(model, x, z, users).view(users, bandits, ARMS)
    true = (wants(kinds(users)) @ x.T).view(users, bandits, ARMS)
    if tau:
        policy = (told / (tau * told.std())).softmax(-1)
    else:
        policy = torch.nn.functional.one_hot(told.argmax(-1), ARMS).float()
    got, best, mean = ((policy * true).sum(-1).mean(1), true.amax(-1).mean(1), true.mean((-1, -2)))
    share = (got - mean) / (best - mean)
    return np.array([float(share[kinds(users) == k].mean()) for k in (-1, 1)])


def told_right(model: VPL, how: str, n: int, centres: Tensor, g: torch.Generator) -> float:
    """Share of users whose kind is told right after n pairs of a pool of 40."""
    right, kind = [], kinds(40)
    for _ in range(POOLS):
        a, b = torch.randn(2, 40, 2, generator=g)
        pool = Pairs(first=things(a), second=things(b), label=torch.zeros(40).long(), columns={"user": [0] * 40})
        random = torch.randperm(40, generator=g)[:n]
        pick = random if how == "random" else model.choose(pool, n, sets=200, by=how, generator=g)  # type: ignore[arg-type]
        said = answers(a[pick].expand(40, -1, -1), b[pick].expand(40, -1, -1), kind, g)
        near = torch.cdist(model.posterior(said).mu, centres).argmin(1)
        right.append(float((2.0 * near - 1 == kind).float().mean()))
    return float(np.mean(right))


def queries(model: VPL, g: torch.Generator, most: int) -> dict[str, list[float]]:
    """Share of users whose kind is told right after 1, 2, ... pairs, random and chosen, until it is 90 %."""
    known = model.posterior(some(400, 8, g)).mu
    centres = torch.stack([known[kinds(400) == k].mean(0) for k in (-1, 1)])
    found: dict[str, list[float]] = {"random": [], "answers": [], "gain": []}
    for how, shares in found.items():
        while len(shares) < most and max(shares, default=0.0) < 0.9:
            shares.append(told_right(model, how, len(shares) + 1, centres, g))
    return found


def measure(seed: int, users: int, steps: int, most: int) -> dict[str, Any]:
    """Everything of one seed."""
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(seed)
    pairs, epochs = some(users, PAIRS, g), max(1, 3 * steps // STEPS)
    vpl, logs = fit(pairs, seed, steps)
    hidden, _ = fit(pairs, seed, steps, labelled=False)
    collapsed, lost = fit(pairs, seed, steps, kl_weight=1.0)
    everybody = plain(pairs, seed, epochs)
    row_kind = kinds(users).repeat_interleave(PAIRS)
    own = {float(k): plain(pairs.rows(row_kind == k), seed, epochs) for k in (-1, 1)}
    seen = some(200, 8, g)
    z = {name: m.posterior(seen).mu for name, m in (("vpl", vpl), ("hidden", hidden), ("collapsed", collapsed))}
    bt = accuracy(everybody, None, g)
    one, eight = (vpl.posterior(some(400, n, g)).log_var.mean() for n in (1, 8))
    told = queries(vpl, g, most)
    bandit, bandit_bt = had(vpl, z["vpl"], g), had(everybody, None, g)
    found = {
        "accuracy: VPL": (right := accuracy(vpl, z["vpl"], g)),
        "accuracy: Bradley-Terry": bt,
        "accuracy: a model for each kind": accuracy(own, None, g) - right,
        "latent and kind": float(torch.corrcoef(torch.cat([kinds(200)[None], z["vpl"].T]))[0, 1:].abs().max()),
        "posterior": float(((eight - one) / 2).exp()),
        "queries": 1 - len(told["answers"]) / len(told["random"]),
        "bandit: mean": float(bandit.mean()),
        "bandit: worse kind": float(bandit.min()),
        "bandit: worse kind, Bradley-Terry": float(bandit_bt.min()),
        "labels hidden": accuracy(hidden, z["hidden"], g) - bt,
        "KL weight 1": accuracy(collapsed, z["collapsed"], g) - bt,
        "KL weight 1: KL": lost["VPL/kl"],
    }
    uneven, asked, shares = some(users, PAIRS, g, LARGE), some(50, 8, g, LARGE), {}
    for scale in ("none", "spo"):
        model, _ = fit(uneven, seed, steps, scale=scale)
        shares[scale] = had(model, model.posterior(asked).mu, g, bandits=20, tau=TAU)
    found |= {"20 times: raw": float(shares["none"][0]), "20 times: spo": float(shares["spo"].min())}
    print(seed, {k: round(v, 3) for k, v in found.items()}, flush=True)
    also = {"logs": logs, "identified": told, "bandit": bandit.tolist(), "bandit, Bradley-Terry": bandit_bt.tolist()}
    return {"found": found, **also, "20 times": {k: v.tolist() for k, v in shares.items()}}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the claim and writes its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="seconds; claims nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a file for the result of a trial, which else is only printed")
    args = parser.parse_args(argv)
    reported = not args.toy and tuple(args.seeds) == SEEDS
    out = args.out or (RESULTS / "vpl.json" if reported else None)
    torch.set_num_threads(1)
    start = time.perf_counter()
    users, steps, most = (200, 60, 2) if args.toy else (USERS, STEPS, 8)
    rows = in_parallel(measure, [(seed, users, steps, most) for seed in args.seeds], args.workers)
    models = (guerdon.models.latent_reward, guerdon.models.query_gain, guerdon.models.set_encoder)
    return write(
        out, script=__file__, method=Path(inspect.getfile(VPL)),
        parts=[Path(inspect.getfile(m)) for m in (*models, guerdon.parts.diagonal_gaussian)],
        seeds=args.seeds, seconds=time.perf_counter() - start,
        checks=[e.verdict([row["found"][e.name] for row in rows]) for e in EXPECTED], seen={"by seed": rows},
    )  # fmt: skip


if __name__ == "__main__":
    main()
