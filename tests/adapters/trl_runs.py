"""A real GRPO trainer over the tiny model, and small rewards whose values a test can work out by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from guerdon.models.tiny_model import tiny_model
from guerdon.types import About, Completions, Reward

trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")

ABOUT = About(rewards="what a test asks for", paper="none", scores="Completions")
ROWS = [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a in range(3) for b in range(3)]


class Letters(Reward):
    """The share of a completion's characters that are digits, times a column; unscored where the first is a letter."""

    about = ABOUT

    def __init__(self, *, column: str = "answer") -> None:
        super().__init__()
        self.column = column

    def score(self, experience: Any, **needed: Any) -> Tensor:
        return torch.tensor(
            [letters(*pair) for pair in zip(experience.text, experience.columns[self.column], strict=True)]
        )


def letters(text: str, answer: str) -> float:
    if text[:1].isalpha():
        return float("nan")
    return (1 + float(answer)) * sum(c.isdigit() for c in text) / max(len(text), 1)


class Ids(Reward):
    """[N, L]: each token's id over 100."""

    about = ABOUT

    def score(self, experience: Any, **needed: Any) -> Tensor:
        return experience.ids / 100


class MeanLogProb(Reward):
    """[N]: how likely the model that is trained finds the completion, and what it was when it said so."""

    about = ABOUT
    needs = frozenset({"policy"})
    seen: list[tuple[dict[str, Tensor], Completions, Tensor]]

    def score(self, experience: Any, *, policy: Any) -> Tensor:
        assert not policy.module.training
        value = policy.log_probs(experience).sum(1) / experience.mask.sum(1)
        weights = {k: v.clone() for k, v in policy.module.state_dict().items()}
        self.__dict__.setdefault("seen", []).append((weights, experience, value))
        return value


def train(
    folder: Path,
    functions: Sequence[Any],
    *,
    cls: Any = trl.GRPOTrainer,
    rows: Any = ROWS,
    options: Any = None,
    **config: Any,
) -> Any:
    """The trainer after a few steps of batches of 8, groups of 4; two passes of 4 a step."""
    model = tiny_model(seed=3)
    settings: dict[str, Any] = {
        "output_dir": str(folder), "use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no",
        "disable_tqdm": True, "logging_steps": 1, "max_steps": 2, "learning_rate": 0.01,
        "lr_scheduler_type": "constant", "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2,
        "num_generations": 4, "max_completion_length": 8, "gradient_checkpointing": False,
        "seed": 5, "max_grad_norm": 0.0,
    }  # fmt: skip
    trainer = cls(
        model=model.module, reward_funcs=list(functions), args=trl.GRPOConfig(**(settings | config)),
        train_dataset=datasets.Dataset.from_list(list(rows)), processing_class=model.tokenizer, **(options or {}),
    )  # fmt: skip
    trainer.train()
    return trainer


def recorded(function: Any, calls: list[dict[str, Any]]) -> Any:
    """`function`, and what it was given and gave back."""

    def call(**given: Any) -> Any:
        calls.append(given | {"returned": function(**given)})
        return calls[-1]["returned"]

    call.__name__ = function.__name__
    return call
