"""What a reward makes of a task played at random."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from guerdon import tasks
from guerdon.compare.probe import Finding, exponent, rank_correlation, rank_word, state_bytes
from guerdon.rewards.intrinsic import PseudoCount
from guerdon.tasks.random_play import random_rollouts
from guerdon.types import Reward, Spec

GAMES, STEPS = 8, 128


@dataclass
class TaskProbe:
    """The findings, and every valid step's visits so far and bonus, round by round."""

    findings: list[Finding]
    visits: list[np.ndarray]  # [n] each: how often what the step led to had been seen before, this time included
    bonus: list[np.ndarray]
    seconds: np.ndarray  # [R], of a step
    bytes: np.ndarray  # [R]


def probe_task(
    reward: Reward, task: str, *, rounds: int = 20, seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> TaskProbe:  # fmt: skip
    """What a reward, not built yet, pays on a task where actions are drawn at random, and how that changes.

    8 games, rollouts of 128 steps; each is scored, observed and learned from. What a step led to is the same as
    something before if the whole observation is, number for number (`PseudoCount`); a clock in it makes everything new.

    - scored: the share of steps that are (not NaN); paid: the share with another bonus than 0.
    - mean, spread: of the bonus in the last quarter of the rounds.
    - experience: the mean bonus in the last quarter of the rounds over that in the first.
    - counts: the rank correlation of bonus and 1 / sqrt(visits) in the last quarter; nothing where all is new.
    - decay: the exponent of the bonus against the visits in it, over steps.
    - ends: the mean bonus of steps that end an episode over that of the others.
    - memory: the state's bytes after all rounds over those after half of them; time: microseconds a step.

    Raises:
        ValueError: there is no such task, or the reward cannot read it.
    """
    captions = any(getattr(part, "reads_captions", False) for part in reward.modules())
    games = tasks.make(task, num_envs=GAMES, workers=0, groups=1, captions=captions)
    made = copy.deepcopy(reward)
    try:
        spec = Spec(games.single_observation_space, games.single_action_space, games.captions, games.num_envs)
        made.build(spec, generator=torch.Generator().manual_seed(seed))
        counter = PseudoCount(power=1.0)  # pays 1 / n
        counter.build(spec)
        found = TaskProbe([], [], [], np.zeros(rounds), np.zeros(rounds))
        ended: list[np.ndarray] = []
        rollouts = random_rollouts(games, STEPS, seed=seed)
        for turn in range(rounds):
            rollout = next(rollouts)
            start = time.perf_counter()
            with torch.no_grad():
                value = made.evaluate(rollout).value
            made.observe(rollout)
            made.update(rollout)
            valid = rollout.valid.bool().flatten().numpy()
            found.seconds[turn] = (time.perf_counter() - start) / max(1, int(valid.sum()))
            found.bytes[turn] = state_bytes(made)
            found.bonus.append(value.flatten().double().numpy()[valid])
            found.visits.append((1 / counter.score(rollout).double()).round().flatten().numpy()[valid])
            counter.observe(rollout)
            ended.append((rollout.terminated | rollout.truncated).flatten().numpy()[valid])
            if progress:
                progress(task, (turn + 1) / rounds)
    finally:
        games.close()
    found.findings = _findings(found, ended)
    return found


def _findings(found: TaskProbe, ended: list[np.ndarray]) -> list[Finding]:
    quarter = max(1, len(found.bonus) // 4)
    early, late = np.concatenate(found.bonus[:quarter]), np.concatenate(found.bonus[-quarter:])
    n, ends = np.concatenate(found.visits[-quarter:]), np.concatenate(ended[-quarter:])
    scored = ~np.isnan(late)
    late, n, ends = late[scored], n[scored], ends[scored]
    mean = float(late.mean()) if len(late) else 0.0
    change = mean / float(np.nanmean(early)) if np.nanmean(early) else 1.0
    order = rank_correlation(late, 1 / np.sqrt(n)) if len(late) and np.ptp(n) > 0 else 0.0
    end = float(late[ends].mean() / late[~ends].mean()) if ends.any() and late[~ends].any() else float("nan")
    half = len(found.bytes) // 2
    size = found.bytes[-1] / found.bytes[half]
    decay = exponent(n[:, None], late[:, None])
    return [
        Finding("scored", float(scored.mean()), "all" if scored.all() else "some", "share of steps"),
        Finding("paid", float((late != 0).mean()), "dense" if (late != 0).mean() > 0.5 else "sparse", "share not 0"),
        Finding("mean", mean, "", "bonus, last quarter of the rounds"),
        Finding("spread", float(late.std()), "", "standard deviation of it"),
        Finding("experience", change, "falls" if change < 0.8 else "rises" if change > 1.25 else "stays",
                "mean bonus of the last quarter over the first's"),
        Finding("counts", order, rank_word(order) if np.ptp(n) > 0 else "all new",
                "rank correlation with 1 / sqrt(visits)"),
        Finding("decay", decay, "falls" if decay < -0.1 else "none", "exponent of the bonus against visits"),
        Finding("ends", end, "", "bonus of steps that end an episode, over others"),
        Finding("memory", size, "grows" if size > 1.05 else "constant", "bytes after all rounds, over half of them"),
        Finding("time", 1e6 * float(np.median(found.seconds)), "", "microseconds a step: score, observe and update"),
    ]  # fmt: skip


def draw(found: TaskProbe, title: str, path: Path) -> None:
    """The bonus round by round, and against visits in the last quarter of the rounds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    axes: Any = figure.subplots(1, 2)
    levels = np.array([np.nanquantile(b, [0.1, 0.5, 0.9]) for b in found.bonus])
    rounds = np.arange(1, len(levels) + 1)
    axes[0].fill_between(rounds, levels[:, 0], levels[:, 2], alpha=0.25, label="10 to 90 % of steps")
    axes[0].plot(rounds, levels[:, 1], label="median")
    axes[0].set(xlabel="rollouts", ylabel="bonus")
    axes[0].legend(frameon=False)
    quarter = max(1, len(found.bonus) // 4)
    axes[1].scatter(np.concatenate(found.visits[-quarter:]), np.concatenate(found.bonus[-quarter:]), s=4, alpha=0.3)
    axes[1].set(xlabel="visits of what the step led to", ylabel="bonus", xscale="log")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
