"""Probes: rewards of known behaviour must be told apart, and each shipped one is as documented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from guerdon import cli
from guerdon.compare import probe
from guerdon.compare.expected import table
from guerdon.compare.probe import exponent
from guerdon.compare.probe_task import probe_task
from guerdon.compare.probe_world import CODE, ENVS, RIGHT, ProbeWorld
from guerdon.expression import parse_reward
from guerdon.tasks import make
from guerdon.tasks.random_play import random_rollouts
from guerdon.types import Reward, Rollout, Spec


class Known(Reward):
    """Pays a function of exact counts, kept by `observe`: what probes must see can be computed."""

    def __init__(self, *, power: float = 0.5, floor: float = 0.0, terminal: float = 1.0) -> None:
        super().__init__()
        self.power, self.floor, self.terminal = power, floor, terminal

    def build(self, spec: Spec, *, device: Any = "cpu", generator: Any = None) -> None:
        self.counts: dict[bytes, int] = {}

    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        seen = experience.obs["obs"][1:]
        n = [[self.counts.get(x.numpy().tobytes(), 0) for x in row] for row in seen]
        paid = (1.0 + torch.tensor(n).float()) ** -self.power + self.floor
        return torch.where(experience.terminated, self.terminal * paid, paid)

    def observe(self, rollout: Rollout) -> None:
        for key in [x.numpy().tobytes() for x in rollout.obs["obs"][1:][rollout.valid]]:
            self.counts[key] = self.counts.get(key, 0) + 1

    def get_extra_state(self) -> Any:
        return self.counts


class Size(Reward):
    """Pays the length of the observation: grows with its scale, and with nothing else."""

    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        return experience.obs["obs"][1:].norm(dim=-1)


class FirstVisits(Reward):
    """Pays the first visit of an episode in this rollout."""

    def score(self, experience: Rollout, **needed: Any) -> Tensor:
        paid = torch.zeros(experience.shape)
        for column in range(experience.shape[1]):
            seen: set[bytes] = set()
            for t in range(experience.shape[0]):
                if not experience.valid[t, column]:
                    seen = set()
                    continue
                key = experience.obs["obs"][t + 1, column].numpy().tobytes()
                paid[t, column] = float(key not in seen)
                seen.add(key)
        return paid


def test_counts_with_a_known_power_are_measured() -> None:
    half = probe(Known(), rounds=40).verdicts()
    assert half["decay"] == "1/sqrt(n)"
    assert half["counts"] == "agrees"
    assert half["new above seen"] == "yes"
    assert half["noise"] == "attracted"  # noise is new each time
    assert half["scale"] == "free"
    assert half["memory"] == "grows"
    assert half["in the episode"] == "none"
    assert half["terminal"] == "paid as others"
    assert probe(Known(power=1.0), rounds=40).verdicts()["decay"] == "1/n"
    assert probe(Known(terminal=0.0), rounds=10).verdicts()["terminal"] == "unpaid"


def test_a_reward_that_looks_at_no_visits_is_found_out() -> None:
    found = probe(Size(), rounds=20).verdicts()
    assert found["decay"] == "none"
    assert found["counts"] == "no"
    assert found["new above seen"] != "yes"
    assert found["scale"] == "follows"
    assert found["memory"] == "constant"


def test_first_visits_begin_anew_with_each_episode() -> None:
    found = probe(FirstVisits(), rounds=10).verdicts()
    assert found["in the episode"] == "once an episode"
    assert found["next episode"] == "starts again"


def test_the_probed_reward_stays_as_it_was_and_the_probe_repeats() -> None:
    reward = parse_reward("RND()")
    first, second = probe(reward, rounds=4), probe(reward, rounds=4)
    assert not list(reward.buffers())
    steady = [f for f in first.findings if f.probe != "time"]
    assert steady == [f for f in second.findings if f.probe != "time"]


def test_a_reward_that_cannot_read_the_corridor_says_so() -> None:
    with pytest.raises(ValueError, match=r"ONI cannot be probed on vectors of numbers.*captions"):
        probe(parse_reward("ONI()"), rounds=2)


def test_the_world_counts_its_visits_and_never_reaches_the_last_places() -> None:
    world = ProbeWorld(seed=3)
    for _ in range(30):
        rollout = world.practice()
        assert not rollout.valid[-1].any()
        assert rollout.truncated[-2].all()
        assert torch.equal(rollout.obs["obs"][-1], rollout.obs["obs"][0])
    assert world.visits.sum() == 30 * 16 * ENVS
    assert world.visits[17:].sum() == 0
    sweep = world.sweep()
    assert torch.equal(sweep.obs["obs"][1, :, :CODE], world.codes[1:])
    assert (sweep.action == RIGHT).all()


def test_the_exponent_is_that_of_a_power_law_within_columns() -> None:
    n = np.arange(1, 50.0)[:, None] * np.array([1.0, 3.0])
    assert exponent(n, np.array([5.0, 0.1]) * n**-0.7) == pytest.approx(-0.7)
    assert exponent(n, np.ones_like(n)) == pytest.approx(0.0)
    assert exponent(np.zeros((3, 2)), np.ones((3, 2))) == 0.0


SHIPPED = sorted(table())


@pytest.mark.parametrize("expression", SHIPPED)
def test_every_shipped_reward_is_as_documented(expression: str) -> None:
    reward = parse_reward(expression)
    assert repr(reward) == expression, "the table's key must be the reward's own repr"
    found = probe(reward).verdicts()
    promised = table()[expression]
    assert {name: found[name] for name in promised} == promised


def test_every_intrinsic_reward_is_in_the_table() -> None:
    import guerdon.rewards.intrinsic as intrinsic

    named = {expression.partition("(")[0] for expression in SHIPPED}
    assert set(intrinsic.__all__) - {"SubmodularReward"} == named


def test_random_rollouts_go_on_where_the_last_one_ended() -> None:
    task = make("TextCorridor", num_envs=3)
    rollouts = random_rollouts(task, 12, seed=4)
    first, second = next(rollouts), next(rollouts)
    for key in list(first.obs.keys()):
        assert torch.equal(first.obs[key][-1], second.obs[key][0])
    ended = first.terminated[:-1] | first.truncated[:-1]
    assert torch.equal(first.valid[1:], ~ended)
    again = next(random_rollouts(make("TextCorridor", num_envs=3), 12, seed=4))
    assert torch.equal(again.action, first.action)


def test_a_task_is_probed_with_random_actions() -> None:
    found = probe_task(parse_reward("RND(epochs=8, lr=0.001)"), "TextCorridor", rounds=8)
    by_name = {f.probe: f for f in found.findings}
    assert by_name["scored"].verdict == "all"
    assert by_name["experience"].verdict == "falls"
    assert by_name["memory"].verdict == "constant"


def test_the_command_writes_findings_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--json", str(tmp_path / "f.json"), "--picture", str(tmp_path / "p.png")]
    cli.main(["probe", "RND()", "--rounds", "3", *files])
    assert "decay" in capsys.readouterr().out
    findings = json.loads((tmp_path / "f.json").read_text())["findings"]
    assert {"probe", "measured", "verdict", "means"} == findings[0].keys()
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    cli.main(["probe", "RND()", "--task", "TextCorridor", "--rounds", "2", "--picture", str(tmp_path / "q.png")])
    assert (tmp_path / "q.png").exists()


def test_misuse_of_the_command_ends_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for args, said in (["RDN()"], "RND"), (["RND()", "--task", "TextCoridor"], "TextCorridor"):
        with pytest.raises(SystemExit):
            cli.main(["probe", *args])
        assert said in capsys.readouterr().err
