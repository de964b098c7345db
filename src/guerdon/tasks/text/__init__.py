"""Questions for language models: generated from a seed, or packaged.

>>> make("Arithmetic", terms=3).rows(2)[0].keys()
dict_keys(['prompt', 'answer', 'solution', 'terms'])
"""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from guerdon.tasks.text.arithmetic import Arithmetic
from guerdon.tasks.text.follow_ups import FollowUps
from guerdon.tasks.text.gsm8k import GSM8K
from guerdon.tasks.text.inquiry import Inquiry
from guerdon.tasks.text.latent_chain import LatentChain
from guerdon.tasks.text.lookup import Lookup
from guerdon.tasks.text.splits import Row, Split, TextTask

__all__ = ["GSM8K", "Arithmetic", "FollowUps", "Inquiry", "LatentChain", "Lookup", "Row", "Split", "TextTask", "make"]

TASKS: dict[str, type[Any]] = {t.__name__: t for t in (Arithmetic, LatentChain, Lookup, Inquiry, FollowUps, GSM8K)}
"""The text tasks by name."""


def make(name: str, **options: Any) -> TextTask:
    """The text task of this name. Raises ValueError naming the nearest ones, of names and of options."""
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=3, cutoff=0.5) or TASKS
        raise ValueError(f"no text task is called {name!r}; there is {', '.join(near)}")
    known = inspect.signature(TASKS[name]).parameters
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=3) or known
            raise ValueError(f"{name} has no option {option!r}; there is {', '.join(near)}")
    return TASKS[name](**options)
