"""FLR: how likely a language model, playing the user, finds a happy follow-up to a response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from guerdon.parts.span_scores import reduce_span
from guerdon.types import About, Completions, ContextOverflow, LanguageModel, Prompt, Reward

Reduce = Literal["difference", "pos_only", "neg_only", "log_sum_exp", "margin"]
FollowUps = tuple[Sequence[str], Sequence[str]]
"""What a happy user says next, and what an unhappy one does."""

CATEGORIES = (
    "understanding", "relevance", "correctness", "engagingness", "informativeness", "instruction_following",
)  # fmt: skip
OPENING = "Ask me something, and then tell me what you think of my reply."
_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})


class FLR(Reward):
    r"""Pays for responses after which happy follow-ups of the user are likelier than unhappy ones. No labels.

        l(f)  = (1/n_f) sum_j log M(f_j | dialogue, response, f_<j)         f as the user's next turn
        S_k   = mean over f in F+_k of l(f) - mean over f in F-_k of l(f)   for each category k
        r     = mean over k of S_k

    M is a frozen scorer ("reference"). [N] float32 in nats per token, of either sign; identical responses to a prompt
    score the same, and an empty response is scored too. Scores of different prompts cannot be compared: take pairs or
    group advantages within a prompt. A text can flatter its way up, so keep a KL term when training on it.

    Where a dialogue is longer than `max_length` tokens its beginning is dropped, never the follow-up.

    Zhang et al., "Aligning Language Models Using Follow-up Likelihood as Reward Signal", 2024. Difference of means and
    equal weights of categories are reconstructed; the follow-ups are ours. The authors' script computes something
    else: see `first_position_logits`.

    Args:
        categories: whose follow-ups are used, of `CATEGORIES` or of `follow_ups`.
        follow_ups: lists of one's own: category -> (positive, negative).
        reduce: of a category's likelihoods to one number, see `follow_up_score`.
        turn: for plain-text dialogues: what stands between response and follow-up, such as "\nUser: ". Without it a
            plain prompt is taken for the user's first message, and the scorer's chat template makes the dialogue.
        swapped: for a scorer tuned to give feedback as the assistant: roles change places, after an opening line.
        max_length: tokens, follow-up included; the scorer's own limit counts as well.
    """

    about: ClassVar[About] = About(
        rewards="responses after which a happy user is likely",
        paper="Aligning Language Models Using Follow-up Likelihood as Reward Signal (Zhang et al., 2024)",
        link="https://arxiv.org/abs/2409.13948",
        scores="Completions",
        claim="flr",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    def __init__(
        self,
        *,
        categories: Sequence[str] = CATEGORIES,
        follow_ups: Mapping[str, FollowUps] | None = None,
        reduce: Reduce = "difference",
        turn: str | None = None,
        swapped: bool = False,
        max_length: int = 2048,
    ) -> None:
        super().__init__()
        if reduce not in get_args(Reduce):
            raise ValueError(f"FLR reduces by {', '.join(get_args(Reduce))}, not by {reduce!r}")
        self.categories, self.follow_ups, self.turn = categories, follow_ups, turn
        self.reduce: Reduce = reduce
        self.swapped, self.max_length = swapped, max_length

    def score(self, experience: Completions, *, reference: LanguageModel) -> Tensor:
        return self.by_category(experience, reference).mean(1)

    def by_category(self, experience: Completions, reference: LanguageModel) -> Tensor:
        """[N, K] float32: S_k of each completion."""
        sets = self._sets()
        said = list(dict.fromkeys(f for positive, negative in sets for f in (*positive, *negative)))
        place = {f: i for i, f in enumerate(said)}
        dialogues = list(zip(experience.prompt, experience.text, strict=True))
        unique = list({repr(d): d for d in dialogues}.values())
        likelihood = self.log_likelihoods(unique, said, reference)
        columns = []
        for positive, negative in sets:
            high, low = ([place[f] for f in part] for part in (positive, negative))
            columns.append(follow_up_score(likelihood[:, high], likelihood[:, low], self.reduce))
        at = {repr(d): i for i, d in enumerate(unique)}
        return torch.stack(columns, 1)[[at[repr(d)] for d in dialogues]]

    def log_likelihoods(
        self, dialogues: Sequence[tuple[Prompt, str]], follow_ups: Sequence[str], reference: LanguageModel
    ) -> Tensor:
        """[D, F] float32: l(f) of each follow-up after each dialogue (a prompt and a response)."""
        prefixes, spans = [], []
        limit = min(self.max_length, reference.max_length)
        for prompt, response in dialogues:
            head, tail = self._around(prompt, response, follow_ups[0], reference)
            pieces = [reference.split(head + f + tail, len(head), len(head) + len(f)) for f in follow_ups]
            room = limit - max(len(span) for _, span in pieces)  # the same beginning for all, so that it is shared
            if room < 1:
                raise ContextOverflow(f"{self.name}: a follow-up alone has {limit - room} tokens of {limit} that fit")
            prefixes += [before[-room:] for before, _ in pieces]
            spans += [span for _, span in pieces]
        scores = reference.score(prefixes, spans)
        found = reduce_span(scores.log_prob, scores.mask, "mean_logp", name=self.name)
        return found.view(len(dialogues), len(follow_ups))

    def _around(self, prompt: Prompt, response: str, follow_up: str, reference: LanguageModel) -> tuple[str, str]:
        """The dialogue's text before and after the follow-up, which is looked for from the end."""
        if isinstance(prompt, str) and self.turn is not None:
            return prompt + response + self.turn, ""
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        first = next((i for i, t in enumerate(turns) if t["role"] != "system"), 0)
        while len(turns) > first and turns[first]["role"] == "assistant":  # templates want the user to begin
            del turns[first]
        turns += [{"role": "assistant", "content": response}, {"role": "user", "content": follow_up}]
        if self.swapped:
            other = {"user": "assistant", "assistant": "user"}
            turns = [{"role": other.get(t["role"], t["role"]), "content": t["content"]} for t in turns]
            turns.insert(first, {"role": "user", "content": OPENING})
        text = reference.render(turns, add_generation_prompt=False)
        at = text.rfind(follow_up)
        if at < 0:
            raise ValueError(f"{self.name}: {follow_up!r} is not at the end of the chat that {reference.name} makes")
        return text[:at], text[at + len(follow_up) :]

    def _sets(self) -> list[FollowUps]:
        if not self.categories:
            raise ValueError(f"{self.name} needs at least one category, such as {CATEGORIES[0]!r}")
        known = {k: read_follow_ups(k) for k in CATEGORIES} if self.follow_ups is None else self.follow_ups
        missing = [k for k in self.categories if k not in known]
        if missing:
            raise ValueError(f"{self.name} has no follow-ups for {missing[0]!r}: there are {', '.join(known)}")
        return [clean(known[k], f"{self.name}'s category {k!r}") for k in self.categories]


