"""What a language model is asked, filled in from the text files under prompts/."""

from __future__ import annotations

import difflib
import hashlib
import re
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from guerdon.judges.errors import JudgeMisconfigured
from guerdon.types import TIE, Item


class Prompt:
    """The messages that ask about a caption (classification) or about two of them (ranking).

    Args:
        goal: what counts as progress: "default", "combat" or "gold"; for pairs also "stairs", and "zero-knowledge",
            which says nothing about it.
        route: "chat" asks for knowledge, analysis and label, each in its tag; "logprobs" for the label alone.
        folder: a folder of your own with the same layout as prompts/, for other games or other wording; the label
            words FOO, BAR, 1, 2 and None and their tags are what the parser reads.
    """

    def __init__(self, *, goal: str = "default", route: str = "chat", folder: str | None = None) -> None:
        self.goal, self.route, self.folder = goal, route, folder

    @cached_property
    def version(self) -> str:
        """Goal, route and a short hash of every text that is used with them."""
        digest = hashlib.sha256()
        for kind, texts in self._texts.items():
            digest.update(repr((kind, sorted(texts.items()))).encode())
        return f"{self.goal}-{self.route}-{digest.hexdigest()[:8]}"

    def messages(self, item: Item) -> list[dict[str, str]]:
        """The system turn and the user turn of a chat.

        Raises:
            JudgeMisconfigured: there is no such goal for this kind of item, or a text file is missing or malformed.
        """
        kind = "classification" if isinstance(item, str) else "ranking"
        if kind not in self._texts:
            raise JudgeMisconfigured(f"goal {self.goal!r} is not one for {kind}: choose {self._goals(kind)}")
        texts = self._texts[kind]
        shown = {"caption": item} if isinstance(item, str) else dict(zip(("first", "second"), item, strict=True))
        try:
            question = texts["question"].format(**texts, **shown)
        except (KeyError, ValueError, IndexError) as error:
            raise JudgeMisconfigured(
                f"{self._root}/{kind}/question.txt has a bad place to fill in: {error!r}"
            ) from error
        question = re.sub(r"\n{3,}", "\n\n", question)  # where a goal is empty
        return [{"role": "system", "content": texts["system"]}, {"role": "user", "content": question}]

    @cached_property
    def _root(self) -> Traversable:
        return Path(self.folder) if self.folder else files("guerdon.judges") / "prompts"

    @cached_property
    def _texts(self) -> dict[str, dict[str, str]]:
        """For each kind of question that has this goal: its texts, by the names that the question calls them."""
        found = {}
        for kind in ("classification", "ranking"):
            here = self._root / kind
            if (here / "goals" / f"{self.goal}.txt").is_file():
                texts = {
                    "system": self._root / "system.txt",
                    "question": here / "question.txt",
                    "goal": here / "goals" / f"{self.goal}.txt",
                    "answer": here / "answers" / f"{self.route}.txt",
                }
                if kind == "classification":
                    texts["examples"] = here / "examples" / f"{self.goal}.txt"
                found[kind] = {name: self._read(file) for name, file in texts.items()}
        if not found:
            choices = sorted({*self._goals("classification"), *self._goals("ranking")})
            near = difflib.get_close_matches(self.goal, choices, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise JudgeMisconfigured(
                f"there is no goal {self.goal!r} under {self._root}: choose one of {choices}{hint}"
            )
        return found

    def _goals(self, kind: str) -> list[str]:
        folder = self._root / kind / "goals"
        return sorted(file.name.removesuffix(".txt") for file in folder.iterdir()) if folder.is_dir() else []

    @staticmethod
    def _read(file: Traversable) -> str:
        try:
            return file.read_text(encoding="utf-8").strip()
        except FileNotFoundError as error:
            raise JudgeMisconfigured(f"the prompt needs a file {file}") from error


def settled(item: Item) -> float | None:
    """The answer that needs no call: the empty caption is 0, two equal texts tie. None for everything else."""
    if isinstance(item, str):
        return None if item else 0.0
    return TIE if item[0] == item[1] else None
