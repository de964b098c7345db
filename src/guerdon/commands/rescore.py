"""guerdon rescore."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from tensordict import TensorDict
from tyro.conf import Positional


def rescore(
    run: Positional[Path], reward: str, judge: str | None = None, most: int = 15, out: Path | None = None
) -> None:
    """Score a run's recorded rollouts with another reward and show what changes.

    The new reward starts from the run's own labels, or from those of --judge, which is asked about every recorded
    caption. Nothing of the run is changed.

    Args:
        run: the run's folder; it must have been trained with --record above 0.
        reward: the other reward expression.
        judge: ask this judge instead of using the run's labels.
        most: captions to show.
        out: also write the comparison to this file, as JSON.
    """
    from guerdon.expression import parse_judge, parse_reward
    from guerdon.judges.store import LabelStore
    from guerdon.learners import checkpoint
    from guerdon.learners.ledger import CaptionLedger
    from guerdon.learners.run import RunError, open_run
    from guerdon.parts.caption_table import CaptionTable
    from guerdon.types import Labels, Rollout, Spec

    opened = open_run(run)
    paths = sorted((run / "rollouts").glob("*.pt"))
    if not paths:
        raise RunError(f"{run} recorded no rollouts: train with --record 4, say")
    other = parse_reward(reward)
    state, _, _ = checkpoint.load_newest(run / "checkpoints")
    captions = CaptionTable()
    if opened.reads_captions:
        captions.load_state_dict(state["learner"]["task"]["captions"])
    rollouts = [_read(path, captions, TensorDict, Rollout) for path in paths]
    with closing(opened.make_task(num_envs=1, workers=0, groups=1)) as task:
        spec = Spec(task.single_observation_space, task.single_action_space, captions, rollouts[0].shape[1])
    for made in (opened.reward, other):
        made.build(spec, generator=torch.Generator().manual_seed(opened.config.seed))
    opened.reward.load_state_dict(state["learner"]["reward"])
    if judge is not None:
        asked = [x for r in rollouts for x in other.questions(r)]
        rows = asyncio.run(parse_judge(judge).judge(list(dict.fromkeys(asked))))
    elif opened.judge is not None:
        stored = LabelStore(opened.config.store or run / "labels.sqlite", create=False)
        rows = [row.label for row in stored.rows(judge=opened.judge.name)]
    else:
        rows = []
    if rows:
        other.update(Labels.from_rows(rows))
    sides: dict[str, Any] = {"before": opened.reward, "after": other}
    ledgers = {side: CaptionLedger(r, captions) for side, r in sides.items()}
    values: dict[str, list[torch.Tensor]] = {side: [] for side in sides}
    terms: dict[tuple[str, str], list[torch.Tensor]] = {}
    for rollout in rollouts:
        for side, made in sides.items():
            with torch.no_grad():
                scored = made.evaluate(rollout)
            values[side].append(scored.value[rollout.valid])
            if rollout.caption is not None:
                ledgers[side].add(rollout, scored.terms)
            for name, term in scored.terms.items():
                terms.setdefault((side, name), []).append(term[rollout.valid])
    both = {side: torch.cat(v).double() for side, v in values.items()}
    scored_both = ~(both["before"].isnan() | both["after"].isnan())
    pair = torch.stack([both["before"][scored_both], both["after"][scored_both]])
    correlation = float(torch.corrcoef(pair)[0, 1]) if bool((pair.std(1) > 0).all()) else float("nan")
    found = {
        "steps": int(scored_both.sum()),
        "correlation": correlation,
        "changed": float((pair[0] != pair[1]).double().mean()),
        "terms": [{"side": s, "term": n, **_summary(torch.cat(v))} for (s, n), v in terms.items()],
        "captions": _captions(ledgers, most) if rollouts[0].caption is not None else [],
    }
    _show(found, repr(opened.reward), repr(other))
    if out is not None:
        text = json.dumps(found, indent=1)
        checkpoint.write_whole(out, lambda file: file.write(text.encode()))


def _read(path: Path, captions: Any, tensor_dict: Any, rollout_type: Any) -> Any:
    """A recorded rollout, its caption ids brought to those of `captions`."""
    from guerdon.learners.checkpoint import load

    state = load(path)
    fields = state["rollout"]
    for key in ("obs", "extra"):
        if key in fields:
            t, b = fields["extrinsic"].shape
            fields[key] = tensor_dict(fields[key], [t + 1, b])
    if "ids" in state:
        ours = torch.zeros(int(state["ids"].max()) + 1, dtype=torch.int32)
        for theirs, text in zip(state["ids"].tolist(), state["texts"], strict=True):
            ours[theirs] = captions.intern(text)
        fields["caption"] = ours[fields["caption"].long()]
    return rollout_type(**fields)


def _summary(values: torch.Tensor) -> dict[str, float]:
    known = values[~values.isnan()].double()
    return {"mean": float(known.mean()), "sum": float(known.sum()), "nonzero": float((known != 0).double().mean())}


def _captions(ledgers: dict[str, Any], most: int) -> list[dict[str, Any]]:
    paid = {side: {row["caption"]: row for row in ledger.rows(10_000)} for side, ledger in ledgers.items()}
    names = dict.fromkeys([*paid["before"], *paid["after"]])
    nothing = {"count": 0, "paid": 0.0}
    rows = [
        {
            "caption": name,
            "count": paid["after"].get(name, paid["before"].get(name, nothing))["count"],
            "before": paid["before"].get(name, nothing)["paid"],
            "after": paid["after"].get(name, nothing)["paid"],
        }
        for name in names
    ]
    return sorted(rows, key=lambda row: -abs(row["after"] - row["before"]))[:most]


def _show(found: dict[str, Any], before: str, after: str) -> None:
    console = Console()
    console.print(f"before: {before}\nafter:  {after}", highlight=False, markup=False)
    console.print(
        f"{found['steps']:,} steps: {found['changed']:.1%} paid differently, correlation {found['correlation']:.3f}\n"
    )
    table = Table(box=None)
    for heading in ("side", "term", "mean", "sum", "paid at"):
        table.add_column(heading, justify="left" if heading in ("side", "term") else "right")
    for row in found["terms"]:
        table.add_row(row["side"], row["term"], f"{row['mean']:+.4f}", f"{row['sum']:+.2f}", f"{row['nonzero']:.1%}")
    console.print(table)
    if not found["captions"]:
        return
    table = Table(box=None, title="captions whose pay changed most", title_justify="left")
    for heading in ("seen", "before", "after", "caption"):
        table.add_column(heading, justify="left" if heading == "caption" else "right")
    for row in found["captions"]:
        from rich.text import Text

        table.add_row(f"{row['count']}", f"{row['before']:+.3f}", f"{row['after']:+.3f}", Text(row["caption"]))
    console.print(table)
