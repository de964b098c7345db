"""One self-contained HTML page about completions: their tokens coloured by what they were paid, and every number.

No scripts: the colouring is chosen by radio buttons and CSS.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import guerdon
from guerdon.serve.explain_rows import LEVELS, Sample, level, names, scale
from guerdon.serve.report import text

NOT_SCORED = "not scored"


def page(samples: Sequence[Sample], *, title: str = "Completions") -> str:
    """The page about `samples`. Raises ValueError if there are none."""
    if not samples:
        raise ValueError("there are no completions to explain")
    shown = names(samples)
    sizes = {name: scale(samples, name) for name in shown}
    first = "advantage" if "advantage" in shown else "reward" if "reward" in shown else shown[0] if shown else ""
    body = [f"<header><h1>{text(title)}</h1></header>", _switch(shown, first), _legend(shown, sizes)]
    body += [_sample(i, s, shown, sizes) for i, s in enumerate(samples)]
    return Template(file("explain.html")).substitute(
        title=text(title),
        style=file("explain.css") + "\n".join(_colours(i) for i in range(len(shown))),
        body="\n".join(body),
        version=text(guerdon.__version__),
    )


def write_explanation(samples: Sequence[Sample], path: str | Path, **options: Any) -> Path:
    """Writes the `page` of these samples to `path`, whole or not at all."""
    path = Path(path)
    html = page(samples, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(html, encoding="utf-8")
    os.replace(fresh, path)
    return path


def number(value: float | None) -> str:
    """A value in a few characters; what is not scored says so."""
    return NOT_SCORED if value is None else f"{value:+.3g}" if value else "0"


def visible(token: str) -> str:
    """A token's text with the blanks at its ends, and what no one could see, made visible."""
    return token.replace("\n", "↵\n").replace("\t", "→\t") if token.strip(" ") else token.replace(" ", "·")


def lines(value: str) -> str:
    """`text` with its line breaks."""
    return "\n".join(text(line) for line in value.split("\n"))


def file(name: str) -> str:
    """A file beside this one."""
    return resources.files("guerdon.serve").joinpath(name).read_text(encoding="utf-8")


def _switch(shown: Sequence[str], first: str) -> str:
    """The choice of what colours the tokens."""
    choices = "".join(
        f'<label><input type="radio" name="by" id="by{i}"{" checked" if name == first else ""}> {text(name)}</label>'
        for i, name in enumerate(shown)
    )
    plain = f'<label><input type="radio" name="by" id="plain"{"" if first else " checked"}> no colours</label>'
    return f'<fieldset class="switch"><legend>Colour tokens by</legend>{choices}{plain}</fieldset>'


def _legend(shown: Sequence[str], sizes: dict[str, float]) -> str:
    """What the shades mean, one line for each choice."""
    lines = []
    for i, name in enumerate(shown):
        most, cells = sizes[name], []
        for k in range(-LEVELS, LEVELS + 1):
            if most and not (k > 0 and name == "log-probability"):
                said = "0" if k == 0 else f"to {number(most * k / LEVELS)}"
                cells.append(f'<i class="t" data-q{i}="{k}">{said}</i>')
        cells.append(f'<i class="t" data-q{i}="x">{NOT_SCORED}</i>')
        lines.append(f'<p class="legend of{i}"><span class="soft">{text(name)}</span> {" ".join(cells)}</p>')
    return "".join(lines)


def _colours(place: int) -> str:
    """The rules that colour by one quantity while it is chosen."""
    chosen = f"main:has(#by{place}:checked)"
    rules = [f"{chosen} .of{place} {{ display: block; }}"]
    for k in range(1, LEVELS + 1):
        for sign, name in ((k, "plus"), (-k, "minus")):
            mix = f"color-mix(in srgb, var(--{name}) {round(60 * k / LEVELS)}%, var(--card))"
            line = "dashed" if sign < 0 else "solid"
            paint = f"background: {mix}; border-color: var(--{name}); border-bottom-style: {line};"
            rules.append(f'{chosen} [data-q{place}="{sign}"] {{ {paint} }}')
    unscored = "background: var(--hatch); border-color: var(--soft); border-bottom-style: dotted;"
    return "\n".join([*rules, f'{chosen} [data-q{place}="x"] {{ {unscored} }}'])


