"""Whether a response keeps to the form that it was asked for."""

from __future__ import annotations

from collections.abc import Sequence

THINK_TAGS = ("<think>", "</think>")


def follows_format(texts: Sequence[str], tags: Sequence[str]) -> list[bool]:
    """Of each text, whether each of the tags occurs in it exactly once, in this order."""

    def follows(text: str) -> bool:
        places = [text.find(tag) for tag in tags]
        return all(text.count(tag) == 1 for tag in tags) and places == sorted(places)

    return [follows(text) for text in texts]
