"""What is written: greedy as transformers writes, sampled as the model's probabilities say."""

import pytest
import torch
from scipy.stats import chisquare

pytest.importorskip("transformers")

from guerdon.models import CausalLM, tiny_model
from guerdon.models.decoding import sample
from guerdon.types.protocols import ContextOverflow

MODEL = tiny_model(seed=2, max_length=128, spread=0.3)
PROMPTS = ["hi there", "yo", [{"role": "user", "content": "what?"}], "yo"]


def with_options(model, **options):
    return CausalLM(model.module, model.tokenizer, max_length=model.max_length, **options)


def test_greedy_is_what_transformers_generates():
    made = MODEL.generate(PROMPTS, max_tokens=30, temperature=0.0)
    for row, prompt in enumerate(PROMPTS):
        ids = torch.tensor([MODEL.encode(MODEL.render(prompt))])
        mask = torch.ones_like(ids)
        expected = MODEL.module.generate(ids, attention_mask=mask, max_new_tokens=30, do_sample=False)[
            0, ids.shape[1] :
        ]
        assert made.ids[row][made.mask[row]].tolist() == expected.tolist()


def test_shape_order_and_padding():
    made = MODEL.generate(PROMPTS, n=3, max_tokens=7, seed=1)
    assert made.shape[0] == 12
    assert made.group.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert list(made.prompt[3:6]) == ["yo"] * 3
    for row in range(12):
        prompt = MODEL.encode(MODEL.render(PROMPTS[row // 3]))
        padding = made.prompt_ids.shape[1] - len(prompt)
        assert made.prompt_ids[row].tolist() == [0] * padding + prompt
        assert made.prompt_mask[row].tolist() == [False] * padding + [True] * len(prompt)
        n = int(made.mask[row].sum())
        assert made.mask[row].tolist() == [True] * n + [False] * (made.shape[1] - n)
        assert not made.log_prob[row, n:].any()


@pytest.mark.parametrize("temperature", [1.0, 0.6, 2.0])
def test_log_prob_is_what_log_probs_says_afterwards(temperature):
    made = MODEL.generate(PROMPTS, n=4, max_tokens=40, temperature=temperature, seed=3)
    again = MODEL.log_probs(made, temperature=temperature)
    torch.testing.assert_close(made.log_prob, again, atol=1e-4, rtol=0)


def test_greedy_log_prob_is_that_of_temperature_one():
    made = MODEL.generate(PROMPTS, max_tokens=10, temperature=0.0)
    torch.testing.assert_close(made.log_prob, MODEL.log_probs(made), atol=1e-4, rtol=0)


def test_a_seed_decides_and_batches_do_not():
    double = tiny_model(seed=2, max_length=128, spread=0.3, dtype=torch.float64)
    whole = double.generate(PROMPTS, n=5, max_tokens=20, seed=7)
    split = with_options(double, cache_budget=90).generate(PROMPTS, n=5, max_tokens=20, seed=7)
    assert list(whole.text) == list(split.text)
    torch.testing.assert_close(whole.log_prob, split.log_prob, atol=1e-5, rtol=0)
    assert list(double.generate(PROMPTS, n=5, max_tokens=20, seed=8).text) != list(whole.text)
    state = torch.get_rng_state()
    unseeded = [list(double.generate(["a"], max_tokens=20).text) for _ in range(2)]
    assert unseeded[0] != unseeded[1]
    assert torch.equal(state, torch.get_rng_state())


def test_samples_of_one_prompt_differ():
    texts = list(MODEL.generate(["a"], n=8, max_tokens=20, seed=0).text)
    assert len(set(texts)) > 4


def test_the_cache_budget_bounds_every_pass(monkeypatch):
    model = tiny_model(cache_budget=100)
    seen = []
    forward = type(model.module).forward

    def spy(self, *args, **kwargs):
        seen.append(kwargs["attention_mask"].numel())
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model.module), "forward", spy)
    model.generate(["a" * 9, "b" * 30, "c"], n=6, max_tokens=10, seed=0)
    assert max(seen) <= 100
    assert model.generate(["a" * 200], max_tokens=2, seed=0).shape[0] == 1  # one alone may be longer


def test_the_end_of_text_token_is_in_ids_and_not_in_text():
    model = tiny_model()
    end = model.tokenizer.eos_token_id
    model.module.lm_head.weight.data.zero_()
    model.module.lm_head.bias = torch.nn.Parameter(torch.full((model.module.config.vocab_size,), -9.0))
    model.module.lm_head.bias.data[end] = model.module.lm_head.bias.data[20] = 0.0
    made = model.generate(["a"], n=40, max_tokens=12, seed=0)
    lengths = made.mask.sum(1)
    assert 1 < made.shape[1] <= 12
    assert int(lengths.min()) == 1
    for row, text in enumerate(made.text):
        ids = made.ids[row][made.mask[row]].tolist()
        assert end not in ids[:-1]
        assert text == model.decode(ids[:-1] if ids[-1] == end else ids)
        assert ids[-1] == end or len(ids) == 12
    ended = (made.ids == end) & made.mask
    assert ended.any(1).float().mean().item() > 0.9  # each token ends with probability 1/2


def test_stop_strings():
    free = MODEL.generate(["hi there"], n=30, max_tokens=40, seed=5)
    stop = free.text[0][5:8], "e"
    made = MODEL.generate(["hi there"], n=30, max_tokens=40, seed=5, stop=stop)
    assert any(any(s in text for s in stop) for text in made.text)
    for long, text in zip(free.text, made.text, strict=True):
        ends = [long.find(s) + len(s) for s in stop if s in long]
        assert text == (long[: min(ends)] if ends else long)
    assert made.mask.sum(1)[0] == 8


def test_a_stop_string_over_several_tokens_and_within_one():
    """Of tokens "a" and "bc", the stop "ab" ends inside the second, which is kept whole in `ids`."""
    model = tiny_model(characters="ab")
    a, b = (model.tokenizer.convert_tokens_to_ids(c) for c in "ab")
    model.decode = lambda ids: "".join({a: "a", b: "bc"}.get(i, "?") for i in ids)
    model.module.lm_head.weight.data.zero_()
    model.module.lm_head.bias = torch.nn.Parameter(torch.full((6,), -30.0))
    model.module.lm_head.bias.data[[a, b]] = 0.0
    made = model.generate(["a"], n=20, max_tokens=30, seed=1, stop=["ab"])
    for row, text in enumerate(made.text):
        assert text.endswith("ab")
        assert made.ids[row][made.mask[row]][-2:].tolist() == [a, b]


def test_sampled_tokens_have_the_frequencies_of_the_softmax():
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(0)) * 2
    for temperature in (1.0, 0.5):
        chance = torch.rand(20000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        token, log_prob = sample(logits.expand(len(chance), -1), chance, temperature)
        p = (logits[0] / temperature).softmax(-1)
        assert chisquare(token.bincount(minlength=12), p.double() / p.double().sum() * len(chance)).pvalue > 1e-3
        torch.testing.assert_close(log_prob, p.log()[token])


def test_impossible_tokens_are_never_sampled():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    edges = torch.tensor([0.0, 0.25, 0.5, 1 - 2.0**-53], dtype=torch.float64)
    token, _ = sample(logits.expand(4, -1), edges, 1.0)
    assert token.tolist() == [1, 1, 3, 3]


def test_a_whole_generation_has_the_models_frequencies():
    model = tiny_model(characters="abcd", spread=0.3)
    made = model.generate(["ab"], n=4000, max_tokens=2, seed=0)
    with torch.no_grad():
        first = model.module(torch.tensor([model.encode("ab")])).logits[0, -1].softmax(-1).double()
    counts = made.ids[:, 0].bincount(minlength=len(first))
    assert chisquare(counts, first / first.sum() * 4000).pvalue > 1e-3


def test_too_long_is_an_error_with_both_lengths():
    with pytest.raises(ContextOverflow, match=r"101 tokens of prompt and 28 .* 129, .* 128"):
        MODEL.generate(["a" * 100], max_tokens=28)
    assert MODEL.generate(["a" * 100], max_tokens=27, seed=0).shape[0] == 1


@pytest.mark.parametrize("options", [{"n": 0}, {"max_tokens": 0}, {"temperature": -1.0}, {"stop": [""]}])
def test_options_that_cannot_be(options):
    with pytest.raises(ValueError, match="are needed"):
        MODEL.generate(["a"], **options)


def test_no_prompts_and_an_empty_one():
    assert MODEL.generate([], seed=0).shape[0] == 0
    model = tiny_model()
    model.__dict__["_bos"] = []
    with pytest.raises(ValueError, match="prompt 0 has no tokens"):
        model.generate([""])


def test_what_is_made_can_be_trained_on():
    made = MODEL.generate(["a"], n=2, max_tokens=4, seed=0)
    loss = (MODEL.log_probs(made) * made.log_prob).sum()
    loss.backward()
    assert MODEL.module.lm_head.weight.grad is not None
    MODEL.module.zero_grad()
