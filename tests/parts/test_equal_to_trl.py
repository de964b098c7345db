"""Our advantages and losses against TRL's own methods, driven with tensors of ours: GRPOTrainer and DPOTrainer."""

from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from guerdon.parts.dpo_loss import dpo_loss, implicit_reward
from guerdon.parts.group_advantages import group_advantages, normalise_then_sum, sum_then_normalise
from guerdon.parts.token_policy_loss import PolicyLoss

trl = pytest.importorskip("trl")
GROUPS, SIZE, LENGTH = 3, 4, 6
GROUP = torch.arange(GROUPS).repeat_interleave(SIZE)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    """A GRPOTrainer on a tiny random model, with two reward functions, whose innards the tests call."""
    from datasets import Dataset

    from guerdon.models.tiny_model import tiny_model

    def first(completions, **_):
        return [0.0] * len(completions)

    def second(completions, **_):
        return [0.0] * len(completions)

    tiny = tiny_model(layers=1)
    args = trl.GRPOConfig(
        output_dir=str(tmp_path_factory.mktemp("trl")), per_device_train_batch_size=GROUPS * SIZE, num_generations=SIZE,
        max_completion_length=LENGTH, report_to=[], use_cpu=True, bf16=False, beta=0.0, seed=0,
    )  # fmt: skip
    made = trl.GRPOTrainer(
        model=tiny.module, processing_class=tiny.tokenizer, reward_funcs=[first, second], args=args,
        train_dataset=Dataset.from_list([{"prompt": "1 + 1 ="}] * 4),
    )  # fmt: skip
    made.current_gradient_accumulation_steps = 1
    made.model.train()
    return made


def rewards(seed: int, *, missing: bool) -> torch.Tensor:
    """[N, 2]; the second reward is coarse, so that some groups have no spread in it."""
    g = torch.Generator().manual_seed(seed)
    found = torch.stack([torch.randn(12, generator=g), torch.randint(2, (12,), generator=g).float()], 1)
    found[:SIZE, 1] = 1.0
    if missing:
        found[torch.rand(12, generator=g) < 0.3, 0] = math.nan
        found[5] = math.nan
        found[8:11] = math.nan  # of the last group only one answer is scored
    return found


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(
    ("how", "scale"),
    [("sum_then_normalize", s) for s in ("group", "batch", "none")] + [("normalize_then_sum", "group")],
)
def test_advantages(trainer, monkeypatch, how, scale, missing):
    given, weights = rewards(1, missing=missing), [1.0, 0.3]
    monkeypatch.setattr(trainer, "multi_objective_aggregation", how)
    monkeypatch.setattr(trainer, "scale_rewards", scale)
    monkeypatch.setattr(trainer, "reward_weights", torch.tensor(weights))
    monkeypatch.setattr(trainer, "_calculate_rewards", lambda *_: given.clone())
    theirs = trainer._generate_and_score_completions([{"prompt": "1 + 1 ="}] * GROUPS * SIZE)["advantages"]
    if how == "normalize_then_sum":
        ours = normalise_then_sum(given, GROUP, weights)
    else:
        ours = sum_then_normalise(given, GROUP, weights, spread=scale)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    assert theirs.any()


def test_the_plain_estimator_is_theirs_on_one_reward(trainer, monkeypatch):
    given = rewards(2, missing=False)
    given[:, 1] = math.nan
    monkeypatch.setattr(trainer, "_calculate_rewards", lambda *_: given.clone())
    theirs = trainer._generate_and_score_completions([{"prompt": "1 + 1 ="}] * GROUPS * SIZE)["advantages"]
    torch.testing.assert_close(group_advantages(given[:, 0], GROUP, eps=1e-4), theirs, atol=1e-6, rtol=1e-5)


