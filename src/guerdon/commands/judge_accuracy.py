"""``guerdon judge-accuracy``: how right the recorded judge is about what it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from guerdon.judges.caption_classifier import CaptionClassifier
from guerdon.judges.record import Record, read_record
from guerdon.types import FIRST, SECOND, TIE


@dataclass(frozen=True)
class Figure:
    """A share with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    cases: int  # captions or pairs


def judge_accuracy(*, record: Path | None = None, folds: int = 5) -> None:
    """Measures the classifier that answers for captions outside a record, on templates it was not fitted to.

    Args:
        record: a JSON-lines record of your own; without it, the packaged NetHack captions.
        folds: parts of the record, each of which is judged by a classifier fitted to the others.
    """
    show(measure(read_record(record), folds=folds), folds=folds)


def show(figures: Sequence[Figure], *, folds: int) -> None:
    """Prints what was measured."""
    table = Table("what", "accuracy", "95 % interval", "cases", title=f"Recorded judge, {folds} folds by template")
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:.3f}", f"{figure.low:.3f} to {figure.high:.3f}", f"{figure.cases:,}")
    console = Console()
    console.print(table)
    console.print(
        "Captions that differ only in names, letters or numbers share a template; a template is in one fold only."
    )


def measure(record: Record, *, folds: int = 5) -> list[Figure]:
    """The figures of `judge_accuracy`.

    Balanced accuracy is the mean of the shares right among helpful and among other captions; a constant or random
    answer has 0.5. Intervals: bootstrap over templates, and over pairs.

    Raises:
        ValueError: the record has fewer templates than folds, or only one kind of label.
    """
    captions = list(record.captions)
    helpful = np.array([entry.helpful >= 0.5 for entry in record.captions.values()])
    value = np.array([entry.value for entry in record.captions.values()])
    # A template of its own for what has none; one for all that were set aside as "own", which may resemble each other.
    names = [entry.template or f"alone: {caption}" for caption, entry in record.captions.items()]
    template = np.unique(names, return_inverse=True)[1]
    if len(set(names)) < folds:
        raise ValueError(f"{folds} folds need {folds} templates, the record has {len(set(names))}")
    if helpful.all() or not helpful.any():
        raise ValueError("the record has only one kind of label, so there is nothing to tell apart")

    guess = _guesses(captions, helpful, value, template, folds)
    alone = _guesses(captions, helpful, value, np.arange(len(captions)), folds)
    figures = [
        _balanced("helpful or not, unseen templates", guess[0] == helpful, helpful, template),
        _balanced("helpful or not, unseen captions of known templates", alone[0] == helpful, helpful, template),
    ]
    pairs = [(a, b, outcome) for (a, b), outcome in record.pairs.items() if {a, b} <= record.captions.keys()]
    if pairs:
        figures += _pair_figures("recorded values", dict(zip(captions, value, strict=True)), pairs)
        figures += _pair_figures("guessed values", dict(zip(captions, guess[1], strict=True)), pairs)
    return figures


def _guesses(
    captions: Sequence[str], helpful: np.ndarray, value: np.ndarray, group: np.ndarray, folds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of each caption: helpful and value, said by a classifier that has seen nothing of the caption's group."""
    from sklearn.model_selection import GroupKFold

    texts = np.array(captions, dtype=object)
    said = np.empty(len(texts)), np.empty(len(texts))
    for rest, held_out in GroupKFold(folds).split(texts, groups=group):
        classifier = CaptionClassifier().fit(texts[rest], helpful[rest], value[rest])
        said[0][held_out], said[1][held_out] = classifier.predict(texts[held_out])
    return said


def _balanced(name: str, right: np.ndarray, helpful: np.ndarray, template: np.ndarray, draws: int = 2000) -> Figure:
    count = template.max() + 1
    kinds = [(kind, np.bincount(template[kind], minlength=count)) for kind in (helpful, ~helpful)]
    hits = [np.bincount(template[kind & right], minlength=count) for kind, _ in kinds]

    def accuracy(weights: np.ndarray) -> np.ndarray:
        """Of each row of weights over the templates."""
        return np.mean([weights @ hit / (weights @ of) for hit, (_, of) in zip(hits, kinds, strict=True)], axis=0)

    chance = np.random.default_rng(0)
    drawn = np.concatenate(
        [accuracy(chance.multinomial(count, np.full(count, 1 / count), 50)) for _ in range(draws // 50)]
    )
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Figure(name, float(accuracy(np.ones(count))), float(low), float(high), len(right))


def _pair_figures(source: str, value: dict[str, float], pairs: list[tuple[str, str, int]]) -> list[Figure]:
    """How often the larger value is the preferred side: over all three outcomes, and where both choose a side."""
    truth = np.array([outcome for *_, outcome in pairs])
    first, second = np.array([value[a] for a, _, _ in pairs]), np.array([value[b] for _, b, _ in pairs])
    said = np.where(first == second, TIE, np.where(first > second, FIRST, SECOND))
    sided = (truth != TIE) & (said != TIE)
    figures = []
    for name, right in (("all outcomes", said == truth), ("where both choose", (said == truth)[sided])):
        if right.size:
            means = np.random.default_rng(0).choice(right, (2000, right.size)).mean(1)
            low, high = np.quantile(means, (0.025, 0.975))
            figures.append(
                Figure(f"pairs by {source}, {name}", float(right.mean()), float(low), float(high), right.size)
            )
    return figures
