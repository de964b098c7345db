"""What the reward server is asked and answers, shape by shape: ours, OpenRLHF's, and vLLM's for reward models."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from guerdon.parts.scorer import Row, Score


class Refused(Exception):
    """A request that cannot be scored as it is."""

    def __init__(self, status: int, message: str, kind: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.kind, self.more = status, kind, more


class Shape(BaseModel):
    """A request. Fields that we do not know are passed over, as the servers that we stand in for do."""

    model_config = ConfigDict(strict=True)


class RowsRequest(Shape):
    """Rows {"prompt", "completion", further columns}; equal prompts, or equal "group", are compared with each other."""

    rows: list[dict[str, Any]]

    def to_rows(self, trims: Sequence[str]) -> list[Row]:
        return list(self.rows)


class GetRewardRequest(Shape):
    """OpenRLHF's remote reward: a query is a prompt and its answer in one text."""

    query: list[str]
    prompts: list[str] | None = None
    labels: list[Any] | None = Field(None, description='the column "answer"')
    columns: dict[str, list[Any]] = Field({}, description="ours: further columns")
    allow_null: bool = Field(False, description="ours: answer null where there is no score, instead of an error")

    def to_rows(self, trims: Sequence[str]) -> list[Row]:
        count = len(self.query)
        prompts = [""] * count if self.prompts is None else self.prompts
        columns = self.columns | ({} if self.labels is None else {"answer": self.labels})
        _check_counts(count, "query", {"prompts": prompts, **columns})
        rows = []
        for i, (query, prompt) in enumerate(zip(self.query, prompts, strict=True)):
            _, found, completion = query.partition(prompt) if prompt else ("", "", query)
            if prompt and not found:
                message = f"query {i} does not contain its prompt, so that its answer cannot be told apart"
                raise Refused(422, message, "malformed")
            rows.append(_row(prompt, _trimmed(completion, trims), columns, i))
        return rows


class PoolingMessage(Shape):
    role: str
    content: str


class PoolingRequest(Shape):
    """vLLM's /pooling: one conversation that ends with the answer, or texts that are answers to nothing."""

    messages: list[PoolingMessage] | None = Field(None, min_length=2)
    input: str | list[str] | None = None
    columns: dict[str, list[Any]] = Field({}, description="ours: further columns")
    model: str | None = None
    task: Literal["classify"] | None = None
    use_activation: Literal[False] | None = Field(None, description="scores are never squashed")
    truncate_prompt_tokens: None = Field(None, description="nothing is ever truncated")

    def to_rows(self, trims: Sequence[str]) -> list[Row]:
        if (self.messages is None) == (self.input is None):
            raise Refused(422, "give either messages or input", "malformed")
        if self.messages is not None:
            prompt = [{"role": m.role, "content": m.content} for m in self.messages[:-1]]
            pairs = [(prompt, self.messages[-1].content)]
        else:
            pairs = [("", text) for text in ([self.input] if isinstance(self.input, str) else self.input or [])]
        _check_counts(len(pairs), "input", self.columns)
        return [_row(prompt, _trimmed(text, trims), self.columns, i) for i, (prompt, text) in enumerate(pairs)]


class ScoreRequest(Shape):
    """vLLM's /score: queries and documents (or text_1 and text_2), as many of each, or one query for all documents."""

    queries: str | list[str] | None = None
    documents: str | list[str] | None = None
    text_1: str | list[str] | None = None
    text_2: str | list[str] | None = None
    columns: dict[str, list[Any]] = Field({}, description="ours: further columns")
    model: str | None = None
    use_activation: Literal[False] | None = Field(None, description="scores are never squashed")
    truncate_prompt_tokens: None = Field(None, description="nothing is ever truncated")

    def to_rows(self, trims: Sequence[str]) -> list[Row]:
        named = [p for p in ((self.queries, self.documents), (self.text_1, self.text_2)) if p != (None, None)]
        if len(named) != 1 or None in named[0]:
            raise Refused(422, "give queries and documents, or text_1 and text_2", "malformed")
        first, second = ([x] if isinstance(x, str) else list(x or []) for x in named[0])
        if len(first) == 1:
            first *= len(second)
        _check_counts(len(second), "documents", {"queries": first, **self.columns})
        pairs = zip(first, second, strict=True)
        return [_row(query, _trimmed(text, trims), self.columns, i) for i, (query, text) in enumerate(pairs)]


