"""What paying by a reward costs a step: each adapter's vector environment against the same one bare, side by side.

The environments are CartPoles, whose steps are cheap, so that what the adapters add stands out. Per step of one
environment, in CPU time of this process: bare; in the adapter with the reward "Extrinsic()", which is the adapter's own
cost; and with ``Normalise(RND())``, which is what a user has, its learning at the end of rollouts included. The last
also paid at the end of rollouts (Stable-Baselines3). TorchRL, imitation and RLLTE run by their own packages in
.venv/peers, in a process of their own, against their own bare environments. imitation does not say what the task paid:
in place of "Extrinsic()" stands a count of hashed observations. RLLTE pays whole rollouts at their end.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from _bench import interleave, ratio, write

import guerdon.adapters.live as method

REWARDS = {"Extrinsic": "Extrinsic()", "Normalise(RND)": "Normalise(RND(), episodic=False)"}
PEERS = Path(__file__).parents[1] / ".venv" / "peers"


def timed(run: Callable[[int], Any], envs: int, steps: int) -> float:
    """CPU-microseconds a step of one environment."""
    start = time.process_time()
    run(steps)
    return 1e6 * (time.process_time() - start) / (steps * envs)


def gymnasium(envs: int, rollout: int, steps: int) -> dict[str, Callable[[], float]]:
    """Gymnasium's SyncVectorEnv, bare and wrapped."""
    from guerdon.adapters.gymnasium import VectorPaidBy

    def make() -> Any:
        return gym.make_vec("CartPole-v1", num_envs=envs, vectorization_mode="sync")

    made = {"bare": make()}
    made |= {name: VectorPaidBy(make(), reward, rollout=rollout) for name, reward in REWARDS.items()}
    actions = np.random.default_rng(0).integers(2, size=(steps, envs))

    def run(env: Any, count: int) -> None:
        for row in actions[:count]:
            env.step(row)

    for env in made.values():
        env.reset(seed=0)
    return {
        f"gymnasium, {k}": functools.partial(timed, functools.partial(run, e), envs, steps) for k, e in made.items()
    }


def sb3(envs: int, rollout: int, steps: int) -> dict[str, Callable[[], float]]:
    """Stable-Baselines3's DummyVecEnv, bare and wrapped; the callback's work is done as it would be."""
    from stable_baselines3.common.env_util import make_vec_env

    from guerdon.adapters.sb3 import VecPaidBy

    def make() -> Any:
        return make_vec_env("CartPole-v1", n_envs=envs, seed=0)

    made = {"bare": make()}
    made |= {name: VecPaidBy(make(), reward) for name, reward in REWARDS.items()}
    late = "Normalise(RND), paid at the end"
    made[late] = VecPaidBy(make(), REWARDS["Normalise(RND)"], when="rollout")
    actions = np.random.default_rng(0).integers(2, size=(steps, envs))

    def run(env: Any, count: int) -> None:
        for t, row in enumerate(actions[:count], 1):
            env.step(row)
            if isinstance(env, VecPaidBy) and t % rollout == 0:
                env.live.finish()

    for env in made.values():
        env.has_callback = True
        env.reset()
    return {f"sb3, {k}": functools.partial(timed, functools.partial(run, e), envs, steps) for k, e in made.items()}


def torchrl(envs: int, rollout: int, steps: int) -> dict[str, Callable[[], float]]:
    """TorchRL's SerialEnv, bare and transformed."""
    from torchrl.envs import GymEnv, SerialEnv, TransformedEnv

    from guerdon.adapters.torchrl import PaidTransform

    def make(reward: str | None) -> Any:
        base = SerialEnv(envs, lambda: GymEnv("CartPole-v1"))
        return base if reward is None else TransformedEnv(base, PaidTransform(reward, rollout=rollout))

    made = {"bare": make(None), **{name: make(reward) for name, reward in REWARDS.items()}}

    def run(env: Any, count: int) -> None:
        env.rollout(count, break_when_any_done=False)

    return {f"torchrl, {k}": functools.partial(timed, functools.partial(run, e), envs, steps) for k, e in made.items()}


