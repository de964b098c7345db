"""How good a reward model is on comparisons that it has not seen, and where it fails."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.parts.pair_accuracy import accuracy_plus, told_right
from guerdon.parts.pair_loss import pair_loss
from guerdon.types import FIRST, TIE, Completions, Pairs

DRAWS = 2000
"""Of the bootstrap."""


def figures(scores: Tensor, pairs: Pairs, groups: Sequence[Hashable], *, worst: int = 20) -> dict[str, Any]:
    """All that is said of held-out pairs, as plain values for a JSON file.

    accuracy, with its interval ("low", "high": 95 %, Bayesian bootstrap over `groups`, since pairs of one prompt
    are not independent); loss; "calibration"; accuracy by "subset" (a column of that name) and by "length" (which
    answer has more words); "accuracy_plus" by the column "sample"; the "worst" pairs, most wrongly told first.

    Args:
        scores: [N, 2] of the first and the second.
        pairs: the N pairs.
        groups: what belongs together, one a pair, such as its prompt.
        worst: how many of them.

    Raises:
        ValueError: a score is NaN, or the sizes differ.
    """
    if scores.shape != (len(pairs.label), 2) or len(groups) != len(pairs.label):
        raise ValueError(f"{len(pairs.label)} pairs need scores [N, 2] and N groups, got {list(scores.shape)}")
    if bool(scores.isnan().any()):
        raise ValueError(f"{int(scores.isnan().any(1).sum())} of {len(scores)} pairs have no score (NaN)")
    first, second = scores.unbind(1)
    right = told_right(first, second, pairs.label)
    keys = {key: i for i, key in enumerate(dict.fromkeys(groups))}
    group = np.array([keys[key] for key in groups], dtype=int)
    found: dict[str, Any] = {"pairs": len(right), "ties": int((pairs.label == TIE).sum())}
    found |= _interval(right.numpy(), group)
    found["loss"] = float(pair_loss(first, second, pairs.label).mean()) if len(right) else None
    found["calibration"] = calibration(first, second, pairs.label)
    columns = pairs.columns or {}
    parts = {"subset": columns.get("subset"), "length": _longer(pairs)}
    for name, values in parts.items():
        if values is not None:
            found[name] = {
                str(v): _interval(right.numpy()[rows], group[rows])
                for v in dict.fromkeys(values)
                if len(rows := np.array([i for i, other in enumerate(values) if other == v]))
            }
    if "sample" in columns:
        found["accuracy_plus"] = accuracy_plus(right, columns["sample"])
    lead = torch.where(pairs.label == FIRST, first - second, second - first).masked_fill(pairs.label == TIE, torch.inf)
    wrong = [i for i in lead.argsort().tolist()[:worst] if lead[i] < 0]
    found["worst"] = [_shown(pairs, i, scores[i], float(lead[i])) for i in wrong]
    return found


def calibration(first: Tensor, second: Tensor, label: Tensor, *, bins: int = 10) -> dict[str, Any]:
    """Whether a pair of which the model is p sure is told right with chance p.

    Pairs that are no ties, by rising p = sigmoid(|first - second|), in bins of equal number: mean p, share told right
    and number of each; "error" is the mean of |share - p| weighted by number (ECE), 0 where it is all well.
    """
    told = label != TIE
    sure = (first - second).abs().sigmoid()[told]
    right = told_right(first, second, label)[told]
    order = sure.argsort(stable=True)
    parts = [rows for rows in order.tensor_split(min(bins, max(1, len(order)))) if len(rows)]
    rows = [{"p": float(sure[r].mean()), "right": float(right[r].mean()), "n": len(r)} for r in parts]
    n = sum(row["n"] for row in rows)
    error = sum(row["n"] * abs(row["right"] - row["p"]) for row in rows) / n if n else None
    return {"bins": rows, "error": error}


def draw_calibration(found: dict[str, Any], path: Path) -> None:
    """The bins of `calibration` against the diagonal, with 95 % intervals of a share."""
    figure, axes = _figure()
    rows = found["calibration"]["bins"]
    p, share, n = (np.array([row[key] for row in rows]) for key in ("p", "right", "n"))
    half = 1.96 * np.sqrt(np.clip(share * (1 - share), 1e-9, None) / np.maximum(n, 1))
    axes.plot([0.5, 1], [0.5, 1], color="grey", linewidth=1, linestyle="--", label="calibrated")
    axes.errorbar(p, share, yerr=half, marker="o", markersize=4, linewidth=1, capsize=2, label="held-out pairs")
    axes.set(xlabel="how sure the model is, sigmoid(|difference|)", ylabel="share told right", xlim=(0.48, 1.02))
    axes.set_title(f"calibration error {found['calibration']['error'] or 0:.3f}")
    axes.legend(frameon=False)
    figure.savefig(path)


def draw_learning(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Loss of the batches, loss of the held-out pairs and their accuracy, by step."""
    figure, axes = _figure()
    steps = [row["step"] for row in rows if "loss" in row]
    axes.plot(steps, [row["loss"] for row in rows if "loss" in row], color="lightgrey", linewidth=1, label="batch loss")
    looks = [row for row in rows if "held/loss" in row]
    at = [row["step"] for row in looks]
    axes.plot(at, [row["held/loss"] for row in looks], marker="o", markersize=3, label="held-out loss")
    axes.axhline(np.log(2), color="grey", linewidth=1, linestyle=":")
    axes.set(xlabel="steps", ylabel="loss (nats; dotted: ln 2, knowing nothing)")
    other = axes.twinx()
    other.plot(at, [r["held/accuracy"] for r in looks], color="tab:orange", marker="s", markersize=3, label="accuracy")
    other.set(ylabel="held-out accuracy", ylim=(0, 1))
    axes.legend(frameon=False, loc="lower left")
    other.legend(frameon=False, loc="lower right")
    figure.savefig(path)


