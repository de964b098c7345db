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

    from guerdon.types.experience import Completions


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


Prompt = str | list[dict[str, Any]]
"""What a language model is asked: a text to go on with, or messages ({"role", "content"}) for its chat template."""


class ContextOverflow(ValueError):
    """A text is longer than the model's context or the caller's limit; both lengths stand in the message."""


class TokenScores(NamedTuple):
    """What a language model made of M spans of tokens, [M, n] each; 0 where `mask` is False. Nats, float32.

    All but `log_prob` describe the whole next-token distribution p (V tokens) in front of each token, and are there
    only if asked for.
    """

    log_prob: Tensor  # log p(token)
    mask: Tensor  # bool: the first entries of each row, as many as its span has tokens
    entropy: Tensor | None = None  # H(p)
    self_certainty: Tensor | None = None  # KL(uniform || p) = -log V - mean_v log p(v)
    margin: Tensor | None = None  # largest minus second largest probability


class LanguageModel(Protocol):
    """A causal language model, here or on a server: it writes, and says how likely it finds what is written."""

    @property
    def name(self) -> str: ...

    @property
    def max_length(self) -> int:
        """Tokens that fit, prompt included."""
        ...

    def render(self, prompt: Prompt, *, add_generation_prompt: bool = True) -> str:
        """The text of a prompt: messages through the chat template, a plain text as it is."""
        ...

    def encode(self, text: str) -> list[int]:
        """Tokens of a text that stands at the beginning of the model's context (a rendered prompt)."""
        ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def split(self, text: str, start: int, end: int) -> tuple[list[int], list[int]]:
        """Tokens before, and tokens of, the characters [start, end) of `text`, which is tokenised as a whole.

        A token that reaches over a border belongs to the span. Raises ValueError for an empty span.
        """
        ...

    def score(
        self, prefixes: Sequence[Sequence[int]], spans: Sequence[Sequence[int]], *, also: Sequence[str] = ()
    ) -> TokenScores:
        """How likely each span is after its prefix; M prefixes (at least one token each) and M spans, any lengths.

        `also` names further fields of `TokenScores`. What sequences have in common is computed once, so hand in
        everything at once. Differentiable where gradients are enabled and the model is a local one. Raises
        ContextOverflow, and ValueError for an empty span or for what a remote model cannot say.
        """
        ...

    def log_probs(self, completions: Completions, *, temperature: float = 1.0) -> Tensor:
        """[N, L] log-probability of each token of `completions` after its prompt; 0 where ``mask`` is False."""
        ...

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        n: int = 1,
        max_tokens: int = 256,
        temperature: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
    ) -> Completions:
        """`n` completions a prompt, side by side, group = the prompt's index, with ids, prompt_ids and log_prob.

        `log_prob` is of the sampled tokens at this temperature. A text ends with the first `stop` in it, kept, or
        with the end-of-text token, which is in `ids` and not in `text`. Temperature 0 takes the likeliest token.
        """
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
