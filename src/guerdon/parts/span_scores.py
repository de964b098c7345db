"""How likely a model finds a stretch of text: where it stands, its tokens' log-probabilities, and one number of them.

Shared by the rewards that ask what a model itself believes: the likelihood of a reference answer after a chain of
thought (RLPR, VeriFree, JEPO), the confidence in an own answer (CRew), information gained by a turn, and the like.
Log-probabilities are natural logarithms, float32, [M, T] with a mask that is True on a span's tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from guerdon.types import Completions, LanguageModel, Prompt, TokenScores

Reduction = Literal["mean_prob", "product", "mean_logp", "sum_logp", "geo_mean"]
REDUCTIONS: tuple[str, ...] = get_args(Reduction)
ANSWER_TAGS = ("<answer>", "</answer>")
ROUNDING = 1e-4  # a log-probability above 0 by no more than this is a rounding error


def check_span(log_prob: Tensor, mask: Tensor, name: str = "span scores") -> Tensor:
    """`log_prob` [M, T] as float32, 0 outside `mask`; raises ValueError for what no log-probability can be.

    That is another shape, a span without tokens, NaN, an infinity, or a value above 0.
    """
    if log_prob.ndim != 2 or log_prob.shape != mask.shape:
        raise ValueError(f"{name}: log_prob {list(log_prob.shape)} and mask {list(mask.shape)} must both be [M, T]")
    mask = mask.bool()
    if empty := int((~mask.any(1)).sum()):
        raise ValueError(f"{name}: {empty} of {len(mask)} spans have no token: leave those rows out")
    inside = torch.where(mask, log_prob.float(), 0.0)
    if bad := int((~inside.isfinite()).sum()):
        raise ValueError(f"{name}: {bad} log-probabilities are NaN or infinite: take them by log_softmax in float32")
    if bool((inside > ROUNDING).any()):
        raise ValueError(f"{name}: a log-probability is {float(inside.max()):.3g}, above 0: are these logits?")
    return inside.clamp(max=0.0)


def reduce_span(log_prob: Tensor, mask: Tensor, how: Reduction = "mean_prob", *, name: str = "span scores") -> Tensor:
    """[M] float32, differentiable: one number of each span's log-probabilities l_1 .. l_T.

        mean_prob  (1/T) sum_t exp(l_t)      product  exp(sum_t l_t)      geo_mean  exp((1/T) sum_t l_t)   in (0, 1]
        mean_logp  (1/T) sum_t l_t           sum_logp  sum_t l_t                                           in (-inf, 0]

    A product may underflow to 0 for a long span; no logarithm is ever taken of it. Raises as `check_span` does.
    """
    inside, mask = check_span(log_prob, mask, name), mask.bool()
    tokens = mask.sum(1)
    if how == "mean_prob":
        return torch.where(mask, inside.exp(), 0.0).sum(1) / tokens
    if how not in REDUCTIONS:
        raise ValueError(f"{name}: a reduction is one of {', '.join(REDUCTIONS)}, not {how!r}")
    total = inside.sum(1)
    total = total / tokens if how in ("mean_logp", "geo_mean") else total
    return total.exp() if how in ("product", "geo_mean") else total


def group_logmeanexp(log_prob: Tensor, group: Tensor) -> Tensor:
    """[N]: log((1/G) sum_j exp(log_prob_j)) over the G rows of a row's own group, by logsumexp. Differentiable.

    `log_prob` and `group` are [N]; a NaN row is not scored: it stays NaN and counts in no mean.
    """
    table, at, _ = _by_group(log_prob, group)
    scored = ~table.isnan()
    total = torch.where(scored, table, -torch.inf).logsumexp(1)
    mean = total - scored.sum(1).clamp(min=1).log()
    return torch.where(log_prob.isnan(), torch.nan, mean[at])


def leave_one_out_logmeanexp(log_prob: Tensor, group: Tensor) -> Tensor:
    """[N]: log-mean-exp over the other rows of a row's group; NaN where there are no others that are scored.

    Summed over the others one by one, since taking one's own share out of the group's sum loses all digits when that
    share dominates.
    """
    table, at, place = _by_group(log_prob, group)
    size = table.shape[1]
    others = ~table.isnan()[:, None, :] & ~torch.eye(size, dtype=torch.bool, device=table.device)
    count = others.sum(2)
    total = torch.where(others, table[:, None, :], -torch.inf).logsumexp(2)
    mean = torch.where(count > 0, total - count.clamp(min=1).log(), torch.nan)[at, place]
    return torch.where(log_prob.isnan(), torch.nan, mean)


def group_softmax(log_prob: Tensor, group: Tensor) -> Tensor:
    """[N]: exp(log_prob_i) over the sum of its group's, the weights in the gradient of `group_logmeanexp`; NaN -> 0."""
    table, at, place = _by_group(log_prob, group)
    return torch.where(table.isnan(), -torch.inf, table).softmax(1)[at, place].nan_to_num(nan=0.0)


