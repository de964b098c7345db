"""Table look-up with missing rows: some questions have no answer in what is given."""

from __future__ import annotations

from random import Random

from guerdon.tasks.text.splits import Row, Split, draw

NAMES = (
    "ann", "ben", "cid", "dot", "eva", "fay", "gus", "hal", "ida", "jon", "kim", "leo",
    "mia", "ned", "ola", "pam", "quy", "ray", "sue", "tom", "una", "vic", "wim", "zoe",
)  # fmt: skip


class Lookup:
    """A table of names and numbers, and the number of one name asked for, which may not be in the table.

        prompt "ann 3, cid 8. cid?"    answer "8"       unanswerable 0
        prompt "ann 3, cid 8. tom?"    answer "unknown" unanswerable 1

    Columns: `answer`, `unanswerable` (0 or 1) and `gold`, the number that the hidden full table holds, whether or not
    it is shown (what a confident guess would have to hit). About a fifth of the questions are held out for "test".

    Args:
        entries: rows of the table that are shown.
        missing: share of questions about a name that is not shown.
        largest: of the numbers, which begin at 0.
        abstain: what to answer where nothing is there.
    """

    def __init__(self, *, entries: int = 4, missing: float = 0.5, largest: int = 9, abstain: str = "unknown") -> None:
        if not 1 <= entries < len(NAMES) or largest < 1:
            raise ValueError(f"1 <= entries < {len(NAMES)} and largest >= 1 are needed, got {entries} and {largest}")
        if not 0 <= missing <= 1:
            raise ValueError(f"missing is a share, got {missing}")
        self.entries, self.missing, self.largest, self.abstain = entries, missing, largest, abstain

    def rows(self, n: int, seed: int = 0, *, split: Split = "train") -> list[Row]:
        """`n` questions."""
        return draw(self._row, n, seed, split)

    def _row(self, random: Random) -> Row:
        names = random.sample(NAMES, self.entries + 1)
        numbers = [random.randint(0, self.largest) for _ in names]
        shown = sorted(zip(names[:-1], numbers[:-1], strict=True))
        unanswerable = random.random() < self.missing
        asked, gold = (names[-1], numbers[-1]) if unanswerable else random.choice(shown)
        table = ", ".join(f"{name} {number}" for name, number in shown)
        return {
            "prompt": f"{table}. {asked}?",
            "answer": self.abstain if unanswerable else str(gold),
            "unanswerable": int(unanswerable),
            "gold": str(gold),
        }
