"""What a text learner holds between sampling and learning."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.learners.folder import spread
from guerdon.parts.group_advantages import row_rewards
from guerdon.parts.group_filter import varied_groups
from guerdon.parts.joined import join, pad
from guerdon.types import Completions, Scored


@dataclass(frozen=True)
class Batch:
    """Completions with their scores; what credit and the reference say of them is filled in later."""

    completions: Completions
    scored: Scored
    weight: Tensor  # [N]; 0 is not trained on
    advantage: Tensor | None = None  # [N, L]
    ref_log_prob: Tensor | None = None  # [N, L]

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def groups(self) -> int:
        """How many different groups there are."""
        return len(self.completions.group.unique())  # type: ignore[union-attr]

    @property
    def unscored(self) -> Tensor:
        """[N] bool: completions of which the reward said nothing (NaN), or not of every token."""
        return row_rewards(self.scored.value, self.completions.mask.bool()).isnan()

    def kept(self) -> Batch:
        """Without the groups in which nothing has weight."""
        names, index = torch.unique(self.completions.group, return_inverse=True)
        alive = torch.zeros(len(names), device=index.device).index_add(0, index, (self.weight > 0).float()) > 0
        return self if bool(alive.all()) else self.rows(alive[index])

    def summary(self) -> dict[str, float]:
        """What to log: each term a completion, weighted as in the sum; each stage; lengths; how much groups differ."""
        mask, value = self.completions.mask.bool(), row_rewards(self.scored.value, self.completions.mask.bool())
        logs = {f"value/{k}": v for k, v in spread(value).items()}
        for name, term in self.scored.terms.items():
            of_rows = row_rewards(term, mask)
            logs |= {f"term/{name}/{k}": v for k, v in spread(of_rows).items()}
            logs[f"term/{name}/unscored"] = float(of_rows.isnan().sum())
        for name, stage in self.scored.stages.items():
            places = stage[mask] if stage.ndim == 2 else stage
            logs |= {f"stage/{name}/{k}": v for k, v in spread(places).items()}
        lengths = mask.sum(1).float()
        logs |= {"length/mean": float(lengths.mean()), "length/max": float(lengths.max())}
        logs["batch/unscored"] = float(self.unscored.sum())
        logs["batch/varied"] = float(varied_groups(value, self.completions.group).float().mean())  # type: ignore
        if self.advantage is not None:
            logs["advantage/size"] = float(self.advantage[mask].abs().mean())
        return logs

    def table(self, rows: int, tokens: Callable[[int], str]) -> list[dict[str, Any]]:
        """The first rows, whole, as plain values: each term, stage and advantage as it was trained on.

        A value of the whole answer is a number, one of its tokens a list with an entry a generated token; null is "not
        scored". `tokens` is the text of a token.
        """
        c, found = self.completions, []
        for i in range(min(rows, len(self))):
            mask = c.mask[i].bool()

            def plain(x: Tensor | None, i: int = i, mask: Tensor = mask) -> Any:
                if x is None:
                    return None
                values = (x[i][mask] if x.ndim == 2 else x[i]).tolist()
                return [_number(v) for v in values] if isinstance(values, list) else _number(values)

            found.append(
                {
                    "group": plain(c.group),
                    "prompt": c.prompt[i],
                    "text": c.text[i],
                    "tokens": [tokens(t) for t in c.ids[i][mask].tolist()],
                    "steps": plain(c.step),
                    "value": plain(self.scored.value),
                    "terms": {k: plain(v) for k, v in self.scored.terms.items()},
                    "stages": {k: plain(v) for k, v in self.scored.stages.items()},
                    "weight": plain(self.weight),
                    "advantage": plain(self.advantage),
                    "log_prob": plain(c.log_prob),
                    "columns": {k: v[i] for k, v in (c.columns or {}).items()},
                }
            )
        return found

    def rows(self, index: Any) -> Batch:
        """The rows that `index` picks, of everything."""

        def pick(value: Any) -> Any:
            return None if value is None else value[index]

        value, terms, stages = self.scored
        scored = Scored(pick(value), {k: pick(v) for k, v in terms.items()}, {k: pick(v) for k, v in stages.items()})
        rest = (pick(self.weight), pick(self.advantage), pick(self.ref_log_prob))
        return Batch(self.completions.rows(index), scored, *rest)


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches that have no advantage yet as one."""
    if len(batches) == 1:
        return batches[0]
    whole = join([b.completions for b in batches])
    length = whole.shape[1]

    def cat(values: list[Tensor]) -> Tensor:
        return torch.cat([pad(v, length) if v.ndim == 2 else v for v in values])

    def table(of: str) -> dict[str, Tensor]:
        tables: list[dict[str, Tensor]] = [getattr(b.scored, of) for b in batches]
        return {name: cat([t[name] for t in tables]) for name in tables[0]}

    scored = Scored(cat([b.scored.value for b in batches]), table("terms"), table("stages"))
    return Batch(whole, scored, torch.cat([b.weight for b in batches]))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6) if isinstance(value, float) else value
