import copy
import math
from typing import ClassVar

import hypothesis.strategies as st
import pytest
import samples
import torch
from hypothesis import given, settings

from guerdon.rewards.shaping import Clip, Extrinsic
from guerdon.types import About, Chain, Product, Reward, Stream, Sum, as_reward, check_score, streams

NAN = math.nan


class Fixed(Reward):
    """Pays what it was given, on any experience."""

    about: ClassVar[About] = About(rewards="nothing", paper="none", scores="any")

    def __init__(self, *, values: list) -> None:
        super().__init__()
        self.values = values

    def score(self, experience):
        return torch.tensor(self.values)


class Other(Fixed):
    """The same under another name."""


def fixed(*values: float) -> Fixed:
    return Fixed(values=[list(values)])


def line(steps: int):
    """A rollout [1, steps], all valid."""
    r = samples.rollout(1, steps)
    return samples.replace(r, valid=torch.ones(1, steps, dtype=torch.bool))


def close(value, expected) -> None:
    torch.testing.assert_close(value, torch.tensor(expected), equal_nan=True)


def test_a_sum_skips_what_is_not_scored():
    made = fixed(1.0, NAN, NAN) + fixed(2.0, 3.0, NAN)
    close(made.score(line(3)), [[3.0, 3.0, NAN]])


def test_a_product_with_an_unscored_factor_is_unscored():
    close((fixed(2.0, NAN) * fixed(3.0, 0.0)).score(line(2)), [[6.0, NAN]])
    close((0.0 * fixed(2.0, NAN)).score(line(2)), [[0.0, NAN]])


def test_weights_multiply_and_keep_the_terms_names():
    made = 0.5 * (2.0 * (3.0 * fixed(1.0) + Other(values=[[10.0]])))
    scored = made.evaluate(line(1))
    close(scored.value, [[13.0]])
    assert {k: v.item() for k, v in scored.terms.items()} == {"Fixed": 3.0, "Other": 10.0}
    assert (made * 2).weight == 2.0


def test_equal_names_are_numbered():
    scored = (fixed(1.0) + fixed(2.0) + fixed(3.0)).evaluate(line(1))
    assert {k: v.item() for k, v in scored.terms.items()} == {"Fixed": 1.0, "Fixed.2": 2.0, "Fixed.3": 3.0}


def test_a_product_is_one_term():
    scored = (2.0 * fixed(3.0) * Other(values=[[5.0]])).evaluate(line(1))
    assert {k: v.item() for k, v in scored.terms.items()} == {"Fixed*Other": 30.0}
    assert {k: v.item() for k, v in scored.stages.items()} == {"Fixed": 3.0, "Other": 5.0, "Fixed*Other": 30.0}


def test_the_logged_stages_are_raw_and_weighted():
    scored = (0.1 * fixed(3.0)).evaluate(line(1))
    assert scored.stages["Fixed"].item() == 3.0
    assert scored.stages["0.1*Fixed"].item() == pytest.approx(0.3)
    assert scored.terms["Fixed"] is scored.stages["0.1*Fixed"]


def test_sum_of_a_list_works_and_sums_are_flat():
    made = sum([fixed(1.0), fixed(2.0) + fixed(4.0)])
    assert isinstance(made, Sum)
    assert len(made.parts) == 3
    assert isinstance(sum([fixed(1.0)]), Fixed)


@pytest.mark.parametrize("factors", [(2.0,), (math.inf, fixed(1.0)), (NAN, fixed(1.0))])
def test_a_product_needs_a_reward_and_a_finite_weight(factors):
    with pytest.raises(ValueError, match="finite weight"):
        Product(*factors)


def test_a_differentiable_reward_stays_one():
    r = line(2)
    r.extrinsic.requires_grad_()
    (2.0 * Extrinsic() + Clip(Extrinsic(), low=-9.0)).score(r).sum().backward()
    close(r.extrinsic.grad, [[3.0, 3.0]])


