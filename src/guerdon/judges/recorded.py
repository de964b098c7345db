"""A judge that needs nothing: it replays what a language model has said of NetHack's messages."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from guerdon.judges.caption_classifier import CaptionClassifier
from guerdon.judges.expression import check_choices, expression
from guerdon.judges.record import Entry, Record, read_record
from guerdon.types import FIRST, SECOND, TIE, Item, Label


@dataclass(kw_only=True, eq=False, repr=False)
class RecordedJudge:
    """Replays a record of labels, and answers captions outside it with a classifier fitted to the record at first use.

    A caption gets its recorded label. A pair gets its recorded outcome, in either order; else the caption with the
    larger `value` wins and equal ones tie. The empty caption is 0, whatever the options. Answers depend on the options
    and the item alone, never on the order of questions.

    Args:
        labels: what a caption's label is. "helpful": recorded, 0 or 1. "value": the recorded finer scale, divided by
            its largest. "random": 0 or 1 by lot. "ones": 1. For "random" and "ones" pairs follow these labels.
        unseen: what to say of captions outside the record: "classifier", or "unlabelled" (no label, reason "unseen").
        invert: turns every label round: 1 - label, the other side of a pair.
        noise: share of the answers that are turned round, by lot; ties stay.
        rate: share of ones among random labels.
        seed: of the lots.
        record: a JSON-lines file of your own (see `read_record`); None is the packaged NetHack record.

    Raises:
        ValueError: an unknown option, when made; a malformed record, at first use.
    """

    labels: Literal["helpful", "value", "random", "ones"] = "helpful"
    unseen: Literal["classifier", "unlabelled"] = "classifier"
    invert: bool = False
    noise: float = 0.0
    rate: float = 0.5
    seed: int = 0
    record: str | None = None
    _counts: Counter[str] = field(default_factory=Counter, init=False)

    def __post_init__(self) -> None:
        check_choices(self, "labels", "unseen")
        for key in ("noise", "rate"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"RecordedJudge({key}=...) is a share in 0..1, got {getattr(self, key)!r}")

    def __repr__(self) -> str:
        return expression(self)

    def __getstate__(self) -> dict[str, Any]:
        made = ("_record", "_classifier", "_largest")  # quicker made again than sent
        return {key: value for key, value in self.__dict__.items() if key not in made}

    @property
    def name(self) -> str:
        """The judge with those of its options that change answers; which record it is stands in `prompt`."""
        return expression(self, leave_out=("record",))

    @property
    def prompt(self) -> str:
        """The word "record" and a short hash of the record."""
        return f"record-{self._record.version}"

    async def judge(self, items: Sequence[Item]) -> list[Label]:
        """One label an item, in order; without one only if the caption is unseen and `unseen` is "unlabelled"."""
        entries = self._entries(text for item in items for text in ((item,) if isinstance(item, str) else item))
        name, prompt = self.name, self.prompt
        values = [self._of_caption(i, entries[i]) if isinstance(i, str) else self._of_pair(*i, entries) for i in items]
        return [
            Label(item, value, None if value is not None else "unseen", name, prompt)
            for item, value in zip(items, values, strict=True)
        ]

    def counters(self) -> dict[str, float]:
        """Captions looked up so far: recorded, guessed by the classifier, unlabelled."""
        return {key: float(self._counts[key]) for key in ("recorded", "guessed", "unlabelled")}

    @cached_property
    def _record(self) -> Record:
        return read_record(self.record)

    @cached_property
    def _classifier(self) -> CaptionClassifier:
        entries = self._record.captions
        return CaptionClassifier().fit(
            list(entries), [e.helpful for e in entries.values()], [e.value for e in entries.values()]
        )

    @cached_property
    def _largest(self) -> float:
        return max(entry.value for entry in self._record.captions.values()) or 1.0

    def _entries(self, captions: Iterable[str]) -> dict[str, Entry | None]:
        """What is known or guessed of each caption; None where nothing is."""
        wanted = dict.fromkeys(captions)
        if self.labels in ("random", "ones"):
            share = self.rate if self.labels == "random" else 1.0
            drawn = {text: float(text != "" and self._lot("random", text) < share) for text in wanted}
            return {text: Entry(label, label) for text, label in drawn.items()}
        known = {"": Entry(0.0, 0.0)} | {
            t: self._record.captions[t] for t in wanted if t and t in self._record.captions
        }
        unseen = [text for text in wanted if text not in known]
        self._counts["recorded"] += len(wanted) - len(unseen)
        self._counts["guessed" if self.unseen == "classifier" else "unlabelled"] += len(unseen)
        if unseen and self.unseen == "classifier":
            guesses = zip(*self._classifier.predict(unseen), strict=True)
            known |= {text: Entry(float(h), float(v)) for text, (h, v) in zip(unseen, guesses, strict=True)}
        return {text: known.get(text) for text in wanted}

    def _of_caption(self, caption: str, entry: Entry | None) -> float | None:
        if caption == "" or entry is None:
            return None if entry is None else 0.0
        value = entry.value / self._largest if self.labels == "value" else entry.helpful
        return 1.0 - value if self._turned(caption) else value

    def _of_pair(self, first: str, second: str, entries: dict[str, Entry | None]) -> int | None:
        one, two = entries[first], entries[second]
        if first == second:
            return TIE
        outcome = None
        if self.labels in ("helpful", "value"):
            outcome = self._record.pairs.get((first, second))
            if outcome is None and (other_way := self._record.pairs.get((second, first))) is not None:
                outcome = _other_side(other_way)
        if outcome is None:
            if one is None or two is None:
                return None
            outcome = TIE if one.value == two.value else FIRST if one.value > two.value else SECOND
        return _other_side(outcome) if self._turned(*sorted((first, second))) else outcome

    def _turned(self, *words: str) -> bool:
        return self.invert != (self._lot("noise", *words) < self.noise)

    def _lot(self, *words: str) -> float:
        """A number in [0, 1) that depends on the seed and the words alone."""
        digest = hashlib.blake2b("\0".join((str(self.seed), *words)).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


def _other_side(outcome: int) -> int:
    return TIE if outcome == TIE else FIRST + SECOND - outcome
