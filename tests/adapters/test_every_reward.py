"""Every reward of rollouts, found by the catalogue, is paid live what a learner of ours pays it for whole rollouts."""

from __future__ import annotations

import numpy as np
import pytest
import samples
import torch
from adapters.test_live import as_learned, live, rollouts
from tensordict import TensorDict
from torch import Tensor

from guerdon import catalogue
from guerdon.adapters.live import LiveReward
from guerdon.expression import parse_reward
from guerdon.types import Reward, Rollout, Spec

EXPRESSIONS = [
    entry.about.example or f"{entry.name}()"
    for entry in catalogue.entries()
    if entry.cls and entry.about and entry.about.scores == "Rollout"
]
OTHERS = [
    "PseudoCount(episodic=True)",
    "Normalise(RIDE()) + 0.5 * Normalise(ICM())",
    "Extrinsic() + Normalise(NGU(), episodic=False)",
]


def lives(expression: str) -> bool:
    """Whether a wrapper can pay it: it has all it needs without captions, judges or a policy."""
    parts = [part for part in parse_reward(expression).modules() if isinstance(part, Reward)]
    return not any(part.reads_captions or part.needs for part in parts)


LIVING = [expression for expression in EXPRESSIONS + OTHERS if lives(expression)]


def built(expression: str) -> Reward:
    made = parse_reward(expression)
    spec = samples.spec()
    made.build(
        Spec(spec.observation_space, spec.action_space, num_envs=4), generator=torch.Generator().manual_seed(0)
    )  # fmt: skip
    return made


def step(told: LiveReward, r: Rollout, t: int, *, valid: bool) -> np.ndarray:
    flags = {"valid": r.valid[t]} if valid else {}
    return told.step(r.action[t], r.obs["obs"][t + 1], r.extrinsic[t], r.terminated[t], r.truncated[t], **flags).total


@pytest.mark.parametrize("expression", LIVING)
def test_steps_pay_what_whole_rollouts_pay(expression: str):
    told, expected = live(expression), rollouts("plain")
    told.reset(expected[0].obs["obs"][0])
    paid = []
    for rollout in expected:
        paid += [step(told, rollout, t, valid=True) for t in range(8)]
        told.finish()
    direct = torch.cat(as_learned(built(expression), expected)).nan_to_num()
    np.testing.assert_allclose(np.stack(paid), direct.numpy(), rtol=1e-4, atol=1e-5)


def paused(r: Rollout, at: int) -> Rollout:
    """The rollout with a step after step `at` in which nobody acted and nothing changed."""

    def more(x: Tensor, row: Tensor) -> Tensor:
        return torch.cat([x[: at + 1], row[None], x[at + 1 :]])

    obs = r.obs["obs"]
    fields = {k: more(getattr(r, k), torch.zeros_like(getattr(r, k)[0])) for k in ("action", "extrinsic", "valid")}
    fields |= {k: more(getattr(r, k), torch.zeros_like(r.valid[0])) for k in ("terminated", "truncated")}
    return Rollout(obs=TensorDict({"obs": torch.cat([obs[: at + 2], obs[at + 1 :]])}, [len(obs) + 1, 4]), **fields)


@pytest.mark.parametrize("expression", [e for e in LIVING if "BYOL" not in e])  # whose predictions it breaks
def test_a_step_in_which_nobody_acted_changes_nothing(expression: str):
    """Wrappers put one in where only some environments reset."""
    whole, (first, second, _) = built(expression), rollouts("plain")
    stopped = built(expression)
    for rollout, at in ((first, 4), (second, 2)):
        held = paused(rollout, at)
        with torch.no_grad():
            expected, found = whole.evaluate(rollout).value, stopped.evaluate(held).value
        kept = [t for t in range(9) if t != at + 1]
        torch.testing.assert_close(found[kept], expected, rtol=1e-4, atol=1e-5, equal_nan=True)
        assert (found[at + 1] == 0).all()
        whole.observe(rollout)
        stopped.observe(held)


@pytest.mark.parametrize("expression", LIVING)
def test_an_episode_that_is_cut_short_is_forgotten(expression: str):
    """After a reset in the middle of an episode, even between two rollouts, as after an end on the step before."""
    first, second, _ = rollouts("plain")
    paid = {}
    for name in ("ended", "cut"):
        told = live(expression)
        told.reset(first.obs["obs"][0])
        seen = samples.replace(first)
        seen.truncated[-1] |= name == "ended"
        for t in range(8):
            step(told, seen, t, valid=True)
        told.finish()
        told.reset(second.obs["obs"][3])
        paid[name] = [step(told, second, t, valid=False) for t in (4, 5)]
    same = [0, 3] if "BYOL" in expression else [0, 1, 2, 3]  # the others had ended, and pass another step
    np.testing.assert_allclose(*(np.stack(paid[name])[:, same] for name in ("cut", "ended")), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("expression", LIVING)
def test_one_environment_and_no_step_at_all(expression: str):
    told = live(expression, 1)
    told.reset(np.zeros((1, 3)))
    assert np.isfinite(told.step([1], np.ones((1, 3)), [1.0], [True], [False]).total).all()
    told.reset(np.zeros((1, 3)))
    told.step([1], np.ones((1, 3)), [1.0], [False], [True])
    logs = told.finish()
    assert all(np.isfinite(value) for name, value in logs.items() if name.endswith("/mean"))
    if told.replayable:
        none = [np.zeros(shape) for shape in ((0, 3), 0, 0, 0, 0, (0, 3))]
        assert told.again(*none).shape == (0,)