def test_an_answer_stands_on_its_last_valid_token():
    c = samples.completions(3, 4)  # row n has n + 1 valid tokens
    answer, tokens = Fixed(values=[1.0, 2.0, 4.0]), Fixed(values=[[0.5] * 4] * 3)
    close((answer + tokens).score(c), [[1.5, 0.0, 0.0, 0.0], [0.5, 2.5, 0.0, 0.0], [0.5, 0.5, 4.5, 0.0]])
    close((answer + answer).score(c), [2.0, 4.0, 8.0])
    gaps = samples.replace(c, mask=torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]], dtype=torch.bool))
    close((answer + tokens).score(gaps), [[0.5, 0.0, 1.5, 0.0], [0.0] * 4, [0.0, 0.0, 0.0, 4.5]])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[1.0]], r"Fixed.score must have shape \[1, 2\], got \[1, 1\]"),
        ([1.0, 2.0], r"Fixed.score must have shape \[1, 2\], got \[2\]"),
        ([[[1.0], [2.0]]], r"got \[1, 2, 1\]"),
        ([[1.0, math.inf]], "Fixed.score is infinite at 1 of 2 places"),
        ([[-math.inf, math.inf]], "Fixed.score is infinite at 2 of 2 places"),
    ],
)
def test_wrong_shapes_and_infinities_are_errors(values, said):
    for made in (Fixed(values=values), 2.0 * (Extrinsic() + Fixed(values=values))):
        with pytest.raises(ValueError, match=said):
            made.evaluate(line(2))


def test_scores_of_chains_and_of_nothing_known():
    chain = Chain(states=torch.zeros(3, 2), times=torch.zeros(3))
    close(Fixed(values=[1.0, 2.0]).evaluate(chain).value, [1.0, 2.0])
    with pytest.raises(TypeError, match="Fixed cannot score a dict"):
        Fixed(values=[1.0]).evaluate({})
    with pytest.raises(TypeError, match=r"Mine.score must return a tensor, got float"):
        check_score(1.0, line(1), "Mine")


def test_padding_is_zero_even_where_the_reward_says_otherwise():
    r = samples.replace(line(3), valid=torch.tensor([[True, False, True]]))
    close(fixed(1.0, math.inf, NAN).evaluate(r).value, [[1.0, 0.0, NAN]])


def test_a_reward_of_one_kind_refuses_another():
    with pytest.raises(TypeError, match="Extrinsic scores a Rollout, not a Completions"):
        Extrinsic().evaluate(samples.completions())


def test_a_reward_says_what_it_needs():
    class Needy(Fixed):
        needs: ClassVar[frozenset[str]] = frozenset({"policy", "reference"})

        def score(self, experience, *, policy, reference):
            return torch.full(experience.shape, float(policy - reference))

    made = 2.0 * Needy(values=[]) + fixed(0.0)  # which needs nothing, and is handed nothing
    with pytest.raises(ValueError, match="Needy needs reference to score"):
        made.evaluate(line(1), policy=3)
    close(made.evaluate(line(1), policy=3, reference=1).value, [[4.0]])


def test_a_reward_that_scores_nothing_says_so():
    class Empty(Reward):
        pass

    with pytest.raises(NotImplementedError, match="Empty defines neither"):
        Empty().evaluate(line(1))


class Plain:
    """Anything with a score: not a Reward, not a module."""

    def __init__(self) -> None:
        self.built = self.observed = 0

    def build(self, spec, *, device="cpu", generator=None) -> None:
        self.built += 1

    def observe(self, rollout) -> None:
        self.observed += 1

    def score(self, experience):
        return experience.extrinsic * 0 + self.observed


def test_anything_with_a_score_is_adopted_with_its_hooks():
    plain = Plain()
    made = 2.0 * as_reward(plain) + Extrinsic()
    made.build(samples.spec())
    made.observe(line(2))
    scored = made.evaluate(line(2))
    assert (plain.built, plain.observed) == (1, 1)
    close(scored.terms["Plain"], [[2.0, 2.0]])
    assert as_reward(made) is made
    close(copy.deepcopy(made).evaluate(line(2)).terms["Plain"], [[2.0, 2.0]])