def imitation(envs: int, rollout: int, steps: int) -> dict[str, Callable[[], float]]:
    """Stable-Baselines3's DummyVecEnv as imitation wraps it, bare and paid."""
    from imitation.rewards.reward_wrapper import RewardVecEnvWrapper
    from stable_baselines3.common.env_util import make_vec_env

    from guerdon.adapters.imitation import RewardFunction

    def make(reward: str | None) -> Any:
        base = make_vec_env("CartPole-v1", n_envs=envs, seed=0)
        return base if reward is None else RewardVecEnvWrapper(base, RewardFunction(reward, venv=base, rollout=rollout))

    rewards = {"counts": "PseudoCount(kind='hashed')", "Normalise(RND)": REWARDS["Normalise(RND)"]}
    made = {"bare": make(None), **{name: make(reward) for name, reward in rewards.items()}}
    actions = np.random.default_rng(0).integers(2, size=(steps, envs))

    def run(env: Any, count: int) -> None:
        for row in actions[:count]:
            env.step(row)

    for env in made.values():
        env.reset()
    return {
        f"imitation, {k}": functools.partial(timed, functools.partial(run, e), envs, steps) for k, e in made.items()
    }


def rllte(envs: int, rollout: int, steps: int) -> dict[str, Callable[[], float]]:
    """RLLTE's Gymnasium2Torch, bare (its rollout storage filled) and with the reward module called on each rollout."""
    from gymnasium.vector import SyncVectorEnv
    from gymnasium.wrappers import RecordEpisodeStatistics
    from rllte.env.utils import Gymnasium2Torch

    from guerdon.adapters.rllte import KEYS, RewardModule

    def make() -> Any:
        games = SyncVectorEnv([functools.partial(gym.make, "CartPole-v1") for _ in range(envs)])
        return Gymnasium2Torch(RecordEpisodeStatistics(games), "cpu")

    actions = torch.from_numpy(np.random.default_rng(0).integers(2, size=(steps, envs)))

    def run(env: Any, module: Any, count: int) -> None:
        shown, rows = env.reset(seed=0)[0], []
        for action in actions[:count]:
            after, reward, terminated, truncated, _ = env.step(action)
            rows.append((shown, action, reward, terminated, truncated, after))
            shown = after
            if len(rows) == rollout:
                samples = dict(zip(KEYS, map(torch.stack, zip(*rows, strict=True)), strict=True))
                rows = []
                if module is not None:
                    module.compute(samples)

    bare = make()
    made = {"bare": (bare, None), **{name: (env := make(), RewardModule(env, r)) for name, r in REWARDS.items()}}
    return {
        f"rllte, {k}": functools.partial(timed, functools.partial(run, *pair), envs, steps) for k, pair in made.items()
    }


LIBRARIES = {"torchrl": torchrl, "imitation": imitation, "rllte": rllte}


def elsewhere(library: str, arguments: list[str]) -> dict[str, list[float]]:
    """The rates of a library's arms, seen in a process that has it."""
    places = os.pathsep.join(map(str, [PEERS / library, Path(__file__).parents[1] / "src"]))
    command = [sys.executable, __file__, *arguments, "--only", library]
    said = subprocess.run(command, env=os.environ | {"PYTHONPATH": places}, check=True, capture_output=True, text=True)
    return json.loads(said.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--rollout", type=int, default=128)
    parser.add_argument("--steps", type=int, default=256, help="of a block, per environment")
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--only", choices=LIBRARIES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sizes = (args.envs, args.rollout, args.steps)
    if args.only:
        arms = LIBRARIES[args.only](*sizes)
    else:
        arms = gymnasium(*sizes) | sb3(*sizes)
    for arm in arms.values():
        arm()  # what is made at first sight is made
    seen = interleave(arms, args.blocks)
    if args.only:
        return print(json.dumps(seen))
    options = ["--envs", args.envs, "--rollout", args.rollout, "--steps", args.steps, "--blocks", args.blocks]
    for library in LIBRARIES:
        seen |= elsewhere(library, list(map(str, options)))
    ratios, added = [], {}
    for name, spent in seen.items():
        library, _, arm = name.partition(", ")
        bare = seen[f"{library}, bare"]
        if arm != "bare":
            ratios.append(ratio(f"{library}: a step paid by {arm} / bare, {args.envs} environments", spent, bare))
            added[name] = round(float(np.median(np.subtract(spent, bare))), 2)
    micro = {name: round(float(np.median(spent)), 2) for name, spent in seen.items()}
    peer = (
        "the same environments bare: gymnasium 1.2.0, stable-baselines3 2.9.2, torchrl 0.14.1, imitation 1.0.1, "
        "rllte-core 1.0.1"
    )
    write(
        __file__, method=method.__file__, peer=peer, ratios=ratios,
        microseconds_a_step=micro, microseconds_added_a_step=added,
    )  # fmt: skip


if __name__ == "__main__":
    main()
