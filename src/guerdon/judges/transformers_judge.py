"""A judge on this machine: a small language model, loaded by transformers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from guerdon.judges.errors import JudgeMisconfigured
from guerdon.judges.expression import check_choices, expression
from guerdon.judges.parser import label_of_token, parse, weigh
from guerdon.judges.prompt import Prompt, settled
from guerdon.types import Item, Label


@dataclass(kw_only=True, eq=False, repr=False)
class TransformersJudge:
    """Asks a local instruct model, a batch at a time, in a thread of its own; the model is loaded at first use.

    Prompts, labels and reasons are those of `OpenAICompatibleJudge`. The annotator gives a judge a process of its own.

    Args:
        model: a folder, or the name of a model that a hub cache on this machine holds.
        gguf_file: a GGUF file inside that folder, whose weights are unpacked while loading.
        goal: what counts as progress, see `Prompt`.
        route: "chat" lets the model think before it answers. "logprobs" compares the probabilities of the labels' first
            tokens, exactly, in one forward pass; a caption's label is then a probability in 0..1.
        temperature: of the chat route (ONI: 0.1); 0 takes the likeliest token.
        max_tokens: of an answer of the chat route (ONI: 4096; ours, since three short fields fit into it).
        batch_size: items at a time.
        device: where the model computes.
        dtype: of the weights, such as "bfloat16"; "auto" is that of the file.
        threads: of torch in this whole process; None leaves it alone.
        seed: of the sampling.
        download: whether a model that is not on this machine may be fetched from a hub.
        prompts: a folder with prompts of your own, see `Prompt`.

    Raises:
        ImportError: from `judge`, if transformers (or gguf, for a GGUF file) is not installed.
        JudgeMisconfigured: from `judge`, if there is no such model or goal, or the model cannot chat.
    """

    model: str
    gguf_file: str | None = None
    goal: str = "default"
    route: Literal["chat", "logprobs"] = "chat"
    temperature: float = 0.1
    max_tokens: int = 512
    batch_size: int = 16
    device: str = "cpu"
    dtype: str = "auto"
    threads: int | None = None
    seed: int = 0
    download: bool = False
    prompts: str | None = None
    _counts: Counter[str] = field(default_factory=Counter, init=False)

    def __post_init__(self) -> None:
        check_choices(self, "route")
        if self.batch_size < 1 or self.max_tokens < 1 or self.temperature < 0:
            raise ValueError(f"{self!r}: batch_size >= 1, max_tokens >= 1 and temperature >= 0 are needed")

    def __repr__(self) -> str:
        return expression(self)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_thread", "_loaded")}

    @property
    def name(self) -> str:
        """The model's name, without the folders above it."""
        return (self.gguf_file or self.model.rstrip("/")).rpartition("/")[2]

    @property
    def prompt(self) -> str:
        """The prompt's version: goal, route and a hash of its texts."""
        return self._prompt.version

    async def judge(self, items: Sequence[Item]) -> list[Label]:
        """One row an item, in order."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._judge, list(items))

    async def replies(self, chats: Sequence[list[dict[str, str]]], *, max_tokens: int = 1024) -> list[str | None]:
        """What the model says to each chat, at temperature 0. Goals and routes do not count."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._replies, list(chats), max_tokens)

    def _replies(self, chats: list[list[dict[str, str]]], max_tokens: int) -> list[str | None]:
        found: list[str | None] = []
        for start in range(0, len(chats), self.batch_size):
            made = self._generate(chats[start : start + self.batch_size], max_new_tokens=max_tokens, do_sample=False)
            found += self._loaded.tokenizer.batch_decode(made.sequences, skip_special_tokens=True)
        return found

    def counters(self) -> dict[str, float]:
        """So far: items asked about and asked again, answers, items without a label, tokens."""
        keys = ("calls", "retries", "answered", "unparseable", "prompt_tokens", "completion_tokens")
        return {key: float(self._counts[key]) for key in keys}

    @cached_property
    def _prompt(self) -> Prompt:
        return Prompt(goal=self.goal, route=self.route, folder=self.prompts)

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, "transformers-judge")  # one: the model is loaded once and asked in turn

    @cached_property
    def _loaded(self) -> _Loaded:
        return _load(self)

    def _judge(self, items: list[Item]) -> list[Label]:
        values = {i: value for i, item in enumerate(items) if (value := settled(item)) is not None}
        asked = [i for i in range(len(items)) if i not in values]
        values |= self._ask(items, asked)
        if self.route == "chat" and (again := [i for i in asked if values[i] is None]):
            self._counts["retries"] += len(again)
            values |= self._ask(items, again)
        failed = sum(value is None for value in values.values())
        self._counts["unparseable"] += failed
        self._counts["answered"] += len(asked) - failed
        rows = ((item, values[i]) for i, item in enumerate(items))
        return [Label(item, v, "unparseable" if v is None else None, self.name, self.prompt) for item, v in rows]

    def _ask(self, items: list[Item], which: list[int]) -> dict[int, float | None]:
        """The answers to the items with these indices."""
        found: dict[int, float | None] = {}
        answer = self._chat if self.route == "chat" else self._weigh
        for start in range(0, len(which), self.batch_size):
            batch = which[start : start + self.batch_size]
            found |= zip(batch, answer([items[i] for i in batch]), strict=True)
        return found

    def _chat(self, items: list[Item]) -> list[float | None]:
        sampling = {"do_sample": True, "temperature": self.temperature} if self.temperature else {"do_sample": False}
        tokens = self._generate(self._chats(items), max_new_tokens=self.max_tokens, **sampling).sequences
        replies = self._loaded.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [parse(item, reply) for item, reply in zip(items, replies, strict=True)]

    def _weigh(self, items: list[Item]) -> list[float | None]:
        logits = self._generate(self._chats(items), max_new_tokens=1, do_sample=False, output_logits=True).logits[0]
        log_probability = logits.float().log_softmax(-1).cpu()
        answers = []
        for item, row in zip(items, log_probability, strict=True):
            tokens = self._loaded.caption_tokens if isinstance(item, str) else self._loaded.pair_tokens
            answers.append(weigh(item, [(text, float(row[i])) for i, text in tokens]))
        return answers

    def _chats(self, items: list[Item]) -> list[list[dict[str, str]]]:
        return [self._prompt.messages(item) for item in items]

    def _generate(self, chats: list[list[dict[str, str]]], **options: Any) -> Any:
        """What transformers generates, with the prompt cut off its sequences."""
        import torch  # here, so that judges which need no network start without it

        model, tokenizer = self._loaded.model, self._loaded.tokenizer
        shape = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True, "padding": True}
        prompt = tokenizer.apply_chat_template(chats, **shape).to(self.device)
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(self.seed + self._counts["calls"])  # transformers samples from the global generator
            made = model.generate(
                **prompt, pad_token_id=tokenizer.pad_token_id, return_dict_in_generate=True, **options
            )
        made.sequences = made.sequences[:, prompt["input_ids"].shape[1] :]
        self._counts["calls"] += len(chats)
        self._counts["prompt_tokens"] += int(prompt["attention_mask"].sum())
        self._counts["completion_tokens"] += int((made.sequences != tokenizer.pad_token_id).sum())
        return made


class _Loaded(NamedTuple):
    model: Any
    tokenizer: Any
    caption_tokens: list[tuple[int, str]]  # the tokens with which a label of a caption may begin
    pair_tokens: list[tuple[int, str]]


def _load(judge: TransformersJudge) -> _Loaded:
    import torch

    from guerdon.parts.pretrained import load_pretrained

    if judge.threads:
        torch.set_num_threads(judge.threads)
    try:
        model, tokenizer = load_pretrained(
            judge.model, gguf_file=judge.gguf_file, dtype=judge.dtype, device=judge.device, download=judge.download
        )
    except OSError as error:
        raise JudgeMisconfigured(str(error)) from error
    if tokenizer.chat_template is None:
        raise JudgeMisconfigured(f"{judge.model!r} has no chat template; choose an instruct model")
    texts = list(enumerate(tokenizer.batch_decode([[i] for i in range(len(tokenizer))])))
    starts = [[(i, t) for i, t in texts if label_of_token(item, t)] for item in ("a caption", ("a", "pair"))]
    return _Loaded(model, tokenizer, *starts)
