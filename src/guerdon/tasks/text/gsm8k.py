"""Grade-school word problems."""

from __future__ import annotations

import functools
import gzip
import json
import re
from pathlib import Path

from guerdon.tasks.text.splits import Row, Split, random_of

_DATA = Path(__file__).parent / "data" / "gsm8k"


@functools.cache
def _problems(split: Split) -> list[dict[str, str]]:
    with gzip.open(_DATA / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


class GSM8K:
    r"""GSM8K's word problems: 1,319 of "test", the first 3,000 of "train" (Cobbe et al., 2021; MIT, packaged).

        {"question": "A robe takes 2 bolts ...", "answer": "It takes 2/2=<<2/2=1>>1 bolt ...\n#### 3"}

    becomes `prompt` (the question behind `instruction`), `answer` ("3", without thousands separators) and `solution`
    (the worked answer without the calculator's marks). Rows come in a shuffled order, without repeats until all were
    there.

    Args:
        instruction: what is said before each question; "{question}" in it is where the question goes, else the end.
        chat: make the prompt a list of one user message, for a model with a chat template.
    """

    def __init__(self, *, instruction: str = "", chat: bool = False) -> None:
        self.instruction, self.chat = instruction, chat

    def rows(self, n: int, seed: int = 0, *, split: Split = "train") -> list[Row]:
        """`n` problems."""
        random, found = random_of(seed, split), []
        problems = _problems(split)
        while len(found) < n:
            found += random.sample(problems, min(len(problems), n - len(found)))
        return [self._row(p["question"], p["answer"]) for p in found]

    def _row(self, question: str, worked: str) -> Row:
        solution, _, answer = worked.rpartition("\n#### ")
        place = "{question}"
        text = self.instruction if place in self.instruction else self.instruction + place
        asked = text.replace(place, question)
        return {
            "prompt": [{"role": "user", "content": asked}] if self.chat else asked,
            "answer": answer.replace(",", ""),
            "solution": re.sub(r"<<.*?>>", "", solution) + "\n#### " + answer.replace(",", ""),
        }
