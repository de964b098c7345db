"""Writes the tables of the documentation from the code and the results into docs/generated/; ``make docs`` runs it.

With ``--readme`` it writes README's table anew, which a test holds to the code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from results import ROOT, Check, checks

from guerdon import catalogue, tasks
from guerdon.compare import expected

OUT = Path(__file__).parent / "generated"
MARKS = ("<!-- what there is: written by docs/generate.py -->", "<!-- end -->")
KINDS = {"claims": "claim checks", "benchmarks": "benchmarks"}
STALE = '!!! warning "Stale"\n    The script or the method has changed since: these figures are of the code before.'
SIGNS = {"holds": "✓ holds", "does not hold": "✗ does not hold", "stale": "stale", "not run": "not run", "": "none"}


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(x) for x in line) + " |" for line in lines) + "\n"


def cell(value: Any) -> str:
    """`value` on one line, with nothing in it that ends a cell."""
    return " ".join(str(value).split()).replace("|", "\\|")


def figure(value: Any) -> str:
    """A measured number, short; other things as they are."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def interval(row: dict[str, Any]) -> str:
    """The interval of a measured number."""
    low, high = row.get("low"), row.get("high")
    return f"{figure(low)} to {figure(high)}" if low is not None and high is not None else ""


def verdict(holds: bool | None) -> str:
    """How a check came out."""
    return "" if holds is None else SIGNS["holds"] if holds else SIGNS["does not hold"]


def rewards() -> str:
    """The catalogue's rewards, folder by folder, and the credits."""
    parts = []
    entries = [*catalogue.entries(), *catalogue.credit_entries()]
    for folder in dict.fromkeys(entry.folder for entry in entries):
        rows = []
        for entry in (e for e in entries if e.folder == folder):
            if entry.about is None:
                rows.append((f"`{entry.name}`", f"needs `{entry.install}`", "", "", ""))
                continue
            about = entry.about
            paper = f"[{about.paper}]({about.link})" if about.link else about.paper
            status = SIGNS.get(entry.status, entry.status)
            claim = (
                f"[{status}](claims.md#{about.claim})"
                if entry.status in ("holds", "does not hold", "stale")
                else status
            )
            rows.append((f"`{entry.name}`", about.rewards, about.scores, paper, claim))
        head = ("name", "does" if folder == "credit" else "pays for", "scores", "paper", "claim check")
        parts.append(f"### {folder}\n\n" + table(head, rows))
    return "\n".join(parts)


def judges() -> str:
    """The judges, each with the first line of its docstring."""
    rows = []
    for name, value in sorted(catalogue.judges().items()):
        does = f"needs `{value}`" if isinstance(value, str) else (value.__doc__ or "").partition("\n")[0]
        rows.append((f"`{name}`", does))
    return table(("judge", "answers with"), rows)


def task_names() -> str:
    """The names of the tasks."""
    names = tasks.names()
    ours = [name for name in names if not name.startswith("MiniHack-")]
    return (
        ", ".join(f"`{name}`" for name in ours)
        + f"; {len(names) - len(ours)} registered MiniHack tasks; and any Gymnasium id, also `module:Id-v0`.\n"
    )


def claims() -> str:
    """Every claim check with what was measured."""
    parts = []
    for check in checks("claims"):
        parts.append(heading(check))
        if check.result:
            rows = [
                (c["name"], c["expected"], figure(c["measured"]), interval(c), verdict(c["holds"]))
                for c in check.result["checks"]
            ]
            parts.append(table(("check", "expected", "measured", "95 % interval", "verdict"), rows))
            seeds = ", ".join(map(str, check.result.get("seeds", ())))
            parts.append(f"Seeds {seeds}; {check.result.get('seconds', 0) / 60:.0f} minutes.\n")
    return "\n".join(parts)


def benchmarks() -> str:
    """Every benchmark with its ratios."""
    parts = []
    for check in checks("benchmarks"):
        parts.append(heading(check))
        if check.result:
            ratios = check.result.get("ratios") or []
            rows = [
                (r["name"], figure(r["value"]), interval(r), figure(r.get("target")), verdict(r.get("holds")))
                for r in ratios
            ]
            if rows:
                parts.append(table(("ratio", "value", "95 % interval", "target", "verdict"), rows))
            if seen := [(name, figure(value)) for name, value in flat(besides(check.result))]:
                parts.append(table(("also seen", ""), seen))
            parts.append(f"Seen on {told(check.result.get('machine'))}; beside {told(check.result.get('peer'))}.\n")
    return "\n".join(parts)


