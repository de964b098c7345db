"""Samples a second of novelty rewards: ours against RLLTE's, on the same networks, batch sizes, dtype and thread.

For those of RLLTE's RND, ICM, Disagreement, NGU, PseudoCounts, RIDE, RE3 and E3B that score a rollout [T=128, B=16]
(the three with episodic memories read one flag of the whole batch as a number, and fail): score, and score + learning
from it, on vectors of 64 numbers and on images of 4 x 84 x 84 bytes. A process for each side, interleaved; RLLTE lives
in a folder of its own with an older NumPy (tests/references/peers.py, made by `make setup`). Its reward scaling is off,
its observations are standardised where it does so by default, and then ours are.

Targets: at least 3 by geometric mean over methods on vectors. On images, where convolutions take nearly all the time,
at least 1.3, or at least 0.9 of the speed of the same networks' bare forward and backward passes, a third arm.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

STEPS, ENVS, ACTIONS, BATCH = 128, 16, 6, 256
SHAPES = {"vectors": (64,), "images": (4, 84, 84)}
TRAINED: dict[str, Any] = {"lr": 1e-3, "batch_size": BATCH, "epochs": 1}
METHODS: dict[str, dict[str, Any]] = {  # as RLLTE has them: 128 features, one dense layer of 256 for vectors
    "RND": TRAINED | {"features": 128, "fraction": 1.0},
    "ICM": TRAINED | {"features": 128, "standardise": False},
    "Disagreement": TRAINED | {"features": 128, "members": 4, "share": 0.25, "standardise": True},
    "RE3": {"features": 128, "k": 5, "capacity": 1000, "standardise": True},
    "E3B": TRAINED | {"features": 128, "standardise": False},
}
FAILING = ("NGU", "PseudoCounts", "RIDE")
PASSES = {  # over all samples: (forward only, forward and backward), for score and for both
    "RND": ((2, 0), (3, 1)), "ICM": ((1, 0), (1, 2)), "Disagreement": ((1, 0), (2, 0)), "RE3": ((1, 0), (1, 0)),
    "E3B": ((1, 0), (1, 2)),
}  # fmt: skip


def experience(shape: tuple[int, ...]) -> Any:
    """Observations [T + 1, B, ...] and actions, the same on every side."""
    import torch

    g = torch.Generator().manual_seed(0)
    size = (STEPS + 1, ENVS, *shape)
    obs = torch.randn(size, generator=g) if len(shape) == 1 else torch.randint(256, size, generator=g).byte()
    return obs, torch.randint(ACTIONS, (STEPS, ENVS), generator=g)


def box(shape: tuple[int, ...]) -> Any:
    from gymnasium import spaces

    if len(shape) == 1:
        return spaces.Box(-np.inf, np.inf, shape, np.float32)
    return spaces.Box(0, 255, shape, np.uint8)


def ours(method: str, shape: tuple[int, ...]) -> dict[str, Callable[[], Any]]:
    import torch
    from gymnasium import spaces
    from tensordict import TensorDict

    from guerdon.rewards import intrinsic
    from guerdon.types import Rollout, Spec

    hidden = (256,) if len(shape) == 1 else ()
    if len(shape) > 1 and method != "RND":
        hidden = (256,)
    reward = getattr(intrinsic, method)(**METHODS[method], hidden=hidden)
    spec = Spec(spaces.Dict({"obs": box(shape)}), spaces.Discrete(ACTIONS), num_envs=ENVS)
    reward.build(spec, generator=torch.Generator().manual_seed(0))
    obs, action = experience(shape)
    no = torch.zeros(STEPS, ENVS, dtype=torch.bool)

    def score() -> Rollout:
        rollout = Rollout(  # a new one each time: some rewards keep what they made of the last one
            obs=TensorDict({"obs": obs}, obs.shape[:2]), action=action, extrinsic=torch.zeros(STEPS, ENVS),
            terminated=no, truncated=no.clone(), valid=~no,
        )  # fmt: skip
        with torch.no_grad():
            reward.evaluate(rollout)
        return rollout

    def both() -> None:
        rollout = score()
        reward.observe(rollout)
        reward.update(rollout)

    return {"score": score, "score + update": both}


def theirs(method: str, shape: tuple[int, ...]) -> dict[str, Callable[[], Any]]:
    import torch
    from gymnasium import spaces
    from gymnasium.vector import VectorEnv
    from rllte.xplore import reward as rllte

    class Steps(VectorEnv):
        """What RLLTE's constructor steps, to measure observations."""

        def __init__(self) -> None:
            self.num_envs = ENVS
            self.single_observation_space = self.observation_space = box(shape)
            self.single_action_space = self.action_space = spaces.Discrete(ACTIONS)

        def reset(self, **_: Any) -> Any:
            return torch.zeros(ENVS, *shape), {}

        def step(self, actions: Any) -> Any:
            raise RuntimeError("no more than a reset")

    obs, action = experience(shape)
    none = torch.zeros(STEPS, ENVS)
    samples = {
        "observations": obs[:-1].float(), "actions": action, "rewards": none, "terminateds": none,
        "truncateds": none, "next_observations": obs[1:].float(),
    }  # fmt: skip
    norm = "rms" if METHODS.get(method, {}).get("standardise", method == "RND") else "none"
    options: dict[str, Any] = {"obs_norm_type": "none", "rwd_norm_type": "none"}
    made = getattr(rllte, method)(Steps(), **options)
    if norm == "rms":
        from rllte.common.utils import TorchRunningMeanStd

        made.obs_norm_type, made.obs_norm = "rms", TorchRunningMeanStd(shape=shape)
        made.obs_norm.update(samples["observations"].reshape(-1, *shape))
    for t in range(1000 if method == "RE3" else 1):  # RE3 searches what it has watched: as many states as ours
        made.watch(*(samples[k][t % STEPS] for k in samples))
    return {
        "score": lambda: made.compute(samples, sync=False),
        "score + update": lambda: made.compute(samples, sync=True),
    }


