"""Who answers when asked? Recorded labels, OpenAI-compatible servers, local models; annotator and store."""

from guerdon.judges.errors import JudgeMisconfigured, JudgeUnavailable
from guerdon.judges.keyword import KeywordJudge
from guerdon.judges.openai_compatible import OpenAICompatibleJudge
from guerdon.judges.recorded import RecordedJudge

__all__ = ["JudgeMisconfigured", "JudgeUnavailable", "KeywordJudge", "OpenAICompatibleJudge", "RecordedJudge"]
