"""Questions with hidden chains of thought, and a tiny model to train on them: ground of two claims.

A solution is "c= 815 ;": a chain letter, the answer's slot, the answer. After supervised training on random chains the
model knows which answer a chain leads to, and nothing of which chain is right for a question.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from _text import supervise
from torch import Tensor

from guerdon.learners.descent import Descent
from guerdon.learners.samplers import GroupSampler
from guerdon.learners.text import TextLearner
from guerdon.models.language_model import CausalLM
from guerdon.models.tiny_model import tiny_model
from guerdon.parts.answers import extract_answer, same_text
from guerdon.parts.span_scores import over_spans, score_references
from guerdon.parts.token_policy_loss import PolicyLoss
from guerdon.tasks.text import LatentChain, Row
from guerdon.types import Completions, Reward, Scored

TAGS = ("=", ";")
CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyzQ:= ;"


@dataclass(frozen=True)
class Ready:
    """A task, a model that can write its solutions, held-out questions, and how well that model does."""

    task: LatentChain
    model: CausalLM
    held_out: list[Row]
    before: dict[str, float]
    tags: tuple[str, str] = TAGS


@dataclass(frozen=True)
class Arm:
    """What is compared: a reward and its credit; `chain_only` samples no answer, where the reward needs none."""

    reward: Reward
    credit: Callable[[Completions, Scored], Tensor]
    chain_only: bool = False


def prepare(seed: int, *, unpredictable: float, chains: int, toy: bool) -> Ready:
    """Supervised training on random chains."""
    task = LatentChain(questions=8, chains=chains, unpredictable=unpredictable, task_seed=seed)
    shown = [row | {"solution": f"{row['chain']}= {row['answer']} ;"} for row in task.demonstrations(512, seed)]
    model = tiny_model(seed=seed, width=32, layers=2, characters=CHARACTERS, max_length=32)
    supervise(model, shown, steps=10 if toy else 500, seed=seed)
    held_out = task.rows(8 if toy else 256, seed + 1, split="test")
    return Ready(task, model, held_out, measures(task, model, held_out, seed))


def train(ready: Ready, arm: Arm, seed: int, *, steps: int, lr: float = 1e-3, samples: int = 8) -> dict[str, Any]:
    """Reinforcement learning from the prepared model; its measures afterwards, and the right chain's share so far."""
    policy = CausalLM(copy.deepcopy(ready.model.module), ready.model.tokenizer, max_length=32)
    learner = TextLearner(
        policy, arm.reward, credit=arm.credit, prompts=8, seed=seed, descent=Descent(lr=lr),
        sampler=GroupSampler(n=samples, max_tokens=10, stop=TAGS[: 1 if arm.chain_only else 2][-1:]),
        loss=PolicyLoss(aggregation="seq-mean-token-sum"),
    )  # fmt: skip
    rows, course = ready.task.rows(4096, seed), []
    for row, other in zip(rows, random.Random(seed).sample(rows, len(rows)), strict=True):
        row["other"] = other["answer"]  # a reference that says nothing of this question
    for step, _ in enumerate(learner.train(rows, steps)):
        if step % 10 == 9:
            course.append(round(right_chain(ready.task, policy), 4))
    return measures(ready.task, policy, ready.held_out, seed) | {"course": course}


def right_chain(task: LatentChain, model: CausalLM) -> float:
    """The chance that the model begins with the right chain's letter, on average over all questions."""
    prefixes = [model.encode(f"Q{x}:") for x in range(task.questions)]
    letters = [model.split(f"Q{x}:{z}", 3, 4)[1] for x, z in enumerate(task.right)]
    with torch.no_grad():
        return float(model.score(prefixes, letters).log_prob.exp().mean())


def measures(task: LatentChain, model: CausalLM, rows: list[Row], seed: int) -> dict[str, float]:
    """Right chain; greedy success against the true answer; perplexity of the references after one sampled chain."""
    prompts = [row["prompt"] for row in rows]
    greedy = model.generate(prompts, max_tokens=10, temperature=0.0, stop=TAGS[1:])
    said = [extract_answer(text, "number") for text in greedy.text]
    hits = [a is not None and same_text(a, row["true_answer"]) for a, row in zip(said, rows, strict=True)]
    chains = model.generate(prompts, max_tokens=10, stop=TAGS[:1], seed=seed)
    chains.columns = {"answer": [row["answer"] for row in rows]}
    with torch.no_grad():
        scores = score_references(model, chains, "answer", name="claim", tags=TAGS, force=True, closing=True)
    mean = over_spans(scores, "mean_logp", empty=math.nan, name="claim").nanmean()
    return {
        "right chain": right_chain(task, model),
        "success": sum(hits) / len(hits),
        "perplexity": math.exp(-float(mean)),
    }