class RowScore(BaseModel):
    value: float | None
    reason: str | None = Field(description='why there is no value: "not scored", "timeout", "raised", ...')
    detail: str
    terms: dict[str, float | None]


class RowsReply(BaseModel):
    scores: list[RowScore]


class GetRewardReply(BaseModel):
    rewards: list[float | None]
    scores: list[float | None]
    extra_logs: dict[str, list[Any]]


class PoolingData(BaseModel):
    index: int
    object: str
    data: list[float | None]
    reason: str | None = None


class ScoreData(BaseModel):
    index: int
    object: str
    score: float | None
    reason: str | None = None


class Listed(BaseModel):
    id: str
    object: str
    created: int
    model: str
    usage: dict[str, int]


class PoolingReply(Listed):
    data: list[PoolingData]


class ScoreReply(Listed):
    data: list[ScoreData]


class Trouble(BaseModel):
    message: str
    type: str


class ErrorReply(BaseModel):
    error: Trouble


def rows_reply(request: RowsRequest, scores: Sequence[Score]) -> dict[str, Any]:
    """Null and the reason where there is no score."""
    return {"scores": [{**s._asdict(), "terms": dict(s.terms)} for s in scores]}


def get_reward_reply(request: GetRewardRequest, scores: Sequence[Score]) -> dict[str, Any]:
    """OpenRLHF makes tensors of this, which hold no null: a row without a score is an error, unless nulls are allowed.

    Raises:
        Refused: 502, with the rows that have no score.
    """
    missing = {i: s for i, s in enumerate(scores) if s.value is None}
    if missing and not request.allow_null:
        first = "; ".join(f"row {i}: {s.why()}" for i, s in list(missing.items())[:3])
        message = f"{len(missing)} of {len(scores)} rows have no score: {first}"
        items = [{"index": i, "reason": s.reason, "detail": s.detail} for i, s in missing.items()]
        raise Refused(502, message, "not_scored", items=items)
    rewards = [s.value for s in scores]
    logs = _columns([s.terms for s in scores])
    if request.allow_null:
        logs["reason"] = [None if s.value is not None else s.why() for s in scores]
    else:
        logs = {name: values for name, values in logs.items() if None not in values}
    return {"rewards": rewards, "scores": rewards, "extra_logs": logs}


def pooling_reply(request: PoolingRequest, scores: Sequence[Score]) -> dict[str, Any]:
    """One number, or null and the reason, an item."""
    data = [{"index": i, "object": "pooling", "data": [s.value], **_reason(s)} for i, s in enumerate(scores)]
    return _listed("pool", request.model, data)


def score_reply(request: ScoreRequest, scores: Sequence[Score]) -> dict[str, Any]:
    """One number, or null and the reason, a pair."""
    data = [{"index": i, "object": "score", "score": s.value, **_reason(s)} for i, s in enumerate(scores)]
    return _listed("score", request.model, data)


def _listed(kind: str, model: str | None, data: list[dict[str, Any]]) -> dict[str, Any]:
    usage = {"prompt_tokens": 0, "total_tokens": 0}  # not counted
    made = {"id": f"{kind}-{uuid.uuid4().hex}", "object": "list", "created": int(time.time())}
    return {**made, "model": model or "guerdon", "data": data, "usage": usage}


def _reason(score: Score) -> dict[str, str]:
    return {} if score.value is not None else {"reason": score.why()}


def _columns(rows: Sequence[Mapping[str, float | None]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _row(prompt: Any, completion: str, columns: Mapping[str, Sequence[Any]], i: int) -> Row:
    return {**{name: values[i] for name, values in columns.items()}, "prompt": prompt, "completion": completion}


def _trimmed(text: str, trims: Sequence[str]) -> str:
    """`text` without what ends it among `trims`, such as "<|im_end|>"."""
    while ending := next((t for t in trims if t and text.endswith(t)), ""):
        text = text.removesuffix(ending)
    return text


def _check_counts(count: int, name: str, others: Mapping[str, Sequence[Any]]) -> None:
    for other, values in others.items():
        if len(values) != count:
            raise Refused(422, f"{count} {name}, but {len(values)} {other}", "malformed")
