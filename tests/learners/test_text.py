"""The text learner trains on what it says it trains on, whatever the size of its pieces."""

from __future__ import annotations

import math

import pytest
import torch
from text_learning import QUESTIONS, Likely, TokenA, Vowels, Watched, learner, tiny

from guerdon.credit import GroupAdvantage
from guerdon.learners import Descent, GroupSampler, TextLearner
from guerdon.parts.group_advantages import row_rewards
from guerdon.parts.token_policy_loss import PolicyLoss
from guerdon.types import ContextOverflow

DR_GRPO = GroupAdvantage(spread="none")


def gradients(reward=None, **options):
    """The gradients of the updates of one step."""
    made = learner(reward, **options)
    made.step()
    return made.descent.gradients


@pytest.mark.parametrize(
    "loss",
    [
        PolicyLoss(),
        PolicyLoss(aggregation="seq-mean-token-mean", beta=0.3),
        PolicyLoss(aggregation="seq-mean-token-sum", beta=0.3, kl="k2"),
        PolicyLoss(aggregation="seq-mean-token-sum-norm"),
        PolicyLoss(level="sequence", aggregation="seq-mean-token-mean"),
        PolicyLoss(surrogate="cispo"),
    ],
)
def test_the_objective_does_not_depend_on_the_micro_batch(loss):
    def halves(completions, scored):  # weights of all kinds, 0 among them
        return torch.arange(len(completions.text)) % 4 / 2.0

    def of(micro_batch):
        return gradients(
            0.7 * Vowels(unscored="b") + 0.3 * TokenA() + 0.01 * Likely(), loss=loss, reference=tiny(1),
            filters=[halves], micro_batch=micro_batch, minibatches=2,
        )  # fmt: skip

    whole = of(None)
    assert len(whole) == 2
    assert all(g.abs().max() > 1e-4 for g in whole)
    for size in (1, 5, 6):
        for g, expected in zip(of(size), whole, strict=True):
            assert (g - expected).norm() < 1e-5 * expected.norm()


def test_the_gradient_is_that_of_the_formula_written_out():
    made = learner(0.5 * Vowels() + TokenA(), credit=DR_GRPO)
    batch = made.assign(made.collect()[0])
    c, mask = batch.completions, batch.completions.mask
    total = 0.5 * Vowels().score(c) + (batch.scored.terms["TokenA"] * mask).sum(1)
    expected = torch.cat([r - r.mean() for r in total.split(6)])
    torch.testing.assert_close(batch.advantage, expected[:, None] * mask)
    loss = -(batch.advantage * made.policy.log_probs(c)).sum() / mask.sum()
    loss.backward()
    by_hand = torch.cat([p.grad.flatten().clone() for p in made.descent.parameters])
    made.descent.adam.zero_grad()
    made.learn(batch)
    torch.testing.assert_close(made.descent.gradients[0], by_hand, atol=1e-6, rtol=1e-4)


def test_the_first_update_is_on_the_policy_and_later_ones_are_not():
    logs, _ = learner(micro_batch=3).step()
    assert logs["policy/ratio"] == pytest.approx(1.0, abs=1e-5)
    assert logs["policy/clip_fraction"] == 0.0
    many = learner(epochs=4, descent=Watched(go=True, lr=0.05))
    logs, _ = many.step()
    assert len(many.descent.gradients) == 4
    assert logs["policy/clip_fraction"] > 0.05


def test_unscored_answers_are_counted_and_take_no_part():
    made = learner(Vowels(unscored="c"), credit=DR_GRPO)
    batch = made.assign(made.collect()[0])
    hidden = torch.tensor(["c" in t for t in batch.completions.text])
    assert 0 < hidden.sum() < len(hidden)
    assert torch.equal(batch.unscored, hidden)
    assert batch.summary()["batch/unscored"] == hidden.sum()
    assert not batch.weight[hidden].any()
    value = Vowels().score(batch.completions)
    for group in range(4):  # the baseline is the mean of the scored ones
        own = (batch.completions.group == group) & ~hidden
        torch.testing.assert_close(batch.advantage[own, 0], value[own] - value[own].mean())
    logs, after = learner(Vowels(unscored="c"), credit=DR_GRPO).step()
    assert logs["batch/trained"] == (~hidden).sum()
    assert logs["batch/unscored"] == hidden.sum()
    assert torch.equal(after.completions.ids, batch.completions.ids)
    made.learn(batch.rows(~hidden))
    torch.testing.assert_close(
        made.descent.gradients[0], gradients(Vowels(unscored="c"), credit=DR_GRPO)[0], atol=1e-6, rtol=1e-4
    )


