"""TRL's GRPO trainer with what a reward function alone cannot have: the live model, credit, a reward's own loss."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.adapters.trl import Given, InThread, RewardFunc
from guerdon.adapters.trl_rows import rows
from guerdon.models.language_model import CausalLM
from guerdon.types import Completions, Scored, Sum

try:
    import trl
except ImportError as error:
    raise ImportError("TRL is not installed: pip install 'guerdon[trl]'") from error


TRLS_OWN = ("prompt", "completion", "completion_ids")
"""Columns of a row of data that are no columns of a reward."""


class GRPOTrainer(trl.GRPOTrainer):  # pyright: ignore[reportPrivateImportUsage]
    """`trl.GRPOTrainer`, which hands its model to our reward functions and takes its advantages from a credit.

    - A reward that needs the policy gets the model being trained, in evaluation mode, as a `CausalLM`.
    - With `credit` the loss takes its advantages [N, L] from ``credit(completions, scored)``, where `scored` is the
      weighted sum of all `reward_funcs` (TRL's own functions and reward models too), and TRL's table shows the mean
      advantage of each completion's tokens. TRL's `scale_rewards` then changes what it logs only.
    - Rewards that learn are updated once per training batch. A reward's own loss joins the policy's, by its weight.

    `step` of a token is its turn. Groups must not be split over processes; credit and group rewards see those of their
    own process. What TRL does with [N, L] advantages it does here: all loss types but "vespo" and `off_policy_mask`
    take them.

    Args:
        *args: of `trl.GRPOTrainer`.
        credit: a credit of `guerdon.credit`; None leaves TRL's advantages.
        **kwargs: of `trl.GRPOTrainer`.
    """

    args: Any
    accelerator: Any
    model: Any
    num_generations: int
    num_generations_eval: int
    _batches: dict[bool, Completions]  # of training, and of evaluation

    def __init__(self, *args: Any, credit: Callable[[Completions, Scored], Tensor] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.credit, self._batches = credit, {}
        if credit is not None and (self.args.loss_type == "vespo" or self.args.off_policy_mask_threshold is not None):
            raise ValueError("loss_type='vespo' and off_policy_mask_threshold take one advantage a completion only")

    def _generate(self, prompts: list) -> Any:
        self._generated = super()._generate(prompts)  # the only place where all tokens are known as they were sampled
        return self._generated

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        prompt_ids, ids, tool_mask, _, log_probs, *_ = self._generated
        training = self.model.training
        size = self.num_generations if training else self.num_generations_eval
        if len(prompts) % size:
            raise ValueError(
                f"{len(prompts)} completions on each process are no whole groups of {size}: make the batch of one "
                "process (per_device_train_batch_size * steps_per_generation, or that of evaluation) a multiple of it"
            )
        unknown = log_probs is None or any(v is None for row in log_probs for v in row)
        device = self.accelerator.device
        self._rows = rows(
            prompts, completions, ids,
            {key: [row[key] for row in inputs] for key in inputs[0] if key not in TRLS_OWN},
            tokenizer=self._tokenizer, prompt_ids=prompt_ids, generated=tool_mask,
            log_probs=None if unknown else log_probs,
            group=torch.arange(len(prompts), device=device) // size, device=device,
        )  # fmt: skip
        self._batches[training] = self._rows
        self._scored: dict[int, Scored] = {}
        functions, self.reward_funcs = self.reward_funcs, [self._bound(i, f) for i, f in enumerate(self.reward_funcs)]
        self.model.eval()
        try:
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        finally:
            self.reward_funcs = functions
            self.model.train(training)
        first = self.accelerator.process_index * len(prompts)
        self._rewards = rewards[first : first + len(prompts)]
        if training:
            for _, function in self._ours():
                function.reward.observe(self._rows)  # type: ignore[arg-type]
                for name, value in function.reward.update(self._rows).items():
                    self._log_metric(f"{function.__name__}/{name}", value)
        return rewards

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        output["row"] = torch.arange(len(output["advantages"]), device=output["advantages"].device)
        if self.credit is not None:
            mask = self._rows.mask
            advantage = self.credit(self._rows, self._total())
            if advantage.shape != mask.shape or bool(advantage.isnan().any()):
                raise ValueError(f"a credit must give {list(mask.shape)} numbers without NaN, got {advantage.shape}")
            advantage = advantage.to(output["advantages"].device)
            missing = output["completion_ids"].shape[1] - mask.shape[1]  # of pad_to_multiple_of
            output["advantages"] = F.pad(advantage, (0, missing))
            shown = self.accelerator.gather((advantage * mask).sum(1) / mask.sum(1).clamp(min=1)).tolist()
            for _ in range(min(len(shown), len(self._logs["advantages"]))):
                self._logs["advantages"].pop()
            self._logs["advantages"].extend(shown)
        return output

    def _compute_loss(self, model: Any, inputs: Any) -> Tensor:
        loss = super()._compute_loss(model, inputs)
        for i, function in self._ours():
            term = function.reward.loss(self._batches[self.model.training].rows(inputs["row"]), self._policy)
            if term is not None:
                steps = self.current_gradient_accumulation_steps if self.model.training else 1
                loss = loss + self.reward_weights[i].item() * term / steps
        return loss

    @functools.cached_property
    def _policy(self) -> CausalLM:
        return CausalLM(self.accelerator.unwrap_model(self.model), self._tokenizer)

    def _ours(self) -> list[tuple[int, RewardFunc]]:
        """Place and inside of each reward function that is a reward of guerdon."""
        inner = [f.function if isinstance(f, InThread) else f for f in self.reward_funcs]
        return [(i, f) for i, f in enumerate(inner) if isinstance(f, RewardFunc)]

    def _bound(self, place: int, given: Any) -> Any:
        """The function that TRL calls in the stead of `given`: it knows what this trainer knows."""
        function = dict(self._ours()).get(place)
        if function is None:
            return given
        score = functools.partial(self._score, place, function)
        return InThread(score) if isinstance(given, InThread) else score

    def _score(self, place: int, function: RewardFunc, **given: Any) -> list[float | None]:
        scored = function.evaluate(self._rows, **({"policy": self._policy} if "policy" in function.needs else {}))
        self._scored[place] = scored
        return function.report(scored, self._rows, given["log_extra"], given["log_metric"])

    def _total(self) -> Scored:
        """The weighted sum of all reward functions, with its terms."""
        parts = []
        for i, (name, weight) in enumerate(zip(self.reward_func_names, self.reward_weights.tolist(), strict=True)):
            own = self._rewards[:, i]
            parts.append(weight * Given(self._scored.get(i) or Scored(own, {name: own}, {})))
        return Sum(*parts).evaluate(self._rows)
