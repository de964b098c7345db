"""Contrast Instructions: does a reward notice when the instruction, and with it the right response, changes a little?

Shen et al., "The Trickle-down Impact of Reward (In-)consistency on RLHF", 2023, https://arxiv.org/abs/2309.16155.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.parts.questions import Question


class Contrast(NamedTuple):
    """Two similar instructions, each with the response that is preferred for it."""

    instruction: str
    other: str
    response: str
    other_response: str


class Consistency(NamedTuple):
    """Shares in 0..1 over items and their mirror images (the other instruction as the query); chance is 0.5."""

    response: float  # r(I, R) > r(I, R')
    instruction: float  # r(I, R) > r(I', R)
    response_ties: float  # r(I, R) = r(I, R'): counted as no win
    instruction_ties: float


def consistency(rewards: Tensor) -> Consistency:
    """C_res and C_ins of rewards [n, 2, 2], in which [:, i, j] is r(I_i, R_j): the diagonal matches.

    Both comparisons are strict; a reward that does not read the instruction has C_ins 0, all of it ties, and C_res
    exactly 0.5. Which formula bears which name is reconstructed; the released script computes C_res, and its fusion
    counts ties as won.

    Raises:
        ValueError: not [n, 2, 2], no items, or a NaN.
    """
    if rewards.ndim != 3 or tuple(rewards.shape[1:]) != (2, 2) or not len(rewards):
        raise ValueError(f"consistency needs the rewards of at least one item, [n, 2, 2], got {list(rewards.shape)}")
    if bool(rewards.isnan().any()):
        at = int(rewards.isnan().flatten(1).any(1).int().argmax())
        raise ValueError(f"item {at} has an unscored response: leave it out, or score it again")
    right = rewards.diagonal(dim1=1, dim2=2)  # r(I, R), r(I', R')
    found = []
    for wrong in (
        torch.stack([rewards[:, 0, 1], rewards[:, 1, 0]], 1),
        torch.stack([rewards[:, 1, 0], rewards[:, 0, 1]], 1),
    ):
        found.append(((right > wrong).double().mean(), (right == wrong).double().mean()))
    (response, response_ties), (instruction, instruction_ties) = found
    return Consistency(*map(float, (response, instruction, response_ties, instruction_ties)))


def build_contrasts(
    instructions: Sequence[str], responses: Sequence[str], embeddings: Tensor, *, low: float = 0.75, high: float = 0.9
) -> list[Contrast]:
    """For each instruction the most similar one in a band of cosines whose response is another; each pair once.

    Instructions above the band are near-duplicates and pair with nobody of theirs.

    Args:
        instructions: n texts.
        responses: the preferred response of each.
        embeddings: [n, E], of the instructions.
        low: least cosine (0.75; sources disagree between that and 0.8).
        high: greatest cosine.

    Raises:
        ValueError: counts differ, an embedding is not finite or zero, or the band is empty.
    """
    if not len(instructions) == len(responses) == len(embeddings) or not -1 <= low < high <= 1:
        counts = [len(instructions), len(responses), len(embeddings)]
        raise ValueError(f"build_contrasts needs as many of each, got {counts}, and low < high, got {low} and {high}")
    if not bool((embeddings.norm(dim=1) > 0).all() and embeddings.isfinite().all()):
        raise ValueError("an instruction has an embedding of length 0, or one that is not finite")
    unit = F.normalize(embeddings.double(), dim=1)
    found: dict[tuple[int, int], Contrast] = {}
    for i, cosine in enumerate(unit @ unit.T):
        near = ((cosine >= low) & (cosine <= high)).nonzero().flatten()
        for j in map(int, near[cosine[near].argsort(descending=True, stable=True)]):
            if i != j and responses[i] != responses[j] and instructions[i] != instructions[j]:
                pair = (instructions[i], instructions[j], responses[i], responses[j])
                found.setdefault((min(i, j), max(i, j)), Contrast(*pair))
                break
    return list(found.values())


def read_contrasts(
    rows: Sequence[Mapping[str, Any]], where: str = "contrast instructions"
) -> tuple[list[Contrast], int]:
    """Items of rows {query, retrieval, query_response_k, retrieval_response_k}, the authors' format, and how many more.

    As their README says, the responses _k are the preferred ones, and those _j are not used. Items whose two responses
    are the same are left out and counted.

    Raises:
        ValueError: a field is missing, two instructions are the same, or no item is left.
    """
    names = ("query", "retrieval", "query_response_k", "retrieval_response_k")
    found = []
    for i, row in enumerate(rows):
        if missing := [name for name in names if not isinstance(row.get(name), str)]:
            raise ValueError(f"{where}, row {i} has no text {' and no text '.join(missing)}")
        item = Contrast(*(row[name] for name in names))
        if item.instruction == item.other:
            raise ValueError(f"{where}, row {i}: both instructions are the same, so nothing is contrasted")
        if item.response != item.other_response:
            found.append(item)
    if not found:
        raise ValueError(f"{where}: no item has two different responses")
    return found, len(rows) - len(found)


def as_questions(items: Sequence[Contrast], where: str = "contrast") -> list[Question]:
    """Two questions an item: the instruction with its own response right and the other's wrong, and the mirror image.

    Their scores hold all of r(I, R), r(I, R'), r(I', R'), r(I', R): see `from_scores`.
    """
    return [
        Question(f"{where}, item {i}{side}", prompt, (right,), (wrong,), where)
        for i, (a, b, of_a, of_b) in enumerate(items)
        for side, prompt, right, wrong in (("", a, of_a, of_b), (" mirrored", b, of_b, of_a))
    ]


def from_scores(values: Tensor) -> Tensor:
    """[n, 2, 2] for `consistency` from the scores [2n, 2] (right, wrong) of `as_questions`."""
    right, wrong = values.view(-1, 2, 2).unbind(2)  # [n, 2]: of the instruction, of the other
    return torch.stack([torch.stack([right[:, 0], wrong[:, 0]], 1), torch.stack([wrong[:, 1], right[:, 1]], 1)], 1)
