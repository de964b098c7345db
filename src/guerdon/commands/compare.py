"""``guerdon compare``: do two rewards mean the same?"""

from __future__ import annotations

import functools
import itertools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from guerdon.compare.difference import Difference
    from guerdon.compare.distance import Distance

    Differences = dict[tuple[int, int], Difference]


def compare(
    rewards: Annotated[list[str], tyro.conf.Positional],
    *,
    task: str,
    option: tuple[str, ...] = (),
    metric: Literal["starc", "epic", "dard"] = "starc",
    gamma: float | None = None,
    seeds: int = 5,
    steps: int = 8192,
    states: int = 2000,
    picture: Path | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Says whether rewards mean the same: how far apart they are, and what they differ in; no policy is trained.

    Rewards that differ by a positive factor, by potential shaping, or by what chance evens out order all policies
    alike: their distance is 0. It is 2 for opposites, and about 1.4 for rewards that have nothing to do with each
    other. Where the order differs, two policies show it.

    A small discrete task is turned into an exact table, and the answer is exact:

        guerdon compare "Extrinsic()" "my_rewards:Shaped(weight=0.5)" --task FourRooms --picture distance.png

    Any other task is compared on random play, with an interval over seeds:

        guerdon compare "Extrinsic()" "RewardModel(path='runs/model')" --task CartPole-v1

    Tables of numbers, [S, A, S] or [S, A], in a table of transitions (.npz: transition, start, gamma) or a task:

        guerdon compare a.npy b.npy --task world.npz

    Args:
        rewards: two or more expressions, as for train, or .npy files.
        task: a task's name, or an .npz file.
        option: the task's own, as key=value, such as size=20.
        metric: starc looks at possible transitions; epic and dard, for comparison with other work, also at impossible
            ones, and only where the task fits in a table.
        gamma: the discount; by default 0.99, or the .npz file's own.
        seeds: how often a task that has no table is sampled; networks of untrained rewards are drawn anew for each.
        steps: of random play for each seed.
        states: the most that a table may have.
        picture: draw the distances to this file, such as distance.png.
        json_file: write everything to this file.
    """
    import numpy as np
    import torch

    from guerdon import tasks
    from guerdon.compare.tabulate import tabulate
    from guerdon.compare.task_table import read_table
    from guerdon.expression import parse_reward
    from guerdon.learners.spell import literals

    if len(rewards) < 2:
        raise ValueError('compare needs at least two rewards, such as guerdon compare "Extrinsic()" "RND()" --task ...')
    for name, value, least in (("seeds", seeds, 1), ("steps", steps, 64), ("states", states, 1)):
        if value < least:
            raise ValueError(f"--{name} must be at least {least}, got {value}")
    made = [torch.from_numpy(np.load(r)) if r.endswith(".npy") else parse_reward(r) for r in rewards]
    twice = [f"{name} ({rewards[:i].count(name) + 1})" for i, name in enumerate(rewards)]
    names = [more if rewards.count(name) > 1 else name for name, more in zip(rewards, twice, strict=True)]
    console = Console()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        doing = bar.add_task("looking at the task", total=1.0)

        def told(what: str, share: float) -> None:
            bar.update(doing, description=what, completed=share)

        options, discount = literals(option), 0.99 if gamma is None else gamma
        own = task.endswith(".npz")
        table = read_table(Path(task), gamma) if own else tabulate(task, discount, limit=states, **options)
        if not isinstance(table, str):
            how = f"exact: {table.source}, {table.mdp.shape[0]} states, {table.mdp.shape[1]} actions"
            distance, differs = _exact(table, made, metric, names, told)
        elif metric != "starc" or any(isinstance(reward, torch.Tensor) for reward in made):
            which = "a table of rewards" if metric == "starc" else metric
            raise ValueError(f"{which} needs a task that fits in a table, and {task} does not: {table}")
        else:
            how = f"sampled, since {table}"
            distance, differs = _sampled(
                made, names, functools.partial(tasks.make, task, **options), discount, seeds, steps, told
            )
    _show(console, names, distance, differs, f"{task}: {how}")
    if json_file is not None:
        _write(json_file, {"task": task, "how": how, "rewards": names, **_data(distance), "pairs": [
            {"rewards": [names[i], names[j]], **_difference(each)} for (i, j), each in differs.items()
        ]})  # fmt: skip
        console.print(f"written to {json_file}", highlight=False, soft_wrap=True)
    if picture is not None:
        from guerdon.compare.distance_picture import draw

        draw(distance, names, task, picture)
        console.print(f"drawn in {picture}", highlight=False, soft_wrap=True)


def _exact(table: Any, made: list[Any], metric: str, names: list[str], told: Any) -> tuple[Distance, Differences]:
    """Distances between all rewards, and what each pair differs in."""
    import torch

    from guerdon.compare.dard import dard
    from guerdon.compare.difference import difference
    from guerdon.compare.epic import epic
    from guerdon.compare.starc import starc

    told("what rewards pay", 0.1)
    paid = torch.stack([table.pay(reward) for reward in made])
    if metric == "starc":
        distance = starc(table.mdp, table.mean(paid)[..., None])
    else:
        whole = torch.stack([table.whole(reward) for reward in made])
        distance = (epic if metric == "epic" else dard)(table.mdp, whole)
    return distance, _pairs(names, told, lambda i, j, called: difference(table, paid[i], paid[j], called))


def _sampled(
    made: list[Any], names: list[str], make: Any, gamma: float, seeds: int, steps: int, told: Any
) -> tuple[Distance, Differences]:
    """The same from random play."""
    from guerdon.compare.task_sample import sampled_difference, sampled_distances

    told("random play", 0.1)
    found = sampled_distances(made, names, make, gamma=gamma, seeds=range(seeds), steps=steps)
    return found.distance, _pairs(
        names, told, lambda i, j, called: sampled_difference(found, i, j, called, make, seeds)
    )


def _pairs(names: list[str], told: Any, of: Any) -> Differences:
    found, pairs = {}, list(itertools.combinations(range(len(names)), 2))
    for k, (i, j) in enumerate(pairs):
        told(f"{names[i]} against {names[j]}", 0.3 + 0.7 * k / len(pairs))
        found[i, j] = of(i, j, (names[i], names[j]))
    return found


def _show(console: Console, names: list[str], distance: Distance, differs: Differences, what: str) -> None:
    console.print(what, highlight=False, soft_wrap=True)
    seeds = f"; mean of {len(distance.seeds)} seeds, with the 95 % interval" if len(distance.seeds) > 1 else ""
    console.print(f"{distance.metric}; gamma {distance.gamma:g}; over {distance.coverage}{seeds}", soft_wrap=True)
    table = Table("0 same, 2 opposite", *names, box=None)
    for i, name in enumerate(names):
        row = []
        for j in range(len(names)):
            span = "" if distance.low is None or distance.high is None or i == j else (
                f" [{float(distance.low[i, j]):.3g}, {float(distance.high[i, j]):.3g}]")  # fmt: skip
            row.append(f"{float(distance.raw[i, j]):.3g}{span}")
        table.add_row(name, *(cell.replace("[", "\\[") for cell in row))
    console.print(table, soft_wrap=True)
    for (i, j), each in differs.items():
        console.print(f"\n{each.words}", highlight=False, soft_wrap=True, markup=False)
        if each.witness is not None:
            seen = each.witness
            shown = Table("", *seen.names, box=None)
            for name, returns in zip((names[i], names[j]), seen.returns, strict=True):
                shown.add_row(f"return by {name}", *(f"{x:.6g}" for x in returns))
            console.print(shown, soft_wrap=True)
            console.print(seen.where, highlight=False, soft_wrap=True, markup=False)


def _data(distance: Distance) -> dict[str, Any]:
    found = {
        "metric": distance.metric, "coverage": distance.coverage, "gamma": distance.gamma,
        "seeds": list(distance.seeds), "distance": distance.raw.tolist(), "half": distance.half.tolist(),
    }  # fmt: skip
    if distance.low is not None and distance.high is not None:
        found["interval"] = {"level": 0.95, "low": distance.low.tolist(), "high": distance.high.tolist()}
    return found


def _difference(each: Difference) -> dict[str, Any]:
    return {
        "kind": each.kind, "words": each.words, "scale": each.scale, "regret": each.regret,
        "witness": None if each.witness is None else each.witness.data(),
    }  # fmt: skip


def _write(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(data, indent=1) + "\n")
    os.replace(partial, path)
