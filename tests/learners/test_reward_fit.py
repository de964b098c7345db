"""The fitting loop: no prompt on both sides, the same result however often it was interrupted."""

import json
import signal

import pytest
import samples
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.learners import reward_fit
from guerdon.learners.reward_fit import RewardFit, ensemble_scores, prompts, split
from guerdon.models.reward_encoder import Features
from guerdon.parts.preference_strength import preference_strength
from guerdon.rewards.preference import BradleyTerry
from guerdon.types import FIRST, SECOND, Completions, Pairs, Spec


def answers(x, prompt, text=None):
    n = len(x)
    empty = torch.zeros(n, 0, dtype=torch.long)
    texts = [f"{v}" for v in x] if text is None else text
    return Completions(prompt=list(prompt), text=texts, ids=empty, mask=empty.bool(), columns={"x": list(x)})


def comparisons(n=60, of=3, seed=0, wrong=()):
    g = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(n, generator=g).tolist() for _ in range(2))
    asked = [f"prompt {i // of}" for i in range(n)]
    label = [SECOND if (y > x) != (i in wrong) else FIRST for i, (x, y) in enumerate(zip(a, b, strict=True))]
    return Pairs(first=answers(a, asked), second=answers(b, asked), label=torch.tensor(label))


def model(seed=0, **options):
    reward = BradleyTerry(encoder=Features(["x"]), batch_size=8, lr=0.05, **options)
    reward.build(Spec(), generator=torch.Generator().manual_seed(seed))
    return reward


def fitting(**options):
    train, held = split(comparisons(), 0.2)
    return RewardFit(model(), train, held, batch_size=8, **{"epochs": 3, **options})


@given(st.integers(2, 40), st.integers(1, 5), st.floats(0.05, 0.95), st.integers(0, 5))
def test_a_split_shares_no_prompt_and_loses_no_pair(n, of, share, seed):
    pairs = comparisons(n, of)
    if n <= of:
        with pytest.raises(ValueError, match="cannot be split"):
            split(pairs, share, seed=seed)
        return
    train, held = split(pairs, share, seed=seed)
    assert len(train.label) + len(held.label) == n
    assert not set(prompts(train)) & set(prompts(held))
    assert abs(len(held.label) - share * n) <= of


def test_pairs_without_a_prompt_stay_with_their_twins():
    first, second = answers([1, 2, 3], [""] * 3, ["a", "b", "c"]), answers([1, 2, 3], [""] * 3, ["b", "a", "d"])
    of = prompts(Pairs(first=first, second=second, label=torch.zeros(3).long()))
    assert of[0] == of[1] != of[2]
    bare = answers([1, 2], [""] * 2, [""] * 2)
    assert prompts(Pairs(first=bare, second=bare, label=torch.zeros(2).long())) == [0, 1]
    with pytest.raises(ValueError, match="between 0 and 1"):
        split(comparisons(), 0.0)


def test_segments_can_be_split():
    a, b = samples.rollout(num_envs=10), samples.rollout(num_envs=10, seed=1)
    train, held = split(Pairs(first=a, second=b, label=torch.zeros(10).long()), 0.3)
    assert (train.first.shape, held.first.shape) == ((8, 7), (8, 3))


def test_every_pair_comes_once_an_epoch(monkeypatch):
    fit, seen = fitting(), []
    monkeypatch.setattr(fit.reward, "update", lambda pairs: seen.extend(pairs.first.text) or {})
    for _ in range(fit.an_epoch):
        fit.step()
    assert sorted(seen) == sorted(fit.train.first.text)
    again = list(seen)
    for _ in range(fit.an_epoch):
        fit.step()
    assert seen[len(again) :] != again, "and in another order the next time"


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_step_size_rises_and_falls(schedule):
    fit = fitting(schedule=schedule, warmup=0.2)
    factors = [fit.factor(i) for i in range(fit.total)]
    rise = round(0.2 * fit.total + 0.499)
    assert factors[:rise] == sorted(factors[:rise])
    assert max(factors) == factors[rise] == 1.0
    assert factors[-1] == 1.0 if schedule == "constant" else 0 < factors[-1] < 0.2
    fit.step()
    assert fit.optimisers[0].param_groups[0]["lr"] == pytest.approx(0.05 * factors[0])


def test_an_interrupted_fit_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch):
    whole = fitting()
    rows = reward_fit.run(whole, tmp_path / "whole", save_every=4)
    torn = fitting()
    step, taken = torn.step, []

    def dies():
        if len(taken) == 10:
            raise MemoryError
        taken.append(1)
        return step()

    monkeypatch.setattr(torn, "step", dies)
    with pytest.raises(MemoryError):
        reward_fit.run(torn, tmp_path / "torn", save_every=4)
    again = fitting()
    found = reward_fit.run(again, tmp_path / "torn", save_every=4, resume=True)
    assert [r["step"] for r in found] == [r["step"] for r in rows]
    for a, b in zip(found, rows, strict=True):
        assert a.keys() == b.keys()
        assert a["held/loss"] == b["held/loss"] if "held/loss" in a else True
    for key, value in whole.reward.state_dict().items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(again.reward.state_dict()[key], value)
    lines = [json.loads(line) for line in (tmp_path / "torn" / "progress.jsonl").read_text().splitlines()]
    assert lines == found


def test_ctrl_c_saves_and_stops(tmp_path):
    def press(row):
        if row["step"] == 5:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        reward_fit.run(fitting(), tmp_path, save_every=1000, progress=press)
    again = fitting()
    rows = reward_fit.run(again, tmp_path, resume=True)
    assert [row["step"] for row in rows] == list(range(again.total + 1))


def test_the_first_and_the_last_row_look_at_the_held_out_pairs(tmp_path):
    rows = reward_fit.run(fitting(), tmp_path, looks=3)
    assert [("held/accuracy" in row) for row in (rows[0], rows[-1])] == [True, True]
    assert sum("held/accuracy" in row for row in rows) == 3
    assert rows[-1]["held/accuracy"] > 0.9
    assert rows[-1]["held/loss"] < rows[0]["held/loss"]


def test_an_ensemble_doubts_the_pairs_that_are_told_wrong():
    wrong = set(range(0, 120, 10))
    pairs = comparisons(120, wrong=wrong)
    scores = ensemble_scores(model, pairs, models=3, epochs=10, batch_size=8)
    assert scores.shape == (3, 120, 2)
    strength = preference_strength(scores, pairs.label)
    assert float(strength.spread.max()) > 0
    doubted = set(strength.mean.argsort()[: len(wrong)].tolist())
    assert len(doubted & wrong) == len(wrong)


def test_what_makes_no_sense_is_refused():
    train, held = split(comparisons(), 0.2)
    with pytest.raises(ValueError, match="nothing to fit: 0 pairs"):
        RewardFit(model(), train.rows([]), held)
    with pytest.raises(ValueError, match="no schedule 'step'"):
        RewardFit(model(), train, held, schedule="step")