def _by_group(values: Tensor, group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`values` as a table [groups, largest group], NaN where a group has fewer, with each row's place in it."""
    if values.ndim != 1 or values.shape != group.shape:
        raise ValueError(f"values {list(values.shape)} and group {list(group.shape)} must both be [N]")
    _, at, count = group.unique(return_inverse=True, return_counts=True)
    order = at.argsort(stable=True)
    place = torch.empty_like(at)
    place[order] = torch.arange(len(at), device=at.device) - (count.cumsum(0) - count)[at[order]]
    table = values.float().new_full((len(count), int(count.max()) if len(count) else 0), torch.nan)
    return table.index_put((at, place), values.float()), at, place


class Span(NamedTuple):
    """The characters [start, end) of `text`."""

    text: str
    start: int
    end: int

    @property
    def inside(self) -> str:
        return self.text[self.start : self.end]

    def after(self, before: str) -> Span:
        """The same characters when `before` stands in front of the text."""
        return Span(before + self.text, self.start + len(before), self.end + len(before))


def find_slot(text: str, tags: tuple[str, str] = ANSWER_TAGS) -> Span | None:
    """What stands between the last opening tag and the closing tag after it (or the text's end); None without a tag."""
    at = text.rfind(tags[0])
    if at < 0:
        return None
    start = at + len(tags[0])
    end = text.find(tags[1], start)
    return Span(text, start, len(text) if end < 0 else end)


def splice(
    text: str, reference: str, *, tags: tuple[str, str] = ANSWER_TAGS, force: bool = False, closing: bool = False
) -> Span | None:
    """A response with `reference` put in place of its own answer, and where the reference stands in it.

        everything up to the opening tag | lead | reference | " " | closing tag

    The lead is the white space before the response's own answer, else one space. White space at the reference's ends
    is dropped. What stood after the slot is dropped. None if the response has no opening tag: with `force`, one is
    added at its end instead, so that there always is a slot. With `closing`, the span runs on through the closing tag.
    Tokens must be found by these characters (`LanguageModel.split`): the splice moves token borders.

    Raises ValueError for an empty reference.
    """
    if not (reference := reference.strip()):
        raise ValueError("a reference answer is empty: leave its row out of the data")
    slot = find_slot(text, tags)
    if slot is None:
        if not force:
            return None
        slot = Span(text + tags[0], len(text) + len(tags[0]), len(text) + len(tags[0]))
    own = slot.inside
    lead = own[: len(own) - len(own.lstrip())] if own.strip() else ""
    before = slot.text[: slot.start] + (lead or " ")
    end = len(before) + len(reference)
    spliced = f"{before}{reference} {tags[1]}"
    return Span(spliced, len(before), len(spliced) if closing else end)


def score_spans(
    model: LanguageModel, prompts: Sequence[Prompt], spans: Sequence[Span | None], *, also: Sequence[str] = ()
) -> TokenScores:
    """What the model makes of each response's span after its prompt, [N, T], in one call.

    A row is empty (mask False, scores 0) where the span is None, or where prompt and response, as far as the span
    goes, are longer than the model's context. `also` names further fields of `TokenScores`. Differentiable where the
    model is. Raises ValueError for a span without characters.
    """
    pieces = {}
    for row, (prompt, span) in enumerate(zip(prompts, spans, strict=True)):
        if span is not None:
            before, tokens = model.split(*span.after(model.render(prompt)))
            if len(before) + len(tokens) <= model.max_length:
                pieces[row] = before, tokens
    if not pieces:
        nothing = torch.zeros(len(spans), 0)
        return TokenScores(nothing, nothing.bool(), **dict.fromkeys(also, nothing))
    found = model.score(*map(list, zip(*pieces.values(), strict=True)), also=also)
    rows = torch.tensor(list(pieces), device=found.log_prob.device)

    def placed(scores: Tensor | None) -> Tensor | None:
        return None if scores is None else scores.new_zeros(len(spans), scores.shape[1]).index_copy(0, rows, scores)

    return TokenScores(*map(placed, found))  # type: ignore[arg-type]


def score_references(
    model: LanguageModel,
    completions: Completions,
    column: str,
    *,
    name: str,
    tags: tuple[str, str] = ANSWER_TAGS,
    force: bool = False,
    closing: bool = False,
    chain: bool = True,
) -> TokenScores:
    """What the model makes of the reference answer in each response's answer slot (`splice`), [N, T].

    Without `chain`, the slot stands directly after the prompt. Raises ValueError if the completions have no such
    column, or an empty reference in it.
    """
    references = list(map(str, completions.column(column, name)))
    texts = completions.text if chain else [""] * len(references)
    spans = [
        splice(text, reference, tags=tags, force=force or not chain, closing=closing)
        for text, reference in zip(texts, references, strict=True)
    ]
    return score_spans(model, completions.prompt, spans)


def over_spans(scores: TokenScores, how: Reduction, *, empty: float, name: str) -> Tensor:
    """[N]: `reduce_span` of each row, and `empty` for rows without a token."""
    there = scores.mask.any(1)
    if not bool(there.any()):
        return scores.log_prob.new_full((len(there),), empty)
    found = reduce_span(scores.log_prob[there], scores.mask[there], how, name=name)
    return found.new_full((len(there),), empty).index_put((there.nonzero()[:, 0],), found)
