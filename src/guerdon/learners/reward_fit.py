"""Fitting a reward model to comparisons, with some held out, in a folder that can be gone on from."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from guerdon.learners import checkpoint
from guerdon.learners.folder import RunError, interrupts, whole_lines
from guerdon.models.seeded import Trainer
from guerdon.parts.pair_accuracy import accuracy, told_right
from guerdon.parts.pair_loss import pair_loss
from guerdon.parts.preference_strength import pair_scores
from guerdon.types import Completions, Pairs, Reward


class Split(NamedTuple):
    """Pairs to learn from, and pairs to be judged by, of other prompts."""

    train: Pairs
    held: Pairs


def prompts(pairs: Pairs) -> list[Hashable]:
    """What each pair must not share with a held-out one: its prompt; without one, its two answers.

    Segments of Rollouts have neither, and stand for themselves.
    """
    if not isinstance(pairs.first, Completions):
        return list(range(len(pairs.label)))
    asked, first, second = list(pairs.first.prompt), list(pairs.first.text), list(pairs.second.text)
    if not any(first) and not any(second):
        return list(range(len(asked)))  # features alone
    return [repr(p) if p else repr(sorted((a, b))) for p, a, b in zip(asked, first, second, strict=True)]


def split(pairs: Pairs, share: float = 0.1, *, seed: int = 0) -> Split:
    """Holds out about `share` of the pairs, all pairs of a prompt together.

    Raises:
        ValueError: a share outside 0..1, or nothing would be left on one side.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share of pairs that are held out lies between 0 and 1, got {share}")
    of = prompts(pairs)
    groups: dict[Hashable, list[int]] = {}
    for i, key in enumerate(of):
        groups.setdefault(key, []).append(i)
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed)).tolist()
    members, held = list(groups.values()), []
    for g in order[:-1]:
        if held and len(held) + len(members[g]) / 2 > share * len(of):
            break
        held += members[g]
    rest = sorted(set(range(len(of))) - set(held))
    if not held or not rest:
        raise ValueError(f"{len(of)} pairs of {len(groups)} prompts cannot be split: hold out another file instead")
    return Split(pairs.rows(torch.tensor(rest)), pairs.rows(torch.tensor(sorted(held))))


