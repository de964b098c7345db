"""What is experience, and what is a reward? The types that everything else stands on."""

from guerdon.types.experience import (
    FIRST,
    SECOND,
    TIE,
    Chain,
    Completions,
    Experience,
    Item,
    Label,
    Labels,
    Pairs,
    Rollout,
)
from guerdon.types.protocols import Captions, Judge, Spec, Step, VectorTask
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
    "FIRST", "SECOND", "TIE", "About", "Adopted", "Captions", "Chain", "Completions", "Experience", "Item", "Judge",
    "Label", "Labels", "Pairs", "Product", "Reward", "Rollout", "Scored", "Spec", "Step", "Stream", "Sum",
    "VectorTask", "as_reward", "check_score", "streams",
]  # fmt: skip
