import pytest
import table_model
import torch

from guerdon.rewards.shaping.repetition import RepetitionPenalty, most_repeated


def test_runs_are_counted_with_overlaps_and_over_underscores():
    assert most_repeated("a a a", 2) == 2
    assert most_repeated("a_b  a\nb", 2) == 2
    assert most_repeated("a b", 3) == 0


def test_six_times_the_same_ten_words():
    ten = " ".join(f"w{i}" for i in range(10))
    texts = [" x ".join([ten] * 6), " x ".join([ten] * 5), "", "again " * 15, "again " * 14]
    c = table_model.completions(["p"] * 5, texts, model=table_model.TableModel())
    assert RepetitionPenalty().score(c).tolist() == [-1.0, 0.0, 0.0, -1.0, 0.0]
    torch.testing.assert_close(RepetitionPenalty(weight=0.5).score(c)[0], torch.tensor(-0.5))
    with pytest.raises(ValueError, match="RepetitionPenalty"):
        RepetitionPenalty(times=1)