def test_an_answer_that_weighs_nothing_is_as_if_it_were_not_there_but_for_the_baseline():
    def first_half(completions, scored):
        return (torch.arange(len(completions.text)) % 6 < 3).float() * 2.0

    made = learner(credit=DR_GRPO)
    batch = made.assign(made.collect()[0])
    made.learn(batch.rows(torch.arange(24) % 6 < 3))
    torch.testing.assert_close(
        made.descent.gradients[0], gradients(credit=DR_GRPO, filters=[first_half])[0], atol=1e-6, rtol=1e-4
    )


class Picky:
    """Keeps the groups of those questions that it likes, and remembers how often it was asked."""

    def __init__(self, liked: str) -> None:
        self.liked, self.calls = liked, 0

    def __call__(self, completions, scored):
        self.calls += 1
        return torch.tensor([float(p[0] in self.liked) for p in completions.prompt])

    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state):
        self.calls = state["calls"]


def test_dropped_groups_are_replaced_until_the_batch_is_full():
    picky = Picky("ab")
    made = learner(filters=[picky], prompts=5)
    batch, logs = made.collect()
    assert batch.groups == 5
    assert batch.completions.group.bincount().tolist() == [6] * 5
    assert {p[0] for p in batch.completions.prompt} == {"a", "b"}
    assert logs["batch/rounds"] == picky.calls > 1
    assert logs["batch/questions"] == made.questions.taken  # no more were asked than were missing
    assert batch.completions.columns["answer"] == [p[0] for p in batch.completions.prompt]


def test_a_filter_that_leaves_nothing_is_an_error_that_names_the_cure():
    made = learner(filters=[Picky("")], rounds=3)
    with pytest.raises(RuntimeError, match=r"3 rounds asked 12 questions, and Picky left 0 of the 4"):
        made.step()
    one = learner(filters=[Picky("a")], rounds=1)
    logs, batch = one.step()
    assert (batch.groups, logs["batch/trained"]) == (1, 6)
    none = learner(filters=[Picky("")], rounds=1)
    logs, batch = none.step()
    assert (len(batch), logs["batch/trained"]) == (0, 0)
    assert not none.descent.gradients
    with pytest.raises(ValueError, match="finite weights"):
        learner(filters=[lambda c, s: torch.full((24,), torch.nan)]).step()


def test_what_is_logged_is_what_is_trained_on():
    made = learner(0.9 * Vowels(unscored="d") + 0.1 * TokenA(), credit=DR_GRPO)
    logs, batch = made.step()
    rows = batch.table(24, lambda t: made.policy.decode([t]))
    assert len(rows) == 24
    for i, row in enumerate(rows):
        vowels, letters = row["terms"]["Vowels"], row["terms"]["TokenA"]
        assert "".join(row["tokens"]).removesuffix("<eos>") == row["text"]
        assert len(row["tokens"]) == len(letters) == len(row["value"]) == len(row["advantage"])
        assert letters == pytest.approx([0.1 * (t == "a") for t in row["tokens"]])
        assert row["stages"]["TokenA"] == [float(t == "a") for t in row["tokens"]]
        if "d" in row["text"]:
            assert vowels is None
            assert row["stages"]["Vowels"] is None
        else:
            assert vowels == pytest.approx(0.9 * row["stages"]["Vowels"], abs=1e-5)
        assert sum(row["value"]) == pytest.approx((vowels or 0.0) + sum(letters), abs=1e-5)
        assert row["advantage"][0] == pytest.approx(float(batch.advantage[i, 0]), abs=1e-5)
        assert row["columns"] == {"answer": row["prompt"][0]}
    scored = [r["terms"]["Vowels"] for r in rows if r["terms"]["Vowels"] is not None]
    assert logs["term/Vowels/mean"] == pytest.approx(sum(scored) / len(scored), abs=1e-5)
    assert logs["term/Vowels/unscored"] == 24 - len(scored)
    total = row_rewards(batch.scored.value, batch.completions.mask)
    assert logs["value/mean"] == pytest.approx(float(total.mean()), abs=1e-5)


