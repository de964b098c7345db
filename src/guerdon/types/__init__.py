"""What is experience, and what is a reward? The types that everything else stands on.

Names are imported when they are first asked for: a judge's process needs labels, and not PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guerdon.types.experience import (
        Chain,
        Completions,
        Experience,
        Labels,
        Pairs,
        Rollout,
    )
    from guerdon.types.labels import FIRST, SECOND, TIE, Item, Label
    from guerdon.types.protocols import (
        Captions,
        ContextOverflow,
        Judge,
        LanguageModel,
        Prompt,
        Spec,
        Step,
        TokenScores,
        VectorTask,
    )
    from guerdon.types.reward import (
        About,
        Adopted,
        Product,
        Reward,
        Scored,
        Stream,
        Sum,
        as_reward,
        check_score,
        streams,
    )

__all__ = [
    "FIRST", "SECOND", "TIE", "About", "Adopted", "Captions", "Chain", "Completions", "ContextOverflow", "Experience",
    "Item", "Judge", "Label", "Labels", "LanguageModel", "Pairs", "Product", "Prompt", "Reward", "Rollout", "Scored",
    "Spec", "Step", "Stream", "Sum", "TokenScores", "VectorTask", "as_reward", "check_score", "streams",
]  # fmt: skip

_HOMES = ("labels", "protocols", "experience", "reward")  # the light ones first


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if name in vars(module):
                globals()[name] = vars(module)[name]
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
