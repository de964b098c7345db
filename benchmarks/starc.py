"""STARC distances of 100 pairs of rewards in one MDP, S = 200, A = 10, against a plain NumPy implementation.

Both sides get the same MDP and the same 200 distinct rewards, float64 [S, A, S], and return the 100 distances with VAL
and L2 norms, equal to 1e-10. The peer takes a pair at a time and does what the definition says, with one linear solve a
reward and nothing kept: P_pi, r_pi, V, the form on all of [S, A, S], its norm, the norm of the difference. Our time
includes making the MDP anew, so that the factorisation is paid for in every block. Target: 10 times as fast.

Then how time grows with S (A = 10, 8 pairs, one factorisation), as the slope of log time over log S, and the largest S
whose MDP and pair of rewards are compared within 8 GiB of resident memory: each size runs in a process of its own, from
the largest that fits by count downwards, and its peak is what the system says it was.

    python benchmarks/starc.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

# OpenBLAS's threads go on spinning after a solve, and would hold a core while our side runs. The peer's own time is the
# same with one and with two.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch
from _bench import interleave, ratio, write

from guerdon.compare.starc import starc
from guerdon.parts.tabular_mdp import TabularMDP

STATES, ACTIONS, PAIRS, GAMMA = 200, 10, 100, 0.95
SIZES = (100, 141, 200, 283, 400)
LIMIT = 8 * 2**30


def world(states: int, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Where actions lead [S, A, S], and rewards [2, n, S, A, S]."""
    rng = np.random.default_rng(0)
    tau = rng.random((states, ACTIONS, states))
    tau /= tau.sum(-1, keepdims=True)
    rewards = np.empty((2, pairs, states, ACTIONS, states))
    for reward in rewards.reshape(-1, *tau.shape):
        rng.standard_normal(out=reward)
    return tau, rewards


def plain(tau: np.ndarray, first: np.ndarray, second: np.ndarray, gamma: float) -> np.ndarray:
    """The definition, reward by reward."""
    states, actions, _ = tau.shape
    policy = np.full((states, actions), 1 / actions)

    def standard(reward: np.ndarray) -> np.ndarray:
        moves = np.einsum("sa,sat->st", policy, tau)
        paid = np.einsum("sa,sat,sat->s", policy, tau, reward)
        value = np.linalg.solve(np.eye(states) - gamma * moves, paid)
        form = (tau * (reward + gamma * value - value[:, None, None])).sum(-1)
        form = np.broadcast_to(form[..., None], reward.shape)
        size = np.linalg.norm(form.ravel())
        return form / size if size > 0 else form

    return np.array([np.linalg.norm((standard(a) - standard(b)).ravel()) for a, b in zip(first, second, strict=True)])


def ours(tau: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return starc(TabularMDP(tau, gamma=GAMMA), first, second).raw


def seconds(function: Any, *args: Any) -> float:
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def against_numpy(blocks: int) -> tuple[dict[str, Any], dict[str, float]]:
    """How many times as fast, and pairs a second. Raises RuntimeError if the distances differ."""
    tau, rewards = world(STATES, PAIRS)
    table, first, second = torch.from_numpy(tau), *torch.from_numpy(rewards)
    difference = np.abs(plain(tau, *rewards[:, :5], GAMMA) - ours(table, first[:5], second[:5]).numpy()).max()
    if difference > 1e-10:
        raise RuntimeError(f"the two sides differ by {difference}")
    arms = {
        "ours": lambda: PAIRS / seconds(ours, table, first, second),
        "peer": lambda: PAIRS / seconds(plain, tau, *rewards, GAMMA),
    }
    seen = interleave(arms, blocks)
    row = ratio("S = 200, A = 10, 100 pairs: ours / plain NumPy", seen["ours"], seen["peer"], at_least=10.0)
    return row, {name: round(float(np.median(x)), 1) for name, x in seen.items()}


def growth(blocks: int) -> dict[str, Any]:
    """Milliseconds a pair by S, and the exponent."""
    median = {}
    for states in SIZES:
        tau, rewards = map(torch.from_numpy, world(states, 8))
        mdp = TabularMDP(tau, gamma=GAMMA)
        starc(mdp, *rewards)
        median[states] = float(np.median([seconds(starc, mdp, *rewards) for _ in range(blocks)])) / 8 * 1e3
    slope = np.polyfit(np.log(list(median)), np.log(list(median.values())), 1)[0]
    return {"ms_a_pair": {str(k): round(v, 3) for k, v in median.items()}, "exponent": round(float(slope), 2)}


def child(states: int) -> None:
    """Compares one pair of so many states, and tells the peak and the seconds."""
    generator = torch.Generator().manual_seed(0)
    tau = torch.rand(states, ACTIONS, states, generator=generator, dtype=torch.float64)
    tau /= tau.sum(-1, keepdim=True)
    mdp = TabularMDP(tau, gamma=GAMMA)
    del tau
    shape = (states, ACTIONS, states)
    first, second = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    spent = seconds(starc, mdp, first, second)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"states": states, "GiB": round(peak / 2**30, 2), "seconds": round(spent, 2)}))


def largest(sizes: list[int]) -> list[dict[str, Any]]:
    """Sizes from the largest down to the first that fits 8 GiB."""
    seen = []
    for states in sizes:
        done = subprocess.run([sys.executable, __file__, "--child", str(states)], capture_output=True, text=True)
        seen.append(json.loads(done.stdout) if done.returncode == 0 else {"states": states, "GiB": None})
        print(seen[-1], flush=True)
        if seen[-1]["GiB"] is not None and seen[-1]["GiB"] * 2**30 <= LIMIT:
            break
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="three blocks; nothing is written, no memory is filled")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child)
        return
    row, rates = against_numpy(3 if args.quick else args.blocks)
    if args.quick:
        print(row, rates, growth(3))
        return
    fits = largest(list(range(5800, 1000, -100)))
    write(
        __file__, method=sys.modules[starc.__module__].__file__, peer=f"NumPy {np.__version__}, written here",
        ratios=[row], pairs_per_second=rates, growth=growth(args.blocks),
        threads=torch.get_num_threads(), largest_S_within_8_GiB=fits[-1], sizes_tried=fits,
    )  # fmt: skip


if __name__ == "__main__":
    main()
