import samples
import torch

from guerdon.rewards.shaping.length import ShortPenalty


def test_short_answers_are_charged_by_the_token():
    c = samples.completions(6, 5)  # rows of 1, 2, 3, 4, 5 and 1 tokens
    got = ShortPenalty(least=4, rate=0.5).score(c)
    torch.testing.assert_close(got, torch.tensor([-1.5, -1.0, -0.5, 0.0, 0.0, -1.5]))
