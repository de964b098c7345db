"""Reward models beside their peers: fitting against TRL's RewardTrainer, scoring against transformers' pipeline.

Fitting: the same small Llama of random weights, the same pairs in the same order, as many an optimiser step, float32,
no gradient checkpointing, no dropout. TRL's own loop runs, our steps are taken between its steps, before or after one
by lot. TRL pads all answers of a step to the longest; we split them into micro-batches of like length. Lengths are
mixed: log-normal, cut at `--longest` tokens. First the losses of one step of both are compared: equal to 1e-5.

Scoring: the same weights, texts of mixed lengths, `RewardModel` against the text-classification pipeline at its best
batch size of 1, 8 and 32, scores equal to 1e-5. What we remember of texts is thrown away before each block.

Targets: pair training at least 1.3 times as many tokens a second, scoring at least 1.2 times.

    python benchmarks/reward_models.py [--blocks 12] [--quick]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
import trl
from _bench import interleave, ratio, write
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import AutoModelForSequenceClassification, TrainerCallback, pipeline

import guerdon.models.reward_transformer
from guerdon.models import tiny_model
from guerdon.models.reward_transformer import Transformer
from guerdon.rewards.preference import BradleyTerry, RewardModel
from guerdon.types import FIRST, Completions, Pairs, Spec

LR = 1e-9  # so small that both go on with the same model
BATCHES = (1, 8, 32)


class InOrder(trl.RewardTrainer):
    """TRL's trainer, on the pairs in their order, so that both take the same ones a step."""

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


class Turns(TrainerCallback):
    """Takes a step of ours before or after each of TRL's and notes the seconds of both; the first is a warm-up."""

    def __init__(self, reward: BradleyTerry, batches: list[Pairs], seed: int) -> None:
        self.reward, self.batches, self.rng = reward, batches, np.random.default_rng(seed)
        self.ours: list[float] = []
        self.theirs: list[float] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.first = self.rng.random() < 0.5
        if self.first:
            self._step(state.global_step)
        self.begun = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.theirs.append(time.perf_counter() - self.begun)
        if not self.first:
            self._step(state.global_step - 1)

    def _step(self, number: int) -> None:
        begun = time.perf_counter()
        self.reward.step(self.batches[number])
        self.ours.append(time.perf_counter() - begun)


