"""guerdon score."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tyro.conf import Positional

if TYPE_CHECKING:
    from guerdon.parts.concurrent_scoring import Scoring
    from guerdon.parts.scorer import Score
    from guerdon.types import LanguageModel

AHEAD = 8
"""Groups per place of a call that are read ahead of what is being scored."""


def score(
    file: Positional[Path],
    reward: str,
    model: str | None = None,
    reference: str | None = None,
    out: Path | None = None,
    prompt: str = "prompt",
    completion: str = "completion",
    workers: int = 0,
    concurrency: int | None = None,
    batch: int = 64,
    timeout: float | None = 60.0,
    quiet: bool = False,
) -> None:
    """Score a file of completions: JSON lines {"prompt", "completion", further columns}.

    The reward is an expression, or a function of your own without parentheses:

      guerdon score answers.jsonl --reward "ExactMatch() + 0.1 * my_rewards:Short()"
      guerdon score answers.jsonl --reward my_rewards:grade --workers 2

    Writes each row with "reward", its terms as "reward/NAME", and, where there is no score, null and "reward/reason".
    Neighbouring lines with the same prompt (or the same "group") are answers to be compared with each other.

    Interrupted, even by kill -9, the same command goes on where it stopped: no row is scored twice or lost. Lines that
    are no row are written with their reason and named at the end; then the exit status is 1.

    Args:
        file: what to score.
        reward: an expression, or module:function without parentheses; `guerdon serve --help` says what it may take.
        model: a language model for rewards that need one: a folder, an installed package, or a cached name;
            or NAME@http://HOST:PORT/v1, on a server of vLLM, with NAME's tokenizer here.
        reference: another for rewards that need a frozen one beside it; by default --model.
        out: where to; by default FILE.scored.jsonl.
        prompt: the column that holds the prompt: a text or messages.
        completion: the column that holds the completion: a text, or a list of texts, one a step.
        workers: processes that score, for Python that computes.
        concurrency: calls of the scorer at a time.
        batch: rows in one call of a reward or a function of many rows.
        timeout: seconds for one call of the scorer.
        quiet: no progress display.
    """
    from guerdon.expression import parse_scorer
    from guerdon.parts.concurrent_scoring import Scoring

    if workers and (model or reference):
        raise ValueError("each of the --workers would need a --model of its own; use one or the other")
    target = out or file.with_name(f"{file.stem}.scored.jsonl")
    if target.resolve() == file.resolve():
        raise ValueError(f"--out {target} is the file to score")
    made = {"file": str(file.resolve()), "reward": reward, "model": model, "reference": reference}
    made |= {"prompt": prompt, "completion": completion}
    models = {"model": model, "reference": reference}
    with file.open("rb") as lines:
        function = parse_scorer(reward, **{role: load_model(name) for role, name in models.items() if name})
        with Journal(target, made) as journal:  # only now: what cannot be scored leaves no file behind
            groups = read_groups(lines, prompt, completion, journal)
            with Scoring(function, concurrency=concurrency, batch=batch, timeout=timeout, workers=workers) as scoring:
                places = scoring.concurrency * (batch if scoring.scorer.takes_many else 1)
                asyncio.run(_score_all(groups, scoring, journal, places * AHEAD, quiet, file.stat().st_size))
    _summary(target, journal)


def load_model(name: str) -> LanguageModel:
    """The language model of --model: NAME, on an accelerator if there is one, or NAME@URL, on a server."""
    import torch

    from guerdon.models import CausalLM, RemoteLM

    name, _, url = name.partition("@")
    if not url:
        return CausalLM.load(name, device="cuda" if torch.cuda.is_available() else "cpu")
    from transformers import AutoTokenizer

    return RemoteLM(url, name, AutoTokenizer.from_pretrained(name, local_files_only=True))


@dataclass
class Line:
    """One line of the file: a row, or the trouble with it."""

    number: int
    end: int  # its last byte in the file
    written: dict[str, Any]
    row: dict[str, Any] | None
    trouble: str = ""

    @property
    def group(self) -> str:
        """What its neighbours must share to be compared with it."""
        return f"bad {self.number}" if self.row is None else repr(self.row.get("group", self.row["prompt"]))


def read_groups(lines: BinaryIO, prompt: str, completion: str, journal: Journal) -> Iterator[list[Line]]:
    """The lines that are not in the journal yet, neighbours of one group together.

    A group of which the journal holds only a part is taken out of it, and comes again as a whole.
    """
    group: list[Line] = []
    last, at = journal.last, journal.done
    for line in _read(lines, prompt, completion):
        if line.number == at and any(last.get(name) != value for name, value in line.written.items()):
            raise ValueError(f"line {at} is not what it was when {journal.path} was written: name another --out")
        if group and line.group != group[-1].group:
            if group[-1].number > journal.done:
                journal.keep(group[0].number - 1)
                yield group
            group = []
        group.append(line)
    if group and group[-1].number > journal.done:
        journal.keep(group[0].number - 1)
        yield group


def _read(lines: BinaryIO, prompt: str, completion: str) -> Iterator[Line]:
    from guerdon.parts.completions_from_text import written_steps

    end = 0
    for number, text in enumerate(lines, start=1):
        end += len(text)
        written: Any = {}
        try:
            written = json.loads(text)
            if not isinstance(written, dict):
                raise ValueError(f"a row is an object, not {type(written).__name__}")
            missing = [name for name in (prompt, completion) if name not in written]
            if missing:
                raise ValueError(f"no column {' and no column '.join(map(repr, missing))}; there are {list(written)}")
            row = {k: v for k, v in written.items() if k not in (prompt, completion)}
            row |= {"prompt": written[prompt], "completion": written[completion]}
            written_steps(row)
            yield Line(number, end, written, row)
        except (ValueError, RecursionError) as error:  # also what is no JSON or no UTF-8
            said = " ".join(str(error).split())
            yield Line(number, end, written if isinstance(written, dict) else {}, None, said)


class Journal:
    """The scored rows on disk: row n is line n of the file. A row that was cut short by a crash is dropped.

    Raises:
        ValueError: the file there was made by another command.
    """

    def __init__(self, path: Path, made: dict[str, Any]) -> None:
        self.path, self.note = path, path.with_name(f"{path.name}.made.json")
        self.outcomes: Counter[str] = Counter()
        self.bad: list[str] = []
        if path.exists() and path.stat().st_size:
            try:
                before = json.loads(self.note.read_text())
            except (OSError, ValueError):
                before = None
            if before != made:
                raise ValueError(f"{path} holds something else than this command would write: name another --out")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.note.write_text(json.dumps(made, indent=1))
        self.file = path.open("a+b")
        self.file.seek(0)
        self.ends, row = [0], b"{}"  # where each row ends
        for text in self.file:
            if not text.endswith(b"\n"):
                break
            self.ends.append(self.ends[-1] + len(row := text))
        self.last: dict[str, Any] = json.loads(row)
        self.file.truncate(self.ends[-1])
        self.file.seek(0, os.SEEK_END)

    @property
    def done(self) -> int:
        """Rows written."""
        return len(self.ends) - 1

    def keep(self, rows: int) -> None:
        """Drops all rows after so many."""
        if rows < self.done:
            del self.ends[rows + 1 :]
            self.file.truncate(self.ends[-1])
            self.file.seek(0, os.SEEK_END)

    def write(self, group: list[Line], scores: list[Score]) -> None:
        """Appends the rows of a group."""
        for line, score in zip(group, scores, strict=True):
            terms = {f"reward/{name}": value for name, value in score.terms.items()}
            reason = {} if score.value is not None else {"reward/reason": score.why()}
            row = {**line.written, "reward": score.value, **terms, **reason}
            if line.row is None:
                row["reward/line"] = line.number
            text = json.dumps(row).encode("ascii") + b"\n"
            self.file.write(text)
            self.ends.append(self.ends[-1] + len(text))
            self.outcomes[score.reason or "scored"] += 1
            if score.failed:
                self.bad.append(f"line {line.number}: {score.why()}")
        self.file.flush()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        os.fsync(self.file.fileno())
        self.file.close()


async def _score_all(
    groups: Iterator[list[Line]], scoring: Scoring, journal: Journal, ahead: int, quiet: bool, size: int
) -> None:
    """Scores groups side by side, `ahead` rows at most, and writes them in the order of the file."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        BarColumn(20),
        TextColumn("{task.percentage:3.0f}%  {task.description}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as shown:
        bar, said = shown.add_task("", total=size), time.monotonic()
        async for group, scores in _in_order(groups, scoring, ahead):
            journal.write(group, scores)
            counted = "  ".join(f"{n:,} {reason}" for reason, n in journal.outcomes.most_common(4))
            shown.update(bar, completed=group[-1].end, description=counted)
            if not (quiet or console.is_terminal) and time.monotonic() > said + 10:
                said = time.monotonic()
                print(f"line {group[-1].number:,}, {group[-1].end / size:.0%}: {counted}", file=sys.stderr, flush=True)


async def _in_order(
    groups: Iterator[list[Line]], scoring: Scoring, ahead: int
) -> AsyncIterator[tuple[list[Line], list[Score]]]:
    waiting: list[tuple[list[Line], asyncio.Task[list[Score]]]] = []
    rows = 0
    for group in groups:
        waiting.append((group, asyncio.create_task(_score_group(group, scoring))))
        rows += len(group)
        while rows >= ahead or (waiting and waiting[0][1].done()):
            first, task = waiting.pop(0)
            rows -= len(first)
            yield first, await task
        await asyncio.sleep(0)  # lets the tasks begin
    for first, task in waiting:
        yield first, await task


async def _score_group(group: list[Line], scoring: Scoring) -> list[Score]:
    from guerdon.parts.scorer import Score

    if group[0].row is None:
        return [Score(None, "bad row", line.trouble) for line in group]
    return await scoring.score([line.row for line in group if line.row is not None])


def _summary(target: Path, journal: Journal) -> None:
    skipped = journal.done - journal.outcomes.total()
    counted = ", ".join(f"{n:,} {reason}" for reason, n in journal.outcomes.most_common()) or "nothing left to score"
    before = f" ({skipped:,} rows were there before)" if skipped else ""
    print(f"{target}: {counted}{before}")
    for text in journal.bad[:20]:
        print(text, file=sys.stderr)
    if len(journal.bad) > 20:
        print(f"and {len(journal.bad) - 20} more; they have a reward/reason", file=sys.stderr)
    if journal.bad:
        sys.exit(1)