def _sample(index: int, sample: Sample, shown: Sequence[str], sizes: dict[str, float]) -> str:
    own = [name for name in shown if name in sample.quantities]
    about = "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in sample.about.items())
    rows = [[text(n), _cell(sample.total(n)), f"<td>{_kind(sample, n)}</td>"] for n in own]
    parts = [
        f'<section class="card" aria-labelledby="s{index}"><h2 id="s{index}">Completion {index + 1}</h2>',
        f'<dl class="about">{about}</dl><h3>Prompt</h3><pre>{lines(sample.prompt)}</pre>',
        f'<h3>Answer</h3><div class="tokens">{_tokens(sample, own, shown, sizes) or "<em>(empty)</em>"}</div>',
        _table(["What", "Whole answer", ""], rows),
        _steps(sample, own),
        _every_token(sample, own),
        "</section>",
    ]
    return "\n".join(parts)


def _tokens(sample: Sample, own: Sequence[str], shown: Sequence[str], sizes: dict[str, float]) -> str:
    on_tokens = {name: sample.on_tokens(name) for name in own}
    made = []
    for at, token in enumerate(sample.tokens):
        shades = {shown.index(n): level(values[at], sizes[n]) for n, values in on_tokens.items()}
        marks = " ".join(f'data-q{i}="{"x" if k is None else k}"' for i, k in shades.items())
        title = "\n".join([text(repr(token)), *(f"{text(n)}: {number(v[at])}" for n, v in on_tokens.items())])
        if sample.steps is not None and at and sample.steps[at] != sample.steps[at - 1]:
            made.append(f'<b class="step" title="step {sample.steps[at]} begins">│</b>')
        made.append(f'<i class="t" {marks} title="{title}">{lines(visible(token))}</i>')
    return "".join(made)


def _kind(sample: Sample, name: str) -> str:
    value = sample.quantities[name]
    if not isinstance(value, list):
        return "of the whole answer"
    missing = sum(v is None for v in value)
    return ("mean of its tokens" if name == "advantage" else "sum of its tokens") + (
        f"; {missing} of {len(value)} not scored" if missing else ""
    )


def _steps(sample: Sample, own: Sequence[str]) -> str:
    """A table of steps, if there are several."""
    steps = sorted(set(sample.steps or ()))
    if len(steps) < 2:
        return ""
    summed = {n: sample.of_steps(n) for n in own if isinstance(sample.quantities[n], list)}
    rows = []
    for step in steps:
        said = "".join(t for t, s in zip(sample.tokens, sample.steps or (), strict=True) if s == step)
        rows.append([str(step), f'<td class="said">{text(said)}</td>', *(_cell(v[step]) for v in summed.values())])
    return f"<h3>Steps</h3>{_table(['Step', 'Text', *summed], rows)}"


def _every_token(sample: Sample, own: Sequence[str]) -> str:
    """All numbers, for those who read them."""
    table = {**{n: sample.quantities[n] for n in own}, **{f"stage {n}": v for n, v in sample.stages.items()}}
    columns = {n: v for n, v in table.items() if isinstance(v, list)}
    rows = []
    for at, token in enumerate(sample.tokens):
        said = f'<td class="said"><code>{text(repr(token))}</code></td>'
        rows.append([str(at), said, *(_cell(v[at]) for v in columns.values())])
    whole = {n: v for n, v in table.items() if not isinstance(v, list) and n not in own}
    notes = "".join(f"<li>{text(n)}: {number(v)}</li>" for n, v in whole.items())
    notes = f"<p>Of the whole answer:</p><ul>{notes}</ul>" if notes else ""
    table = _table(["#", "Token", *columns], rows)
    return f"<details><summary>Every token's numbers</summary>{notes}{table}</details>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose rows are a heading (HTML already) and cells."""
    titles = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    body = "".join(f'<tr><th scope="row">{first}</th>{"".join(cells)}</tr>' for first, *cells in rows)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: float | None) -> str:
    return f'<td class="n{" none" if value is None else ""}">{number(value)}</td>'
