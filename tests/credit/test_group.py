"""GroupAdvantage over completions: rewards of answers, tokens and terms, and answers that nobody scored."""

from __future__ import annotations

import math
import pickle

import pytest
import samples
import torch

from guerdon.credit import GroupAdvantage
from guerdon.parts.group_advantages import group_advantages, normalise_then_sum
from guerdon.parts.token_returns import token_returns, whiten
from guerdon.types import Scored

COMPLETIONS = samples.completions(rows=6, length=5)  # groups of two; row n has n % 5 + 1 tokens
VALUE = torch.tensor([0.0, 3.0, 1.0, 2.0, 5.0, 1.0])


def scored(value: torch.Tensor, **terms: torch.Tensor) -> Scored:
    return Scored(value, terms or {"R": value}, {})


def per_row(advantage: torch.Tensor) -> torch.Tensor:
    """The one value of each row, after a check that it stands on all its tokens and nowhere else."""
    assert advantage.shape == COMPLETIONS.shape
    assert advantage.dtype == torch.float32
    torch.testing.assert_close(advantage, advantage[:, :1] * COMPLETIONS.mask)
    return advantage[:, 0]


@pytest.mark.parametrize(
    "how",
    [{"spread": "group"}, {"spread": "none"}, {"baseline": "leave-one-out", "spread": "none"}, {"spread": "batch"}],
)
def test_one_value_a_row_is_the_estimator_s(how):
    expected = group_advantages(VALUE, COMPLETIONS.group, **how)
    torch.testing.assert_close(per_row(GroupAdvantage(**how)(COMPLETIONS, scored(VALUE))), expected)


def test_by_default_binary_rewards_are_centred_and_graded_ones_divided():
    binary = (VALUE > 1.5).float()
    assert per_row(GroupAdvantage()(COMPLETIONS, scored(binary))).tolist() == [-0.5, 0.5, -0.5, 0.5, 0.5, -0.5]
    graded = per_row(GroupAdvantage()(COMPLETIONS, scored(VALUE)))
    torch.testing.assert_close(graded.abs(), torch.full((6,), math.sqrt(0.5)))


def test_rewards_of_tokens_are_summed():
    g = torch.Generator().manual_seed(0)
    tokens = torch.rand(6, 5, generator=g) * COMPLETIONS.mask
    found = GroupAdvantage()(COMPLETIONS, scored(tokens))
    torch.testing.assert_close(found, GroupAdvantage()(COMPLETIONS, scored(tokens.sum(1))))


def test_spread_over_tokens_is_reinforce_plus_plus_with_baseline():
    centred = group_advantages(VALUE, COMPLETIONS.group, spread="none")[:, None] * COMPLETIONS.mask
    found = GroupAdvantage(spread="tokens")(COMPLETIONS, scored(VALUE))
    torch.testing.assert_close(found, whiten(centred, COMPLETIONS.mask))


@pytest.mark.parametrize(
    "credit",
    [
        GroupAdvantage(), GroupAdvantage(spread="tokens"), GroupAdvantage(per_term=True),
        GroupAdvantage(per_term=True, spread="tokens"), GroupAdvantage(token_returns=True),
        GroupAdvantage(token_returns=True, baseline="none", spread="tokens"),
    ],
)  # fmt: skip
def test_an_unscored_answer_gets_zero_and_the_others_what_they_get_without_it(credit):
    completions = samples.replace(COMPLETIONS, group=torch.tensor([0, 0, 0, 1, 1, 1]))
    value = VALUE.masked_fill(torch.arange(6) == 1, math.nan)
    found = credit(completions, scored(value, a=value, b=value**2))
    kept = torch.tensor([0, 2, 3, 4, 5])
    alone = credit(completions.rows(kept), scored(value[kept], a=value[kept], b=value[kept] ** 2))
    assert not found[1].any()
    assert found.any()
    torch.testing.assert_close(found[kept], alone)
    step = torch.where(completions.ends(), value[:, None], 0.0)  # NaN on the last token only
    torch.testing.assert_close(credit(completions, scored(step, a=step, b=step**2)), found)