def _figure() -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.5), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _interval(right: np.ndarray, group: np.ndarray) -> dict[str, Any]:
    """Accuracy over what is not NaN, with a bootstrap interval over groups; None where there is nothing."""
    told = ~np.isnan(right)
    right, group = right[told], group[told]
    if not len(right):
        return {"accuracy": None, "low": None, "high": None, "n": 0}
    _, group = np.unique(group, return_inverse=True)
    sums, counts = np.bincount(group, right), np.bincount(group)
    weights = np.random.default_rng(0).exponential(size=(DRAWS, len(sums)))  # the smooth bootstrap of Rubin, 1981
    means = weights @ sums / (weights @ counts)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"accuracy": float(right.mean()), "low": float(low), "high": float(high), "n": len(right)}


def _longer(pairs: Pairs) -> list[str] | None:
    if not isinstance(pairs.first, Completions):
        return None
    words = [[len(text.split()) for text in list(side.text)] for side in (pairs.first, pairs.second)]
    kinds = {1: "the better one is longer", -1: "the better one is shorter", 0: "equally long"}
    better = [(a, b) if told == FIRST else (b, a) for a, b, told in zip(*words, pairs.label.tolist(), strict=True)]
    return [kinds[int(np.sign(a - b))] for a, b in better]


def _shown(pairs: Pairs, i: int, scores: Tensor, lead: float) -> dict[str, Any]:
    shown: dict[str, Any] = {"lead": lead, "first_score": float(scores[0]), "second_score": float(scores[1])}
    shown["preferred"] = "first" if int(pairs.label[i]) == FIRST else "second"
    for name in ("where", "subset"):
        if name in (pairs.columns or {}):
            shown[name] = pairs.columns[name][i]  # type: ignore[index]
    if isinstance(pairs.first, Completions):
        shown |= {"prompt": list(pairs.first.prompt)[i], "first": list(pairs.first.text)[i]}
        shown["second"] = list(pairs.second.text)[i]
    return shown
