"""Training speed on NetHack's score task: with ONI against without, its breakdown, and against Stable-Baselines3.

(a) Environment steps a second of training with ONI's reward models and a judge in another process that answers each
    batch after 2 s, against the task reward alone with no captions read. Target for retrieval: 0.97, low end 0.95.
(b) Where the seconds of a recurrent learner go. Both processes are counted: all the wall time of the learner, waiting
    included, and the worker's CPU time. What is neither NetHack's compiled step nor the network's forward, backward
    and optimiser is overhead: at most 15 %, and at most 30 us an environment step.
(c) Against Stable-Baselines3's PPO on nle's own environment (the better of DummyVecEnv and SubprocVecEnv): the same
    feed-forward network under 300,000 parameters, the same rollout, minibatches and epochs. Target: 2.5.

Blocks of the arms take turns within one run.

    python benchmarks/oni_throughput.py [--blocks 12] [--parts a b c] [--toy]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import interleave, ratio, write

from guerdon import tasks
from guerdon.expression import parse_reward
from guerdon.judges.annotator import Annotator
from guerdon.judges.keyword import KeywordJudge
from guerdon.learners import ppo
from guerdon.learners.ppo import PPO
from guerdon.models.encoders import DictEncoder
from guerdon.models.policy import parameter_count
from guerdon.types import Labels

KEYS = ("glyphs_crop", "blstats")
WORDS = ("kill", "door", "stairs", "gold", "see here", "find")
ARMS = {
    "task reward": "0.1 * Extrinsic()",
    "ONI retrieval": "0.1 * Extrinsic() + 0.4 * ONI(model='retrieval')",
    "ONI classification": "0.1 * Extrinsic() + 0.4 * ONI(model='classification')",
    "ONI ranking": "0.1 * Extrinsic() + 0.4 * ONI(model='ranking')",
}


class Training:
    """One arm: a learner on its own games, and an annotator where the reward asks for labels."""

    def __init__(self, reward: str, learner: PPO, *, envs: int, latency: float, workers: int = 1) -> None:
        self.reward, self.learner = parse_reward(reward), learner
        reads = any(getattr(m, "reads_captions", False) for m in self.reward.modules())
        self.task = tasks.make("NetHackScore", num_envs=envs, workers=workers, captions=reads, observation_keys=KEYS)
        learner.build(self.task, self.reward, seed=0)
        self.annotator = Annotator(KeywordJudge(words=WORDS, latency=latency)) if reads else None

    def iterate(self) -> None:
        collected = self.learner.collect()
        if self.annotator is not None:
            self.annotator.submit(self.reward.questions(collected.rollout))
            if labels := self.annotator.poll():
                self.reward.update(Labels.from_rows(labels))
        self.learner.clock.lap("labels")
        self.learner.learn(collected, self.learner.score(collected.rollout))
        self.reward.observe(collected.rollout)
        self.reward.update(collected.rollout)
        self.learner.clock.lap("reward")

    def speed(self, iterations: int) -> float:
        """Environment steps a second."""
        start = time.perf_counter()
        for _ in range(iterations):
            self.iterate()
        return iterations * self.learner.steps_per_iteration / (time.perf_counter() - start)

    def close(self) -> None:
        if self.annotator is not None:
            self.annotator.close()
        self.task.close()


@contextmanager
def closing_all(made: dict[str, Training]) -> Iterator[dict[str, Training]]:
    with ExitStack() as stack:
        for one in made.values():
            stack.callback(one.close)
        yield made


def recurrent() -> PPO:
    return PPO(rollout=64, epochs=1, minibatches=4, recurrent=True, width=128, hidden=384)


def part_a(blocks: int, iterations: int, envs: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    made = {name: Training(r, recurrent(), envs=envs, latency=2.0) for name, r in ARMS.items()}
    with closing_all(made):
        for name, one in made.items():  # warm up: first captions, first labels, steady games
            one.speed(iterations if name in ("task reward", "ONI retrieval") else max(1, iterations // 4))
        turns = {
            name: iterations if name in ("task reward", "ONI retrieval") else max(1, iterations // 4) for name in made
        }
        arms = {name: lambda one=one, n=turns[name]: one.speed(n) for name, one in made.items()}
        seen = interleave(arms, blocks)
        counters = {n: one.annotator.counters() for n, one in made.items() if one.annotator is not None}
    base = seen.pop("task reward")
    rows = [
        ratio(
            f"(a) steps a second, {name} / task reward alone", speeds, base,
            at_least=0.97 if "retrieval" in name else None, low_at_least=0.95 if "retrieval" in name else 0.0,
        )
        for name, speeds in seen.items()
    ]  # fmt: skip
    kept = {n: {k: c[k] for k in ("labelled", "waiting", "seconds_median")} for n, c in counters.items()}
    return rows, {"steps_per_second": {"task reward": float(np.median(base))}, "labels": kept}


def worker_seconds() -> float:
    """CPU seconds that this process's children have used so far."""
    total, tick = 0, os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            total += int(fields[11]) + int(fields[12])
    return total / tick


