import math

import pytest
import table_model
import torch

from guerdon.rewards.likelihood.nover import NOVER, rank_rewards, reasoning_perplexity


def test_perplexity_of_a_chain_of_one_token_is_plain():
    mean = torch.tensor([math.log(0.25), math.log(0.25), math.log(0.25)])
    got = reasoning_perplexity(mean, torch.tensor([0.0, 1.0, math.e]))
    torch.testing.assert_close(got, torch.tensor([4.0, 4.0, 2.0]))  # N = 1, 1 and 2


def test_ranks_by_hand():
    perplexity = torch.tensor([1.0, 2.0, 2.0, math.nan, 5.0, 3.0])
    length = torch.tensor([10.0, 5.0, 20.0, 1.0, 9.0, 4.0])
    group = torch.tensor([0, 0, 0, 0, 1, 1])
    reasoning, efficiency = rank_rewards(perplexity, length, group)
    nan = math.nan
    torch.testing.assert_close(reasoning, torch.tensor([1.0, 0.25, 0.25, nan, 0.0, 1.0]), equal_nan=True)
    torch.testing.assert_close(efficiency, torch.tensor([0.5, 0.0, 0.0, nan, 0.0, 1.0]), equal_nan=True)


def test_format_comes_first():
    m = table_model.TableModel()
    m.put(" ", "4", 0.25)
    m.put("\n", "4", 0.9)
    texts = ["<think></think><answer>\n7</answer>", "<think></think><answer> 7</answer>", "4"]
    c = table_model.completions(["2+2="] * 3, texts, model=m, answer=["4"] * 3)
    got = NOVER(format_weight=0.5, efficiency_weight=2.0).score(c, reference=m)
    torch.testing.assert_close(got, torch.tensor([1.5, 0.5, 0.0]))  # equally long: nobody is more efficient
    longer = table_model.completions(["2+2="] * 3, [texts[0], "<think>so</think><answer> 7</answer>", "4"],
                                     model=m, answer=["4"] * 3)  # fmt: skip
    assert NOVER(format_weight=0.5, efficiency_weight=2.0).score(longer, reference=m)[0] == 3.5
    c.group = None
    with pytest.raises(ValueError, match="NOVER ranks"):
        NOVER().score(c, reference=m)
