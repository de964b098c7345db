"""guerdon evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tyro.conf import Positional


def evaluate(
    run: Positional[Path], episodes: int = 100, greedy: bool = False, envs: int = 32, seed: int = 10_000
) -> None:
    """Play episodes with a run's newest policy, on games it has not seen, and say how they went.

    Writes RUN/evaluation.json and prints mean, standard error, smallest and largest of every figure.

    Args:
        run: the run's folder.
        episodes: how many.
        greedy: always take the likeliest action instead of drawing one.
        envs: games played at once.
        seed: of the games and the drawing.
    """
    from guerdon.learners.checkpoint import write_whole
    from guerdon.learners.play import Player
    from guerdon.learners.run import open_run

    if episodes < 1:
        raise ValueError(f"--episodes must be at least 1, not {episodes}")
    with Player(open_run(run), envs=min(envs, episodes), seed=seed, greedy=greedy) as player:
        played = list(track(player.episodes(episodes), "playing", total=episodes, transient=True))
        used = player.path.name
    figures: dict[str, dict[str, float]] = {}
    table = Table(title=f"{len(played)} episodes of {run}, checkpoint {used}", box=None, title_justify="left")
    for heading in ("", "mean", "+-", "least", "most"):
        table.add_column(heading, justify="left" if not heading else "right")
    for key in sorted({k for episode in played for k in episode}):
        x = torch.tensor([e[key] for e in played if key in e], dtype=torch.float64)
        error = float(x.std() / len(x) ** 0.5) if len(x) > 1 else 0.0
        figures[key] = {"mean": float(x.mean()), "error": error, "least": float(x.min()), "most": float(x.max())}
        table.add_row(key, *(f"{v:,.3f}" for v in figures[key].values()))
    text = json.dumps(
        {"checkpoint": used, "episodes": len(played), "greedy": greedy, "seed": seed, "figures": figures}, indent=1
    )
    write_whole(run / "evaluation.json", lambda file: file.write(text.encode()))
    Console().print(table)
