"""Ensembles: means, scales, votes, and members that learn from other pairs."""

import copy
from typing import ClassVar

import pytest
import torch

from guerdon.models.reward_encoder import Features
from guerdon.rewards.preference import BradleyTerry, Ensemble, Route
from guerdon.types import About, Completions, Pairs, Reward, Spec


class Column(Reward):
    """Pays what stands in a column of the completions, times a number: a member with a known score."""

    about: ClassVar[About] = About(rewards="a column", paper="none", scores="Completions")

    def __init__(self, *, name: str = "x", scale: float = 1.0) -> None:
        super().__init__()
        self.column, self.scale = name, scale

    def score(self, experience):
        return self.scale * torch.tensor(experience.columns[self.column])


def answers(group=(0, 0, 1, 1), **columns):
    n = len(group)
    empty = torch.zeros(n, 0, dtype=torch.long)
    return Completions(
        prompt=["?"] * n, text=["!"] * n, ids=empty, mask=empty.bool(), group=torch.tensor(group), columns=columns
    )


GIVEN = answers(x=[1.0, 0.0, 0.0, 2.0], y=[0.0, 3.0, 1.0, 2.0])


def made(**options):
    reward = Ensemble(**options)
    reward.build(Spec(), generator=torch.Generator().manual_seed(0))
    return reward


def test_equal_models_are_the_model():
    model = Column()
    for rule in ("mean", "standardised"):
        torch.testing.assert_close(made(rewards=[Column()] * 3, rule=rule).score(GIVEN), model.score(GIVEN))


def test_a_wide_scale_rules_the_mean_but_not_the_standardised_one_or_the_vote():
    models = [Column(), Column(), Column(name="y", scale=100.0)]
    plain, fair, vote = (made(rewards=copy.deepcopy(models), rule=r) for r in ("mean", "standardised", "vote"))
    fair.calibrate(Pairs(first=GIVEN, second=GIVEN, label=torch.zeros(4).long()))
    assert plain.score(GIVEN)[0] < plain.score(GIVEN)[1]
    assert fair.score(GIVEN)[3] > fair.score(GIVEN)[2]
    torch.testing.assert_close(vote.score(GIVEN), torch.tensor([2 / 3, 1 / 3, 0.0, 1.0]))
    torch.testing.assert_close(fair.std[2], 100 * torch.tensor(GIVEN.columns["y"]).std(correction=0))


def test_a_tied_vote_counts_half_and_a_lone_answer_is_neutral():
    given = answers(group=(0, 0, 0, 5), x=[1.0, 1.0, 0.0, 7.0])
    assert made(rewards=[Column()], rule="vote").score(given).tolist() == [0.75, 0.75, 0.0, 0.5]


def test_votes_need_groups():
    given = answers(x=[1.0] * 4)
    given.group = None
    with pytest.raises(ValueError, match=r"Ensemble.*no groups"):
        made(rewards=[Column()], rule="vote").score(given)


def test_squashed_scores_lie_in_0_to_1():
    squashed = made(rewards=[Column(scale=3.0)], squash=True).score(GIVEN)
    torch.testing.assert_close(squashed, (3.0 * torch.tensor(GIVEN.columns["x"])).sigmoid())


def pairs(n=64, where=True):
    g = torch.Generator().manual_seed(3)
    first, second = (torch.rand(n, generator=g) for _ in range(2))
    sides = [answers(group=[0] * n, x=s.tolist()) for s in (first, second)]
    columns = {"where": [f"line {i}" for i in range(n)]} if where else None
    return Pairs(first=sides[0], second=sides[1], label=(second > first).long(), columns=columns)


def test_copies_begin_apart_and_learn_from_pairs_of_their_own():
    reward = made(rewards=[BradleyTerry(encoder=Features(["x"]), lr=0.1, epochs=40)], copies=4)
    before = reward.members(GIVEN)
    assert len({round(float(row[0]), 5) for row in before}) == 4
    drawn = [reward._drawn(pairs(), m).weight for m in range(4)]
    assert not torch.equal(drawn[0], drawn[1])
    again = pairs().rows([5, 3])
    assert reward._drawn(again, 0).weight.tolist() == drawn[0][[5, 3]].tolist(), "a pair counts the same in every pass"
    many = reward._drawn(pairs(4000), 0).weight
    assert float(many.mean()) == pytest.approx(1.0, abs=0.06)
    assert float((many == 0).float().mean()) == pytest.approx(0.368, abs=0.03)
    logs = reward.update(pairs())
    assert logs["BradleyTerry/accuracy"] > 0.5
    assert bool((reward.members(GIVEN)[:, 3] > reward.members(GIVEN)[:, 1]).all())


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="mean, standardised, vote"):
        Ensemble(rewards=[Column()], rule="median")
    with pytest.raises(ValueError, match="at least one"):
        Ensemble(rewards=[])


def test_each_kind_is_scored_and_taught_by_its_own():
    def learner():
        return BradleyTerry(encoder=Features(["x"]), lr=0.05, epochs=30)

    reward = Route(rewards={"up": learner(), "down": learner()}, column="kind")
    reward.build(Spec(), generator=torch.Generator().manual_seed(0))
    kinds = ["up", "down"] * 32
    given = pairs()
    for side in (given.first, given.second):
        side.columns["kind"] = kinds
    flip = torch.tensor([k == "down" for k in kinds])
    given.label = torch.where(flip, 1 - given.label, given.label)
    logs = reward.update(given)
    assert {"BradleyTerry/loss/up", "BradleyTerry/loss/down"} <= logs.keys()
    few = answers(x=[0.0, 1.0, 0.0, 1.0], kind=["up", "up", "down", "down"])
    low, high, down_low, down_high = reward.score(few).tolist()
    assert low < high
    assert down_low > down_high
    with pytest.raises(ValueError, match="no reward for the kind 'left'"):
        reward.score(answers(x=[0.0] * 4, kind=["up", "up", "left", "up"]))
    given.second.columns["kind"] = kinds[::-1]
    with pytest.raises(ValueError, match="the two sides of a pair differ"):
        reward.update(given)
