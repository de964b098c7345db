"""``guerdon label QUEUE --make RUN``: episodes of trained policies, recorded for people to compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from guerdon.commands.watch import SCREEN, look, save_cast, screen
from guerdon.types import Rollout

if TYPE_CHECKING:
    from guerdon.learners.play import Player

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
        How many pairs. Two episodes that are alike in every frame are none.

    Raises:
        ValueError: nothing to compare, or the queue exists already, or a folder that is no run.
    """
    from guerdon.learners.run import open_run

    names = [run.resolve().name for run in runs]
    if queue.exists():
        raise ValueError(f"{queue} exists already, and answers may be about it: name another file")
    if len(set(names)) < len(names):
        raise ValueError(f"the runs {', '.join(names)} need different names: they name the recordings")
    if episodes < (2 if len(runs) == 1 else 1) or most_steps < 1:
        raise ValueError("--make needs two --episodes of one run, or one of each of several, of a step or more")
    for run in runs:
        open_run(run)  # says what is wrong with one before any game is played
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
    every = [two for group in groups for two in combinations(group, 2)]
    pairs = [two for two in every if len({(queue.parent / episode.file).read_bytes() for episode in two}) == 2]
    if len(pairs) < len(every):
        print(f"{len(every) - len(pairs)} pairs left out: both played alike, step by step")
    if not pairs:
        raise ValueError("there is nothing to compare: take more --episodes or --most-steps, or another --seed")
    with queue.open("x", encoding="ascii") as file:
        for one, other in pairs:
            row: dict[str, Any] = {"first_file": one.file, "second_file": other.file}
            if one.told and other.told and one.told != other.told:
                row |= {"first": one.told, "second": other.told}
            row |= {"runs": [one.run, other.run], "paid": [one.value, other.value]}
            file.write(json.dumps(row) + "\n")
    return len(pairs)


def _record(run: Path, folder: Path, name: str, seed: int, most_steps: int) -> Episode:
    from guerdon.learners.play import Player
    from guerdon.learners.run import open_run
    from guerdon.tasks.animation import save_animation
    from guerdon.tasks.array_task import ArrayTask

    opened = open_run(run)
    frames, pictures, told, value = list[str](), list[Any](), list[str](), 0.0
    with Player(opened, envs=1, seed=seed, **screen(opened)) as player:
        drawn = player.task if isinstance(player.task, ArrayTask) else None
        for step, moment in enumerate(player.moments(), 1):
            rollout = moment.rollout
            for at in (0, 1) if step == 1 else (1,):
                caption = _caption(player, rollout, at)
                told += [caption] if caption and told[-1:] != [caption] else []
                if drawn is None:
                    frames.append(
                        look(rollout, at) if SCREEN[0] in rollout.obs else f"{caption}\n\n{look(rollout, at)}"
                    )
            if drawn is not None:
                pictures.append(drawn.picture())
            value += float(rollout.extrinsic[0, 0])
            if moment.finished or step >= most_steps:
                break
    path = folder / f"{name}{'.gif' if pictures else '.cast'}"
    if pictures:
        save_animation(path, pictures, fps=FPS)
    else:
        save_cast(path, frames, fps=FPS, height=max(24, *(frame.count("\n") + 1 for frame in frames)))
    return Episode(f"{folder.name}/{path.name}", "\n".join(told), value, opened.folder.name)


def _caption(player: Player, rollout: Rollout, at: int) -> str:
    if rollout.caption is None or player.task.captions is None:
        return ""
    return player.task.captions.text(int(rollout.caption[at, 0])).strip()
