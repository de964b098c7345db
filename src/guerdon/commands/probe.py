"""``guerdon probe``: what a reward does, by standard probes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table


def probe(
    reward: Annotated[str, tyro.conf.Positional],
    *,
    task: str | None = None,
    rounds: int = 0,
    seed: int = 0,
    picture: Path | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Examines a reward: does its bonus fall with visits, prefer the new, fear no noise, begin anew with each episode?

    Without a task the reward practises in a small corridor of which every visit is known; every finding comes with a
    word that says what it means, and for the rewards of guerdon with the word that its documentation promises.

    One of guerdon's:  guerdon probe "RND()" --picture rnd.png

    Your own:  guerdon probe "my_rewards:Curiosity(beta=0.5)"

    On a task, with random actions:  guerdon probe "RND()" --task minigrid:MiniGrid-FourRooms-v0

    Args:
        reward: an expression, as for train: a name, `module:Name(...)`, sums and weights.
        task: look at the reward on this task instead: does it fall with experience, does it agree with exact counts?
        rounds: of practice; by default 60 in the corridor, 20 rollouts of 128 steps of 8 games on a task.
        seed: of the world or the games, and of the actions.
        picture: write what was seen to this file, such as probe.png.
        json_file: write the findings to this file.
    """
    from guerdon.compare import probe as corridor
    from guerdon.compare.expected import expected
    from guerdon.compare.probe import ROUNDS
    from guerdon.compare.probe_task import probe_task
    from guerdon.expression import parse_reward

    if rounds < 0:
        raise ValueError("--rounds must be positive")
    made, console = parse_reward(reward), Console()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        number = bar.add_task("practice", total=1.0)

        def told(what: str, share: float) -> None:
            bar.update(number, description=what, completed=share)

        if task is not None:
            found: Any = probe_task(made, task, rounds=rounds or 20, seed=seed, progress=told)
        else:
            found = corridor(made, rounds=rounds or ROUNDS, seed=seed, progress=told)
    promised = expected(made) if task is None else {}
    table = Table("probe", "measured", "verdict", *(["documented"] if promised else []), "what was measured", box=None)
    for each in found.findings:
        word = promised.get(each.probe, "")
        mark = [("" if not word else "as documented" if word == each.verdict else f"[red]{word}[/red]")]
        number_text = f"{each.measured:.3g}" if math.isfinite(each.measured) else "-"
        table.add_row(each.probe, number_text, each.verdict, *(mark if promised else []), each.means)
    console.print(table, soft_wrap=True)
    if json_file is not None:
        rows = [each._asdict() for each in found.findings]
        json_file.write_text(json.dumps({"reward": reward, "task": task, "findings": rows}, indent=1) + "\n")
        console.print(f"written to {json_file}", highlight=False, soft_wrap=True)
    if picture is not None:
        if task is None:
            from guerdon.compare.probe_picture import draw
        else:
            from guerdon.compare.probe_task import draw
        draw(found, f"{reward}" + (f" on {task}" if task else ""), picture)
        console.print(f"drawn in {picture}", highlight=False, soft_wrap=True)
