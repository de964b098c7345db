"""Claim of ONI on real NetHack: a language model's labels lead PPO to stairs that it does not find without them.

Tasks are MiniHack levels of our own (`guerdon.tasks.minihack_levels`) that pay 1 for the stairs and nothing before;
captions are NetHack's messages; the judge is `RecordedJudge`, which replays a language model's labels and answers
captions outside its record with a classifier fitted to it. Labels arrive six iterations after first sight, so that a
run repeats. Everything comes from guerdon, through what `guerdon train` calls. Success is the share of episodes that
reached the stairs among those that ended in the last tenth of training, the policy sampled as it trains.

Stated before the run. Tasks and figures were chosen on seeds 0-2 (``--pilot``; all that was tried is in the result),
and are reported on seeds 10-14, all arms with the same steps, as 95 % bootstrap intervals of the mean over seeds:

1. On every chosen task: task reward only at most 0.2, inverted labels (the negative control) at most 0.2, ONI retrieval
   and ONI classification at least 0.7.
2. Random labels and all labels 1 are count bonuses in disguise, since the gate pays each caption about once an episode.
   They are reported beside ONI, with whether they tie with it (mean within 0.1 of retrieval). Where messages lead away
   from the goal as well as towards it (Gallery), retrieval is better than all labels 1 by at least 0.5.

Runs that are finished stay in a .runs.jsonl beside the result; the script goes on where it stopped.

    python claims/oni_minihack.py [--pilot] [--toy]
"""

from __future__ import annotations

import argparse
import inspect
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _claim import RESULTS, Expected, FinishedRuns, in_parallel, write

from guerdon.catalogue import code_hash
from guerdon.learners import run
from guerdon.rewards.feedback.oni import ONI
from guerdon.tasks import minihack_levels

LONG = True
PILOT_SEEDS = (0, 1, 2)
SEEDS = (10, 11, 12, 13, 14)
STEPS = {"Pantry": 250_000, "Gallery": 300_000, "Museum": 300_000, "Catacomb": 250_000, "Guardrooms": 250_000}
CHOSEN = ("Gallery", "Guardrooms")
MISLED = ("Gallery",)  # of the chosen: where a count bonus is led astray

LEARNER = "PPO(rollout=64, entropy=0.05, lr=5e-4, threads=1)"
ENVS, DELAY = 16, 6
RETRIEVAL = "Extrinsic() + 0.1 * ONI(model='retrieval')"
CLASSIFICATION = "Extrinsic() + 0.1 * ONI(model='classification', lr=1e-3, batch_size=64)"
ARMS: dict[str, tuple[str, str | None]] = {
    "task reward only": ("Extrinsic()", None),
    "ONI retrieval": (RETRIEVAL, "RecordedJudge()"),
    "ONI classification": (CLASSIFICATION, "RecordedJudge()"),
    "inverted labels": (RETRIEVAL, "RecordedJudge(invert=True)"),
    "random labels": (RETRIEVAL, "RecordedJudge(labels='random', seed={seed})"),
    "all labels 1": (RETRIEVAL, "RecordedJudge(labels='ones')"),
}
COUNT_BONUSES = ("random labels", "all labels 1")
SUCCESS = "share of episodes that reach the stairs, last tenth of training"


def expected(task: str) -> dict[str, Expected]:
    """What must be seen on one task, by arm."""
    rows = {
        "task reward only": Expected(f"{task}: task reward only", SUCCESS, at_most=0.2),
        "inverted labels": Expected(f"{task}: inverted labels", f"{SUCCESS} (negative control)", at_most=0.2),
        "ONI retrieval": Expected(f"{task}: ONI retrieval", SUCCESS, at_least=0.7),
        "ONI classification": Expected(f"{task}: ONI classification", SUCCESS, at_least=0.7),
    }
    if task in MISLED:
        what = "success, ONI retrieval minus all labels 1"
        rows["all labels 1"] = Expected(f"{task}: judge over count bonus", what, at_least=0.5)
    return rows


