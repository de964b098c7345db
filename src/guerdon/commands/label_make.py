"""``guerdon label QUEUE --make RUN``: episodes of trained policies, recorded for people to compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from guerdon.commands.watch import look, save_cast, screen

FPS = 8.0
"""Steps a second in a recording: that of `guerdon watch`."""


class Episode(NamedTuple):
    """One recorded game."""

    file: str  # relative to the queue's folder
    told: str  # its captions, in their order
    value: float  # what the task paid
    run: str


def make_queue(queue: Path, runs: Sequence[Path], *, episodes: int, most_steps: int, seed: int) -> int:
    """Writes a queue of pairs of episodes of the newest policies of `runs`, and their recordings beside it.

    Game i of every run has the seed ``seed + i``. The episodes of one run are compared with each other, those of
    several runs game by game. A recording is an animation where the task draws pictures, else an asciicast, without
    rewards; "first" and "second" are the captions seen, if there were any and they differ.

    Returns:
        How many pairs.

    Raises:
        ValueError: nothing to compare, or the queue exists already.
    """
    names = [run.resolve().name for run in runs]
    if queue.exists():
        raise ValueError(f"{queue} exists already, and answers may be about it: name another file")
    if len(set(names)) < len(names):
        raise ValueError(f"the runs {', '.join(names)} need different names: they name the recordings")
    if episodes < (2 if len(runs) == 1 else 1) or most_steps < 1:
        raise ValueError("--make needs two --episodes of one run, or one of each of several, of a step or more")
    folder = queue.with_name(f"{queue.name.partition('.')[0]}-episodes")
    folder.mkdir(parents=True, exist_ok=True)
    made: list[list[Episode]] = []  # by game, then by run
    for game in range(episodes):
        made.append(
            [_record(run, folder, f"{n}-{game}", seed + game, most_steps) for run, n in zip(runs, names, strict=True)]
        )
        for episode in made[-1]:
            print(f"{episode.file}: the task paid {episode.value:g}")
    groups = [[of_game[0] for of_game in made]] if len(runs) == 1 else made
    pairs = [two for group in groups for two in combinations(group, 2)]
    with queue.open("x", encoding="ascii") as file:
        for one, other in pairs:
            told = (
                {"first": one.told, "second": other.told} if one.told and other.told and one.told != other.told else {}
            )
            about = {"runs": [one.run, other.run], "paid": [one.value, other.value]}
            file.write(json.dumps({"first_file": one.file, "second_file": other.file, **told, **about}) + "\n")
    return len(pairs)


def _record(run: Path, folder: Path, name: str, seed: int, most_steps: int) -> Episode:
    from guerdon.learners.play import Player
    from guerdon.learners.run import open_run
    from guerdon.tasks.animation import save_animation
    from guerdon.tasks.array_task import ArrayTask

    opened = open_run(run)
    frames, pictures, told, value = [], [], [""], 0.0
    with Player(opened, envs=1, seed=seed, **screen(opened)) as player:
        draws = isinstance(player.task, ArrayTask)
        if isinstance(player.task, ArrayTask):
            pictures.append(player.task.picture())
        for step, moment in enumerate(player.moments(), 1):
            rollout = moment.rollout
            if isinstance(player.task, ArrayTask):
                pictures.append(player.task.picture())
            else:
                frames += [look(rollout, 0), look(rollout)] if step == 1 else [look(rollout)]
            value += float(rollout.extrinsic[0, 0])
            if rollout.caption is not None and player.task.captions is not None:
                caption = player.task.captions.text(int(rollout.caption[1, 0])).strip()
                told += [caption] if caption != told[-1] else []
            if moment.finished or step >= most_steps:
                break
    path = folder / f"{name}{'.gif' if draws else '.cast'}"
    if draws:
        save_animation(path, pictures, fps=FPS)
    else:
        save_cast(path, frames, fps=FPS)
    return Episode(f"{folder.name}/{path.name}", "\n".join(filter(None, told)), value, opened.folder.name)
