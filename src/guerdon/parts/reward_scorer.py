"""A reward as a scorer of written rows: what servers, files and other libraries' trainers call."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.parts.completions_from_text import completions_from_text
from guerdon.parts.group_advantages import row_rewards
from guerdon.parts.scorer import Row, Score
from guerdon.types.experience import Completions
from guerdon.types.protocols import LanguageModel, Spec
from guerdon.types.reward import Reward


class RewardScorer:
    """``RewardScorer(reward)(rows) -> list[Score]``, with the value of each term of the reward beside the score.

    A reward that scores tokens or steps gives a row the sum of them; if one of them is not scored, the row is not.
    Rows are as in `completions_from_text`. Without a model the object can be pickled, for `WorkerPool`.

    Args:
        reward: a reward of completions.
        model: handed to a reward that needs a "policy" or another language model.
        reference: handed to one that needs a "reference"; by default `model`.

    Raises:
        ValueError: the reward is not one of completions, or needs a model and there is none.
    """

    def __init__(
        self, reward: Reward, *, model: LanguageModel | None = None, reference: LanguageModel | None = None
    ) -> None:
        self.reward, self.model, self.reference = reward, model, reference or model
        self.__name__ = repr(reward)
        self._ready, self._lock = False, threading.Lock()
        for part in reward.modules():
            if isinstance(part, Reward):
                kind = part.about.scores if hasattr(part, "about") else "any"
                if kind not in ("any", "Completions"):
                    raise ValueError(f"{part.name} scores a {kind}, not completions: it cannot score texts")
                missing = part.needs if model is None else frozenset()
                if missing := missing - ({"reference"} if reference else frozenset()):
                    needs = " and ".join(sorted(missing))
                    raise ValueError(f"{part.name} needs a language model ({needs}): name one with --model or model=")

    def __getstate__(self) -> dict[str, Any]:
        return {"reward": self.reward, "model": self.model, "reference": self.reference}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def __call__(self, rows: Sequence[Row]) -> list[Score]:
        self.prepare()
        completions = completions_from_text(rows, model=self.model or self.reference)
        needs = {name for part in self.reward.modules() if isinstance(part, Reward) for name in part.needs}
        models = {name: self.reference if name == "reference" else self.model for name in needs}
        with torch.no_grad():
            scored = self.reward.evaluate(completions, **models)
        values = totals(scored.value, completions)
        terms = {name: totals(term, completions) for name, term in scored.terms.items()}
        found = []
        for i, value in enumerate(values):
            of_row = {name: term[i] for name, term in terms.items()}
            found.append(Score(value, None if value is not None else "not scored", "", of_row))
        return found

    def prepare(self) -> None:
        """Builds the reward, once."""
        with self._lock:
            if not self._ready:
                spec = Spec(tokenizer=getattr(self.model or self.reference, "tokenizer", None))
                self.reward.build(spec, generator=torch.Generator().manual_seed(0))
                self.reward.eval()
                self._ready = True


def totals(value: Tensor, completions: Completions) -> list[float | None]:
    """A score [N], or [N, L] summed over each row's tokens, as numbers; None where it is NaN."""
    numbers = row_rewards(value, completions.mask.bool()).detach().float().cpu().numpy()
    return [None if np.isnan(x) else float(str(x)) for x in numbers]  # 0.1, not 0.10000000149011612
