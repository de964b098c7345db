"""A judge behind an OpenAI-compatible address: vLLM, llama.cpp, Ollama, or a hosted service."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from guerdon.judges.errors import JudgeMisconfigured, JudgeUnavailable
from guerdon.judges.expression import check_choices, expression
from guerdon.judges.parser import parse, weigh
from guerdon.judges.prompt import Prompt, settled
from guerdon.parts.http_client import HttpClient, NoAnswer, Pace
from guerdon.types import Item, Label


@dataclass(kw_only=True, eq=False, repr=False)
class OpenAICompatibleJudge:
    """Asks a language model about each caption or pair, many at a time.

    Captions are classified (a label of 0 or 1), pairs are ranked (FIRST, SECOND or TIE). The empty caption is 0 and two
    equal texts tie without a call. A reply is read from its label field only; one that has none, or both labels in it,
    is asked for once more and then has no label, with the reason "unparseable". Other reasons: "refused" (by the
    model or a content filter), "timeout", "unavailable", "malformed", "http 400" and the like.

    Args:
        url: up to and with "/v1", such as "http://localhost:8000/v1".
        model: as the server calls it. It is the judge's name, under which labels are stored.
        goal: what counts as progress, see `Prompt`.
        route: "chat" lets the model think before it answers. "logprobs" asks for one token and compares the labels'
            log-probabilities: far cheaper, a caption's label is then a probability in 0..1.
        temperature: of the chat route (ONI: 0.1).
        max_tokens: of an answer of the chat route (ONI: 4096); None leaves it to the server.
        concurrency: requests at the same time.
        timeout: seconds for an answer.
        retries: further attempts after a failed one.
        backoff: seconds before the first retry; doubles each time, times a random 0.5..1.
        requests_per_minute: limit, None for none.
        tokens_per_minute: limit, None for none.
        price_per_million_prompt_tokens: for the counter "cost", in your currency.
        price_per_million_completion_tokens: likewise.
        api_key_env: the environment variable that holds the key, which is sent only if the variable is set.
        prompts: a folder with prompts of your own, see `Prompt`.
        extra: further fields of the request, such as {"chat_template_kwargs": {"enable_thinking": False}}.

    Raises:
        JudgeUnavailable: from `judge`, if nothing at all was answered: the server is down.
        JudgeMisconfigured: from `judge`, if asking again will not help: key, address, model, goal.
        ValueError: an option that cannot be, when made.
    """

    url: str
    model: str
    goal: str = "default"
    route: Literal["chat", "logprobs"] = "chat"
    temperature: float = 0.1
    max_tokens: int | None = 4096
    concurrency: int = 16
    timeout: float = 60.0
    retries: int = 5
    backoff: float = 1.0
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    price_per_million_prompt_tokens: float = 0.0
    price_per_million_completion_tokens: float = 0.0
    api_key_env: str = "OPENAI_API_KEY"
    prompts: str | None = None
    extra: dict[str, Any] | None = None
    _counts: Counter[str] = field(default_factory=Counter, init=False)

    def __post_init__(self) -> None:
        check_choices(self, "route")
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url must begin with http:// or https://, got {self.url!r}")
        if "@" in self.url.split("/")[2]:
            raise ValueError("a password does not belong into url; name the variable that holds the key in api_key_env")
        if self.concurrency < 1 or self.retries < 0 or self.timeout <= 0 or self.backoff < 0:
            raise ValueError(f"{self!r}: concurrency >= 1, retries >= 0, timeout > 0 and backoff >= 0 are needed")

    def __repr__(self) -> str:
        return expression(self)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_server"}  # the key stays in this process

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model

    @property
    def prompt(self) -> str:
        """The prompt's version: goal, route and a hash of its texts."""
        return self._prompt.version

    async def judge(self, items: Sequence[Item]) -> list[Label]:
        """One row an item, in order."""
        batch = _Batch()
        async with self._server.open():
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._label(item, batch)) for item in items]
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None
        if batch.troubles and not batch.answered:
            lasting = [trouble for trouble in batch.troubles if not trouble.passing]
            if not lasting:
                raise JudgeUnavailable(str(batch.troubles[0]))
            if not self._counts["answered"]:  # nothing was ever right: it is not the item
                raise JudgeMisconfigured(str(lasting[0]))
        return [task.result() for task in tasks]

    async def replies(self, chats: Sequence[list[dict[str, str]]], *, max_tokens: int = 1024) -> list[str | None]:
        """What the model says to each chat, at temperature 0; None where there is no answer. Other goals do not count.

        Raises:
            JudgeUnavailable: nothing at all was answered.
            JudgeMisconfigured: asking again will not help: key, address, model.
        """
        troubles: list[NoAnswer] = []

        async def reply(chat: list[dict[str, str]]) -> str | None:
            body = {"model": self.model, "messages": chat, "temperature": 0.0, "max_tokens": max_tokens}
            try:
                async with self._server.slots:
                    said = await self._server.post(body | (self.extra or {}), _chat_completion)
            except NoAnswer as trouble:
                troubles.append(trouble)
                return None
            self._counts["answered"] += 1
            content = said["choices"][0]["message"].get("content")
            return content if isinstance(content, str) else None

        async with self._server.open():
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(reply(chat)) for chat in chats]
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None
        if troubles and len(troubles) == len(chats):
            raise JudgeUnavailable(str(troubles[0]))
        return [task.result() for task in tasks]

    def counters(self) -> dict[str, float]:
        """So far: calls made, retries among them, answers, items without a label, tokens, cost."""
        keys = ("calls", "retries", "answered", "unparseable", "failures", "prompt_tokens", "completion_tokens")
        prices = self.price_per_million_prompt_tokens, self.price_per_million_completion_tokens
        tokens = self._counts["prompt_tokens"], self._counts["completion_tokens"]
        cost = sum(price * n for price, n in zip(prices, tokens, strict=True)) / 1e6
        return {key: float(self._counts[key]) for key in keys} | {"cost": cost}

    @cached_property
    def _prompt(self) -> Prompt:
        return Prompt(goal=self.goal, route=self.route, folder=self.prompts)

    @cached_property
    def _server(self) -> HttpClient:
        key = os.environ.get(self.api_key_env)
        return HttpClient(
            url=f"{self.url.rstrip('/')}/chat/completions",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            concurrency=self.concurrency,
            timeout=self.timeout,
            retries=self.retries,
            backoff=self.backoff,
            pace=Pace(self.requests_per_minute, self.tokens_per_minute),
            counts=self._counts,
            refused=JudgeMisconfigured,
        )

    async def _label(self, item: Item, batch: _Batch) -> Label:
        value, reason = settled(item), None
        if value is None:
            try:
                value, reason = await self._ask(item, batch)
            except NoAnswer as trouble:
                batch.troubles.append(trouble)
                reason = trouble.reason
            self._counts["failures"] += value is None
            self._counts["unparseable"] += reason == "unparseable"
        return Label(item, value, reason, self.name, self.prompt)

    async def _ask(self, item: Item, batch: _Batch) -> tuple[float | None, str | None]:
        """The label, or None and the reason. An unparseable reply of the chat route is asked for once more."""
        body = self._body(item)
        value, reason = None, None
        for _ in range(2 if self.route == "chat" else 1):
            async with self._server.slots:
                if batch.down:
                    raise NoAnswer("unavailable", str(batch.down))
                try:
                    reply = await self._server.post(body, _chat_completion)
                except NoAnswer as trouble:
                    if trouble.reason in ("unavailable", "timeout") and not batch.answered:
                        batch.down = trouble  # nobody is there: do not try the patience of every other item too
                    raise
            batch.answered += 1
            self._counts["answered"] += 1
            value, reason = self._read(item, reply["choices"][0])
            if reason != "unparseable":
                break
        return value, reason

    def _body(self, item: Item) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model, "messages": self._prompt.messages(item)}
        if self.route == "logprobs":
            body |= {"max_tokens": 1, "logprobs": True, "top_logprobs": 20, "temperature": 0.0}
        else:
            body |= {"temperature": self.temperature} | ({"max_tokens": self.max_tokens} if self.max_tokens else {})
        return body | (self.extra or {})

    def _read(self, item: Item, choice: dict[str, Any]) -> tuple[float | None, str | None]:
        if choice["message"].get("refusal") or choice.get("finish_reason") == "content_filter":
            return None, "refused"
        if self.route == "chat":
            content = choice["message"].get("content")
            value = parse(item, content) if isinstance(content, str) else None
        else:
            value = weigh(item, self._first_tokens(choice))
        return value, "unparseable" if value is None else None

    def _first_tokens(self, choice: dict[str, Any]) -> list[tuple[str, float]]:
        try:
            tokens = choice["logprobs"]["content"]
            return [(t["token"], float(t["logprob"])) for t in tokens[0]["top_logprobs"]] if tokens else []
        except (LookupError, TypeError, ValueError) as error:
            raise JudgeMisconfigured(f"{self.url} gives no log-probabilities; choose route='chat'") from error


def _chat_completion(reply: Any) -> dict[str, Any]:
    reply["choices"][0]["message"].keys()
    return reply


@dataclass
class _Batch:
    """What has become of the requests of one call of `judge`."""

    answered: int = 0
    down: NoAnswer | None = None
    troubles: list[NoAnswer] = field(default_factory=list)
