"""The preferences of domain-rm as pairs, for the scripts that use them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from guerdon.parts.pair_rows import PairRow, to_pairs
from guerdon.types import FIRST, SECOND, Pairs

DATA = Path(__file__).parent / "data" / "domain_rm"
PROPERTIES = (
    "aspect-coverage", "opinion-faithfulness", "opinion-coverage", "conciseness", "relevance", "hallucination",
    "language-correctness",
)  # fmt: skip


def read(part: str) -> Pairs:
    """The pairs of "train" or "valid": the reviews as prompt, a column a property and one of the words."""
    rows = []
    with gzip.open(DATA / f"annotations_{part}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for i, line in enumerate(lines, 1):
            row: dict[str, Any] = json.loads(line)
            sides = [row["summary-pairs"][name] for name in ("summary-one", "summary-two")]
            texts = [side["summary-text"] for side in sides]
            features: dict[str, list[float]] = {p: [float(s["summary-score"][p]) for s in sides] for p in PROPERTIES}
            features["words"] = [float(len(text.split())) for text in texts]
            label = {1: FIRST, 2: SECOND}[int(row["preference-data"])]
            columns = {"features": features, "annotator": row["source"]}
            rows.append(PairRow("\n".join(row["reviews"]), texts[0], texts[1], label, columns, f"{part}, line {i}"))
    return to_pairs(rows)
