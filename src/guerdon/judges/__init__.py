"""Who answers when asked? Recorded labels, OpenAI-compatible servers, local models; annotator and store."""

from guerdon.judges.recorded import RecordedJudge

__all__ = ["RecordedJudge"]
