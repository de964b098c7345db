"""Rewards made of the likelihood of a reference answer, against a model known in closed form."""

import math
from itertools import product

import pytest
import samples
import table_model
import torch

from guerdon.credit.jepo import JEPOAdvantage, jepo_advantages
from guerdon.parts.group_advantages import group_advantages
from guerdon.rewards.likelihood.likelihood import REDUCTION, AnswerLikelihood, likelihood_loss, likelihood_reward
from guerdon.rewards.likelihood.verifree import VeriFree
from guerdon.types import Scored

PROBS = torch.tensor([[0.5, 0.25], [0.2, 0.0]])
MASK = torch.tensor([[True, True], [True, False]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("prob", [0.125, 0.2]),
        ("avg_prob", [0.375, 0.2]),
        ("logprob", [math.log(0.125), math.log(0.2)]),
        ("avg_logprob", [math.log(0.125) / 2, math.log(0.2)]),
        ("jepo", [math.log(0.125), math.log(0.2)]),
    ],
)
def test_kinds_by_hand(kind, expected):
    torch.testing.assert_close(likelihood_reward(PROBS.log(), MASK, kind), torch.tensor(expected))


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match="one of prob, avg_prob"):
        likelihood_reward(PROBS.log(), MASK, "best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="AnswerLikelihood"):
        AnswerLikelihood(kind="best")  # type: ignore[arg-type]


def model() -> table_model.TableModel:
    """P(" " after ">") = 0.5, P("4" after " ") = 0.25, P("2" after "4") = 0.5, P(" " after "2") = 0.8, ..."""
    made = table_model.TableModel()
    for before, after, p in [(" ", "4", 0.25), ("4", "2", 0.5), ("2", " ", 0.8), (" ", "<", 0.4)]:
        made.put(before, after, p)
    return made


def written(*texts: str, answer: str = "42", **more: list):
    return table_model.completions(["6*7="] * len(texts), texts, model=model(), answer=[answer] * len(texts), **more)


@pytest.mark.parametrize(("kind", "p"), [("prob", 0.25 * 0.5), ("avg_prob", 0.375)])
def test_the_reference_stands_in_for_the_own_answer(kind, p):
    m = model()
    m.put(" ", "4", 0.25)
    c = written("z<answer> 7</answer>", "z<answer>", "no tag", "")
    got = AnswerLikelihood(kind=kind).score(c, policy=m)
    torch.testing.assert_close(got, torch.full((4,), p))
    log = AnswerLikelihood(kind="logprob").score(c, policy=m)
    torch.testing.assert_close(log, torch.full((4,), math.log(0.125)))


def test_what_the_answer_slot_begins_with_counts():
    m = model()
    m.put("\n", "4", 0.9)
    got = AnswerLikelihood(kind="prob").score(written("z<answer>\n7</answer>"), policy=m)
    assert got.item() == pytest.approx(0.45)


def test_a_row_too_long_is_not_scored_and_a_missing_column_is_named():
    m = table_model.TableModel(max_length=40)
    got = AnswerLikelihood().score(written("z<answer> 7", "z" * 60), policy=m)
    assert got.isnan().tolist() == [False, True]
    assert AnswerLikelihood().loss(written("z<answer> 7", "z" * 60), m).item() == pytest.approx(-got[0].item() / 2)
    with pytest.raises(ValueError, match=r"AnswerLikelihood.*truth"):
        AnswerLikelihood(answer="truth").score(written(""), policy=m)
    with pytest.raises(ValueError, match="empty"):
        AnswerLikelihood().score(written("z", answer=" "), policy=m)


def test_verifree_is_the_probability_of_saying_exactly_that():
    """Against sampling: how often the model, behind the tag, writes " 4 </answer>" and not just something with 4."""
    m = table_model.TableModel()
    for before, after, p in [(" ", "4", 0.5), ("4", " ", 0.9), (" ", "<", 0.3), ("r", ">", 0.9)]:
        m.put(before, after, p)
    for before, after in zip("</answer", "/answer>", strict=True):
        m.put(before, after, 0.95)
    m.put(" ", "4", 0.5)
    m.logits.data[ord(" "), ord("<")] = math.log(0.3)  # together over 1 with the rest: log_softmax settles it
    c = written("z<answer>", "no slot", answer="4")
    exact = VeriFree().score(c, policy=m)
    assert exact[1] == 0.0
    generator, hits, p = torch.Generator().manual_seed(0), 0, m.logits.softmax(-1)
    wanted = "4 </answer>"
    for _ in range(4000):
        last = " "
        for character in wanted:
            last = chr(int(torch.multinomial(p[ord(last)], 1, generator=generator)))
            if last != character:
                break
        else:
            hits += 1
    assert hits / 4000 == pytest.approx(exact[0].item(), abs=4 * math.sqrt(exact[0].item() / 4000))
    grads = [torch.autograd.grad(x, m.logits)[0] for x in (-VeriFree().loss(c, m), VeriFree().score(c, policy=m)[0])]
    torch.testing.assert_close(grads[0], grads[1] / 2)


def exact(theta, kind):
    """grad of the exact objective and of the surrogate, both enumerated: 3 chains, an answer of 2 tokens."""
    chain = theta[0].log_softmax(0)
    log_prob = theta[1:3].log_softmax(1)[:, 0].expand(3, 2) + 0 * chain[:, None] - theta[3:6, :2].square()
    mask = torch.ones(3, 2)
    reward = likelihood_reward(log_prob.float(), mask, kind).double()
    (objective,) = torch.autograd.grad((chain.exp() * reward).sum(), theta, retain_graph=True)
    surrogate = (chain.exp().detach() * (reward.detach() * chain + reward)).sum()
    return objective, torch.autograd.grad(surrogate, theta)[0]


@pytest.mark.parametrize("kind", ["prob", "avg_prob", "logprob", "avg_logprob"])
def test_the_two_terms_are_the_exact_gradient(kind):
    theta = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.double, requires_grad=True)
    objective, surrogate = exact(theta, kind)
    torch.testing.assert_close(objective, surrogate, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["logprob", "prob", "jepo"])
