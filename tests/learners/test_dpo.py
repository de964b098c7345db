"""DPO starts at log 2, learns preferences, does not care for micro-batches, and is TRL's where both are defined."""

from __future__ import annotations

import math

import pytest
import torch
from text_learning import QUESTIONS, Vowels, Watched, tiny

from guerdon.learners import DPO, Descent
from guerdon.parts.pair_mining import mine_pairs, pairs_of
from guerdon.types import FIRST, SECOND, TIE, Completions, Pairs


def mined(policy, seed=0, per_group=4):
    """Pairs of the policy's own answers, the one with more vowels first."""
    made = policy.generate([row["prompt"] for row in QUESTIONS], n=8, max_tokens=6, seed=seed)
    return pairs_of(made, mine_pairs(Vowels().score(made), made.group, per_group=per_group))


def test_the_loss_begins_at_log_2():
    policy = tiny()
    pairs = mined(policy)
    first = next(iter(DPO(policy, descent=Descent(lr=1e-3), batch=len(pairs.label)).train(pairs)))
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["margin"] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_it_learns_to_prefer_and_to_write_what_is_preferred(seed):
    policy = tiny(seed, spread=0.1)
    pairs = mined(policy, seed, per_group=8)
    logs = list(DPO(policy, descent=Descent(lr=2e-3), batch=16, epochs=12).train(pairs))
    assert logs[-1]["accuracy"] > 0.9
    assert logs[-1]["loss"] < 0.5 * math.log(2)
    after = policy.generate([row["prompt"] for row in QUESTIONS], n=32, max_tokens=6, seed=100)
    before = tiny(seed, spread=0.1).generate([row["prompt"] for row in QUESTIONS], n=32, max_tokens=6, seed=100)
    assert Vowels().score(after).mean() > Vowels().score(before).mean() + 0.1


def test_a_pair_the_other_way_round_is_the_same_pair():
    policy = tiny()
    pairs = mined(policy)
    turned = Pairs(first=pairs.second, second=pairs.first, label=torch.full_like(pairs.label, SECOND))
    gradients = []
    for each in (pairs, turned):
        descent = Watched()
        list(DPO(tiny(), reference=tiny(1), descent=descent, batch=100).train(each))
        gradients += descent.gradients
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("size", [1, 3])
def test_the_objective_does_not_depend_on_the_micro_batch(size):
    pairs = mined(tiny())
    pairs.weight = torch.rand(len(pairs.label), generator=torch.Generator().manual_seed(0))
    gradients = []
    for micro_batch in (None, size):
        descent = Watched()
        list(DPO(tiny(), reference=tiny(1), descent=descent, batch=7, micro_batch=micro_batch).train(pairs))
        gradients.append(torch.cat(descent.gradients))
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[0].norm()


def test_the_loss_and_its_gradient_are_trls(tmp_path):
    trl = pytest.importorskip("trl", reason="needs trl")
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    policy, reference = tiny(), tiny(1)
    rows = [
        {"prompt": "a:", "chosen": "abi", "rejected": "gg"},
        {"prompt": "b:", "chosen": "a", "rejected": "bcdfg"},
        {"prompt": "c c:", "chosen": "eeee", "rejected": "e"},
    ]
    options = {"per_device_train_batch_size": 3, "report_to": [], "use_cpu": True, "bf16": False}
    options |= {"beta": 0.3, "disable_dropout": False, "gradient_checkpointing": False}
    trainer = trl.DPOTrainer(
        model=tiny().module, ref_model=reference.module, processing_class=policy.tokenizer,
        args=trl.DPOConfig(output_dir=str(tmp_path), **options), train_dataset=datasets.Dataset.from_list(rows),
    )  # fmt: skip
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    theirs = trainer.compute_loss(trainer.model, inputs)
    theirs.backward()
    gradient = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])

    mask, ids = inputs["completion_mask"].bool(), inputs["input_ids"]
    seen = inputs["attention_mask"].bool()
    sides = []
    for side in (slice(0, 3), slice(3, 6)):
        parts = [(i[s & ~m], i[m]) for i, s, m in zip(ids[side], seen[side], mask[side], strict=True)]
        n, p = (max(len(part[k]) for part in parts) for k in (1, 0))
        made = Completions(
            prompt=[""] * 3, text=[""] * 3,
            ids=torch.stack([torch.nn.functional.pad(a, (0, n - len(a))) for _, a in parts]),
            mask=torch.stack([torch.arange(n) < len(a) for _, a in parts]),
            prompt_ids=torch.stack([torch.nn.functional.pad(q, (p - len(q), 0)) for q, _ in parts]),
            prompt_mask=torch.stack([torch.arange(p) >= p - len(q) for q, _ in parts]),
        )  # fmt: skip
        sides.append(made)
    descent = Watched()
    pairs = Pairs(first=sides[0], second=sides[1], label=torch.full((3,), FIRST))
    (logs,) = DPO(policy, reference=reference, beta=0.3, descent=descent, batch=3).train(pairs)
    assert logs["loss"] == pytest.approx(theirs.item(), rel=1e-4)
    assert abs(theirs.item() - math.log(2)) > 0.01
    assert (descent.gradients[0] - gradient).norm() < 1e-3 * gradient.norm()


def test_what_is_no_preference_is_refused():
    policy = tiny()
    pairs = mined(policy)
    learner = DPO(policy)
    tie = Pairs(first=pairs.first, second=pairs.second, label=torch.full_like(pairs.label, TIE))
    with pytest.raises(ValueError, match="leave ties out"):
        next(iter(learner.train(tie)))
    none = Pairs(first=pairs.first.rows([]), second=pairs.second.rows([]), label=torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match="no pairs"):
        next(iter(learner.train(none)))
    words = Pairs(first=["a"], second=["b"], label=torch.tensor([FIRST]))
    with pytest.raises(TypeError, match="not of"):
        next(iter(learner.train(words)))
