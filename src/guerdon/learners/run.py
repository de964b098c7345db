"""One training run in one folder: its configuration, progress, checkpoints, labels and captions."""

from __future__ import annotations

import json
import time
from collections import defaultdict, deque
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from tyro.conf import Positional

from guerdon import __version__, tasks
from guerdon.expression import parse_judge, parse_reward
from guerdon.judges.annotator import Annotator
from guerdon.judges.store import LabelStore
from guerdon.learners import checkpoint
from guerdon.learners.folder import Board, RunError, interrupts, spread, whole_lines
from guerdon.learners.ledger import CaptionLedger
from guerdon.learners.ppo import PPO
from guerdon.learners.spell import literals, parse_learner
from guerdon.learners.warm_up import warm_up
from guerdon.parts.episodes import restart
from guerdon.types import Labels, Rollout, Scored

STEPS = 1_000_000


@dataclass(frozen=True)
class Config:
    """What a run is, whole: from it the run can be repeated."""

    task: Positional[str] = ""
    """Task to train on: a name of `guerdon tasks`, a MiniHack id, or any Gymnasium id (also module:Id-v0)."""
    reward: str = "Extrinsic()"
    """Reward expression, such as "Extrinsic() + 0.1 * ONI(model='retrieval')"; `guerdon list` shows the names."""
    judge: str | None = None
    """Who labels captions, such as "RecordedJudge()" or "OpenAICompatibleJudge(url='http://127.0.0.1:8000/v1', model='...')"."""  # noqa: E501
    learner: str = "PPO()"
    """Learner expression, such as "PPO(recurrent=True, lr=3e-4)"."""
    steps: int = 0
    """Environment steps in all; 0 takes 1,000,000, or what the run that is resumed has."""
    envs: int = 64
    """Games played at once."""
    workers: int = 1
    """Processes that step them; 0 steps them in this one."""
    option: tuple[str, ...] = ()
    """Task options as key=value, such as max_episode_steps=500."""
    canonical: bool = False
    """Group captions that differ only in numbers, item letters and names."""
    store: str | None = None
    """Label store: a file or a database URL that runs may share. Default: labels.sqlite in the run's folder."""
    warm_up: int = 0
    """Steps of random actions before training, not counted, which the reward only observes for its statistics."""
    label_delay: int | None = None
    """Deliver labels exactly this many iterations after they were asked for, so that a run repeats exactly."""
    on_judge_failure: Literal["stop", "continue"] = "stop"
    """What to do once the judge has failed for good: stop with a message, or go on without new labels."""
    seed: int = 0
    """Seed of games, networks and sampling."""
    device: str = "cpu"
    """Where networks live."""
    save_every: int = 50
    """Iterations between checkpoints."""
    record: int = 4
    """Rollouts kept on disk, spread over the run, for `guerdon rescore`."""
    arm: str | None = None
    """Name under which reports group this run with others of its kind."""


@dataclass
class Run:
    """A configuration in its folder, with everything that is alive while it trains. Use `train`, or `open_run`."""

    config: Config
    folder: Path
    judge_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        c = self.config
        self.reward = parse_reward(c.reward)
        self.judge = parse_judge(c.judge) if c.judge else None
        self.learner: PPO = parse_learner(c.learner)
        self.options = literals(c.option)
        self.reads_captions = any(getattr(m, "reads_captions", False) for m in self.reward.modules())

    def make_task(self, **changed: Any) -> Any:
        """The task of this run; `changed` replaces some of what its configuration says."""
        canonical = None
        if self.config.canonical:
            from guerdon.parts.canonical import canonical
        common = {
            "num_envs": self.config.envs,
            "workers": self.config.workers,
            "captions": self.reads_captions,
            "canonicalise": canonical,
        }
        return tasks.make(self.config.task, **(common | self.options | changed))

    def write_config(self) -> None:
        """Writes config.json."""
        shown = {"guerdon": __version__} | asdict(self.config)
        text = json.dumps(shown, indent=1).encode()
        checkpoint.write_whole(self.folder / "config.json", lambda file: file.write(text))


def open_run(folder: str | Path) -> Run:
    """The run in `folder`. Raises RunError if there is none, or if its config.json is damaged."""
    folder = Path(folder)
    path = folder / "config.json"
    if not path.exists():
        near = sorted(str(p.parent) for p in folder.parent.glob("*/config.json")) if folder.parent.is_dir() else []
        raise RunError(
            f"{folder} is no run: it has no config.json" + (f". Runs beside it: {', '.join(near)}" if near else "")
        )
    try:
        stored = json.loads(path.read_text())
        stored.pop("guerdon", None)
        stored["option"] = tuple(stored["option"])
        config = Config(**stored)
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{path} is damaged ({error}): restore it, or start the run anew in another folder") from error
    return Run(config, folder)