def read_follow_ups(category: str) -> FollowUps:
    """The packaged lists of a category: happy, unhappy."""
    lines = (Path(__file__).parent / "follow_ups" / f"{category}.txt").read_text(encoding="utf-8").splitlines()
    return [line[2:] for line in lines if line[:1] == "+"], [line[2:] for line in lines if line[:1] == "-"]


def clean(follow_ups: FollowUps, name: str) -> FollowUps:
    """Plain quotes, single spaces, each follow-up once. Raises ValueError for an empty list or one said by both."""
    both = [list(dict.fromkeys(" ".join(f.translate(_QUOTES).split()) for f in part)) for part in follow_ups]
    if not all(part and all(part) for part in both):
        raise ValueError(f"{name} needs at least one positive and one negative follow-up, and no empty one")
    if shared := set(both[0]) & set(both[1]):
        raise ValueError(f"{name}: {sorted(shared)[0]!r} is among the positive and the negative follow-ups")
    return both[0], both[1]


def follow_up_score(positive: Tensor, negative: Tensor, reduce: Reduce = "difference") -> Tensor:
    """[...]: one number of the log-likelihoods of happy [..., P] and unhappy [..., Q] follow-ups.

        difference   mean(positive) - mean(negative)
        pos_only     mean(positive)              neg_only   -mean(negative)
        log_sum_exp  log mean exp(positive) - log mean exp(negative): the likeliest follow-ups count most
        margin       sigmoid(mean(positive) - mean(negative)), in (0, 1)

    Swapping the two turns the sign of difference and log_sum_exp. Raises ValueError for an empty list, or values that
    are not finite.
    """
    if not positive.shape[-1] or not negative.shape[-1]:
        raise ValueError("follow-ups are missing: both lists need one at least")
    if not bool(positive.isfinite().all() and negative.isfinite().all()):
        raise ValueError("log-likelihoods of follow-ups must be finite")
    high, low = positive.mean(-1), negative.mean(-1)
    if reduce == "log_sum_exp":
        return _log_mean_exp(positive) - _log_mean_exp(negative)
    choices = {"difference": high - low, "pos_only": high, "neg_only": -low, "margin": torch.sigmoid(high - low)}
    return choices[reduce]


def _log_mean_exp(values: Tensor) -> Tensor:
    return values.logsumexp(-1) - torch.log(torch.tensor(float(values.shape[-1])))


def first_position_logits(logits: Tensor, follow_up: Tensor) -> Tensor:
    """What the authors' script computes instead of a likelihood, for comparison only: a mean of raw logits.

        (1/n) sum_j logits[S - n, f_j]

    The logits of all tokens of the follow-up at one position, the n-th from the end: no softmax, no shift by one, and
    where the chat template closes the turn the wrong position. Adding a constant to all logits changes it.

    Args:
        logits: [S, V] of the whole templated dialogue, end-of-turn tokens included.
        follow_up: [n] tokens of it.
    """
    if not 0 < len(follow_up) <= len(logits):
        raise ValueError(f"a follow-up of {len(follow_up)} tokens in a dialogue of {len(logits)}")
    return logits[len(logits) - len(follow_up), follow_up].mean()
