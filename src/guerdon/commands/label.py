"""guerdon label."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional

from guerdon.judges.store import LabelStore

if TYPE_CHECKING:
    from guerdon.judges.answers import Answers
    from guerdon.serve.label_queue import LabelQueue


def label(
    queue: Positional[Path],
    store: str | None = None,
    question: str = "Which is better?",
    each: int = 1,
    bad: Literal["raise", "skip"] = "raise",
    reward: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    model: str | None = None,
    make: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = (),
    episodes: int = 4,
    most_steps: int = 1000,
    seed: int = 10_000,
    export: Path | None = None,
    ties: Literal["keep", "drop"] = "keep",
    agreement: bool = False,
    host: str = "127.0.0.1",
    port: int = 8010,
    token_env: str | None = None,
    minutes: float = 15.0,
) -> None:
    r"""Let people prefer one of two texts, or of two recorded episodes, in a web page.

    The queue is a file of JSON lines, one pair each: {"prompt", "first", "second"} (or "chosen" and "rejected", or
    LLMBar's columns), or {"first_file", "second_file"} with recordings in the queue's folder: .cast, .gif, .webp, .png,
    .npz, or a folder of pictures.

      guerdon label pairs.jsonl                                  serve the page; open the address it prints
      guerdon label pairs.jsonl --each 2                         two people answer each pair
      guerdon label pairs.jsonl --export labelled.jsonl          write the answers, for: guerdon fit labelled.jsonl
      guerdon label pairs.jsonl --agreement                      how far people agree, with each other and with judges

    Pairs of episodes of two runs, their newest policies playing the same games:

      guerdon label games/queue.jsonl --make runs/first --make runs/second --episodes 8

    Answers go to a label store, as hand-set labels of the judge "person:NAME"; `guerdon labels STORE` shows them.
    Several people may answer at once, on several servers with one --store. A server that was stopped, or killed, goes
    on where it was: start it again with the same words.

    Args:
        queue: the file of pairs.
        store: a file or postgresql://USER:PASSWORD@HOST/DATABASE; by default QUEUE.labels.sqlite. A run's own store
            works: its judge's labels are then compared with people's.
        question: what is asked. Answers to another question are kept apart.
        each: labels that are wanted of a pair, each of another person.
        bad: what to do about lines that hold no pair: refuse the file, or leave them out.
        reward: ask first about the pairs of texts that this reward can hardly tell apart; given several times, also
            about those that the rewards disagree on. A column "scores" in the queue does the same.
        model: a language model for rewards that need one.
        make: write the queue from episodes of this run's newest policy; given once, episodes are compared with each
            other, given twice, with those of the other run.
        episodes: of each run, for --make.
        most_steps: of an episode, for --make.
        seed: of the games, for --make.
        export: write the answers to this file and stop.
        ties: whether --export writes ties.
        agreement: print the agreement and stop.
        host: address to listen on. By default nobody outside of this machine can reach it.
        port: 0 takes a free one.
        token_env: the environment variable that holds the token to sign in with; by default a token is drawn and kept
            in QUEUE.token.
        minutes: how long a pair is kept for whoever has it on the screen, before others are given it.
    """
    from guerdon.judges.answers import Answers
    from guerdon.serve.label_queue import LabelQueue

    if make:
        from guerdon.commands.label_make import make_queue

        print(f"{make_queue(queue, make, episodes=episodes, most_steps=most_steps, seed=seed)} pairs in {queue}")
        return
    read = LabelQueue(queue, bad=bad)
    for line in read.report.lines():
        print(line, file=sys.stderr)
    opened = LabelStore(store or queue.with_name(f"{queue.name}.labels.sqlite"))
    answers = Answers(opened, question, each=each, lease=60 * minutes)
    if export is not None:
        from guerdon.serve.label_results import export as write

        count, left = write(read, answers, export, ties=ties)
        print(f"{count} labels in {export}" + "".join(f", {n} {kind} left out" for kind, n in left.items()))
    if agreement:
        _show_agreement(read, answers)
    if export is None and not agreement:
        missing = [name for name in ("fastapi", "uvicorn", "jinja2") if find_spec(name) is None]
        if missing:
            raise ImportError(f"guerdon label needs {' and '.join(missing)}: pip install 'guerdon[serve]'")
        token = _token(queue, token_env)
        _serve(read, answers, token, _priority(read, reward, model), host, port)
    opened.close()


def _serve(
    queue: LabelQueue, answers: Answers, token: str, priority: Sequence[float] | None, host: str, port: int
) -> None:
    from guerdon.serve.label_app import LabelApp
    from guerdon.serve.listen import listen

    app = LabelApp(queue, answers, token=token, priority=priority).app
    if host not in ("127.0.0.1", "::1", "localhost"):
        print(f"note: whoever reaches {host} and has the token can answer; nothing is encrypted", file=sys.stderr)
    print(f"{len(queue.pairs)} pairs of {queue.path}; answers in {answers.store.shown}")
    listen(app, host, port, told=lambda address: print(f"open {address}/?token={token}", flush=True), grace=5)
    print("stopped: every answer that was given is in the store")


def _token(queue: Path, token_env: str | None) -> str:
    """The token: that of the environment, or the one in the file beside the queue, which is made if it is not there."""
    if token_env is not None:
        if not (token := os.environ.get(token_env)):
            raise ValueError(f"--token-env {token_env}: there is no such environment variable, or it is empty")
        return token
    path = queue.with_name(f"{queue.name}.token")
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(18))
    except FileExistsError:
        pass
    if not (token := path.read_text().strip()):
        raise ValueError(f"{path} is empty: delete it, and a new token is drawn")
    return token


def _priority(queue: LabelQueue, rewards: Sequence[str], model: str | None) -> list[float] | None:
    """How uncertain each pair is, by rewards or by the queue's own scores; None without either."""
    from guerdon.serve.label_queue import margins, uncertainty

    scores = [pair.scores for pair in queue.pairs]
    if rewards:
        if any(pair.files for pair in queue.pairs):
            raise ValueError("--reward scores texts; for recordings put a column 'scores' into the queue")
        members = [_scores(queue, reward, model) for reward in rewards]
        scores = [list(zip(*of_pair, strict=True)) for of_pair in zip(*members, strict=True)]
    if all(found is None for found in scores):
        return None
    if missing := sum(found is None for found in scores):
        raise ValueError(
            f"{missing} of {len(scores)} pairs of the queue have no scores: give all of them some, or none"
        )
    return uncertainty([margins(found) for found in scores]).tolist()


def _scores(queue: LabelQueue, reward: str, model: str | None) -> list[tuple[float | None, float | None]]:
    """What a reward gives the first and the second of each pair."""
    from guerdon.commands.score import load_model
    from guerdon.expression import parse_scorer
    from guerdon.parts.concurrent_scoring import Scoring

    rows = []
    for pair in queue.pairs:
        for side, completion in enumerate((pair.first, pair.second)):
            features = {name: values[side] for name, values in pair.columns.get("features", {}).items()}
            rows.append({**pair.columns, **features, "prompt": pair.prompt, "completion": completion})
    function = parse_scorer(reward, model=load_model(model) if model else None)
    with Scoring(function, timeout=None, queue=None) as scoring:
        found = scoring.score_now(rows)
    if failed := [score for score in found if score.failed]:
        raise ValueError(f"{reward} cannot score {len(failed)} of {len(rows)} texts: {failed[0].why()}")
    values = [score.value for score in found]
    return list(zip(values[::2], values[1::2], strict=True))


def _show_agreement(queue: LabelQueue, answers: Answers) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from guerdon.serve.label_results import agreement, kappa, percent

    found, console = agreement(queue, answers), Console(highlight=False)
    if not found.people:
        console.print("nobody has answered yet")
        return
    people = Table("who", *("first", "second", "tie", "skipped"), title=escape(answers.question))
    for name, counts in found.people.items():
        people.add_row(escape(name), *(str(counts[kind]) for kind in ("first", "second", "tie", "skipped")))
    console.print(people)
    table = Table("one", "other", "pairs", "agree", "Cohen's kappa")
    for row in found.comparisons:
        table.add_row(escape(row.one), escape(row.other), str(row.pairs), percent(row.raw), kappa(row.kappa))
    if found.comparisons:
        console.print(table)
    console.print(f"Fleiss' kappa {kappa(found.fleiss)} on {found.shared} pairs that two or more people have answered")