def train(config: Config, folder: str | Path, *, resume: bool = False, progress: Any = None) -> Path:
    """Trains, and returns the run's folder.

    Args:
        config: what to run; with `resume` only its `steps` counts, the rest is read from the folder.
        folder: where the run lives; made if it does not exist.
        resume: go on from the newest checkpoint.
        progress: called with each iteration's row, as written to progress.jsonl.

    Raises:
        RunError: the folder already holds a run (without `resume`), or none (with it).
        AnnotatorFailed: the judge failed for good and `on_judge_failure` is "stop"; the run was saved first.
        FloatingPointError: training diverged; the last checkpoint stays.
    """
    folder = Path(folder)
    if resume:
        run = open_run(folder)
        run.config = replace(run.config, steps=config.steps or run.config.steps)
    else:
        if (folder / "config.json").exists():
            raise RunError(f"{folder} already holds a run: go on with --resume, or name another folder with --run")
        run = Run(replace(config, steps=config.steps or STEPS), folder)
        folder.mkdir(parents=True, exist_ok=True)
    return _Training(run, resume, progress).loop()


class _Training:
    """The live side of a run."""

    def __init__(self, run: Run, resume: bool, progress: Any) -> None:
        self.run, self.config, self.folder, self.progress = run, run.config, run.folder, progress
        self.started, self.seconds_before = time.monotonic(), 0.0
        self.episodes: deque[dict[str, float]] = deque(maxlen=200)
        self.task = run.make_task()
        try:
            run.learner.build(self.task, run.reward, seed=self.config.seed, device=self.config.device)
            self.ledger = CaptionLedger(run.reward, self.task.captions) if self.task.captions is not None else None
            self.annotator = self._annotator()
            self.iteration = self.unscored = 0
            self.seen = defaultdict(float)
            if resume:
                self._resume()
            elif self.config.warm_up > 0:
                warm_up(run.reward, self.task, self.config.warm_up, seed=self.config.seed + 1)
                run.learner.collector.start(self.config.seed)
            run.write_config()  # only now: what cannot be made leaves no run behind
            (self.folder / "done.json").unlink(missing_ok=True)
        except BaseException:
            self.task.close()
            raise

    def _annotator(self) -> Annotator | None:
        if self.run.judge is None:
            return None
        store = LabelStore(self.config.store or str(self.folder / "labels.sqlite"))
        return Annotator(
            self.run.judge,
            store=store,
            delay_steps=self.config.label_delay,
            on_failure=self.config.on_judge_failure,
            **self.run.judge_options,
        )

    def _resume(self) -> None:
        state, path, damaged = checkpoint.load_newest(self.folder / "checkpoints")
        for line in damaged:
            print(f"{line}; going on from {path.name}")
        self.iteration, self.seconds_before = state["iteration"], state["seconds"]
        self.run.learner.load_state_dict(state["learner"], seed=self.config.seed + 7919 * (1 + self.iteration))
        restart(self.run.reward)  # its games are others now
        if self.ledger is not None:
            self.ledger.load_state_dict(state["ledger"])
        if self.annotator is not None:
            self.annotator.load_state_dict(state["annotator"])
        rows = self.folder / "progress.jsonl"
        kept = [line for line in whole_lines(rows) if json.loads(line)["step"] <= self.run.learner.steps]
        text = "".join(f"{line}\n" for line in kept).encode()
        checkpoint.write_whole(rows, lambda file: file.write(text))

    def loop(self) -> Path:
        learner, config = self.run.learner, self.config
        reason = "finished"
        try:
            with interrupts() as interrupted, open(self.folder / "progress.jsonl", "a") as rows:
                board = Board(self.folder)
                while learner.steps < config.steps:
                    row = self.iterate()
                    rows.write(json.dumps(row) + "\n")
                    rows.flush()
                    board.add(row)
                    if self.progress is not None:
                        self.progress(row)
                    if interrupted.is_set():
                        reason = "interrupted"
                        break
                    if self.iteration % config.save_every == 0:
                        self.save(final=False)
                board.close()
            self.save(final=True)
            done = json.dumps({"step": learner.steps, "seconds": self.seconds, "reason": reason}).encode()
            checkpoint.write_whole(self.folder / "done.json", lambda file: file.write(done))
        finally:
            if self.annotator is not None:
                self.annotator.close()
            self.task.close()
        if reason == "interrupted":
            raise KeyboardInterrupt
        return self.folder

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the run, those before a resume included."""
        return self.seconds_before + time.monotonic() - self.started

    def iterate(self) -> dict[str, float]:
        """Collect, label, score, learn; returns the row to log."""
        learner, reward = self.run.learner, self.run.reward
        begun = time.monotonic()
        collected = learner.collect()
        rollout = collected.rollout
        logs: dict[str, float] = {}
        if self.annotator is not None:
            self.annotator.submit(reward.questions(rollout))
            logs |= self._apply_labels()
        learner.clock.lap("labels")
        scored = learner.score(rollout)  # by the newest reward model
        logs |= learner.learn(collected, scored, progress=min(1.0, learner.steps / self.config.steps))
        reward.observe(rollout)
        logs |= {f"reward/{k}": v for k, v in reward.update(rollout).items()}
        learner.clock.lap("reward")
        if self.annotator is not None:
            self.annotator.step()
            logs |= {f"labels/{k}": v for k, v in self.annotator.counters().items()}
        self.iteration += 1
        self.episodes.extend(collected.finished)
        logs |= self._terms(rollout, scored)
        self._record(rollout)
        seconds = time.monotonic() - begun
        row = {"step": learner.steps, "total": self.config.steps, "seconds": round(self.seconds, 3)}
        row["steps_per_second"] = round(learner.steps_per_iteration / seconds, 1)
        learner.clock.lap("logs")
        row |= {f"time/{k}": v for k, v in learner.clock.drain().items()}
        return row | self._episode_means(collected.finished) | logs

    def _apply_labels(self) -> dict[str, float]:
        assert self.annotator is not None
        try:
            labels = self.annotator.poll()
        except Exception:
            self.save(final=True)  # nothing learned so far is lost to a judge that failed
            raise
        if not labels:
            return {}
        return {f"reward/{k}": v for k, v in self.run.reward.update(Labels.from_rows(labels)).items()}

    def _terms(self, rollout: Rollout, scored: list[Scored]) -> dict[str, float]:
        """Mean and spread of every term and stage, from the very tensors the learner used."""
        valid = rollout.valid
        logs: dict[str, float] = {}
        terms = {name: term.cpu() for s in scored for name, term in s.terms.items()}
        for s in scored:
            for name, stage in s.stages.items():
                logs |= {f"stage/{name}/{k}": v for k, v in spread(stage.cpu()[valid]).items()}
        ended = max(1, int((rollout.terminated | rollout.truncated).sum()))
        for name, term in terms.items():
            values = term[valid]
            logs[f"term/{name}/mean"] = float(values.nanmean())
            logs[f"term/{name}/per_episode"] = float(values.nansum()) / ended
            logs[f"term/{name}/unscored"] = float(values.isnan().sum())
        if self.ledger is not None:
            self.ledger.add(rollout, terms)
            logs["captions/known"] = float(len(self.ledger.captions))
        return logs

    def _episode_means(self, finished: list[dict[str, float]]) -> dict[str, float]:
        """Means over the episodes that ended in this iteration, and of success over the last 200."""
        if not finished:
            return {}
        keys = {k for episode in finished for k in episode}
        means = {f"episode/{k}": sum(e[k] for e in finished if k in e) / sum(k in e for e in finished) for k in keys}
        means["episode/count"] = float(len(finished))
        if "success" in keys:
            recent = [e["success"] for e in self.episodes if "success" in e]
            means["episode/success_recent"] = sum(recent) / len(recent)
        return means

    def _record(self, rollout: Rollout) -> None:
        """Keeps `record` rollouts, spread evenly over the run, with the captions they name."""
        due = self.config.steps / max(1, self.config.record)
        steps, stride = self.run.learner.steps, self.run.learner.steps_per_iteration
        if not self.config.record or int(steps / due) == int((steps - stride) / due):
            return
        few: Any = rollout.columns(slice(0, min(16, self.config.envs)))
        state: dict[str, Any] = {"rollout": {k: v for k, v in few.to_tensordict().items() if v is not None}}
        if self.task.captions is not None and few.caption is not None:
            ids = few.caption.unique()
            state |= {"ids": ids, "texts": [self.task.captions.text(i) for i in ids.tolist()]}
        (self.folder / "rollouts").mkdir(exist_ok=True)
        checkpoint.write_whole(self.folder / "rollouts" / f"{steps:012d}.pt", lambda file: torch.save(state, file))

    def save(self, *, final: bool) -> None:
        """Writes a checkpoint and captions.json. A full disk is an error at the end, and a warning before."""
        state = {"learner": self.run.learner.state_dict(), "iteration": self.iteration, "seconds": self.seconds}
        if self.ledger is not None:
            state["ledger"] = self.ledger.state_dict()
        if self.annotator is not None:
            state["annotator"] = self.annotator.state_dict()
        try:
            checkpoint.save(self.folder / "checkpoints", self.run.learner.steps, state)
            if self.ledger is not None:
                text = json.dumps(self.ledger.rows(), indent=1).encode()
                checkpoint.write_whole(self.folder / "captions.json", lambda file: file.write(text))
        except OSError as error:
            if final:
                raise RunError(f"could not save the run: {error}. Make room, then go on with --resume") from error
            print(f"warning: {error}; the checkpoint before it stays, and the next is tried in due course")