def bare(method: str, shape: tuple[int, ...]) -> dict[str, Callable[[], Any]]:
    """The observations' network alone: as many passes as the method needs, in its batches."""
    import torch
    from gymnasium import spaces

    from guerdon.models.observation_net import ObservationInput, ObservationNet

    net = ObservationNet(ObservationInput(spaces.Dict({"obs": box(shape)})), 128, hidden=())
    optimiser = torch.optim.Adam(net.parameters(), fused=True)
    batches = experience(shape)[0][1:].flatten(0, 1).float().split(BATCH)

    def passes(forward: int, backward: int) -> None:
        for x in batches:
            with torch.no_grad():
                for _ in range(forward):
                    net({"obs": x})
            if backward:
                optimiser.zero_grad()
                torch.stack([net({"obs": x}).square().mean() for _ in range(backward)]).sum().backward()
                optimiser.step()

    one, two = PASSES[method]
    return {"score": lambda: passes(*one), "score + update": lambda: passes(*two)}


def serve(side: str, method: str, kind: str) -> None:
    """Answers each line of standard input, a name of what to do, with the seconds that it took."""
    import torch

    torch.set_num_threads(1)
    does = {"ours": ours, "theirs": theirs, "bare": bare}[side](method, SHAPES[kind])
    for work in does.values():
        work()
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        does[line.strip()]()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([seconds, peak]), flush=True)


class Side:
    """A process that does one side of one method."""

    def __init__(self, side: str, method: str, kind: str) -> None:
        root = Path(__file__).parents[1]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        if side == "theirs":
            environment["PYTHONPATH"] = str(root / ".venv" / "peers" / "rllte")
        command = [sys.executable, __file__, "--side", side, method, kind]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.peak = 0.0
        assert self.process.stdout
        if self.process.stdout.readline().strip() != "ready":
            _, error = self.process.communicate()
            raise RuntimeError((error.strip().splitlines() or ["it did not start"])[-1])

    def rate(self, what: str) -> float:
        """Samples a second."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        seconds, self.peak = json.loads(self.process.stdout.readline())
        return STEPS * ENVS / seconds

    def stop(self) -> None:
        self.process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=9, help="on vectors; a third of it on images")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--quick", action="store_true", help="vectors only; nothing is written")
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        serve(*args.side)
        return
    import _bench

    from guerdon.rewards.intrinsic import rnd

    ratios: list[dict[str, Any]] = []
    rates: dict[str, Any] = {}
    peaks: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for method in FAILING:
        try:
            Side("theirs", method, "vectors").stop()
            failed[method] = "runs: add it to METHODS"
        except RuntimeError as error:
            failed[method] = str(error)
    for kind in ["vectors"] if args.quick else SHAPES:
        blocks = args.blocks if kind == "vectors" else max(3, args.blocks // 3)
        pairs: dict[str, list[np.ndarray]] = {}
        for method in args.methods:
            names = ("ours", "theirs") + (("bare",) if kind == "images" else ())
            sides = {name: Side(name, method, kind) for name in names}
            for what in ("score", "score + update"):
                if method == "RE3" and what != "score":
                    continue  # nothing of it learns
                arms = {name: (lambda s=side, w=what: s.rate(w)) for name, side in sides.items()}
                seen = {name: np.array(x) for name, x in _bench.interleave(arms, blocks).items()}
                key = f"{method}, {kind}, {what}"
                rates[key] = {name: round(float(np.median(x))) for name, x in seen.items()}
                ratios.append(_bench.ratio(f"{key}: ours / RLLTE", seen["ours"], seen["theirs"]))
                pairs.setdefault("theirs", []).append(seen["ours"] / seen["theirs"])
                if "bare" in seen:
                    ratios.append(_bench.ratio(f"{key}: ours / bare networks", seen["ours"], seen["bare"]))
                    pairs.setdefault("bare", []).append(seen["ours"] / seen["bare"])
                print(key, rates[key], flush=True)
            for side in sides.values():
                side.stop()
            peaks[f"{method}, {kind}"] = {name: round(side.peak) for name, side in sides.items()}
        for against, target in (("theirs", 3.0 if kind == "vectors" else 1.3), ("bare", 0.9)):
            if against in pairs:
                mean = np.exp(np.log(pairs[against]).mean(0))
                name = "RLLTE" if against == "theirs" else "bare networks"
                row = _bench.ratio(f"{kind}, geometric mean: ours / {name}", mean, np.ones_like(mean), at_least=target)
                ratios.append(row)
    if args.quick:
        print(*(f"{r['name']}: {r['value']} [{r['low']}, {r['high']}]" for r in ratios), sep="\n")
        return
    _bench.write(
        __file__, method=rnd.__file__, peer="rllte-core 1.0.1, NumPy 1.26.4", ratios=ratios,
        samples_per_second=rates, peak_MiB=peaks, not_run=failed,
    )  # fmt: skip


if __name__ == "__main__":
    main()
