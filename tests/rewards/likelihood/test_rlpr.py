import math

import pytest
import table_model
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.credit.group import GroupAdvantage
from guerdon.rewards.likelihood.rlpr import FLOOR, RLPR, debias_clip, format_mix, shape_reward
from guerdon.rewards.verifiable import ExactMatch

GOOD = "<think>z</think><answer> 42</answer>"


def model() -> table_model.TableModel:
    """After a space "4" has 0.25 and after a line break 0.9; "2" after "4" has 0.5."""
    made = table_model.TableModel()
    for before, after, p in [(" ", "4", 0.25), ("\n", "4", 0.9), ("4", "2", 0.5)]:
        made.put(before, after, p)
    return made


def written(*texts: str, answer: str = "42"):
    return table_model.completions(["6*7="] * len(texts), texts, model=model(), answer=[answer] * len(texts))


def test_the_mean_probability_of_the_reference_and_what_the_chain_added():
    c = written("<think></think><answer>\n7</answer>", GOOD, "no tags", "<answer> 7")
    plain = RLPR(debias=False, format_weight=0.0).score(c, policy=model())
    torch.testing.assert_close(plain, torch.tensor([0.7, 0.375, 0.0, 0.375]))
    debiased = RLPR(format_weight=0.0).score(c, policy=model())  # a chain that says nothing earns nothing
    torch.testing.assert_close(debiased, torch.tensor([0.325, 0.0, 0.0, 0.0]))
    mixed = RLPR().score(c, policy=model())
    torch.testing.assert_close(mixed, torch.tensor([0.9 * 0.325 + 0.1, 0.1, 0.0, 0.0]))
    strict = RLPR(format_weight=-1).score(c, policy=model())
    torch.testing.assert_close(strict, torch.tensor([0.325, 0.0, -1.0, -1.0]))


@pytest.mark.parametrize(
    ("reduction", "expected", "malformed"),
    [
        ("product", 0.125, 0.0),
        ("geo_mean", math.sqrt(0.125), 0.0),
        ("mean_logp", math.log(0.125) / 2, FLOOR),
    ],
)
def test_reductions(reduction, expected, malformed):
    reward = RLPR(reduction=reduction, debias=False, shape="identity", format_weight=0.0)
    got = reward.score(written(GOOD, ""), policy=model())
    torch.testing.assert_close(got, torch.tensor([expected, malformed]))


def test_too_long_is_worth_nothing_and_no_gradient_flows():
    m = table_model.TableModel(max_length=50)
    got = RLPR(debias=False, format_weight=0.0).score(written(GOOD, "z" * 60 + GOOD), policy=m)
    assert got[0] > 0
    assert got[1] == 0
    assert not got.requires_grad


def test_shapes_by_hand():
    x = torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(shape_reward(x, "threshold", threshold=0.3), torch.tensor([0.0, 0.5, 0.9]))
    torch.testing.assert_close(shape_reward(x, "leaky", threshold=0.3), torch.tensor([0.001, 0.5, 0.9]))
    torch.testing.assert_close(shape_reward(x, "sigmoid", steepness=2.0), torch.sigmoid(torch.tensor([-1.6, 0, 1.6])))
    assert torch.equal(shape_reward(x), x)
    with pytest.raises(ValueError, match="one of sigmoid, identity"):
        shape_reward(x, "cube")  # type: ignore[arg-type]


@given(st.floats(0, 1), st.floats(0, 1))
def test_debiasing_and_mixing_stay_in_the_unit_interval(a, b):
    r = debias_clip(torch.tensor([a]), torch.tensor([b]))
    assert 0 <= r <= 1
    assert debias_clip(torch.tensor([a]), torch.tensor([a])) == 0
    assert 0 <= format_mix(r, torch.tensor([True])) <= 1 + 1e-6
    with pytest.raises(ValueError, match="baselines"):
        debias_clip(torch.tensor([a, b]), torch.tensor([a]))
    with pytest.raises(ValueError, match="weight of the format"):
        format_mix(r, torch.tensor([True]), 1.5)


def test_bad_data_is_an_error():
    with pytest.raises(ValueError, match="reference answer is empty"):
        RLPR().score(written(GOOD, answer=""), policy=model())
    with pytest.raises(ValueError, match="RLPR reads the column 'answer'"):
        RLPR().score(table_model.completions(["x"], ["y"], model=model()), policy=model())


def test_beside_a_verifier_each_is_normalised_by_itself():
    """Rewards of very different spread weigh the same, as the release's "pr+vr" does with standard deviations."""
    texts = ["<think>a</think><answer>\n42</answer>", "<think>b</think><answer> 9</answer>"] * 2
    scored = (RLPR(format_weight=0.0) + ExactMatch(how="<answer>")).evaluate(written(*texts), policy=model())
    advantage = GroupAdvantage(per_term=True, spread="group")(written(*texts), scored)
    pr, vr = (GroupAdvantage(spread="group")(written(*texts), scored._replace(value=v)) for v in scored.terms.values())
    torch.testing.assert_close(advantage[:, 0].sign(), (pr + vr)[:, 0].sign())
    torch.testing.assert_close(pr, vr, rtol=1e-3, atol=1e-3)
