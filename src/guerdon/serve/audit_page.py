"""One self-contained HTML page about an audited reward model: scores with intervals, biases, cases to read.

No scripts. Every text of the suite and of the model's name is inert.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import Template

import guerdon
from guerdon.compare.audit import Audit, Case, Subset
from guerdon.compare.bias import Bias, Estimate, Preference
from guerdon.compare.rewardbench2 import as_text
from guerdon.serve.explain_page import file, lines
from guerdon.serve.report import text


def page(found: Audit, *, title: str, how: str = "") -> str:
    """The page about one audit."""
    subtitle = f"{found.suite}, {sum(s.questions for s in found.subsets):,} questions, {found.answers:,} answers"
    body = [f'<header><div><h1>{text(title)}</h1><div class="soft">{text(f"{subtitle}, {how}")}</div></div></header>']
    said = [*found.findings(), *found.notes]
    if said:
        items = "".join(f"<li>{text(note)}</li>" for note in said)
        body.append(f'<section class="notes" aria-label="Findings"><ul>{items}</ul></section>')
    body += [_scores(found), _bias(found.bias) if found.bias else "", _cases(found.worst)]
    return Template(file("audit.html")).substitute(
        title=text(title), style=file("report.css"), body="\n".join(body), version=text(guerdon.__version__)
    )


def _scores(found: Audit) -> str:
    metrics = list(dict.fromkeys(name for s in found.subsets for name in s.metrics))
    head = ["Subset", "Questions", "Scored", "Score", "95 %", "", *(m[0].upper() + m[1:] for m in metrics), "Tied"]
    rows = [_subset(s, metrics) for s in found.subsets]
    for name, of in (({"All": found.score} if found.score else {}) | found.more).items():
        rows.append([f"<b>{text(name)}</b>", "", "", *_estimate(of), *[""] * len(metrics), ""])
    intro = (
        f"Score: {found.protocol}. Bars run from 0 to 100 %, the band is the 95 % interval, the dotted line is chance."
    )
    return f'<h2>Scores</h2><p class="soft">{text(intro)}</p><div class="card scroll">{_table(head, rows)}</div>'


def _subset(s: Subset, metrics: Sequence[str]) -> list[str]:
    more = [f"{100 * s.metrics[name]:.1f}" if name in s.metrics else "" for name in metrics]
    score = _estimate(s.score, s.chance) if s.score else ["", "", ""]
    return [text(s.name), f"{s.questions:,}", f"{s.scored:,}", *score, *more, f"{s.tied:,}"]


def _bias(found: Bias) -> str:
    rows = [_preference(p) for p in ([found.longer] if found.longer else []) + found.styles]
    head = ["More of", "Questions", "Scored higher", "Is right", "Excess", "95 %"]
    said = []
    if found.correlation:
        c = found.correlation
        said.append(
            f"Correlation of score and log length within a question: {c.value:+.2f} ({c.low:+.2f} to {c.high:+.2f})."
        )
    for name, of in (("longer", found.right_longer), ("shorter", found.right_shorter)):
        if of:
            said.append(f"Pairs won where the right answer is the {name}: {_percent(of)}.")
    intro = (
        "Pairs of a right and a wrong answer of which one has more of something. A model that looks at what is right "
        "alone has an excess of 0. Lengths are in characters; a tie counts a half."
    )
    table = _table(head, rows) if rows else ""
    paragraphs = "".join(f"<p>{text(s)}</p>" for s in said)
    return (
        f'<h2>Length and style</h2><p class="soft">{text(intro)}</p>{paragraphs}<div class="card scroll">{table}</div>'
    )


def _preference(p: Preference) -> list[str]:
    excess = [f"{100 * p.excess.value:+.1f}", f"{100 * p.excess.low:+.1f} to {100 * p.excess.high:+.1f}"]
    return [text(p.of), f"{p.questions:,}", f"{100 * p.liked.value:.1f}", f"{100 * p.right.value:.1f}", *excess]


def _cases(cases: Sequence[Case]) -> str:
    if not cases:
        return "<h2>Worst cases</h2><p>No wrong answer leads a right one.</p>"
    shown = "".join(_case(i, case) for i, case in enumerate(cases))
    intro = "Questions whose wrong answer leads the right one by most: the lowest right and the highest wrong answer."
    return f'<h2>Worst cases</h2><p class="soft">{text(intro)}</p>{shown}'


def _case(index: int, case: Case) -> str:
    q = case.question
    asked = as_text(q.prompt)
    lead = case.wrong_score - case.right_score
    short = asked if len(asked) < 90 else asked[:90] + "..."
    title = f'{text(short)} <span class="soft">{text(q.subset)}, wrong by {lead:.3g}</span>'
    answers = "".join(
        f'<article class="card {kind}"><h3>{kind.capitalize()}, {score:.4g}</h3>'
        f'<div class="said">{lines(said)}</div></article>'
        for kind, said, score in (("right", case.right, case.right_score), ("wrong", case.wrong, case.wrong_score))
    )
    return (
        f'<details{" open" if index == 0 else ""}><summary>{title}</summary><div class="inside">'
        f'<div class="soft">{text(q.key)}</div><div class="said">{lines(asked)}</div><div class="two">{answers}</div>'
        "</div></details>"
    )


def _estimate(of: Estimate, chance: float | None = None) -> list[str]:
    """Value, interval and bar of a share; what is outside of 0..1 stands at the end."""
    at = [100 * min(max(x, 0.0), 1.0) for x in (of.low, of.high, of.value)]
    bar = f'<i style="left:{at[0]:.1f}%;width:{at[1] - at[0]:.1f}%"></i><b style="left:{at[2]:.1f}%"></b>'
    bar += f'<s style="left:{100 * chance:.1f}%"></s>' if chance is not None else ""
    said = f"{100 * of.low:.1f} to {100 * of.high:.1f}"
    return [f"{100 * of.value:.1f}", said, f'<span class="span" aria-hidden="true">{bar}</span>']


def _percent(of: Estimate) -> str:
    return f"{of.value:.0%} ({of.low:.0%} to {of.high:.0%})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A column of names and columns of numbers; everything in it is HTML already."""

    def row(tag: str, cells: Sequence[str]) -> str:
        rest = "".join(f'<{tag} class="n">{cell}</{tag}>' for cell in cells[1:])
        return f'<tr><{tag} class="name">{cells[0]}</{tag}>{rest}</tr>'

    return f"<table><thead>{row('th', head)}</thead><tbody>{''.join(row('td', r) for r in rows)}</tbody></table>"