def texts(n: int, longest: int, seed: int) -> list[str]:
    """n texts of mixed lengths, one token a character, all different."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(longest / 6), 0.8, n), 8, longest - 2).astype(int)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz    "))
    return ["".join(rng.choice(letters, size)) for size in lengths]


def answers(written: list[str]) -> Completions:
    empty = torch.zeros(len(written), 0, dtype=torch.long)
    return Completions(prompt=[""] * len(written), text=written, ids=empty, mask=empty.bool())


def compared(chosen: list[str], rejected: list[str]) -> Pairs:
    label = torch.full((len(chosen),), FIRST)
    return Pairs(first=answers(chosen), second=answers(rejected), label=label)


def made(folder: str) -> BradleyTerry:
    """Our reward with the weights of the folder, its last layer included."""
    reward = BradleyTerry(encoder=Transformer(model=folder), lr=LR, tokens=2048)
    reward.build(Spec())
    reward.head.load_state_dict(reward.encoder.own_head().state_dict())
    return reward


def fitting(folder: str, args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ratio of tokens a second, and what was seen."""
    n = args.pairs * (args.blocks + 1)
    chosen, rejected = texts(n, args.longest, 0), texts(n, args.longest, 1)
    reward = made(folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    cut = [slice(i, i + args.pairs) for i in range(0, n, args.pairs)]
    batches = [compared(chosen[at], rejected[at]) for at in cut]
    turns = Turns(reward, batches, seed=0)
    with tempfile.TemporaryDirectory() as out:
        trainer: Any = InOrder(
            model=network, processing_class=reward.encoder.tokenizer, callbacks=[turns],
            train_dataset=Dataset.from_dict({"chosen": chosen, "rejected": rejected}),
            args=trl.RewardConfig(
                output_dir=out, max_steps=args.blocks + 1, learning_rate=LR, max_length=None, use_cpu=True, bf16=False,
                per_device_train_batch_size=args.pairs, gradient_checkpointing=False, report_to=[], logging_steps=10**6,
                save_strategy="no", disable_tqdm=True,
            ),
        )  # fmt: skip
        first = trainer.data_collator([trainer.train_dataset[i] for i in range(args.pairs)])
        tokens = int(first["attention_mask"].sum())
        ours = sum(reward.encoder.lengths(batches[0].first) + reward.encoder.lengths(batches[0].second))
        assert ours == tokens, f"the same tokens: {ours} and {tokens}"
        with torch.no_grad():
            theirs = float(trainer.compute_loss(network.eval(), first))
            parts = list(reward.losses(batches[0]))
        apart = abs(float(sum(parts)) - theirs)
        assert apart < 1e-5, f"the losses differ by {apart}"
        trainer.train()
    padded = first["attention_mask"].numel()
    seen = {
        "loss": {"ours": float(sum(parts)), "TRL": theirs, "apart": apart}, "micro-batches": len(parts),
        "tokens a step": tokens, "padded by TRL": padded,
        "seconds a step": {"ours": float(np.median(turns.ours[1:])), "TRL": float(np.median(turns.theirs[1:]))},
    }  # fmt: skip
    name = "pair training, tokens a second: ours over TRL's"
    return ratio(name, turns.theirs[1:], turns.ours[1:], at_least=1.3), seen


def scoring(folder: str, args: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The ratio to the pipeline's best batch size, those to all of them, and what was seen."""
    reward = RewardModel(path=folder)
    reward.build(Spec())
    body = reward.encoder._body  # type: ignore[union-attr]
    network = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    classify: Any = pipeline(
        "text-classification", model=network, tokenizer=body.tokenizer, device="cpu", function_to_apply="none"
    )
    written = texts(args.texts, args.longest, 2)
    given = answers(written)

    def ours() -> float:
        body.store.kept.clear()
        reward.encoder._ids.clear()  # type: ignore[union-attr]
        begun = time.perf_counter()
        scores.append(reward.score(given))
        return time.perf_counter() - begun

    def theirs(size: int) -> float:
        begun = time.perf_counter()
        peer.append(torch.tensor([row["score"] for row in classify(written, batch_size=size)]))
        return time.perf_counter() - begun

    scores: list[torch.Tensor] = []
    peer: list[torch.Tensor] = []
    arms = {"ours": ours} | {f"pipeline, {b} at a time": lambda b=b: theirs(b) for b in BATCHES}
    for arm in arms.values():  # a warm-up
        arm()
    apart = max(float((other - scores[0]).abs().max()) for other in peer)
    assert apart < 1e-5, f"the scores differ by {apart}"
    seconds = interleave(arms, args.blocks)
    best = min(list(arms)[1:], key=lambda name: np.median(seconds[name]))
    ratios = [ratio(f"scoring: ours over the {best} (its best)", seconds[best], seconds["ours"], at_least=1.2)]
    ratios += [ratio(f"scoring: ours over the {n}", seconds[n], seconds["ours"]) for n in list(arms)[1:] if n != best]
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return ratios, {"seconds": medians, "texts": args.texts, "largest difference of a score": apart}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--pairs", type=int, default=16, help="a step")
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--longest", type=int, default=512, help="tokens")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a few small blocks, to see that it runs; writes nothing")
    args = parser.parse_args()
    if args.quick:
        args.blocks, args.texts, args.width, args.layers = 3, 32, 128, 2
    torch.set_num_threads(args.threads)
    model = tiny_model(layers=args.layers, width=args.width, heads=8, max_length=2 * args.longest, spread=0.05)
    with tempfile.TemporaryDirectory() as folder:
        start, whole = f"{folder}/model", f"{folder}/reward"
        model.module.save_pretrained(start)
        model.tokenizer.save_pretrained(start)
        reward = BradleyTerry(encoder=Transformer(model=start, end=False))
        reward.build(Spec())
        reward.save(whole)  # without an end token: the pipeline adds none
        ratios, scored = scoring(whole, args)
        fitted, seen = fitting(whole, args)
    ratios = [fitted, *ratios]
    if args.quick:
        for row in ratios:
            print(row["name"], row["value"], [row["low"], row["high"]])
        print(seen, scored)
        return
    write(
        __file__, method=str(Path(guerdon.models.reward_transformer.__file__)), ratios=ratios, fitting=seen,
        scoring=scored, peer=f"trl {trl.__version__}, transformers {transformers.__version__}",
        setting={k: v for k, v in vars(args).items() if k != "quick"} | {"model": "Llama of random weights, float32"},
    )  # fmt: skip


if __name__ == "__main__":
    main()
