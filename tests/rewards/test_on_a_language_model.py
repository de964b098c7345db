"""Every reward that asks a language model, on a real one: a tiny Llama. The contract tests use a table instead."""

import pytest
import samples
import torch

from guerdon import catalogue
from guerdon.expression import parse_reward
from guerdon.models.tiny_model import tiny_model
from guerdon.types import Completions

ENTRIES = [e for e in catalogue.entries() if e.cls and e.cls.needs and e.about and e.about.scores == "Completions"]


@pytest.fixture(scope="module")
def model():
    return tiny_model(width=16, layers=1, max_length=512)


@pytest.fixture(scope="module")
def solutions(model) -> Completions:
    """The samples' texts in the tokens of this model."""
    made, rows = samples.solutions(), []
    for prompt, text in zip(made.prompt, made.text, strict=True):
        before = model.encode(prompt)
        own = model.split(prompt + text, len(prompt), len(prompt + text))[1] if text else []
        rows.append((before, [*own, model.tokenizer.eos_token_id]))
    width, length = (max(len(row[i]) for row in rows) for i in (0, 1))
    ids = torch.tensor([own + [0] * (length - len(own)) for _, own in rows])
    made = samples.replace(
        made,
        ids=ids,
        mask=torch.arange(length) < torch.tensor([len(own) for _, own in rows])[:, None],
        step=torch.zeros_like(ids),
        log_prob=None,
        prompt_ids=torch.tensor([[0] * (width - len(before)) + before for before, _ in rows]),
        prompt_mask=torch.arange(width) >= width - torch.tensor([len(before) for before, _ in rows])[:, None],
    )
    made.log_prob = model.log_probs(made).detach()
    return made


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_it_scores_and_its_loss_reaches_the_weights(entry, model, solutions):
    reward = parse_reward(entry.about.example or f"{entry.name}()")
    reward.build(samples.spec(), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        value = reward.evaluate(solutions, **dict.fromkeys(reward.needs, model)).value
    assert not value.isnan().all()
    if (loss := reward.loss(solutions, model)) is not None:
        loss.backward()
        assert any(p.grad is not None and p.grad.any() for p in model.module.parameters())
        model.module.zero_grad()


def test_there_are_some():
    assert {"AnswerLikelihood", "RLPR", "VeriFree", "NOVER", "CRew", "SALU"} <= {e.name for e in ENTRIES}
