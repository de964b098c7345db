"""Small rewards and learners over a tiny model, for tests of the text side's learner."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.learners import Descent, GroupSampler, TextLearner
from guerdon.models import CausalLM, tiny_model
from guerdon.types import About, Completions, Reward

LETTERS = "abcdefghij "
QUESTIONS = [{"prompt": f"{c}:", "answer": c} for c in "abcd"]


class Vowels(Reward):
    """The share of vowels [N]; NaN for texts that contain `unscored`."""

    about: ClassVar[About] = About(rewards="vowels", paper="none", scores="Completions")

    def __init__(self, *, unscored: str = "") -> None:
        super().__init__()
        self.unscored = unscored

    def score(self, experience: Completions, **needed: Any) -> Tensor:
        shares = [sum(c in "aeiou" for c in t) / max(1, len(t)) for t in experience.text]
        hidden = [bool(self.unscored) and self.unscored in t for t in experience.text]
        return torch.tensor(shares).masked_fill(torch.tensor(hidden), torch.nan)


class TokenA(Reward):
    """1 on each token "a", [N, L]."""

    about: ClassVar[About] = About(rewards="the letter a", paper="none", scores="Completions")

    def build(self, spec: Any, **kwargs: Any) -> None:
        self.token = spec.tokenizer("a", add_special_tokens=False)["input_ids"][0]

    def score(self, experience: Completions, **needed: Any) -> Tensor:
        return (experience.ids == self.token).float()


class Likely(Reward):
    """No score of its own, but a term of the objective: minus the mean log-likelihood of the answers' tokens."""

    about: ClassVar[About] = About(rewards="what is likely", paper="none", scores="Completions")

    def score(self, experience: Completions, **needed: Any) -> Tensor:
        return torch.zeros(len(experience.text))

    def loss(self, experience: Completions, policy: Any) -> Tensor:
        return -policy.log_probs(experience).sum(1).mean()


class Watched(Descent):
    """Keeps each update's gradient, and takes the step only if told to."""

    def __init__(self, *, go: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.go, self.gradients = go, []

    def step(self) -> dict[str, float]:
        self.gradients.append(torch.cat([p.grad.flatten().clone() for p in self.parameters if p.grad is not None]))
        if self.go:
            return super().step()
        self.adam.zero_grad(set_to_none=True)
        return {}


def tiny(seed: int = 0, **options: Any) -> CausalLM:
    """A tiny model of eleven letters."""
    return tiny_model(**{"seed": seed, "characters": LETTERS, "spread": 0.3, "max_length": 64} | options)


def learner(reward: Any = None, **options: Any) -> TextLearner:
    """A learner that has been asked `QUESTIONS`: four groups of six answers of up to seven letters."""
    usual: dict[str, Any] = {
        "sampler": GroupSampler(n=6, max_tokens=7),
        "descent": Watched(max_grad_norm=None),
        "prompts": 4,
        "policy": tiny(),
    }
    usual |= options
    policy = usual.pop("policy")
    made = TextLearner(policy, reward or Vowels(), **usual)
    made.ask(QUESTIONS)
    return made