def test_token_returns_without_baseline_are_reinforce_plus_plus():
    g = torch.Generator().manual_seed(0)
    tokens = torch.rand(6, 5, generator=g) * COMPLETIONS.mask
    how = {"token_returns": True, "baseline": "none", "gamma": 0.9}
    to_go = token_returns(tokens, COMPLETIONS.mask, gamma=0.9)
    found = GroupAdvantage(spread="none", **how)(COMPLETIONS, scored(tokens))
    torch.testing.assert_close(found, to_go)
    found = GroupAdvantage(spread="tokens", **how)(COMPLETIONS, scored(tokens))
    torch.testing.assert_close(found, whiten(to_go, COMPLETIONS.mask))
    no_groups = samples.replace(COMPLETIONS, group=None)
    torch.testing.assert_close(GroupAdvantage(spread="tokens", **how)(no_groups, scored(tokens)), found)


def test_token_returns_within_groups_pool_the_group_s_tokens():
    g = torch.Generator().manual_seed(0)
    tokens = torch.rand(6, 5, generator=g) * COMPLETIONS.mask
    found = GroupAdvantage(token_returns=True, spread="group", eps=0.0)(COMPLETIONS, scored(tokens))
    to_go = token_returns(tokens, COMPLETIONS.mask)
    for group in range(3):
        inside = COMPLETIONS.mask & (COMPLETIONS.group == group)[:, None]
        expected = (to_go[inside] - to_go[inside].mean()) / to_go[inside].std()
        torch.testing.assert_close(found[inside], expected)


def test_terms_are_normalised_one_by_one_and_weighted():
    terms = {"a": VALUE, "b": 1000 * VALUE.flip(0)}
    credit = GroupAdvantage(per_term=True, weights={"b": 0.5}, spread="group")
    found = per_row(credit(COMPLETIONS, scored(sum(terms.values()), **terms)))
    rewards = torch.stack(list(terms.values()), 1)
    torch.testing.assert_close(found, normalise_then_sum(rewards, COMPLETIONS.group, [1.0, 0.5], eps=1e-6))
    whitened = GroupAdvantage(per_term=True, weights={"b": 0.5}, spread="tokens")(COMPLETIONS, scored(VALUE, **terms))
    z = normalise_then_sum(rewards, COMPLETIONS.group, [1.0, 0.5], eps=1e-6, over_batch=False)
    torch.testing.assert_close(whitened, whiten(z[:, None] * COMPLETIONS.mask, COMPLETIONS.mask))


def test_groups_of_one_raise_and_groups_must_be_there():
    alone = samples.replace(COMPLETIONS, group=torch.tensor([0, 0, 1, 1, 2, 3]))
    for credit in (GroupAdvantage(), GroupAdvantage(per_term=True), GroupAdvantage(token_returns=True)):
        with pytest.raises(ValueError, match="group 2 has one answer"):
            credit(alone, scored(VALUE))
        with pytest.raises(ValueError, match="group"):
            credit(samples.replace(COMPLETIONS, group=None), scored(VALUE))
    assert GroupAdvantage(singleton="raw", spread="group")(alone, scored(VALUE))[4, 0] == 5.0


def test_contradictions_and_wrong_names_raise():
    for keywords, words in [
        ({"weights": {"a": 1.0}}, "per_term=True"),
        ({"per_term": True, "token_returns": True}, "neither with per_term"),
        ({"token_returns": True, "baseline": "leave-one-out"}, "leave-one-out"),
        ({"token_returns": True, "singleton": "raw"}, "singleton"),
        ({"per_term": True, "baseline": "batch"}, "baseline='group'"),
    ]:
        with pytest.raises(ValueError, match=words):
            GroupAdvantage(**keywords)
    with pytest.raises(ValueError, match=r"weights name \['c'\]"):
        GroupAdvantage(per_term=True, weights={"c": 1.0})(COMPLETIONS, scored(VALUE))
    with pytest.raises(ValueError, match=r"\[N\] or \[N, L\]"):
        GroupAdvantage()(COMPLETIONS, scored(torch.ones(3)))


def test_it_is_a_plain_value():
    credit = GroupAdvantage(spread="none", eps=1e-4)
    assert pickle.loads(pickle.dumps(credit)) == credit
