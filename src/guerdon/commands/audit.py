"""guerdon audit."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

if TYPE_CHECKING:
    from guerdon.commands.audit_model import Kept, Kind, Scored
    from guerdon.compare.audit import Audit
    from guerdon.compare.bias import Estimate
    from guerdon.compare.suites import Suite

SHORT = {"accuracy": "strict", "accuracy with ties": "or tied", "MRR": "MRR"}
"""What the terminal calls the metrics that it has room for."""


def audit(
    model: Positional[str],
    suite: tuple[Path, ...] = (),
    out: Path | None = None,
    judge_mode: Literal["ratings", "ranking", "pairwise"] = "ratings",
    language_model: str | None = None,
    reference: str | None = None,
    aggregate: Literal["min", "max", "prod", "geometric_mean", "mean", "last", "mean_logit", "mean_odd"] = "prod",
    truncate: bool = False,
    chat: bool | None = None,
    token_env: str | None = None,
    bad_lines: Literal["raise", "skip"] = "raise",
    batch: int = 32,
    concurrency: int | None = None,
    timeout: float | None = None,
    worst: int = 20,
    seed: int = 0,
    quiet: bool = False,
) -> None:
    """Examine a reward model on questions with right and wrong answers, and show where it fails.

    The model is a reward, a folder, a server, a judge or a file of scores:

      guerdon audit "ExactMatch() + 0.1 * my_rewards:Short()" --suite pairs.jsonl
      guerdon audit fitted/ --suite claims/data/llmbar --out audits/llmbar
      guerdon audit http://localhost:8000 --suite reward-bench-2.jsonl
      guerdon audit "OpenAICompatibleJudge(url='http://localhost:8000/v1', model='m')" --suite reward-bench-2.jsonl
      guerdon audit scores.jsonl --suite pairs.jsonl
      guerdon audit ArmoRM.json.gz

    A suite is a file or a folder of files: RewardBench 2's records, RewardMATH's benchmark, LLMBar, Contrast
    Instructions, or pairs of your own, JSON lines {"prompt", "chosen", "rejected"} with an optional "subset". A score
    file of RewardMATH's authors brings its own questions.

    With --out it writes audit.html, audit.json and scores.jsonl into that folder; interrupted, the same command goes on
    where it stopped. Nothing that could not be scored is counted as wrong: it is left out, counted, and told why.

    Args:
        model: see above. A folder is one of `guerdon fit`, or a sequence classifier of transformers with one label.
        suite: files or folders, all of one format.
        out: a folder for the reports.
        judge_mode: of a judge: rate each answer alone, 1 to 10; pick the best of all of a prompt; or compare the right
            one with each wrong one. The first two are RewardBench 2's; Ties need ratings.
        language_model: for rewards that need one, as --model of `guerdon score`.
        reference: a frozen one beside it.
        aggregate: how a score file's step scores become one number.
        truncate: cut texts that are longer than the model of a folder; else they are unscored, and counted.
        chat: put prompts that are texts into the chat template of a folder's model, as a user's turn; by default where
            it has one and is not from `guerdon fit`, whose models read prompts as their file had them.
        token_env: the environment variable that holds a server's token.
        bad_lines: of files of pairs: refuse, or leave them out and name them.
        batch: texts in one call of the model.
        concurrency: calls at a time, of a server or an awaited function.
        timeout: seconds for one call.
        worst: cases to show in the reports.
        seed: of intervals, and of the places in which a judge sees answers.
        quiet: no progress display.
    """
    from guerdon.commands.audit_model import kind_of, read_scores
    from guerdon.compare.audit import audit as examine
    from guerdon.compare.suites import read_suite, score_file

    kind = kind_of(model)
    own = score_file(Path(model), aggregate) if kind == "scores" else None
    with _progress(quiet) as told:
        if own is not None:
            if suite:
                raise ValueError(f"{model} brings its own questions: leave out --suite")
            questions, values = own
            how, reasons = f"score file{f', steps by {aggregate}' * bool(questions.notes)}", Counter()
        else:
            if not suite:
                raise ValueError("name the questions: --suite FILE; `guerdon audit --help` lists the formats")
            questions = read_suite(suite, bad=bad_lines)
            if kind == "scores":
                scored = read_scores(Path(model), questions.questions)
            else:
                options = {"batch": batch, "concurrency": concurrency, "timeout": timeout}
                loaded = {"model": language_model, "reference": reference}
                setting = {"truncate": truncate, "chat": chat, "token_env": token_env}
                setting |= {"judge_mode": judge_mode, "seed": seed}
                kept = _kept(out, model, kind, setting | loaded)
                scored = _score(model, kind, questions, kept, told, setting, loaded, options)
            values, how, reasons = scored.values, scored.how, scored.reasons
            questions.notes += scored.notes
    if not any(v == v for of in values for v in of):
        why = reasons.most_common(1)[0][0] if reasons else "no reason was given"
        raise ValueError(f"not one answer could be scored: {why}")
    found = examine(questions, values, worst=worst, seed=seed)
    found.notes += [f"{count} answers unscored: {why}" for why, count in reasons.most_common(8)]
    _show(found, model, how)
    if out is not None:
        _write(found, out, model, how, suite)


def _kept(out: Path | None, model: str, kind: Kind, setting: dict[str, Any]) -> Kept:
    from guerdon.commands.audit_model import Kept, fingerprint

    made = {"audited": model, "kind": kind, "files": fingerprint(model) if kind == "folder" else [], **setting}
    return Kept(out / "scores.jsonl" if out else None, made)


def _score(
    model: str, kind: Kind, suite: Suite, kept: Kept, told: Callable[[int, int], None], setting: dict[str, Any],
    loaded: dict[str, str | None], options: dict[str, Any],
) -> Scored:  # fmt: skip
    """The scores of everything but files."""
    from guerdon.commands.audit_judge import ask_judge
    from guerdon.commands.audit_model import score_answers
    from guerdon.commands.score import load_model
    from guerdon.expression import parse_judge, parse_scorer
    from guerdon.models.reward_client import RewardClient
    from guerdon.parts.reward_scorer import RewardScorer

    function: Any
    if kind == "judge":
        return ask_judge(parse_judge(model), suite.questions, setting["judge_mode"], kept, told, seed=setting["seed"])
    if kind == "server":
        function = RewardClient(url=model, token_env=setting["token_env"], retries=4)
        first = suite.questions[0]  # asked beforehand: if nobody is there, that is said at once
        function.score_now([{"prompt": first.prompt, "completion": first.answers[0]}])
        options["alone"] = False
    elif kind == "folder":
        from guerdon.models import reward_folder
        from guerdon.rewards.preference import RewardModel

        function = RewardScorer(RewardModel(path=model, truncate=setting["truncate"]))
        function.prepare()  # what is wrong with the folder is said once, not for every row
        tokenizer = getattr(function.reward.encoder, "tokenizer", None)
        foreign = not (Path(model) / reward_folder.FILE).exists()
        has_template = getattr(tokenizer, "chat_template", None) is not None
        options["chat"] = foreign and has_template if setting["chat"] is None else setting["chat"]
    else:
        models = {role: load_model(name) for role, name in loaded.items() if name}
        function = parse_scorer(model, **models)
        if isinstance(function, RewardScorer):
            function.prepare()
    scored = score_answers(function, suite.questions, kept, told, **options)
    if kind == "folder" and (cut := getattr(function.reward.encoder, "truncated", 0)):
        suite.notes.append(f"{cut} texts were longer than the model reads, and were cut")
    return scored


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as shown:
        bar = shown.add_task("scoring", total=None)
        yield lambda done, total: shown.update(bar, completed=done, total=total)


def _show(found: Audit, model: str, how: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(f"{model}: {found.suite}, {how}"), soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column("subset", overflow="fold", min_width=12)
    metrics = [name for name in SHORT if any(name in s.metrics for s in found.subsets)]
    for heading in ("asked", "score, 95 %", "chance", *(SHORT[name] for name in metrics), "tied"):
        table.add_column(heading, justify="right", no_wrap=True)
    for s in found.subsets:
        asked = f"{s.questions:,}" if s.scored == s.questions else f"{s.scored:,} of {s.questions:,}"
        more = [f"{100 * s.metrics[name]:.1f}" if name in s.metrics else "-" for name in metrics]
        score = Text(_percent(s.score) if s.score else "-")
        chance = f"{100 * s.chance:.1f}" if s.chance is not None else "-"
        table.add_row(Text(s.name), asked, score, chance, *more, f"{s.tied:,}")
    for name, of in (({"all": found.score} if found.score else {}) | found.more).items():
        table.add_row(name, "", Text(_percent(of)))
    console.print(table)
    console.print(Text(f"score: {found.protocol}", "dim"), soft_wrap=True)
    for text in (*found.findings(), *found.notes):
        console.print(Text(f"- {text}"), soft_wrap=True)


def _percent(of: Estimate) -> str:
    return f"{100 * of.value:.1f} [{100 * of.low:.1f}, {100 * of.high:.1f}]"


def _write(found: Audit, out: Path, model: str, how: str, suite: tuple[Path, ...]) -> None:
    """Both reports, each whole or not at all."""
    import guerdon
    from guerdon.serve.audit_page import page

    about = {"model": model, "how": how, "files": [str(path) for path in suite], "guerdon": guerdon.__version__}
    report = about | found.as_dict() | {"findings": found.findings()}
    texts = {"audit.json": json.dumps(report, indent=1) + "\n", "audit.html": page(found, title=model, how=how)}
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        fresh = out / f"{name}.new"
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, out / name)
        print(out / name, file=sys.stdout)
