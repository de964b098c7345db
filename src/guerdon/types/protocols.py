"""What plugs in around experience and rewards: games, judges, caption tables, and what a reward is built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from guerdon.types.labels import Item, Label

if TYPE_CHECKING:
    import numpy as np
    from gymnasium import spaces
    from torch import Tensor


class Captions(Protocol):
    """Interned captions: each text is stored once, under an int32 id; id 0 is the empty caption."""

    def __len__(self) -> int: ...

    def intern(self, text: str) -> int:
        """The id of `text`, which is new or known."""
        ...

    def text(self, index: int) -> str:
        """The caption with this id."""
        ...

    def encode(self, ids: Tensor) -> Tensor:
        """uint8 [n, 256]: the latin-1 bytes of each caption, zero-padded."""
        ...


@dataclass(frozen=True)
class Spec:
    """What a reward is built from, once: the spaces or the tokenizer, the caption table and the number of copies."""

    observation_space: spaces.Space | None = None  # of one environment
    action_space: spaces.Space | None = None
    captions: Captions | None = None
    num_envs: int = 1
    tokenizer: Any = None


class Judge(Protocol):
    """Answers questions about captions or pairs of them. Must be picklable before its first use."""

    @property
    def name(self) -> str:
        """Who judges; with `prompt` and the item, the key under which a label is stored."""
        ...

    @property
    def prompt(self) -> str:
        """The prompt's name and version."""
        ...

    async def judge(self, items: Sequence[Item]) -> list[Label]:
        """A row an item, in order: a label, or the reason why there is none. Raises only if nobody is there to ask."""
        ...

    def counters(self) -> dict[str, float]:
        """Calls, tokens, cost and the like so far; flat, for logs."""
        ...


class Step(NamedTuple):
    """What one group of games shows after a step. Arrays are views that live until the group's next `send`."""

    obs: dict[str, np.ndarray]  # [n, ...] each
    reward: np.ndarray  # float32 [n]
    terminated: np.ndarray  # bool [n]
    truncated: np.ndarray  # bool [n]
    valid: np.ndarray  # bool [n]; False on the step that only reset a game
    caption: np.ndarray | None  # int32 [n]
    caption_count: np.ndarray | None  # int32 [n]
    finished: list[dict[str, float]]  # one entry an episode that ended: return, length, success, and the task's own


class VectorTask(Protocol):
    """Many games at once, in equal groups that step on their own, so that one can think while another moves.

    Autoreset is NEXT_STEP. `send` gives a group its actions and returns at once; `recv` waits for the result.
    After `reset`, `recv` each group once for its first observation (reward 0, `valid` True).
    """

    num_envs: int
    groups: int
    single_observation_space: spaces.Dict
    single_action_space: spaces.Space
    captions: Captions | None

    def reset(self, *, seed: int) -> None: ...

    def send(self, group: int, actions: np.ndarray) -> None: ...

    def recv(self, group: int) -> Step: ...

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on with fresh games (seeds used so far, caption table)."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def close(self) -> None: ...
