"""Our NetHack vector environment against nle's own Gymnasium environment: NetHackScore, same observations, same games.

What is compared is steps per CPU-second (the time of all processes concerned, summed), so that a busy machine does not
tilt it, in blocks that take turns. Ours comes in one process, and with a worker process as in training (messages to it
and captions included). nle's comes in a plain loop over its environments, and as Gymnasium's SyncVectorEnv, which
gives what ours gives: batched arrays and autoreset. All play the same number of games in turn, since games drive each
other out of the processor's caches.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from _bench import interleave, ratio, write
from nle.env.base import NLE

import guerdon.tasks.nethack.core as method
from guerdon.tasks.nethack.score import NetHackScore
from guerdon.tasks.vector import Workers

OBSERVATIONS = {
    "glyphs, blstats, message": ("glyphs", "blstats", "message"),
    "nle's default keys": inspect.signature(NLE.__init__).parameters["observation_keys"].default,
}
ACTIONS = 23


def cpu(task: Workers | None = None) -> float:
    """CPU-seconds of this process and of the task's workers."""
    pids = [process.pid for process, _ in task._team] if task is not None and task.workers else []
    return time.process_time() + sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9


def loop(games: int, keys: tuple[str, ...], steps: int) -> Callable[[], float]:
    """A plain loop over nle's environments; what a call returns is steps per CPU-second."""
    envs = [gym.make("NetHackScore-v0", observation_keys=keys, disable_env_checker=True) for _ in range(games)]
    generator = np.random.default_rng(0)
    for seed, env in enumerate(envs):
        env.unwrapped.seed(seed, seed, reseed=False)  # type: ignore[attr-defined]
        env.reset()

    def block() -> float:
        actions, start = generator.integers(0, ACTIONS, (steps // games, games)).tolist(), cpu()
        for row in actions:
            for env, action in zip(envs, row, strict=True):
                _, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    env.reset()
        return len(actions) * games / (cpu() - start)

    return block


def gymnasium_vector(games: int, keys: tuple[str, ...], steps: int) -> Callable[[], float]:
    """nle's environments in Gymnasium's SyncVectorEnv."""
    make = functools.partial(gym.make, "NetHackScore-v0", observation_keys=keys, disable_env_checker=True)
    envs, generator = gym.vector.SyncVectorEnv([make] * games), np.random.default_rng(0)
    envs.reset()

    def block() -> float:
        actions, start = generator.integers(0, ACTIONS, (steps // games, games)), cpu()
        for row in actions:
            envs.step(row)
        return len(actions) * games / (cpu() - start)

    return block


def ours(games: int, keys: tuple[str, ...], steps: int, workers: int) -> tuple[Callable[[], float], Workers]:
    """Our vector environment, captions included."""
    task = Workers(functools.partial(NetHackScore, observation_keys=keys), num_envs=games, workers=workers)
    generator = np.random.default_rng(0)
    task.reset(seed=0)
    for group in range(2):
        task.recv(group)

    def block() -> float:
        actions, start = generator.integers(0, ACTIONS, (steps // games, 2, games // 2)), cpu(task)
        for row in actions:
            for group in (0, 1):
                task.send(group, row[group])
            for group in (0, 1):
                task.recv(group)
        return len(actions) * games / (cpu(task) - start)

    return block, task


def anatomy(task: Workers, block: Callable[[], float]) -> dict[str, float]:
    """Microseconds a step, and how much of it is the compiled step; wall time, of a task without workers."""
    spent = [0.0]
    games: list[Any] = [game for lane in task._lanes or [] for game in lane.games]

    def timed(press: Callable[[int], None], key: int) -> None:
        start = time.perf_counter()
        press(key)
        spent[0] += time.perf_counter() - start

    plain = 1e6 / block()
    for game in games:
        game.press = functools.partial(timed, game.core.step)
    start = time.perf_counter()
    block()
    share = spent[0] / (time.perf_counter() - start)
    for game in games:
        game.press = game.core.step
    return {"us_per_step": round(plain, 2), "compiled_step_share": round(share, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--steps", type=int, default=4096, help="of a block")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    ratios, seen = [], {}
    for title, keys in OBSERVATIONS.items():
        inside, task = ours(args.games, keys, args.steps, 0)
        outside, worker_task = ours(args.games, keys, args.steps, 1)
        arms = {
            "ours": inside,
            "ours with a worker": outside,
            "nle SyncVectorEnv": gymnasium_vector(args.games, keys, args.steps),
            "nle loop": loop(args.games, keys, args.steps),
        }
        rates = interleave(arms, args.blocks)
        for mine in ("ours", "ours with a worker"):
            for peer in ("nle SyncVectorEnv", "nle loop"):
                name = f"{mine} / {peer}, {args.games} games, {title}"
                ratios.append(ratio(name, rates[mine], rates[peer], at_least=4.0 if mine == "ours" else None))
        seen[title] = anatomy(task, inside) | {
            f"us_per_step, {arm}": round(1e6 / float(np.median(values)), 2) for arm, values in rates.items()
        }
        task.close()
        worker_task.close()
    write(__file__, method=method.__file__, peer="nle 1.3.0, gymnasium 1.2.0", ratios=ratios, seen=seen)


if __name__ == "__main__":
    main()