def test_a_term_of_the_objective_is_weighted_as_its_reward_is():
    plain, half = gradients(Vowels() + Likely()), gradients(Vowels() + 0.5 * Likely())
    none = gradients(Vowels())
    torch.testing.assert_close(half[0] - none[0], 0.5 * (plain[0] - none[0]), atol=1e-6, rtol=1e-3)
    assert (plain[0] - none[0]).norm() > 0.1


@pytest.mark.parametrize(("beta", "falls"), [(1.0, True), (1e-9, False)])
def test_a_kl_term_pulls_towards_the_reference(beta, falls):
    made = learner(loss=PolicyLoss(beta=beta), reference=tiny(1), descent=Watched(go=True, lr=5e-3))
    seen = [made.step()[0]["policy/ref_kl"] for _ in range(40)]
    assert (sum(seen[-5:]) / 5 < 0.6 * seen[0]) == falls


def test_a_sampler_may_answer_with_what_it_kept():
    class Replay(GroupSampler):
        kept = None

        def __call__(self, rows, policy, generator):
            return super().__call__(rows, policy, generator) if self.kept is None else self.kept

        def observe(self, completions, scored, advantage):
            assert advantage.shape == completions.shape
            self.kept = completions

    made = learner(sampler=Replay(n=6, max_tokens=7), descent=Watched(go=True, lr=0.02))
    first = made.step()[0]
    later = [made.step()[0] for _ in range(3)][-1]
    assert first["policy/ratio"] == pytest.approx(1.0, abs=1e-5)
    assert later["value/mean"] == first["value/mean"]
    assert later["policy/old_kl"] > 0.01  # the old policy's log-probabilities came back with the answers


def test_without_sampling_log_probabilities_the_policy_before_the_updates_is_the_old_one():
    class Silent(GroupSampler):
        def __call__(self, rows, policy, generator):
            made = super().__call__(rows, policy, generator)
            made.log_prob = None
            return made

    options = {"epochs": 2, "minibatches": 2}
    spoken = gradients(descent=Watched(go=True, lr=1e-2), **options)
    silent = gradients(descent=Watched(go=True, lr=1e-2), sampler=Silent(n=6, max_tokens=7), **options)
    for a, b in zip(spoken, silent, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-2)


def test_what_cannot_be_is_refused_when_the_learner_is_made():
    class Needy(Vowels):
        needs = frozenset({"reference"})

    with pytest.raises(ValueError, match="Needy needs a reference"):
        learner(Vowels() + 0.1 * Needy())
    with pytest.raises(ValueError, match="pass reference="):
        learner(loss=PolicyLoss(beta=0.1))
    with pytest.raises(ValueError, match="at least 1"):
        learner(epochs=0)
    with pytest.raises(ValueError, match="temperature > 0"):
        GroupSampler(temperature=0.0)
    with pytest.raises(TypeError, match="is not a reward"):
        learner(object())


def test_an_overflow_is_refused_with_its_limits():
    made = TextLearner(tiny(), Vowels(), sampler=GroupSampler(n=2, max_tokens=100), prompts=1)
    made.ask(QUESTIONS)
    with pytest.raises(ContextOverflow, match=r"3 tokens of prompt and 100 .* the context holds 64"):
        made.step()


@pytest.mark.parametrize("seed", range(3))
def test_it_learns(seed):
    """Vowels: three of eleven letters. Each seed ends above 0.8; at random it is 3 / 11."""
    made = learner(policy=tiny(seed, spread=0.1), descent=Descent(lr=3e-3), seed=seed)
    seen = [logs["value/mean"] for logs in made.train(QUESTIONS, 60)]
    start, end = sum(seen[:3]) / 3, sum(seen[-10:]) / 10
    chance = math.sqrt(3 / 11 * 8 / 11 / (3 * 24))
    assert start < 3 / 11 + 4 * chance
    assert end > 0.8