def part_b(iterations: int, envs: int) -> dict[str, Any]:
    """The breakdown of training with ONI retrieval, in microseconds an environment step."""
    one = Training(ARMS["ONI retrieval"], recurrent(), envs=envs, latency=2.0)
    try:
        one.speed(max(1, iterations // 2))
        one.learner.clock.drain()
        before = worker_seconds()
        start = time.perf_counter()
        one.speed(iterations)
        wall, worker = time.perf_counter() - start, worker_seconds() - before
        laps = one.learner.clock.drain()
        parameters = parameter_count(one.learner.policy)
    finally:
        one.close()
    steps = iterations * one.learner.steps_per_iteration
    step = compiled_step(envs)
    laps = {name: 1e6 * seconds / steps for name, seconds in laps.items()}
    network = laps["inference"] + laps["network"]
    total = 1e6 * (wall + worker) / steps
    overhead = total - network - step
    return {
        "parameters": parameters,
        "us_per_step": {"all": round(total, 1), "learner": {k: round(v, 2) for k, v in laps.items()},
                        "worker": round(1e6 * worker / steps, 2), "compiled step": round(step, 2)},
        "overhead_us": round(overhead, 2), "overhead_share": round(overhead / total, 4),
        "holds": bool(overhead <= 30 and overhead <= 0.15 * total),
        "target": "at most 30 us and 15 %",
    }  # fmt: skip


def compiled_step(games: int, rounds: int = 400) -> float:
    """Microseconds of NetHack's compiled step alone: as many games in turn as a worker holds, random keys."""
    from guerdon.tasks.nethack.score import NetHackScore

    spent = 0.0

    def timed(press: Callable[[int], None]) -> Callable[[int], None]:
        def run(key: int) -> None:
            nonlocal spent
            start = time.perf_counter()
            press(key)
            spent += time.perf_counter() - start

        return run

    rng, made = np.random.default_rng(0), []
    for seed in range(games):
        game = NetHackScore(observation_keys=KEYS)
        game.bind({k: np.zeros(s.shape, s.dtype) for k, s in game.observation_space.items()})  # type: ignore[union-attr]
        game.reset(seed)
        game.press = timed(game.press)
        made.append(game)
    spent, steps = 0.0, 0
    for _ in range(rounds):
        for game, action in zip(made, rng.integers(made[0].action_space.n, size=games).tolist(), strict=True):
            _, terminated, truncated = game.step(action)
            steps += 1
            if terminated or truncated:
                before = spent
                game.reset(steps)
                spent = before  # a reset is no step
    for game in made:
        game.close()
    return 1e6 * spent / steps


def part_c(blocks: int, iterations: int, envs: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    from stable_baselines3 import PPO as TheirPPO
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    length, epochs, minibatches = 128, 1, 4
    settings = {"rollout": length, "epochs": epochs, "minibatches": minibatches, "width": 64, "hidden": 128}
    ours = Training("Extrinsic()", PPO(**settings, threads=2), envs=envs, latency=0.0)
    torch.set_num_threads(2)
    theirs = {}
    for kind in (DummyVecEnv, SubprocVecEnv):
        venv = kind([theirs_env] * envs)
        made = TheirPPO(
            "MultiInputPolicy", venv, n_steps=length, batch_size=length * envs // minibatches, n_epochs=epochs,
            learning_rate=2.5e-4, ent_coef=0.01, device="cpu",
            policy_kwargs={"features_extractor_class": extractor(), "net_arch": []},
        )  # fmt: skip
        theirs[kind.__name__] = (made, venv)

    def their_speed(made: Any) -> Callable[[], float]:
        def run() -> float:
            torch.set_num_threads(2)
            steps = iterations * length * envs
            start = time.perf_counter()
            made.learn(steps, reset_num_timesteps=False)
            return steps / (time.perf_counter() - start)

        return run

    arms = {name: their_speed(made) for name, (made, _) in theirs.items()}
    arms["guerdon"] = lambda: ours.speed(iterations)
    try:
        for arm in arms.values():
            arm()
        seen = interleave(arms, blocks)
    finally:
        ours.close()
        for _, venv in theirs.values():
            venv.close()
    best = max(theirs, key=lambda name: float(np.median(seen[name])))
    sizes = {
        "guerdon": parameter_count(ours.learner.policy),
        "Stable-Baselines3": parameter_count(theirs[best][0].policy),
    }
    row = ratio(
        f"(c) steps a second of training, guerdon / Stable-Baselines3 ({best})",
        seen["guerdon"],
        seen[best],
        at_least=2.5,
    )
    return [row], {"parameters": sizes, "steps_per_second": {k: float(np.median(v)) for k, v in seen.items()}}


def theirs_env() -> Any:
    """nle's own score task with the same observations: what is cropped here is cropped there."""
    import gymnasium as gym
    from nle.env.tasks import NetHackScore

    class Crop(gym.ObservationWrapper):
        def __init__(self, env: gym.Env) -> None:
            super().__init__(env)
            spaces = env.observation_space
            high = int(spaces["glyphs"].high.max())  # type: ignore[index]
            crop = gym.spaces.Box(0, high, (9, 9), np.int16)
            self.observation_space = gym.spaces.Dict({"glyphs_crop": crop, "blstats": spaces["blstats"]})  # type: ignore[index]
            self._padded = np.zeros((29, 87), np.int16)

        def observation(self, observation: Any) -> dict[str, np.ndarray]:
            self._padded[4:25, 4:83] = observation["glyphs"]
            x, y = observation["blstats"][:2]
            return {"glyphs_crop": self._padded[y : y + 9, x : x + 9].copy(), "blstats": observation["blstats"].copy()}

    return Crop(NetHackScore(observation_keys=("glyphs", "blstats"), render_mode="ansi"))


def extractor() -> type:
    """Our encoder and core as Stable-Baselines3's feature extractor: both sides compute the same network."""
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

    class Features(BaseFeaturesExtractor):
        def __init__(self, space: Any) -> None:
            encoder = DictEncoder(space, 64)
            super().__init__(space, 128)
            self.encoder = encoder
            self.core = torch.nn.Sequential(torch.nn.Linear(encoder.size, 128), torch.nn.Tanh())

        def forward(self, obs: dict[str, torch.Tensor]) -> torch.Tensor:
            return self.core(self.encoder(obs))

    return Features


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--parts", nargs="+", default=["a", "b", "c"], choices=["a", "b", "c"])
    parser.add_argument("--toy", action="store_true", help="seconds, not minutes; nothing is written")
    args = parser.parse_args()
    envs, long, short, blocks = (8, 1, 1, 2) if args.toy else (32, 12, 4, args.blocks)
    ratios: list[dict[str, Any]] = []
    seen: dict[str, Any] = {}
    if "a" in args.parts:
        rows, seen["a"] = part_a(blocks, long, envs)
        ratios += rows
    if "b" in args.parts:
        seen["b"] = part_b(2 * long, envs)
    if "c" in args.parts:
        rows, seen["c"] = part_c(blocks, short, envs)
        ratios += rows
    if args.toy or set(args.parts) != {"a", "b", "c"}:
        for row in ratios:
            print(f"{row['name']}: {row['value']} [{row['low']}, {row['high']}]")
        print(seen)
        return
    import nle
    import stable_baselines3

    peer = f"guerdon without ONI (a); Stable-Baselines3 {stable_baselines3.__version__} on nle {nle.__version__} (c)"
    write(__file__, method=ppo.__file__, peer=peer, ratios=ratios, **seen)


if __name__ == "__main__":
    main()
