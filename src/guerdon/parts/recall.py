"""What was worked out for the rollout last scored, so that `observe` need not work it out again."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import chain
from typing import Any, Generic, TypeVar

from torch import nn

from guerdon.types import Rollout

V = TypeVar("V")


class Recall(Generic[V]):
    """Holds one value for one rollout, while the weights and buffers it came from stay as they are.

    It is no state: a copy holds nothing. `forget` when networks learn, for fused optimisers change weights without a
    trace. Whoever changes a rollout in place after scoring it finds the old value.
    """

    def __init__(self) -> None:
        self._held: tuple[weakref.ref[Any], tuple[tuple[int, int], ...], V] | None = None

    def of(self, rollout: Rollout, module: nn.Module, work_out: Callable[[], V]) -> V:
        """The value for `rollout`, worked out if it is another one or `module` has changed."""
        version = tuple((t.data_ptr(), t._version) for t in chain(module.parameters(), module.buffers()))
        if self._held is not None and self._held[0]() is rollout and self._held[1] == version:
            return self._held[2]
        value = work_out()
        self._held = (weakref.ref(rollout), version, value)
        return value

    def forget(self) -> None:
        self._held = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()
