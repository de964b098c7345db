"""ConfidenceGate: far states are not scored, near ones are as they were."""

import pytest
import samples
import torch

from guerdon.models.reward_encoder import Features
from guerdon.parts.completions_from_text import completions_from_text
from guerdon.rewards.preference import BradleyTerry
from guerdon.rewards.shaping import ConfidenceGate, Extrinsic
from guerdon.types import Reward

G = torch.Generator().manual_seed(0)


class One(Reward):
    """Pays 1, NaN for an empty answer."""

    def score(self, experience):
        return torch.tensor([1.0 if text else torch.nan for text in experience.text])


def points(x, text="a"):
    return completions_from_text([{"prompt": "?", "completion": text, "x": v} for v in x.tolist()])


NEAR = torch.randn(400, 2, generator=G)


def gate(**options):
    made = ConfidenceGate(One(), encoder=Features(["x"], width=2), **options)
    made.build(samples.spec(), generator=torch.Generator().manual_seed(0))
    made.update(points(NEAR))
    return made


def test_near_states_pass_and_far_ones_do_not():
    made = gate()
    near, far = made.evaluate(points(torch.randn(2000, 2, generator=G))), made.evaluate(points(NEAR + 30))
    assert made.drop_rate(near) == pytest.approx(0.05, abs=0.025)
    assert made.drop_rate(far) == 1
    assert set(near.value[~near.value.isnan()].tolist()) == {1.0}


def test_thresholds_that_let_all_or_nothing_through():
    assert gate(threshold=float("inf")).evaluate(points(NEAR + 1e3)).value.tolist() == [1.0] * 400
    assert gate(threshold=0.0).evaluate(points(NEAR)).value.isnan().all()


def test_until_it_has_seen_something_nothing_is_held_back():
    made = ConfidenceGate(One(), encoder=Features(["x"], width=2))
    made.build(samples.spec())
    assert made.score(points(NEAR * 1e3)).tolist() == [1.0] * 400


def test_what_was_not_scored_is_not_a_drop():
    made = gate(threshold=float("inf"))
    scored = made.evaluate(points(NEAR, text=""))
    assert scored.value.isnan().all()
    assert made.drop_rate(scored) == 0


def test_steps_of_control_are_gated_and_padding_is_0():
    made = ConfidenceGate(Extrinsic(), encoder=Features(["obs"]), k=4)
    made.build(samples.spec())
    rollout = samples.rollout(seed=1)
    made.update(rollout)
    strange = samples.replace(rollout)
    strange.obs["obs"][5, 2] += 50
    value = made.score(strange)
    assert value[4, 2].isnan()
    assert int(value.isnan().sum()) <= 4  # besides, 5 % of what it was set on
    assert (value[~rollout.valid] == 0).all()


def test_the_reward_s_own_encoder_is_taken_where_none_is_named():
    inner = BradleyTerry(encoder=Features(["x"], width=2))
    made = ConfidenceGate(inner, k=2)
    made.build(samples.spec())
    made.update(points(NEAR))
    assert made.score(points(NEAR + 50)).isnan().all()
    with pytest.raises(ValueError, match="One has no encoder"):
        ConfidenceGate(One()).build(samples.spec())


@pytest.mark.parametrize("options", [{"k": 0}, {"quantile": 2.0}, {"threshold": -1.0}, {"threshold": float("nan")}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match="ConfidenceGate"):
        ConfidenceGate(One(), encoder=Features(["x"]), **options)
