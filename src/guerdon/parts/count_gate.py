"""The episodic count gate: what a repeat is still worth."""

from __future__ import annotations

from torch import Tensor


def count_gate(counts: Tensor, power: float = 3.0) -> Tensor:
    """``counts ** -power`` in float32: what the N-th sight of a thing in one episode is worth.

    In (0, 1]; exactly 1 at N = 1 and for power 0. With power 3 a thing worth 1 pays at most 1 + 1/8 + 1/27 + ... =
    1.2020569 in an episode, however often it is repeated; a power of at most 1 leaves that sum without a bound.

    Raises:
        ValueError: a count below 1 (the present sight counts), or a negative power.
    """
    if power < 0:
        raise ValueError(f"the gate's power must not be negative, got {power}")
    if counts.numel() and int(counts.min()) < 1:
        raise ValueError(f"episodic counts start at 1, the present sight included; got {int(counts.min())}")
    return counts.float() ** -power
