"""guerdon watch."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tyro.conf import Positional

CLEAR = "\x1b[2J\x1b[H"
SCREEN = ("tty_chars", "tty_colors", "tty_cursor")


def watch(
    run: Positional[Path],
    episodes: int = 1,
    seed: int = 10_000,
    greedy: bool = False,
    fps: float = 8.0,
    cast: Path | None = None,
    video: Path | None = None,
    most_steps: int = 5_000,
) -> None:
    """Watch a run's newest policy play, in the terminal, as an asciicast or as a video.

    Below the game stand the step's reward terms and the caption that was paid. With --cast or --video nothing is shown;
    a cast plays with `asciinema play FILE`, a video (GIF, WebP or animated PNG) in any browser.

    Args:
        run: the run's folder.
        episodes: how many to play.
        seed: of the game and the drawing of actions.
        greedy: always take the likeliest action instead of drawing one.
        fps: steps shown a second.
        cast: write an asciicast to this file instead.
        video: write a moving picture (.gif, .webp, .png) to this file instead, if the task draws any, as AGV-C-static.
        most_steps: stop after so many.
    """
    from guerdon.learners.play import Player
    from guerdon.learners.run import open_run
    from guerdon.tasks.animation import check_animation, save_animation
    from guerdon.tasks.array_task import ArrayTask

    if fps <= 0:
        raise ValueError(f"--fps must be positive, not {fps}")
    if video is not None:
        check_animation(video)
    opened = open_run(run)
    frames: list[str] = []
    pictures: list[Any] = []
    with Player(opened, envs=1, seed=seed, greedy=greedy, **screen(opened)) as player:
        if video is not None:
            if not isinstance(player.task, ArrayTask):
                raise ValueError(
                    f"{opened.config.task} draws no pictures, so there is no --video of it; there is --cast"
                )
            pictures.append(player.task.picture())
        totals: dict[str, float] = {}
        ended = 0
        for step, moment in enumerate(player.moments(), 1):
            for name, term in moment.terms.items():
                totals[name] = totals.get(name, 0.0) + float(term.nan_to_num())
            if video is not None:
                pictures.append(player.task.picture())
            frame = _frame(moment, player, step, totals)
            if cast is None and video is None:
                sys.stdout.write(CLEAR + frame + "\n")
                sys.stdout.flush()
                time.sleep(1 / fps)
            else:
                frames.append(frame)
            for episode in moment.finished:
                ended += 1
                told = f"episode {ended}: " + ", ".join(f"{k} {v:g}" for k, v in sorted(episode.items()))
                print(told)
                totals.clear()
            if ended >= episodes or step >= most_steps:
                break
    if video is not None:
        print(f"{save_animation(video, pictures, fps=fps)} pictures in {video}")
    if cast is not None:
        save_cast(cast, frames, fps=fps, title=f"{opened.config.task}: {run.name}")
        print(f"{len(frames)} frames in {cast}; play it with: asciinema play {cast}")


def save_cast(path: Path, frames: Sequence[str], *, fps: float, height: int = 30, title: str = "") -> None:
    """Writes texts as an asciicast, each of them the whole screen of 80 x `height`; whole or not at all."""
    from guerdon.learners.checkpoint import write_whole

    header: dict[str, Any] = {"version": 2, "width": 80, "height": height, "title": title}
    events = [json.dumps([round(i / fps, 3), "o", CLEAR + f.replace("\n", "\r\n")]) for i, f in enumerate(frames)]
    text = "\n".join([json.dumps(header), *events, ""])
    write_whole(path, lambda file: file.write(text.encode()))


def screen(run: Any) -> dict[str, Any]:
    """Task options that add NetHack's own screen to what is shown, where the task is a NetHack game."""
    with closing(run.make_task(num_envs=1, workers=0, groups=1)) as task:
        keys = tuple(task.single_observation_space)
        game = task.single_observation_space
    is_nethack = any(k.removesuffix("_crop") in ("glyphs", "chars", "blstats") for k in game)
    return {"observation_keys": (*keys, *(k for k in SCREEN if k not in keys))} if is_nethack else {}


def look(rollout: Any, at: int = 1) -> str:
    """What the first game of a rollout shows at a step: NetHack's screen, or else the beginning of its observation."""
    if SCREEN[0] in rollout.obs:
        return terminal(*(rollout.obs[k][at, 0].numpy() for k in SCREEN))
    return "\n".join(f"{k}: {v[at, 0].flatten()[:16].tolist()}" for k, v in rollout.obs.items())


def _frame(moment: Any, player: Any, step: int, totals: dict[str, float]) -> str:
    rollout = moment.rollout
    shown = [look(rollout)]
    paid = "  ".join(f"{n} {float(t[0, 0]):+.3f} (sum {totals[n]:+.2f})" for n, t in moment.terms.items())
    shown.append(f"step {step}  action {rollout.action[0, 0].tolist()}  {paid}")
    if rollout.caption is not None and (caption := player.task.captions.text(int(rollout.caption[1, 0]))):
        shown.append(f"caption, seen {int(rollout.caption_count[1, 0])} time(s): {caption}")
    return "\n".join(shown)


def terminal(chars: Any, colors: Any, cursor: Any) -> str:
    """NetHack's 24 x 80 screen with ANSI colours; the cursor is shown inverted."""
    lines = []
    for y, (row, shades) in enumerate(zip(chars.tolist(), colors.tolist(), strict=True)):
        line, last = [], -1
        for x, (char, shade) in enumerate(zip(row, shades, strict=True)):
            if shade != last:
                line.append(f"\x1b[0;{'1;' if shade & 8 else ''}3{shade & 7}m" if shade & 7 or shade & 8 else "\x1b[0m")
                last = shade
            here = (y, x) == (int(cursor[0]), int(cursor[1]))
            line.append(f"\x1b[7m{chr(char)}\x1b[27m" if here else chr(char))
        lines.append("".join(line) + "\x1b[0m")
    return "\n".join(lines)
