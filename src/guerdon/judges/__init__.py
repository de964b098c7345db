"""Who answers when asked? Recorded labels, OpenAI-compatible servers, local models; annotator and store."""

from guerdon.judges.errors import JudgeMisconfigured, JudgeUnavailable
from guerdon.judges.keyword import KeywordJudge
from guerdon.judges.openai_compatible import OpenAICompatibleJudge
from guerdon.judges.recorded import RecordedJudge
from guerdon.judges.transformers_judge import TransformersJudge

__all__ = [
    "JudgeMisconfigured",
    "JudgeUnavailable",
    "KeywordJudge",
    "OpenAICompatibleJudge",
    "RecordedJudge",
    "TransformersJudge",
]