class RewardFit:
    """Steps of a reward's `update` on batches of pairs; the order is drawn anew for each epoch.

    Args:
        reward: built; its `update` takes one step on so many pairs, as `BradleyTerry` with this `batch_size` does.
        train: pairs to learn from.
        held: pairs to be judged by; not learned from.
        epochs: passes over `train`.
        batch_size: pairs a step; the last of an epoch may have fewer.
        schedule: of the step size, down to 0 at the end, or not.
        warmup: share of the steps over which it rises.
        seed: of the order.

    Raises:
        ValueError: no pairs, or an unknown schedule.
    """

    def __init__(
        self, reward: Reward, train: Pairs, held: Pairs, *, epochs: int = 1, batch_size: int = 64,
        schedule: Literal["constant", "linear", "cosine"] = "constant", warmup: float = 0.0, seed: int = 0,
    ) -> None:  # fmt: skip
        if not len(train.label) or min(epochs, batch_size) < 1:
            raise ValueError(f"there is nothing to fit: {len(train.label)} pairs, {epochs} epochs of {batch_size}")
        if schedule not in ("constant", "linear", "cosine") or not 0 <= warmup < 1:
            raise ValueError(f"no schedule {schedule!r} with a warm-up of {warmup}: constant, linear, cosine; 0..1")
        self.reward, self.train, self.held, self.batch_size, self.seed = reward, train, held, batch_size, seed
        self.schedule, self.warmup, self.steps = schedule, warmup, 0
        self.batches: Iterator[Pairs] | None = None  # of the epoch under way
        self.an_epoch = math.ceil(len(train.label) / batch_size)
        self.total = self.an_epoch * epochs
        self.optimisers = [m.optimiser for m in reward.modules() if isinstance(m, Trainer)]
        self.rates = [[group["lr"] for group in o.param_groups] for o in self.optimisers]

    def factor(self, step: int) -> float:
        """What the step size is multiplied with in this step, counted from 0."""
        rise = math.ceil(self.warmup * self.total)
        if step < rise:
            return (step + 1) / rise
        gone = (step - rise) / max(1, self.total - rise)
        return {"constant": 1.0, "linear": 1 - gone, "cosine": 0.5 + 0.5 * math.cos(math.pi * gone)}[self.schedule]

    def step(self) -> dict[str, float]:
        """One step; what the reward logs of it."""
        epoch, place = divmod(self.steps, self.an_epoch)
        if self.batches is None or not place:
            generator = torch.Generator().manual_seed((self.seed << 20) + epoch)
            order = torch.randperm(len(self.train.label), generator=generator)
            self.batches = self.train.picks(order.split(self.batch_size)[place:])
        for optimiser, rates in zip(self.optimisers, self.rates, strict=True):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * self.factor(self.steps)
        logs = self.reward.update(next(self.batches))
        self.steps += 1
        return {name.partition("/")[2] or name: value for name, value in logs.items()}

    def scores(self, pairs: Pairs) -> Tensor:
        """[N, 2] what the reward makes of both sides."""
        return pair_scores([self.reward], pairs)[0].cpu() if len(pairs.label) else torch.zeros(0, 2)

    def evaluate(self) -> dict[str, float]:
        """Mean loss and accuracy on the held-out pairs; nothing where there are none."""
        if not len(self.held.label):
            return {}
        first, second = self.scores(self.held).unbind(1)
        right = told_right(first, second, self.held.label)
        return {"held/loss": float(pair_loss(first, second, self.held.label).mean()), "held/accuracy": accuracy(right)}

    def state_dict(self) -> dict[str, Any]:
        return {"reward": self.reward.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.reward.load_state_dict(state["reward"])
        self.steps, self.batches = state["steps"], None


def run(
    fit: RewardFit, folder: str | Path, *, looks: int = 10, save_every: int = 50, resume: bool = False,
    progress: Callable[[dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:  # fmt: skip
    """Takes all steps; the rows of ``progress.jsonl``.

    A run resumed from its newest whole checkpoint goes on as if it had not been interrupted.

    Args:
        fit: made the same way whenever the run goes on.
        folder: gets ``progress.jsonl`` and ``checkpoints`` (the newest two, each whole or absent).
        looks: how often the held-out pairs are looked at, before the first step and after the last included.
        save_every: steps between checkpoints.
        resume: go on, if there is a checkpoint.
        progress: called with each row.

    Raises:
        RunError: the last checkpoint could not be written.
        KeyboardInterrupt: Ctrl-C, after the run was saved.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows, before = _resume(fit, folder) if resume else ([], 0.0)
    started = time.monotonic()
    due = {round(i * fit.total / max(1, looks - 1)) for i in range(looks)}
    with interrupts() as interrupted, open(folder / "progress.jsonl", "w" if not rows else "a") as log:

        def write(logs: dict[str, float]) -> None:
            look = fit.evaluate() if fit.steps in due or fit.steps == fit.total else {}
            seconds = round(before + time.monotonic() - started, 3)
            row = {"step": float(fit.steps), "total": float(fit.total), "seconds": seconds} | logs | look
            rows.append(row)
            log.write(json.dumps(row) + "\n")
            log.flush()
            if progress is not None:
                progress(row)

        if not rows:
            write({})
        while fit.steps < fit.total:
            write(fit.step())
            last = fit.steps == fit.total or interrupted.is_set()
            if last or fit.steps % save_every == 0:
                _save(fit, folder, before + time.monotonic() - started, last)
            if interrupted.is_set():
                raise KeyboardInterrupt
    return rows


def _save(fit: RewardFit, folder: Path, seconds: float, last: bool) -> None:
    try:
        checkpoint.save(folder / "checkpoints", fit.steps, {"fit": fit.state_dict(), "seconds": seconds})
    except OSError as error:
        if last:
            raise RunError(f"could not save the fit: {error}. Make room, then run the same command again") from error
        print(f"warning: {error}; the checkpoint before it stays, and the next is tried in due course")


def _resume(fit: RewardFit, folder: Path) -> tuple[list[dict[str, float]], float]:
    """Puts the fit where the newest checkpoint was; the rows until then, and the seconds."""
    if not list((folder / "checkpoints").glob("*.pt")):
        return [], 0.0
    state, path, damaged = checkpoint.load_newest(folder / "checkpoints")
    for line in damaged:
        print(f"{line}; going on from {path.name}")
    fit.load_state_dict(state["fit"])
    kept = [line for line in whole_lines(folder / "progress.jsonl") if json.loads(line)["step"] <= fit.steps]
    text = "".join(line + "\n" for line in kept).encode()
    checkpoint.write_whole(folder / "progress.jsonl", lambda file: file.write(text))
    return [json.loads(line) for line in kept], state["seconds"]


def ensemble_scores(
    make: Callable[[int], Reward], train: Pairs, *, models: int, epochs: int, batch_size: int, seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Tensor:  # fmt: skip
    """[M, N, 2] what M models make of the pairs that each was fitted to, in an order and from weights of its own.

    For `preference_strength`: with few passes, a model that has not learned the pairs by heart doubts the wrong ones.
    """
    found: list[Tensor] = []
    for m in range(models):
        if progress is not None:
            progress(f"model {m + 1} of {models} that judge the pairs")
        fit = RewardFit(make(seed + m), train, train.rows([]), epochs=epochs, batch_size=batch_size, seed=seed + m)
        while fit.steps < fit.total:
            fit.step()
        found.append(fit.scores(train))
    return torch.stack(found)