def train(task: str, arm: str, seed: int, steps: int, rows: Path, code: str, store: str) -> dict[str, Any]:
    """One run, unless its row is there already; adds the row."""
    finished = FinishedRuns(rows, code)
    key = {"task": task, "arm": arm, "seed": seed, "steps": steps, "learner": LEARNER}
    if row := finished.find(**key):
        return row
    torch.set_num_threads(1)
    reward, judge = ARMS[arm]
    config = run.Config(
        task=task, reward=reward, judge=judge and judge.format(seed=seed), learner=LEARNER, steps=steps, envs=ENVS,
        workers=0, store=store, label_delay=DELAY, seed=seed, save_every=10**9, record=0, arm=arm,
    )  # fmt: skip
    progress: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="guerdon-claim") as folder:
        run.train(config, folder, progress=progress.append)
    late = [row for row in progress if row["step"] > 0.9 * steps and row.get("episode/count")]
    counts = [row["episode/count"] for row in late]
    recent = [row.get("episode/success_recent", 0.0) for row in progress]

    def mean(name: str) -> float:
        return float(np.average([row.get(name, 0.0) for row in late], weights=counts)) if late else float("nan")

    row = finished.add(
        **key, success=mean("episode/success"), length=mean("episode/length"), died=mean("episode/died"),
        paid_a_step=float(np.mean([row.get("term/ONI/mean", 0.0) for row in progress[len(progress) * 9 // 10 :]])),
        captions=progress[-1].get("captions/known"),
        solved_at=next((int(r["step"]) for r, s in zip(progress, recent, strict=True) if s > 0.5), None),
        curve=[round(s, 3) for s in recent[:: max(1, len(recent) // 20)]], seconds=round(progress[-1]["seconds"], 1),
    )  # fmt: skip
    print(f"{task:12} {arm:20} seed {seed:2}  success {row['success']:.2f}  {row['seconds']:.0f} s", flush=True)
    return row


def table(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """task -> arm -> success by seed and its mean; of count bonuses, whether they tie with retrieval."""
    shown: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda r: r["seed"]):
        arm = shown.setdefault(row["task"], {}).setdefault(row["arm"], {"by_seed": {}})
        arm["by_seed"][str(row["seed"])] = round(row["success"], 4)
    for arms in shown.values():
        for arm in arms.values():
            arm["mean"] = float(np.mean(list(arm["by_seed"].values())))
        for name in COUNT_BONUSES:
            if name in arms and "ONI retrieval" in arms:
                arms[name]["ties with ONI"] = bool(arms[name]["mean"] >= arms["ONI retrieval"]["mean"] - 0.1)
    return shown


def pilot(path: Path, runs: Path) -> dict[str, Any]:
    """Writes what the pilot has seen so far: runs as in the claim, and those of levels and figures given up."""
    rows = FinishedRuns(runs, "pilot").rows
    kept = [row for row in rows if row["learner"] == LEARNER and row["steps"] == STEPS[row["task"]]]
    shown = ("task", "arm", "seed", "steps", "learner", "success", "solved_at", "note")
    given_up = [{k: row[k] for k in shown if k in row} for row in rows if row not in kept]
    result = {"learner": LEARNER, "steps": STEPS, "tasks": table(kept), "given up": given_up}
    path.write_text(json.dumps(result, indent=1) + "\n")
    return result


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the claim, or the pilot, and writes its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pilot", action="store_true", help="all tasks tried, on seeds 0-2")
    parser.add_argument("--toy", action="store_true", help="seconds instead of minutes; claims nothing")
    parser.add_argument("--tasks", nargs="+", choices=STEPS)
    parser.add_argument("--arms", nargs="+", choices=ARMS, help="of the pilot")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    chosen = tuple(args.tasks or (STEPS if args.pilot else CHOSEN))
    seeds = tuple(args.seeds or (PILOT_SEEDS if args.pilot else SEEDS))
    reported = not args.toy and (seeds, chosen) == (SEEDS, CHOSEN)
    kind = "pilot.json" if args.pilot else "json" if reported else "trial.json"
    out = args.out or RESULTS / f"oni_minihack.{kind}"
    out.parent.mkdir(parents=True, exist_ok=True)
    steps = {task: 10_240 if args.toy else STEPS[task] for task in chosen}
    method, here = Path(inspect.getfile(ONI)), Path(__file__).parent
    package = method.parents[2]
    levels = Path(minihack_levels.__file__).parent
    parts = [levels / "__init__.py", *(levels / minihack_levels.LEVELS[task].des for task in chosen)]
    parts += [package / "judges" / "recorded.py", package / "learners" / "ppo.py", package / "models" / "encoders.py"]
    parts += [package / "parts" / f"{name}.py" for name in ("caption_pay", "count_gate", "caption_labels")]
    parts += [package / "models" / "caption_cnn.py"]
    runs, code = out.with_suffix(".runs.jsonl"), "pilot" if args.pilot else code_hash(__file__, method, *parts)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="guerdon-labels") as folder:
        common = (runs, code, str(Path(folder) / "labels.sqlite"))  # one store: no caption is judged twice
        jobs = [(t, a, s, steps[t], *common) for s in seeds for t in chosen for a in args.arms or ARMS]
        rows = in_parallel(train, jobs, args.workers)
    if args.pilot:
        return pilot(out, runs)

    def success(task: str, arm: str) -> np.ndarray:
        return np.array(
            [next(r["success"] for r in rows if (r["task"], r["arm"], r["seed"]) == (task, arm, s)) for s in seeds]
        )

    checks = []
    for task in chosen:
        for arm, expectation in expected(task).items():
            values = success(task, arm)
            if arm == "all labels 1":
                values = success(task, "ONI retrieval") - values
            checks.append(expectation.verdict(values.tolist()))
    tried = RESULTS / "oni_minihack.pilot.json"
    seen = {"tasks": table(rows), "runs": rows, "tried": json.loads(tried.read_text()) if tried.exists() else None}
    return write(
        out, script=__file__, method=method, parts=[here / "_claim.py", *parts], seeds=seeds,
        seconds=time.perf_counter() - start, checks=checks, seen=seen,
    )  # fmt: skip


if __name__ == "__main__":
    main()
