"""verl: a reward manager that says what the prompt was.

Beside what `guerdon.adapters.verl` asks for:

reward.reward_manager.source=importlib
reward.reward_manager.name=RewardManager
reward.reward_manager.module.path=pkg://guerdon.adapters.verl_manager
"""

from __future__ import annotations

import inspect
from typing import Any

try:
    from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise ImportError("verl is not installed here: pip install verl==0.9.1, in an environment of its own") from error


class RewardManager(RewardManagerBase):
    """Hands `compute_score` the whole prompt besides what verl's naive manager hands it.

    The prompt is the row's messages ("raw_prompt"), or its tokens as text where verl kept no messages. The columns of
    "extra_info" and of "tool_extra_fields" are columns of the reward; nothing of verl's own data is changed. Of several
    sequences the last is scored, as verl does.
    """

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any, **of_reward_models: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        self.of_reward_models = {k: v for k, v in of_reward_models.items() if v is not None}

    async def run_single(self, data: Any) -> dict[str, Any]:
        """{"reward_score", "reward_extra_info"} of one rollout."""
        row = data[-1]
        tensors, others = row.batch, row.non_tensor_batch
        response = tensors["responses"]
        written = response[: int(tensors["attention_mask"][-len(response) :].sum())]
        tools = others.get("tool_extra_fields")
        extra = {**others.get("extra_info", {}), **(tools or {}), "num_turns": others.get("__num_turns__")}
        prompt = others.get("raw_prompt")
        given = {
            "data_source": others["data_source"],
            "solution_str": self.tokenizer.decode(written, skip_special_tokens=True),
            "ground_truth": others["reward_model"]["ground_truth"],
            "extra_info": extra,
            "prompt": self._prompt(tensors) if prompt is None else list(prompt),
            **self.of_reward_models,
        }
        if inspect.iscoroutinefunction(self.compute_score):
            result = await self.compute_score(**given)
        else:
            result = await self.loop.run_in_executor(None, lambda: self.compute_score(**given))
        return {"reward_score": result["score"], "reward_extra_info": dict(result)}

    def _prompt(self, tensors: Any) -> str:
        prompt = tensors["prompts"]
        return self.tokenizer.decode(prompt[tensors["attention_mask"][: len(prompt)].bool()], skip_special_tokens=True)
