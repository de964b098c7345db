"""Information gain: a turn is worth what it adds to the policy's belief in the right answer (IGPO)."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from guerdon.parts.progress_difference import progress_difference
from guerdon.parts.span_scores import Span, reduce_span
from guerdon.parts.step_placement import gather_steps, place_steps, step_index, turn_ends
from guerdon.types import About, Completions, Experience, LanguageModel, Reward

Kind = Literal["prob_diff", "log_prob_diff"]
CONTINUATION = "\nNow there is enough information to answer.\n</think>\n<answer>{reference}</answer>"


def information_gain(belief: Tensor, ends: Tensor, *, kind: Kind = "prob_diff") -> Tensor:
    """[N, L]: g_t = b_t - b_{t-1} (or of logarithms) on the last token of every turn but a row's last, 0 elsewhere.

    Any belief will do: a model's probability of the answer, a simulator's posterior, a negative entropy. One that is
    NaN, infinite, or (for logarithms) not above 0 earns 0, and the next is compared with the last that is valid, with a
    warning. The gains of a row sum to its last belief minus its first.

    Args:
        belief: [N, T], b_0 before the first turn, then b_t after turn t (its tool's answer included) for all turns but
            the last, which has the outcome for reward; T is the most turns of any row, the rest is padding.
        ends: [N, L] bool, the last generated token of each turn (`Completions.step_ends`).
        kind: "prob_diff" or "log_prob_diff".

    Raises:
        ValueError: shapes disagree, or another kind.
    """
    if kind not in ("prob_diff", "log_prob_diff"):
        raise ValueError(f"an information gain is a 'prob_diff' or 'log_prob_diff', not {kind!r}")
    turns = gather_steps(ends.long(), ends).mask
    if belief.shape != turns.shape:
        raise ValueError(f"beliefs {list(belief.shape)} do not fit the turns {list(turns.shape)}: one before each turn")
    if not turns.shape[1]:
        return belief.new_zeros(ends.shape)
    compared = turns & turns[:, 1:2]  # rows of one turn need no belief
    if bool((compared & ~(belief.isfinite() & ((belief > 0) | (kind == "prob_diff")))).any()):
        warnings.warn("a belief that is no number (or of logarithm -inf) counts as no gain", stacklevel=2)
    gain = progress_difference(belief, turns, kind="log" if kind == "log_prob_diff" else "difference")
    return place_steps(torch.cat([gain, gain.new_zeros(len(gain), 1)], 1), ends)


class InformationGain(Reward):
    """Pays each turn but the last for the change in the policy's probability of the known answer.

        b_t = exp((1/n) sum_j log pi(a_j | h_t, continuation, a_<j)),   g_t = b_t - b_{t-1}   or   log b_t - log b_{t-1}

    h_t is everything up to the next turn's first own token, so with the tool's answer to turn t; a is the reference, n
    tokens found by their characters in the whole text. b_0 comes before the first turn. Values are float32 [N, L],
    on the last generated token of turns 1 .. T-1, in [-1, 1] for "prob_diff"; a row of one turn gets 0. The last turn
    is for the outcome: ``InformationGain() + TokenF1()``, with `credit.igpo.TurnReturns`, whose "separate" mode keeps
    the small gains from drowning in it. Without gradient.

    The reference is shown to the scorer, never to the policy: a prompt that holds the continuation with its reference
    is refused. A history longer than the model's context has no belief. Not policy-invariant, since credit normalises
    the gains: keep the outcome.

    "Information Gain-based Policy Optimization" (IGPO), 2025. After the authors' code, except that the history is
    tokenised anew together with the continuation, so that tokens which merge at the border are found.

    Args:
        kind: "prob_diff" (the code's default) or "log_prob_diff".
        answer: column of references; of several aliases the first is scored.
        continuation: what follows a history, with ``{reference}`` in it; as the policy's own answering turn would be
            written. The code's own, reworded.

    Raises:
        ValueError: no steps, steps whose numbers fall, an empty reference, a missing column, a leak.
    """

    about: ClassVar[About] = About(
        rewards="turns that make the right answer likelier to the policy",
        paper="Information Gain-based Policy Optimization (Wang et al., 2025)",
        link="https://arxiv.org/abs/2510.14967",
        scores="Completions",
        claim="igpo",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"policy"})
    kind: Kind

    def __init__(self, *, kind: Kind = "prob_diff", answer: str = "answer", continuation: str = CONTINUATION) -> None:
        super().__init__()
        if continuation.count("{reference}") != 1:
            raise ValueError("InformationGain's continuation must have one {reference} in it")
        self.kind, self.answer, self.continuation = kind, answer, continuation

    def score(self, experience: Experience, *, policy: LanguageModel, **needed: Any) -> Tensor:
        assert isinstance(experience, Completions)
        ends = turn_ends(experience, self.name)
        belief = self.beliefs(experience, policy=policy).to(ends.device)
        return information_gain(belief, ends, kind=self.kind)

    @torch.no_grad()
    def beliefs(self, completions: Completions, *, policy: LanguageModel) -> Tensor:
        """[N, T]: b_0 .. b_{T-1} of each row; 0 for padding and in rows of one turn, NaN where there is none."""
        ends = turn_ends(completions, self.name)
        turns = gather_steps(ends.long(), ends).mask
        belief = torch.zeros(turns.shape)
        places, prefixes, answers = [], [], []
        for row, reference in enumerate(self._references(completions)):
            if int(turns[row].sum()) < 2:
                continue
            self._check_leak(policy.render(completions.prompt[row]), reference)
            for turn, history in enumerate(_histories(completions, row, ends[row], policy)):
                before, answer = policy.split(*self._asked(history, reference))
                if len(before) + len(answer) > policy.max_length:
                    belief[row, turn] = torch.nan
                    continue
                places.append((row, turn))
                prefixes.append(before)
                answers.append(answer)
        if places:
            scores = policy.score(prefixes, answers)
            known = (scores.log_prob.isfinite() | ~scores.mask).all(1)
            probability = torch.full((len(places),), torch.nan)
            if bool(known.any()):
                probability[known.cpu()] = reduce_span(scores.log_prob[known], scores.mask[known], "geo_mean").cpu()
            belief[tuple(torch.tensor(places).T)] = probability
        return belief

    def _asked(self, history: str, reference: str) -> Span:
        """A history with the continuation after it, and where the reference stands in that."""
        lead, _, tail = self.continuation.partition("{reference}")
        start = len(history) + len(lead)
        return Span(history + lead + reference + tail, start, start + len(reference))

    def _references(self, completions: Completions) -> list[str]:
        column = completions.column(self.answer, self.name)
        first = [str((a or [""])[0]) if isinstance(a, (list, tuple)) else str(a) for a in column]
        if empty := [i for i, reference in enumerate(first) if not reference.strip()]:
            raise ValueError(f"{self.name}: the reference of row {empty[0]} is empty: leave such rows out of the data")
        return [reference.strip() for reference in first]

    def _check_leak(self, prompt: str, reference: str) -> None:
        line = next(line for line in self.continuation.splitlines() if "{reference}" in line)
        if line.strip() != "{reference}" and line.replace("{reference}", reference) in prompt:
            raise ValueError(f"{self.name}: a prompt shows the policy the reference as the scorer sees it, {line!r}")


def _histories(completions: Completions, row: int, ends: Tensor, policy: LanguageModel) -> list[str]:
    """What stands before the first own token of each turn of a row, as text."""
    ids, mask = completions.ids[row], completions.mask[row].bool()
    turn = step_index(ends[None])[0]
    if completions.prompt_ids is None:
        before = policy.render(completions.prompt[row])
    else:
        shown = completions.prompt_ids[row]
        if completions.prompt_mask is not None:
            shown = shown[completions.prompt_mask[row].bool()]
        before = policy.decode(shown.tolist())
    starts = [int((mask & (turn == t)).nonzero()[0, 0]) for t in range(int(ends.sum()))]
    return [before + (policy.decode(ids[:start].tolist()) if start else "") for start in starts]
