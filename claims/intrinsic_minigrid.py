"""Which novelty bonuses help PPO on sparse MiniGrid tasks? All that guerdon ships, one setting for all of them.

MiniGrid-KeyCorridorS3R1 (a key behind one door opens another, behind which an object is to be picked up) and
MiniGrid-MultiRoom-N2-S4 (two rooms behind a closed door), both drawn anew for every episode; the task pays once, at
the goal. PPO of 16 games and 102,400 steps with the task's reward, and with each bonus in a stream of its own,
normalised by the running spread of its return (gamma 0.99, not episodic), with weight 0.1, and fading to 0 over the
run. No bonus is tuned for itself: defaults, but for 4 passes and steps of 1e-3 where there is a choice, since a run is
short. Harder tasks (DoorKey-8x8, MultiRoom-N4-S5) were met by nobody in 184,320 steps on pilot seed 0; the weight was
chosen among 0.02, 0.1 and 0.5 by episodic counts on that seed.

Late return: the mean over episodes that end in the last fifth of training, the policy sampled as it trains. Stated
before the run, on seeds 20-24, as 95 % bootstrap intervals of the mean over seeds of the difference to PPO alone, seed
by seed:

1. Episodic exact counts gain at least 0.02 on both tasks (on pilot seeds 0 and 1: 0.09 and 0.22 on KeyCorridor, 0.13
   and 0.23 on MultiRoom).
2. A control: a constant in place of the bonus gains at most 0.1 on either task.

What every other bonus did, better or worse, is told beside it, as "gain" with its interval.

Runs that are finished stay in a .runs.jsonl beside the result; the script goes on where it stopped.

    python claims/intrinsic_minigrid.py [--toy] [--workers N]
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
from _claim import RESULTS, Expected, FinishedRuns, in_parallel, interval, write

from guerdon.catalogue import code_hash
from guerdon.learners import run
from guerdon.rewards.intrinsic.counts import PseudoCount

LONG = True
SEEDS = (20, 21, 22, 23, 24)
ENVS, ROLLOUT = 16, 128
STEPS = 50 * ENVS * ROLLOUT
TASKS = {"KeyCorridor": "minigrid:MiniGrid-KeyCorridorS3R1-v0", "MultiRoom": "minigrid:MiniGrid-MultiRoom-N2-S4-v0"}
LEARNER = f"PPO(rollout={ROLLOUT}, epochs=4, minibatches=8, lr=5e-4, entropy=0.01, keys=('direction', 'image'))"
EYES = "keys=('direction', 'image')"
DISTILLED = f"epochs=4, lr=1e-3, {EYES}"
BONUSES = {
    "constant": "Clip(Extrinsic(), low=1.0, high=1.0)",
    "PseudoCount": f"PseudoCount({EYES})",
    "PseudoCount, episodic": f"PseudoCount(episodic=True, {EYES})",
    "RND": f"RND({DISTILLED})",
    "DRND": f"DRND({DISTILLED})",
    "RDD": f"RDD({DISTILLED})",
    "ICM": f"ICM({EYES})",
    "Disagreement": f"Disagreement({EYES})",
    "RIDE": f"RIDE({EYES})",
    "NGU": f"NGU({EYES})",
    "RE3": f"RE3({EYES})",
    "RISE": f"RISE({EYES})",
    "REVD": f"REVD({EYES})",
    "E3B": f"E3B({EYES})",
    "BYOLExplore": f"BYOLExplore({EYES})",
    "BYOLHindsight": f"BYOLHindsight({EYES})",
}
GAIN = "late return, minus PPO's alone"
EXPECTED = {
    (task, arm): Expected(f"{task}: {name}", text, **bound)
    for task in TASKS
    for arm, name, text, bound in (
        ("PseudoCount, episodic", "episodic counts", GAIN, {"at_least": 0.02}),
        ("constant", "constant", f"{GAIN} (control)", {"at_most": 0.1}),
    )
}


def paid(bonus: str) -> str:
    """The expression of an arm."""
    fading = f"Anneal(Normalise({bonus}, episodic=False), start=0.1, end=0.0, steps={STEPS})"
    return f"Extrinsic() + Stream({fading}, name='bonus', gamma=0.99, episodic=False)"


def train(task: str, arm: str, seed: int, steps: int, rows: Path, code: str) -> dict[str, Any]:
    """One run, unless its row is there already; adds the row."""
    finished = FinishedRuns(rows, code)
    key = {"task": task, "arm": arm, "seed": seed, "steps": steps}
    if row := finished.find(**key):
        return row
    torch.set_num_threads(1)
    reward = paid(BONUSES[arm]) if arm in BONUSES else "Extrinsic()"
    config = run.Config(
        task=TASKS[task], reward=reward, learner=LEARNER, steps=steps, envs=ENVS, workers=0, seed=seed,
        save_every=10**9, record=0, arm=arm,
    )  # fmt: skip
    progress: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="guerdon-claim") as folder:
        run.train(config, folder, progress=progress.append)
    ended = [(row["step"], row["episode/return"], row["episode/count"]) for row in progress if row.get("episode/count")]
    late = [(value, count) for step, value, count in ended if step > 0.8 * steps]
    mean = float(np.average([v for v, _ in late], weights=[n for _, n in late])) if late else 0.0
    first = next((int(step) for step, value, _ in ended if value > 0), steps)
    row = finished.add(**key, late=mean, first=first, seconds=round(progress[-1]["seconds"], 1))
    print(f"{task:10}{arm:24} seed {seed}  late {mean:.3f}  first {first:7}  {row['seconds']:.0f} s", flush=True)
    return row


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the claim and writes its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="seconds instead of minutes; claims nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--arms", nargs="+", default=list(BONUSES), choices=list(BONUSES), metavar="ARM")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    reported = not args.toy and tuple(args.seeds) == SEEDS and args.arms == list(BONUSES)
    out = args.out or RESULTS / ("intrinsic_minigrid.json" if reported else "intrinsic_minigrid.trial.json")
    method = Path(inspect.getfile(PseudoCount))
    package = method.parents[2]
    parts = sorted(method.parent.glob("[a-z]*.py"))
    parts += [package / f"{n}.py" for n in ("learners/ppo", "rewards/shaping/normalise", "rewards/shaping/anneal")]
    runs, code = out.with_suffix(".runs.jsonl"), code_hash(__file__, method, *parts)
    start = time.perf_counter()
    steps = 2 * ENVS * ROLLOUT if args.toy else STEPS
    arms = ["PPO", *args.arms]
    jobs = [(task, arm, seed, steps, runs, code) for seed in args.seeds for task in TASKS for arm in arms]
    rows = in_parallel(train, jobs, args.workers)
    late = {
        (task, arm): np.array([row["late"] for row in rows if (row["task"], row["arm"]) == (task, arm)])
        for task in TASKS for arm in arms
    }  # fmt: skip
    gains = {key: value - late[key[0], "PPO"] for key, value in late.items() if key[1] != "PPO"}
    checks = [expectation.verdict(gains[key].tolist()) for key, expectation in EXPECTED.items() if key in gains]
    table = {
        f"{task}: {arm}": {
            "late return": float(late[task, arm].mean()), "gain": float(gain.mean()), "interval": interval(gain),
            "beats PPO": bool(interval(gain)[0] > 0),
        }
        for (task, arm), gain in gains.items()
    }  # fmt: skip
    alone = {task: late[task, "PPO"].tolist() for task in TASKS}
    return write(
        out, script=__file__, method=method, parts=[Path(__file__).parent / "_claim.py", *parts], seeds=args.seeds,
        seconds=time.perf_counter() - start, checks=checks,
        seen={"settings": {"learner": LEARNER, "steps": steps}, "PPO alone": alone, "table": table, "runs": rows},
    )  # fmt: skip


if __name__ == "__main__":
    main()