PLAIN = {"clip_high": 0.2, "dual_clip": None}
LOSSES = {
    "grpo": ({"loss_type": "grpo"}, PLAIN | {"aggregation": "seq-mean-token-mean"}),
    "bnpo": ({"loss_type": "bnpo"}, PLAIN),
    "dapo": ({"loss_type": "dapo", "epsilon_high": 0.28}, {"dual_clip": None}),
    "dr_grpo": ({"loss_type": "dr_grpo"}, PLAIN | {"aggregation": "seq-mean-token-sum-norm"}),
    "luspo, as a token sum": ({"loss_type": "luspo"}, PLAIN | {"aggregation": "seq-mean-token-sum"}),
    "delta": ({"loss_type": "dapo", "args.delta": 1.5}, PLAIN | {"max_ratio": 1.5}),
    "cispo, whose bound is the ratio itself": (
        {"loss_type": "cispo", "epsilon_high": 1.3},
        {"surrogate": "cispo", "clip_high": 0.3},
    ),
    "gspo": (
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_low": 0.1, "epsilon_high": 0.15},
        {
            "level": "sequence", "clip_low": 0.1, "clip_high": 0.15, "dual_clip": None,
            "aggregation": "seq-mean-token-mean",
        },
    ),
    "kl": (
        {"loss_type": "dapo", "beta": 0.2, "args.use_bias_correction_kl": False},
        PLAIN | {"beta": 0.2, "kl_correct": False},
    ),
    "kl, corrected": (
        {"loss_type": "grpo", "beta": 0.2, "args.use_bias_correction_kl": True},
        PLAIN | {"beta": 0.2, "aggregation": "seq-mean-token-mean"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_gradients(trainer, monkeypatch, name):
    settings, keywords = LOSSES[name]
    settings = {"epsilon_low": 0.2, "epsilon_high": 0.2, "beta": 0.0} | settings
    for key, value in settings.items():
        owner = trainer.args if key.startswith("args.") else trainer
        monkeypatch.setattr(owner, key.removeprefix("args."), value)
    g = torch.Generator().manual_seed(3)
    shape = (GROUPS * SIZE, LENGTH)
    old = -3 * torch.rand(shape, generator=g, dtype=torch.float64)
    new = (old + 0.5 * torch.randn(shape, generator=g, dtype=torch.float64)).requires_grad_()
    reference = old + 0.5 * torch.randn(shape, generator=g, dtype=torch.float64)
    advantage = torch.randn(shape[0], generator=g, dtype=torch.float64)
    mask = torch.arange(LENGTH) < torch.randint(1, LENGTH + 1, (shape[0], 1), generator=g)
    tool = (torch.rand(shape, generator=g) < 0.8) | (torch.arange(LENGTH) == 0)  # a tool's tokens within an answer
    inputs = {
        "prompt_ids": torch.zeros(shape[0], 2, dtype=torch.long), "prompt_mask": torch.ones(shape[0], 2),
        "completion_ids": torch.zeros(shape, dtype=torch.long), "completion_mask": mask.double(), "tool_mask": tool,
        "advantages": advantage, "old_per_token_logps": old, "ref_per_token_logps": reference,
        "num_items_in_batch": (mask & tool).sum(),
    }  # fmt: skip
    monkeypatch.setattr(trainer, "_get_per_token_logps_and_entropies", lambda *_, **__: (new, torch.zeros(shape), None))
    before = {key: len(values) for key, values in trainer._metrics["train"].items()}
    theirs = trainer._compute_loss(trainer.model, inputs)
    ours, seen = PolicyLoss(**keywords)(
        new, old, advantage[:, None].expand(shape), mask & tool, ref_log_prob=reference if settings["beta"] else None
    )
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-6)
    slopes = [torch.autograd.grad(loss, new, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*slopes, atol=1e-9, rtol=1e-6)
    logged = {k: v[-1] for k, v in trainer._metrics["train"].items() if len(v) > before.get(k, 0)}
    if name in ("dapo", "grpo", "bnpo"):
        assert seen["clip_low"] == pytest.approx(logged["clip_ratio/low_mean"], abs=1e-6)
        assert seen["clip_high"] == pytest.approx(logged["clip_ratio/high_mean"], abs=1e-6)
    if settings["beta"]:
        assert seen["ref_kl"] == pytest.approx(logged["kl"], abs=1e-6)


def test_dpo():
    g = torch.Generator().manual_seed(4)
    chosen, rejected, ref_chosen, ref_rejected = -3 * torch.rand(4, 3, LENGTH, generator=g, dtype=torch.float64)
    both = torch.cat([chosen, rejected]).requires_grad_()
    lengths = torch.tensor([[6], [2], [4], [1], [5], [3]])
    mask = torch.arange(LENGTH) < lengths
    answers, refs = both * mask, torch.cat([ref_chosen, ref_rejected]) * mask
    zeros = torch.zeros(6, LENGTH)
    outputs = SimpleNamespace(log_probs=answers, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())
    accelerator = SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x)
    fake = SimpleNamespace(
        model=SimpleNamespace(training=True), accelerator=accelerator, aux_loss_enabled=False, ld_alpha=None,
        precompute_ref_logps=True, f_divergence_type="reverse_kl", loss_types=["sigmoid"], loss_weights=[1.0], beta=0.3,
        use_weighting=False, _metrics={"train": defaultdict(list)}, _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    ref_sums = refs.sum(1).chunk(2)
    inputs = {
        "completion_mask": torch.cat([torch.zeros(6, 1), mask], 1).long(), "attention_mask": torch.ones(6, 7),
        "input_ids": torch.zeros(6, 7, dtype=torch.long), "ref_chosen_logps": ref_sums[0],
        "ref_rejected_logps": ref_sums[1],
    }  # fmt: skip
    theirs = trl.DPOTrainer._compute_loss(fake, lambda **_: outputs, inputs, return_outputs=False)
    ours = dpo_loss(*answers.sum(1).chunk(2), *ref_sums, beta=0.3).mean()
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-6)
    slopes = [torch.autograd.grad(loss, both, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*slopes, atol=1e-9, rtol=1e-6)
    reward = implicit_reward(both.detach(), torch.cat([ref_chosen, ref_rejected]), mask, beta=0.3)
    assert fake._metrics["train"]["rewards/chosen"] == pytest.approx([reward[:3].mean().item()])
    assert fake._metrics["train"]["rewards/margins"] == pytest.approx([(reward[:3] - reward[3:]).mean().item()])
