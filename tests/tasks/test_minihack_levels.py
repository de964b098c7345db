"""Our own levels, walked in the real game: their messages mark the way, and lead away from it where they should."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, deque
from typing import Any

import numpy as np
import pytest

from guerdon import tasks
from guerdon.judges import RecordedJudge
from guerdon.tasks.minihack_levels import LEVELS
from guerdon.tasks.nethack.minihack import level_file

pytest.importorskip("minihack")

STEPS = {(0, -1): 0, (1, 0): 1, (0, 1): 2, (-1, 0): 3}  # N, E, S, W
HALLS = ("Gallery", "Museum", "Catacomb")
JUDGE = RecordedJudge()


def helpful(captions: list[str]) -> dict[Any, float]:
    """What the recorded judge says of these."""
    return {label.item: label.value or 0.0 for label in asyncio.run(JUDGE.judge(captions))}


def layout(name: str) -> tuple[list[str], tuple[int, int], tuple[int, int]]:
    """Map, start and stairs of a level file, as (x, y) on that map."""
    text = level_file(LEVELS[name].des)
    rows = text.split("MAP\n")[1].removesuffix("\nEND").split("\n")
    (start,) = re.findall(r"BRANCH:\((\d+),(\d+)", text)
    (stairs,) = re.findall(r"STAIR:\((\d+),(\d+)", text)
    return rows, (int(start[0]), int(start[1])), (int(stairs[0]), int(stairs[1]))


def shortest(rows: list[str], start: tuple[int, int], goal: tuple[int, int]) -> list[tuple[int, int]]:
    """The way from start to goal in single steps, the start left out."""
    before, queue = {start: start}, deque([start])
    while queue:
        x, y = queue.popleft()
        for dx, dy in STEPS:
            there = (x + dx, y + dy)
            if there not in before and rows[there[1]][there[0]] in ".+":
                before[there] = (x, y)
                queue.append(there)
    way = [goal]
    while before[way[-1]] != start:
        way.append(before[way[-1]])
    return way[::-1]


class Walk:
    """One game, walked along a list of squares; fights and stuck doors are tried again."""

    def __init__(self, name: str, seed: int) -> None:
        self.rows, self.start, self.stairs = layout(name)
        self.task: Any = tasks.make(name, num_envs=1, groups=1, observation_keys=("blstats",), max_episode_steps=1000)
        self.task.reset(seed=seed)
        self.shown = self.task.recv(0)
        x, y = self.shown.obs["blstats"][0, :2]
        self.offset = (int(x) - self.start[0], int(y) - self.start[1])
        self.said: list[tuple[int, str]] = []  # (squares walked, message)
        self.rewards: list[float] = []
        self.steps = 0

    def along(self, way: list[tuple[int, int]], tries: int = 60) -> Walk:
        at = self.start
        for n, square in enumerate(way, 1):
            move = STEPS[square[0] - at[0], square[1] - at[1]]
            for _ in range(tries):
                self.task.send(0, np.array([move]))
                self.shown = self.task.recv(0)
                self.steps += 1
                self.rewards.append(float(self.shown.reward[0]))
                if text := self.task.captions.text(int(self.shown.caption[0])):
                    self.said.append((n, text))
                x, y = self.shown.obs["blstats"][0, :2]
                if self.shown.terminated[0] or (x - self.offset[0], y - self.offset[1]) == square:
                    break
            else:
                raise AssertionError(f"stuck before {square}: {self.said[-3:]}")
            at = square
        return self

    def close(self) -> Walk:
        self.task.close()
        return self


@pytest.mark.parametrize("name", LEVELS)
def test_new_helpful_messages_mark_the_whole_way(name: str) -> None:
    rows, start, stairs = layout(name)
    way = shortest(rows, start, stairs)
    for seed in (0, 1):
        walk = Walk(name, seed).along(way).close()
        assert walk.shown.terminated[0]
        assert walk.rewards[-1] == 1.0
        assert not any(walk.rewards[:-1])  # a sparse reward
        assert walk.steps < 0.85 * LEVELS[name].max_episode_steps
        labels = helpful([text for _, text in walk.said])
        seen: set[str] = set()
        marks = [n for n, text in walk.said if labels[text] and not (text in seen or seen.add(text))]
        assert len(marks) >= 6
        gaps = np.diff([0, *marks, len(way)])
        assert gaps.max() <= (14 if name in ("Guardrooms", "Museum") else 9), (gaps, walk.said)


@pytest.mark.parametrize("name", HALLS)
def test_halls_are_full_of_new_messages_that_are_not_helpful(name: str) -> None:
    rows, start, _ = layout(name)
    right = rows[1].index("|", 1)
    squares = [(x, y) for y in range(1, 8) for x in (range(1, right) if y % 2 else range(right - 1, 0, -1))]
    walk = Walk(name, 0).along(shortest(rows, start, squares[0]) + squares[1:]).close()
    new = {text for _, text in walk.said}
    labels = helpful(sorted(new))
    assert len(new) >= 80
    assert sum(labels.values()) <= 2, [text for text in new if labels[text]]


@pytest.mark.parametrize("name", LEVELS)
def test_random_steps_do_not_get_there(name: str) -> None:
    task = tasks.make(name, num_envs=8, captions=False, seed=3)
    dice, ends = np.random.default_rng(3), Counter()
    for group in range(task.groups):
        task.recv(group)
    for _ in range(4 * (LEVELS[name].max_episode_steps + 1)):
        for group in range(task.groups):
            task.send(group, dice.integers(0, 4, 8 // task.groups))
            for episode in task.recv(group).finished:
                ends["success"] += int(episode["success"])
                ends["all"] += 1
    task.close()
    assert ends["all"] >= 32
    assert ends["success"] == 0


def test_the_museum_differs_from_game_to_game() -> None:
    rows, start, stairs = layout("Museum")
    way = shortest(rows, start, stairs)
    finds = [{t for _, t in Walk("Museum", seed).along(way).close().said if "statue" not in t} for seed in (0, 1, 2)]
    assert len(finds[0] | finds[1] | finds[2]) > 1.5 * len(finds[0])
