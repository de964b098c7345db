"""Information gain: beliefs known in closed form, where they are taken, and what must not leak."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from table_model import TableModel

from guerdon.models.tiny_model import tiny_model
from guerdon.parts.span_scores import reduce_span
from guerdon.rewards.likelihood.information_gain import CONTINUATION, InformationGain, information_gain
from guerdon.types import Completions, TokenScores

TURNS = [("ask a. ", "[doc one] "), ("ask b. ", "[doc two] "), ("answer", "")]


def dialogue(model, rows, **columns) -> Completions:
    """Rows of (what the policy wrote, what a tool answered) a turn, as this model's tokens."""
    ids, mask, step = [], [], []
    for turns in rows:
        tokens = [(model.encode(part)[-len(part) :], own, t) for t, turn in enumerate(turns) for own, part in
                  ((True, turn[0]), (False, turn[1])) if part]  # fmt: skip
        ids.append([i for part, _, _ in tokens for i in part])
        mask.append([own for part, own, _ in tokens for _ in part])
        step.append([t for part, _, t in tokens for _ in part])
    length = max(map(len, ids))

    def pad(rows):
        return torch.tensor([row + [0] * (length - len(row)) for row in rows])

    prompt = model.encode("q? ")
    n = len(rows)
    return Completions(
        prompt=["q? "] * n, text=["".join(a + b for a, b in row) for row in rows], ids=pad(ids), mask=pad(mask).bool(),
        step=pad(step), prompt_ids=torch.tensor([[0, *prompt]] * n), columns=columns or None,
        prompt_mask=torch.tensor([[False] + [True] * len(prompt)] * n),
    )  # fmt: skip


class Histories(TableModel):
    """Remembers what it was asked, and believes more the more documents there are."""

    def score(self, prefixes, spans, *, also=()):
        self.asked = [(self.decode(p), self.decode(s)) for p, s in zip(prefixes, spans, strict=True)]
        mask = torch.ones(len(spans), len(spans[0]), dtype=torch.bool)
        belief = torch.tensor([0.1 * (1 + 2 * text.count("[doc")) for text, _ in self.asked])
        return TokenScores(belief.log()[:, None].expand(mask.shape), mask)


def test_beliefs_are_taken_before_the_first_turn_and_after_each_tools_answer():
    model = Histories()
    made = dialogue(model, [TURNS, TURNS[2:], TURNS[1:]], answer=[["Rome", "Roma"], "Rome", "Rome"])
    reward = InformationGain()
    belief = reward.beliefs(made, policy=model)
    torch.testing.assert_close(belief, torch.tensor([[0.1, 0.3, 0.5], [0, 0, 0], [0.1, 0.3, 0]]))
    lead = CONTINUATION.partition("{")[0]
    assert [text for text, _ in model.asked[:3]] == [
        "q? " + lead, "q? ask a. [doc one] " + lead, "q? ask a. [doc one] ask b. [doc two] " + lead,
    ]  # fmt: skip
    assert {span for _, span in model.asked} == {"Rome"}
    value = reward.score(made, policy=model)
    assert value.nonzero().tolist() == [[0, 6], [0, 23], [2, 6]]  # the last own token of each turn but the last
    assert value[value != 0].tolist() == pytest.approx([0.2, 0.2, 0.2])
    logs = InformationGain(kind="log_prob_diff").score(made, policy=model)
    assert logs[logs != 0].tolist() == pytest.approx([math.log(3), math.log(5 / 3), math.log(3)])


def test_it_is_the_geometric_mean_of_a_real_models_probabilities():
    model = tiny_model(spread=0.5)
    made = dialogue(model, [TURNS], answer=["Rome"])
    belief = InformationGain().beliefs(made, policy=model)
    history = model.decode(made.prompt_ids[0, 1:].tolist())
    for turn, text in enumerate(["", "ask a. [doc one] ", "ask a. [doc one] ask b. [doc two] "]):
        lead = history + text + CONTINUATION.partition("{")[0]
        with torch.no_grad():
            scores = model.score(*[[x] for x in model.split(lead + "Rome", len(lead), len(lead) + 4)])
        assert float(belief[0, turn]) == pytest.approx(float(reduce_span(scores.log_prob, scores.mask, "geo_mean")))
    value = InformationGain().evaluate(made, policy=model).value
    assert float(value.sum()) == pytest.approx(float(belief[0, 2] - belief[0, 0]), abs=1e-6)
    assert not value.requires_grad


def test_without_prompt_tokens_the_prompt_is_rendered():
    model = Histories()
    made = dialogue(model, [TURNS], answer=["Rome"])
    made.prompt_ids = made.prompt_mask = None
    InformationGain().beliefs(made, policy=model)
    assert model.asked[1][0].startswith("q? ask a. [doc one] \n")


@given(st.integers(0, 10_000), st.sampled_from(["prob_diff", "log_prob_diff"]))
def test_gains_telescope(seed, kind):
    g = torch.Generator().manual_seed(seed)
    turns = torch.randint(0, 5, (4, 1), generator=g)
    turns[0] = 4
    ends = torch.arange(6) < turns
    belief = torch.rand(4, 4, generator=g, dtype=torch.float64) + 0.01
    gain = information_gain(belief, ends, kind=kind)
    x = belief.log() if kind == "log_prob_diff" else belief
    for row in range(4):
        last = int(turns[row]) - 1
        whole = float(x[row, last] - x[row, 0]) if last > 0 else 0.0
        assert float(gain[row].sum()) == pytest.approx(whole)
        assert last < 0 or float(gain[row, last]) == 0


def test_a_belief_that_is_no_number_counts_as_no_gain():
    ends = torch.ones(1, 4, dtype=torch.bool)
    with pytest.warns(UserWarning, match="no gain"):
        gain = information_gain(torch.tensor([[0.1, math.nan, 0.4, 0.3]]), ends)
    assert gain[0].tolist() == pytest.approx([0, 0.3, -0.1, 0])
    model = Histories(max_length=90)
    made = dialogue(model, [TURNS], answer=["Rome"])
    with pytest.warns(UserWarning, match="no gain"):
        value = InformationGain().score(made, policy=model)
    assert float(value.sum()) == pytest.approx(0.2)  # the longest history does not fit


def test_bad_input():
    model = Histories()
    made = dialogue(model, [TURNS], answer=["Rome"])
    reward = InformationGain()
    for column in ({"answer": [" "]}, {"answer": [[]]}, {"gold": ["Rome"]}):
        made.columns = column
        with pytest.raises(ValueError, match="InformationGain"):
            reward.score(made, policy=model)
    made.columns = {"answer": ["Rome"]}
    made.prompt = ["The answer: <answer>Rome</answer>. q?"]
    with pytest.raises(ValueError, match="reference"):
        reward.score(made, policy=model)
    made.prompt, made.step = ["q?"], made.step.flip(1)
    with pytest.raises(ValueError, match="InformationGain.*rise"):  # noqa: RUF043
        reward.score(made, policy=model)
    with pytest.raises(ValueError, match="one \\{reference\\}"):
        InformationGain(continuation="So it is:")
    with pytest.raises(ValueError, match="do not fit"):
        information_gain(torch.zeros(1, 2), torch.ones(1, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="prob_diff"):
        information_gain(torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool), kind="ratio")  # type: ignore[arg-type]
