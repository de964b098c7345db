"""Claim of RND on AGV warehouses: with a bonus for new places PPO finds a goal that it never sees without one.

`guerdon.tasks.agv.AGVWarehouse`, 1 at the goal and -1 for a collision, continuous actions, 8 vehicles, PPO with
a diagonal Gaussian whose actions the task clips. Layout C-static: narrow aisles between 12 shelves, the goal behind a
dead end, 11 m away, reached by 1 of 3,606 episodes of random driving. Layout S-static, a control: the goal ahead in the
open, reached by 17 % of them. Everything comes from guerdon, through what `guerdon train` calls. Arms:

- PPO: the task's reward only.
- PPO + RND: two streams, the library's usual form (Burda et al., 2018): the bonus has a value head of its own, whose
  returns run on across the ends of episodes.
- PPO + RND, one stream: the paper's form, the plain sum under one critic, episodic.
- PPO + constant: the two-stream form with the same small number for every step in place of RND.
- PPO + shaped: the task also pays progress in metres along the drive to the goal. An upper bound.

A step costs 1 / 300, for otherwise PPO learns to stand still even on S-static, as nothing collides then. RND sees
the place (x, y) only. Its first rollout forms its statistics and is not paid; from there its weight falls from 16 to 0
over the run. Success is that of the deterministic policy over 100 episodes after training, on seeds of their own; no
bonus plays a part there. First success is the step at which half of the last 50 training episodes had reached the
goal, or the end of training.

Stated before the run on seeds 10-14, as 95 % bootstrap intervals of the mean over seeds; world, weight and schedule
were chosen on seeds 0-3. C-static, success: PPO at most 0.2, constant at most 0.2, PPO + RND at least 0.6, shaped at
least 0.9. S-static: PPO and PPO + RND at least 0.9, and RND's first success at most 1.2 times as late as PPO's (mean
ratio). The one-stream form is reported beside them. Of the last check the pilot says that it will not hold: with the
weight that C-static needs, RND roams S-static first (59,000 steps to PPO's 16,000 on one seed); with weights of 4 to 8
PPO + RND stood still in the end on some seeds of either layout. The check stays as it was thought of.

Runs that are finished stay in a .runs.jsonl beside the result; the script goes on where it stopped.

    python claims/rnd_agv.py [--toy] [--workers N]
"""

from __future__ import annotations

import argparse
import inspect
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _claim import RESULTS, Expected, FinishedRuns, in_parallel, write

from guerdon.catalogue import code_hash
from guerdon.learners import run
from guerdon.learners.play import Player
from guerdon.rewards.intrinsic.rnd import RND

LONG = True
SEEDS = (10, 11, 12, 13, 14)
STEPS = {"C-static": 200_000, "S-static": 80_000}
ENVS = 8
LEARNER = "PPO(rollout=256, epochs=10, minibatches=8, lr=1e-3, entropy=0.005, hidden=64, separate=True)"
BONUS = "RND(lr=1e-3, epochs=4, fraction=1.0, keys=('place',))"
WARM = f"Anneal(Normalise({BONUS}, episodic=False), start=0.0, end=16.0, steps={256 * ENVS})"
PAID = f"Anneal({WARM}, steps={{steps}})"
CONSTANT = "Clip(Extrinsic(), low=0.01, high=0.01)"  # about what the bonus pays a step
COST = "step_cost=True"
ARMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "PPO": ("Extrinsic()", (COST,)),
    "PPO + RND": (f"Extrinsic() + Stream({PAID}, gamma=0.99, episodic=False)", (COST,)),
    "PPO + RND, one stream": (f"Extrinsic() + {PAID}", (COST,)),
    "PPO + constant": (f"Extrinsic() + Stream({CONSTANT}, name='constant', gamma=0.99, episodic=False)", (COST,)),
    "PPO + shaped": ("Extrinsic()", (COST, "reward=shaped")),
}
RUNS = [("C-static", arm) for arm in ARMS] + [("S-static", "PPO"), ("S-static", "PPO + RND")]
SUCCESS = "success of the deterministic policy over 100 episodes"
EXPECTED = {
    ("C-static", "PPO"): Expected("C-static: PPO", SUCCESS, at_most=0.2),
    ("C-static", "PPO + RND"): Expected("C-static: PPO + RND", SUCCESS, at_least=0.6),
    ("C-static", "PPO + constant"): Expected("C-static: PPO + constant", f"{SUCCESS} (control)", at_most=0.2),
    ("C-static", "PPO + shaped"): Expected("C-static: PPO + shaped", f"{SUCCESS} (upper bound)", at_least=0.9),
    ("S-static", "PPO"): Expected("S-static: PPO", SUCCESS, at_least=0.9),
    ("S-static", "PPO + RND"): Expected("S-static: PPO + RND", SUCCESS, at_least=0.9),
}
NOT_SLOWER = Expected("S-static: RND not slower", "first success, RND over PPO", at_most=1.2)


