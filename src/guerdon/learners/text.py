"""The reference learner of the text side: collect, score, credit, update."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from guerdon.credit import GroupAdvantage
from guerdon.learners.clock import Clock
from guerdon.learners.deadline import within
from guerdon.learners.descent import Descent
from guerdon.learners.samplers import Filter, GroupSampler, Questions, Row, Sampler
from guerdon.learners.text_batch import Batch, joined
from guerdon.models import CausalLM
from guerdon.parts.token_policy_loss import PolicyLoss
from guerdon.types import Completions, LanguageModel, Reward, Scored, Spec, as_reward

PATIENCE = 10
"""Steps in a row in which nothing was scored, before a run gives up."""


class RewardFailed(RuntimeError):
    """A reward raised while it scored completions; the message names both."""


class TextLearner:
    """Improves a language model on questions, by any reward, credit, loss, sampler and filters.

    A step is: the sampler answers `prompts` questions; the reward scores the answers; filters weigh them, and groups
    without any weight are dropped and replaced by others; credit turns scores into advantages [N, L]; the loss goes
    downhill in `epochs` x `minibatches` updates. No method has a branch here: what tells two methods apart is in these
    objects. The tensors that logs and tables show are the ones that are trained on.

    The loss of a minibatch is the weighted mean over its answers (tokens, or rows, as the loss aggregates), plus the
    mean over its answers of what the rewards' own `loss` adds. It does not depend on `micro_batch`: token and row
    counts are the minibatch's. Unscored answers (NaN) are counted, are in no baseline and in no loss. A weight scales
    an answer's advantage and its share in the counts; the KL term of an answer with any weight counts once.

    Args:
        policy: the model that learns; all parameters of its module that require a gradient.
        reward: what pays; it is built here, and handed "policy" and "reference" where it needs them.
        sampler: answers questions; by default 8 answers of the policy each.
        credit: scored completions -> advantages [N, L], by default `GroupAdvantage`.
        loss: of log-probabilities and advantages, called as `PolicyLoss`, the default.
        filters: their weights are multiplied.
        reference: a frozen model, for a KL term in the loss (beta) and for rewards that need it.
        descent: optimiser, learning rate and schedule, see `Descent`.
        prompts: questions a step.
        rounds: of sampling in which the filters must leave `prompts` groups, or the step fails. 1 takes what is left.
        epochs: passes over a batch.
        minibatches: updates a pass; groups are shuffled and kept together where that comes out even.
        micro_batch: answers in one forward and backward pass; None takes a minibatch whole.
        score_timeout: seconds that the reward may take.
        seed: of sampling, the order of questions, minibatches and the reward.
    """

    def __init__(
        self,
        policy: CausalLM,
        reward: Reward,
        *,
        sampler: Sampler | None = None,
        credit: Callable[[Completions, Scored], Tensor] | None = None,
        loss: Callable[..., tuple[Tensor, dict[str, float]]] | None = None,
        filters: Sequence[Filter] = (),
        reference: LanguageModel | None = None,
        descent: Descent | None = None,
        prompts: int = 8,
        rounds: int = 10,
        epochs: int = 1,
        minibatches: int = 1,
        micro_batch: int | None = None,
        score_timeout: float | None = None,
        seed: int = 0,
    ) -> None:
        if min(prompts, rounds, epochs, minibatches, micro_batch or 1) < 1:
            raise ValueError("prompts, rounds, epochs, minibatches and micro_batch must be at least 1")
        self.policy, self.reward, self.reference = policy, as_reward(reward), reference
        self.sampler: Sampler = sampler or GroupSampler()
        self.credit, self.loss, self.filters = credit or GroupAdvantage(), loss or PolicyLoss(), tuple(filters)
        self.descent = descent or Descent()
        self.prompts, self.rounds, self.epochs, self.minibatches = prompts, rounds, epochs, minibatches
        self.micro_batch, self.score_timeout, self.seed = micro_batch, score_timeout, seed
        self.regularised = getattr(self.loss, "beta", 0.0) != 0
        for part in self.reward.modules():
            if missing := getattr(part, "needs", frozenset()) - self._models().keys():
                raise ValueError(f"{part.name} needs a {' and a '.join(sorted(missing))}: pass it to TextLearner")
        if self.regularised and reference is None:
            raise ValueError(f"{self.loss} weighs the KL to a reference: pass reference=, or set beta=0")
        self.generator = torch.Generator().manual_seed(seed)
        generator = torch.Generator(device=policy.device).manual_seed(seed + 1)
        self.reward.build(Spec(tokenizer=policy.tokenizer), device=policy.device, generator=generator)
        self.descent.start(policy.module.parameters())
        self.clock, self.steps, self._unanswered = Clock(), 0, 0

    def train(self, rows: Sequence[Row], steps: int) -> Iterator[dict[str, float]]:
        """Takes `steps` steps on questions (rows with a "prompt" and columns); yields each one's logs."""
        self.ask(rows)
        for _ in range(steps):
            yield self.step()[0]

    def ask(self, rows: Sequence[Row]) -> None:
        """What the next steps are about."""
        self.questions = Questions(rows, seed=self.seed)

    def step(self) -> tuple[dict[str, float], Batch]:
        """One step: what to log, and the batch it was taken on."""
        self.clock = Clock()
        batch, logs = self.collect()
        logs |= {"batch/rows": float(len(batch)), "batch/trained": 0.0}
        if len(batch):
            batch = self.assign(batch)
            if callable(hook := getattr(self.sampler, "observe", None)):
                hook(batch.completions, batch.scored, batch.advantage)
            self.reward.observe(batch.completions)  # type: ignore[arg-type]
            logs |= batch.summary()
            self.clock.lap("credit")
            trained = (batch.weight > 0) & batch.completions.mask.bool().any(1)
            logs["batch/trained"] = float(trained.sum())
            if bool(trained.any()):
                logs |= {f"policy/{name}": value for name, value in self.learn(batch.rows(trained)).items()}
            self.clock.lap("update")
            logs |= {f"reward/{name}": value for name, value in self.reward.update(batch.completions).items()}
        self.steps += 1
        return logs | {f"time/{name}": value for name, value in self.clock.drain().items()}, batch

    def collect(self) -> tuple[Batch, dict[str, float]]:
        """A batch of `prompts` groups, sampled, scored and filtered."""
        found: list[Batch] = []
        asked = 0
        missing = self.prompts
        while missing > 0 and len(found) < self.rounds:
            completions = self.sampler(self.questions.take(missing), self.policy, self.generator)
            if completions.group is None:
                raise ValueError(f"{type(self.sampler).__name__} must set Completions.group")
            self.clock.lap("generation")
            batch = self.score(completions)
            self.clock.lap("reward")
            asked += batch.groups
            found.append(batch.kept())
            missing -= found[-1].groups
            if not self.filters:
                break
        batch = joined(found)
        if missing > 0 and self.filters and self.rounds > 1:
            names = ", ".join(type(f).__name__ for f in self.filters)
            raise RuntimeError(
                f"{len(found)} rounds asked {asked} questions, and {names} left {batch.groups} of the {self.prompts} "
                "that a step needs: loosen the filter, raise rounds, or take other questions (rounds=1 trains on "
                "what is left)"
            )
        self._unanswered = self._unanswered + 1 if len(batch) and bool(batch.unscored.all()) else 0
        if self._unanswered >= PATIENCE:
            raise RewardFailed(
                f"{self.reward.name} scored nothing at all for {PATIENCE} steps: see why before going on"
            )
        return batch, {"batch/rounds": float(len(found)), "batch/questions": float(asked)}

    def score(self, completions: Completions) -> Batch:
        """Completions with what the reward and the filters, as they are now, say of them."""

        def evaluate() -> Scored:
            with torch.no_grad():
                return self.reward.evaluate(completions, **self._models())

        try:
            scored = within(self.score_timeout, evaluate, self.reward.name)
        except Exception as error:
            raise RewardFailed(f"{self.reward.name} failed at step {self.steps}: {error}") from error
        weight = torch.ones(len(completions.text), device=completions.ids.device)
        for each in self.filters:
            given = each(completions, scored)
            if given.shape != weight.shape or not bool((given >= 0).all() & given.isfinite().all()):
                raise ValueError(f"{type(each).__name__} must give finite weights >= 0 of shape {list(weight.shape)}")
            weight = weight * given
        return Batch(completions, scored, weight)

    def assign(self, batch: Batch) -> Batch:
        """The batch with its advantages; unscored answers weigh nothing."""
        advantage = self.credit(batch.completions, batch.scored)
        if advantage.shape != batch.completions.shape or not bool(advantage.isfinite().all()):
            raise ValueError(
                f"{type(self.credit).__name__} must give finite advantages of shape {list(batch.completions.shape)}"
            )
        return replace(batch, advantage=advantage, weight=batch.weight.masked_fill(batch.unscored, 0.0))

    def learn(self, batch: Batch) -> dict[str, float]:
        """`epochs` x `minibatches` updates on a batch with advantages; means of what they log."""
        completions, temperature = batch.completions, self.sampler.temperature
        with torch.no_grad():
            if self.regularised and self.reference is not None:
                batch = replace(batch, ref_log_prob=self.reference.log_probs(completions, temperature=temperature))
            if completions.log_prob is None and self.epochs * self.minibatches > 1:
                completions.log_prob = self.policy.log_probs(completions, temperature=temperature)
        logs: dict[str, float] = defaultdict(float)
        parts = [part for _ in range(self.epochs) for part in self._minibatches(batch)]
        for part in parts:
            for name, value in self._update(batch.rows(part)).items():
                logs[name] += value / len(parts)
        return dict(logs)

    def _update(self, part: Batch) -> dict[str, float]:
        """One update on a minibatch, a micro-batch at a time."""
        lengths = part.completions.mask.sum(1)
        tokens, rows = float((lengths * part.weight).sum()), float(part.weight.sum())
        logs: dict[str, float] = defaultdict(float)
        for index in torch.arange(len(part)).split(self.micro_batch or len(part)):
            piece = part.rows(index)
            some = piece.completions
            log_prob = self.policy.log_probs(some, temperature=self.sampler.temperature)
            assert piece.advantage is not None
            loss, seen = self.loss(
                log_prob, some.log_prob, piece.advantage * piece.weight[:, None], some.mask.bool(),
                ref_log_prob=piece.ref_log_prob, global_tokens=tokens, global_rows=rows, generator=self.generator,
            )  # fmt: skip
            extra = self.reward.loss(some, self.policy)
            if extra is not None:
                extra = extra * (len(piece) / len(part))
                loss, logs["reward_loss"] = loss + extra, logs["reward_loss"] + float(extra.detach())
            loss.backward()
            logs["loss"] += float(loss.detach())
            for name, value in seen.items():
                logs[name] += value * float(lengths[index].sum() / lengths.sum())
        return logs | self.descent.step()

    def _minibatches(self, batch: Batch) -> Sequence[Tensor]:
        """Rows of each minibatch: groups in a drawn order, members side by side."""
        group = torch.unique(batch.completions.group, return_inverse=True)[1].cpu()
        place = torch.rand(int(group.max()) + 1, generator=self.generator)
        return place[group].argsort(stable=True).chunk(self.minibatches)

    def _models(self) -> dict[str, Any]:
        handed = {"policy": self.policy, "reference": self.reference}
        return {name: model for name, model in handed.items() if model is not None}

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs besides the questions themselves."""
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "generator": self.generator.get_state(), "taken": self.questions.taken, "steps": self.steps,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state`, exactly, with the same questions."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.generator.set_state(state["generator"].cpu())
        self.questions.taken, self.steps = state["taken"], state["steps"]

    def _parts(self) -> dict[str, Any]:
        """What has a state."""
        parts = {"policy": self.policy.module, "descent": self.descent, "reward": self.reward}
        parts |= {"sampler": self.sampler, "credit": self.credit, "loss": self.loss}
        parts |= {f"filter{i}": each for i, each in enumerate(self.filters)}
        return {name: part for name, part in parts.items() if hasattr(part, "load_state_dict")}