def told(value: Any) -> str:
    """A machine or a peer in words."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {told(part)}" for key, part in value.items())
    return ", ".join(map(told, value)) if isinstance(value, list) else str(value or "nothing else")


def heading(check: Check) -> str:
    """A check's name, status and subject."""
    script = f"`{check.script.relative_to(ROOT).as_posix()}`" + (", takes long" if check.long else "")
    parts = [f"### {check.name}", f"**{SIGNS.get(check.status, check.status)}** ({script}). {check.about}"]
    if check.status == "stale":
        parts.append(STALE)
    elif check.result and check.changed:
        changed = ", ".join(f"`{name}`" for name in check.changed)
        parts.append(f"Changed since, among the parts it stands on: {changed}.")
    return "\n\n".join(parts) + "\n"


def recorded_judge() -> str:
    """How well the recorded judge labels captions it has not seen."""
    check = next((c for c in checks("benchmarks") if c.name == "recorded_judge"), None)
    if check is None or check.result is None:
        return "Not measured yet: `guerdon judge-accuracy` measures it.\n"
    stale = f"{STALE}\n\n" if check.status == "stale" else ""
    rows = [(name, figure(value)) for name, value in flat(besides(check.result))]
    rows += [
        (r["name"], f"{figure(r['value'])} ({interval(r)})" if interval(r) else figure(r["value"]))
        for r in check.result.get("ratios", ())
    ]
    return stale + table(("figure", "measured"), rows)


def besides(result: dict[str, Any]) -> dict[str, Any]:
    """What a benchmark has measured besides its ratios."""
    left_out = ("benchmark", "code", "parts", "machine", "peer", "ratios", "seconds")
    return {key: value for key, value in result.items() if key not in left_out}


def flat(value: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """The leaves of nested dictionaries; low and high stand in brackets behind the figure that they belong to."""
    for key, part in value.items():
        name = prefix if key == "figures" else f"{prefix}{key.replace('_', ' ')}"
        if isinstance(part, dict):
            main = [k for k in part if k not in ("low", "high")]
            if len(main) == 1 and "low" in part:
                yield f"{name}, {main[0].replace('_', ' ')}", f"{figure(part[main[0]])} ({interval(part)})"
            else:
                yield from flat(part, name and f"{name.removesuffix(', ')}, ")
        elif not isinstance(part, list):
            yield name, part


def readme_table() -> str:
    """What there is, for README."""
    rows = []
    entries = [entry for entry in catalogue.entries() if entry.about]
    for folder in dict.fromkeys(entry.folder for entry in entries):
        rows.append((f"rewards: {folder}", ", ".join(f"`{e.name}`" for e in entries if e.folder == folder)))
    rows.append(("credits and filters", ", ".join(f"`{e.name}`" for e in catalogue.credit_entries() if e.about)))
    rows.append(("judges", ", ".join(f"`{name}`" for name in sorted(catalogue.judges()))))
    rows.append(("tasks", task_names().rstrip(".\n")))
    rows += [(what, ", ".join(f"`{c.name}`" for c in checks(kind))) for kind, what in KINDS.items()]
    return table(("", ""), [row for row in rows if row[1]])


def readme(text: str) -> str:
    """README with its table written anew."""
    pattern = re.compile(rf"({re.escape(MARKS[0])}\n).*?({re.escape(MARKS[1])})", re.S)
    return pattern.sub(lambda found: found[1] + readme_table() + found[2], text)


def probes() -> str:
    """What `guerdon probe` should say of each intrinsic reward."""
    found = expected.table()
    names = list(dict.fromkeys(name for verdicts in found.values() for name in verdicts))
    rows = [(f"`{reward}`", *(verdicts.get(name, "varies") for name in names)) for reward, verdicts in found.items()]
    return table(("reward", *names), rows) if rows else ""


def main() -> None:
    path = ROOT / "README.md"
    if "--readme" in sys.argv[1:]:
        path.write_text(readme(path.read_text(encoding="utf-8")), encoding="utf-8")
    OUT.mkdir(exist_ok=True)
    for function in (rewards, judges, task_names, claims, benchmarks, probes, recorded_judge):
        (OUT / f"{function.__name__}.md").write_text(function() or "None yet.\n", encoding="utf-8")


if __name__ == "__main__":
    main()