def train(layout: str, arm: str, seed: int, steps: int, rows: Path, code: str) -> dict[str, Any]:
    """One run, unless its row is there already; adds the row."""
    finished = FinishedRuns(rows, code)
    key = {"layout": layout, "arm": arm, "seed": seed, "steps": steps}
    if row := finished.find(**key):
        return row
    torch.set_num_threads(1)
    reward, options = ARMS[arm]
    config = run.Config(
        task=f"AGV-{layout}", reward=reward.format(steps=steps), learner=LEARNER, option=options, steps=steps,
        envs=ENVS, workers=0, seed=seed, save_every=10**9, record=0, arm=arm,
    )  # fmt: skip
    progress: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="guerdon-claim") as folder:
        run.train(config, folder, progress=progress.append)
        with Player(run.open_run(folder), envs=20, seed=100_000 + seed, greedy=True, reward="sparse") as player:
            played = list(player.episodes(100))
    at, success = training_success(progress)
    bonus = [row.get("term/Normalise(RND)/mean", 0.0) for row in progress]
    row = finished.add(
        **key, **{name: float(np.mean([e[name] for e in played])) for name in ("success", "collision", "length")},
        first=next((s for s, share in zip(at, success, strict=True) if share >= 0.5), steps), cells=cells(progress),
        curve=thin([round(s, 3) for s in success]), cells_curve=thin([row.get("episode/cells") for row in progress]),
        bonus_curve=thin([round(b, 5) for b in bonus]), seconds=round(progress[-1]["seconds"], 1),
    )  # fmt: skip
    print(f"{layout} {arm:22} seed {seed:2}  success {row['success']:.2f}  first {row['first']:6}  "
          f"cells {row['cells']:.0f}  {row['seconds']:.0f} s", flush=True)  # fmt: skip
    return row


def training_success(progress: list[dict[str, float]], last: int = 50) -> tuple[list[int], list[float]]:
    """After each iteration: environment steps, and the success of (about) the `last` episodes of training."""
    at, shares, ended = [], [], []
    for row in progress:
        count = int(row.get("episode/count", 0))
        ended = (ended + [row.get("episode/success", 0.0)] * count)[-max(last, count) :]
        at.append(int(row["step"]))
        shares.append(float(np.mean(ended)) if len(ended) >= last else 0.0)
    return at, shares


def cells(progress: list[dict[str, float]]) -> float:
    """Square metres seen by the end of training."""
    return max(row.get("episode/cells", 0.0) for row in progress)


def thin(curve: list[Any]) -> list[Any]:
    """About 20 points of a curve."""
    return curve[:: max(1, len(curve) // 20)]


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the claim and writes its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="seconds instead of minutes; claims nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    reported = not args.toy and tuple(args.seeds) == SEEDS
    out = args.out or RESULTS / ("rnd_agv.json" if reported else "rnd_agv.trial.json")
    method, here = Path(inspect.getfile(RND)), Path(__file__).parent
    package = method.parents[2]
    names = ("tasks/array_task", "tasks/agv", "tasks/agv_layouts", "tasks/agv_lidar", "models/distillation")
    names += ("models/policy", "learners/ppo", "parts/advantages", "rewards/shaping/normalise")
    parts = [package / f"{name}.py" for name in names]
    runs, code = out.with_suffix(".runs.jsonl"), code_hash(__file__, method, *parts)
    start = time.perf_counter()
    steps = {layout: 4_096 if args.toy else n for layout, n in STEPS.items()}
    jobs = [(layout, arm, seed, steps[layout], runs, code) for seed in args.seeds for layout, arm in RUNS]
    rows = in_parallel(train, jobs, args.workers)

    def of(name: str, layout: str, arm: str) -> np.ndarray:
        return np.array([row[name] for row in rows if (row["layout"], row["arm"]) == (layout, arm)])

    checks = [expectation.verdict(of("success", *key).tolist()) for key, expectation in EXPECTED.items()]
    checks.append(NOT_SLOWER.verdict((of("first", "S-static", "PPO + RND") / of("first", "S-static", "PPO")).tolist()))
    table = {
        f"{layout}: {arm}": {
            name: {"mean": float(of(name, layout, arm).mean()), "median": float(np.median(of(name, layout, arm)))}
            for name in ("success", "collision", "first", "cells")
        }
        for layout, arm in RUNS
    }
    settings = {"learner": LEARNER, "steps": steps, "envs": ENVS, "rewards": {a: r for a, (r, _) in ARMS.items()}}
    return write(
        out, script=__file__, method=method, parts=[here / "_claim.py", *parts], seeds=args.seeds,
        seconds=time.perf_counter() - start, checks=checks, seen={"settings": settings, "table": table, "runs": rows},
    )  # fmt: skip


if __name__ == "__main__":
    main()