def test_credit_and_loss_together_give_the_gradient_of_what_is_maximised(kind):
    """Expected over all groups of two chains drawn from three, -loss + advantage * log pi(z) has the exact gradient."""
    logits = torch.randn(3, generator=torch.Generator().manual_seed(2), dtype=torch.double, requires_grad=True)
    answer = torch.randn(3, generator=torch.Generator().manual_seed(3), dtype=torch.double, requires_grad=True)
    chain, log_prob = logits.log_softmax(0), torch.nn.functional.logsigmoid(answer)
    group, objective, surrogate = torch.zeros(2, dtype=torch.long), 0.0, 0.0
    for pair in product(range(3), repeat=2):
        at = torch.tensor(pair)
        reward = likelihood_reward(log_prob[at, None].float(), torch.ones(2, 1), kind).double()
        p = chain[at].sum().exp()
        if kind == "jepo":
            objective = objective + p * (reward.exp().mean()).log() / 2
            advantage = jepo_advantages(reward.detach(), group)
        else:
            objective = objective + p * reward.mean()
            advantage = group_advantages(reward.detach(), group, baseline="leave-one-out", spread="none")
        term = (advantage * chain[at]).mean() - likelihood_loss(reward, group, kind)
        surrogate = surrogate + p.detach() * term
    found = torch.autograd.grad(surrogate, [logits, answer], retain_graph=True)
    for got, wanted in zip(found, torch.autograd.grad(objective, [logits, answer]), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_jepo_by_hand():
    value, group = torch.tensor([0.5, 0.1, 0.3, 0.3]).log(), torch.tensor([0, 0, 1, 1])
    got = jepo_advantages(value, group)
    torch.testing.assert_close(got, torch.tensor([0.3 / 0.1, 0.3 / 0.5, 1.0, 1.0]).log())
    alone = torch.tensor([-1.0, math.nan, -2.0, math.nan])
    assert jepo_advantages(alone, group).tolist() == [0.0] * 4
    with pytest.raises(ValueError, match="group 1 has one answer"):
        jepo_advantages(value[:3], group[:3])


def test_jepo_as_a_credit():
    c = samples.solutions()
    value = torch.linspace(-3, -1, 6)
    advantage = JEPOAdvantage()(c, Scored(value, {"x": value}, {}))
    assert advantage.shape == c.mask.shape
    assert (advantage[~c.mask] == 0).all()
    torch.testing.assert_close(advantage[:, 0], jepo_advantages(value, c.group))
    for wrong in (value.exp(), value[:3]):
        with pytest.raises(ValueError, match="JEPOAdvantage"):
            JEPOAdvantage()(c, Scored(wrong, {"x": wrong}, {}))


def test_every_kind_has_its_reduction_and_losses_leave_out_what_is_not_scored():
    assert set(REDUCTION) == {"prob", "avg_prob", "logprob", "avg_logprob", "jepo"}
    reward, group = torch.tensor([-1.0, -3.0, math.nan]), torch.tensor([0, 0, 1])
    assert likelihood_loss(reward, group).item() == pytest.approx(4 / 3)
    bound = math.log((math.exp(-1) + math.exp(-3)) / 2)
    assert likelihood_loss(reward, group, "jepo").item() == pytest.approx(-bound / 3)
    assert likelihood_loss(reward[2:], group[2:]).item() == 0.0
    with pytest.raises(ValueError, match="group"):
        likelihood_loss(reward, None, "jepo")