def test_the_state_of_what_is_adopted_is_saved():
    class Stateful(Plain):
        def state_dict(self):
            return {"observed": self.observed}

        def load_state_dict(self, state):
            self.observed = state["observed"]

    made, again = 2.0 * as_reward(Stateful()), 2.0 * as_reward(Stateful())
    made.observe(line(1))
    again.load_state_dict(made.state_dict())
    close(again.score(line(1)), [[2.0]])


def test_an_adopted_reward_is_handed_what_it_needs():
    class Needy(Plain):
        needs = ("policy",)

        def score(self, experience, *, policy):
            return experience.extrinsic * 0 + policy

    close((as_reward(Needy()) + fixed(1.0)).evaluate(line(1), policy=4.0).value, [[5.0]])


def test_logs_of_equal_names_are_all_kept():
    class Logs(Fixed):
        def update(self, experience):
            return {"Logs/loss": float(self.values[0])}

    assert (Logs(values=[1]) + Logs(values=[2])).update(line(1)) == {"Logs/loss": 1.0, "Logs/loss.2": 2.0}


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float64])
def test_scores_are_float32_whatever_a_reward_returns(dtype):
    class Typed(Fixed):
        def score(self, experience):
            return torch.ones(experience.shape, dtype=dtype)

    made = Typed(values=[]) + Typed(values=[])
    close(made.score(line(2)), [[2.0, 2.0]])  # checks the type, too


def test_a_copy_of_an_adopted_reward_stands_on_its_own():
    made = as_reward(Plain())
    again = copy.deepcopy(made)
    again.observe(line(1))
    close(made.score(line(1)), [[0.0]])
    close(again.score(line(1)), [[1.0]])


@pytest.mark.parametrize("thing", [3, "Extrinsic()", None, object()])
def test_other_things_are_no_rewards(thing):
    with pytest.raises(TypeError, match=r"needs a score\(experience\) method"):
        as_reward(thing)


def test_a_forgotten_parenthesis_is_named():
    with pytest.raises(TypeError, match=r"write Extrinsic\(\) with parentheses"):
        as_reward(Extrinsic)
    with pytest.raises(TypeError, match=r"write Extrinsic\(\) with parentheses"):
        0.5 * Fixed(values=[]) + Extrinsic


def test_terms_without_a_stream_share_one():
    made = 0.1 * Extrinsic() + fixed(1.0) + Stream(0.5 * Other(values=[]), gamma=0.9, episodic=False)
    shared, own = streams(made)
    assert (shared.name, shared.gamma, shared.episodic) == ("reward", None, True)
    assert (own.name, own.gamma, own.episodic) == ("Other", 0.9, False)
    assert repr(shared.reward).startswith("0.1 * Extrinsic() + ")
    assert [s.name for s in streams(Extrinsic())] == ["reward"]
    assert [s.name for s in streams(Stream(Extrinsic(), name="task"))] == ["task"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: 0.5 * Stream(Extrinsic()),
        lambda: Clip(Stream(Extrinsic()), low=0.0) + Extrinsic(),
        lambda: Stream(Stream(Extrinsic())),
    ],
)
def test_a_stream_is_a_term_of_its_own(make):
    with pytest.raises(ValueError, match="must be a term of its own"):
        streams(make())


def test_streams_have_different_names():
    with pytest.raises(ValueError, match="different names"):
        streams(Stream(Extrinsic()) + Stream(Extrinsic()))
    assert len(streams(Stream(Extrinsic()) + Stream(Extrinsic(), name="again"))) == 2


numbers = st.one_of(st.just(NAN), st.floats(-100, 100, width=32))


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=5), st.floats(-3, 3, width=32))
@settings(max_examples=50, deadline=None)
def test_the_algebra_follows_its_rules(rows, weight):
    r = line(len(rows))
    a, b, c = (fixed(*column) for column in zip(*rows, strict=True))
    score = lambda made: made.evaluate(r).value  # noqa: E731
    for left, right in (
        (a + b, b + a),
        ((a + b) + c, a + (b + c)),
        (a * b, b * a),
        (weight * (a + b), weight * a + weight * b),
        ((a * b) * c, a * (b * c)),
    ):
        torch.testing.assert_close(score(left), score(right), equal_nan=True, rtol=1e-4, atol=1e-3)
