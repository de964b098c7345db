import math
import pickle
from typing import ClassVar

import pytest
import scorers
import table_model
import text_rewards
import torch

from guerdon.expression import ExpressionError, parse_scorer
from guerdon.parts.reward_scorer import RewardScorer
from guerdon.rewards.shaping import Extrinsic
from guerdon.types import About, Reward


class Likely(Reward):
    """The mean log-probability of the completion."""

    about: ClassVar[About] = About(rewards="what the policy believes", paper="none", scores="Completions")
    needs: ClassVar[frozenset[str]] = frozenset({"policy"})

    def score(self, experience, *, policy):
        return policy.log_probs(experience).sum(1) / experience.mask.sum(1)


def test_terms_stand_beside_the_score():
    scorer = RewardScorer(0.5 * text_rewards.Longer() + text_rewards.PerStep())
    rows = [{"prompt": "p", "completion": ["ab", "c"]}, {"prompt": "p", "completion": ["d"]},
            {"prompt": "q", "completion": ["e?"]}]  # fmt: skip
    first, second, third = scorer(rows)
    assert first.value == pytest.approx(0.7)
    assert first.terms == {"Longer": 0.5, "PerStep": 0.2}
    assert second.terms == {"Longer": 0.0, "PerStep": 0.1}
    assert (third.value, third.reason, third.terms) == (None, "not scored", {"Longer": None, "PerStep": None})


def test_a_model_is_handed_to_who_needs_it():
    model = table_model.TableModel()
    (score,) = RewardScorer(Likely(), model=model)([{"prompt": "ab", "completion": "c"}])
    assert score.value == pytest.approx(model.logits[ord("b")].log_softmax(-1)[ord("c")].item(), rel=1e-5)
    with pytest.raises(ValueError, match=r"Likely needs a language model \(policy\): name one with --model"):
        RewardScorer(text_rewards.Longer() + Likely())


def test_a_reference_may_be_another_model():
    class Surer(Likely):
        needs: ClassVar[frozenset[str]] = frozenset({"policy", "reference"})

        def score(self, experience, *, policy, reference):
            return policy.log_probs(experience).sum(1) - reference.log_probs(experience).sum(1)

    row = {"prompt": "ab", "completion": "c"}
    one, two = table_model.TableModel(0), table_model.TableModel(1)
    assert RewardScorer(Surer(), model=one)([row])[0].value == 0.0
    there = RewardScorer(Surer(), model=one, reference=two)([row])[0].value
    assert there == pytest.approx(-RewardScorer(Surer(), model=two, reference=one)([row])[0].value)
    assert there != 0.0
    with pytest.raises(ValueError, match=r"Surer needs a language model \(policy\)"):
        RewardScorer(Surer(), reference=two)


def test_rewards_of_other_experience_are_refused():
    with pytest.raises(ValueError, match="Extrinsic scores a Rollout, not completions"):
        RewardScorer(Extrinsic())


def test_it_travels_to_another_process():
    scorer = pickle.loads(pickle.dumps(RewardScorer(text_rewards.Longer())))
    assert [s.value for s in scorer([{"prompt": "p", "completion": c} for c in ("a", "bb")])] == [0.0, 1.0]


def test_scores_are_written_as_short_as_float32_allows():
    class Tenth(text_rewards.Longer):
        def score(self, experience, **needed):
            return torch.tensor([0.1, math.nan])

    assert [s.value for s in RewardScorer(Tenth())([{"prompt": "p", "completion": "a"}] * 2)] == [0.1, None]


def test_expressions_and_functions_by_name():
    made = parse_scorer("0.5 * text_rewards:Longer() + text_rewards:PerStep()")
    rows = [{"prompt": "p", "completion": ["a"]}, {"prompt": "p", "completion": ["bb"]}]
    assert [s.value for s in made(rows)] == pytest.approx([0.1, 0.6])
    assert parse_scorer("scorers:lengths") is scorers.lengths
    wrong = {
        "scorers:nothing": "is no function", "text_rewards:Longer": "with parentheses",
        "no_such_module_here:f": "cannot import", "Nothing()": "no reward is called",
    }  # fmt: skip
    for text, message in wrong.items():
        with pytest.raises(ExpressionError, match=message):
            parse_scorer(text)
