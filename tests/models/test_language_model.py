"""Packed scores are those of one plain teacher-forced pass a sequence, values and gradients."""

import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers")

import transformers

from guerdon.models import CausalLM, tiny_model
from guerdon.types import Completions
from guerdon.types.protocols import ContextOverflow

TOKENS = st.integers(4, 8)
PAIRS = st.lists(
    st.tuples(st.lists(TOKENS, min_size=1, max_size=12), st.lists(TOKENS, min_size=1, max_size=5)),
    min_size=1,
    max_size=12,
)
MODEL = tiny_model(seed=3, max_length=64)
DOUBLE = tiny_model(seed=3, max_length=64, dtype=torch.float64)
SMALL = {"vocab_size": 101, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def plain(module, prefix, span):
    """Cross-entropy of the span on the logits of one sequence."""
    ids = torch.tensor([[*prefix, *span]])
    logits = module(input_ids=ids).logits[0, len(prefix) - 1 : -1]
    return -F.cross_entropy(logits, torch.tensor(list(span)), reduction="none")


def with_options(model, **options):
    return CausalLM(model.module, model.tokenizer, max_length=model.max_length, **options)


def check_equal(model, pairs, tolerance):
    made = model.score([p for p, _ in pairs], [s for _, s in pairs])
    assert made.log_prob.dtype == torch.float32
    for row, (prefix, span) in enumerate(pairs):
        assert made.mask[row].tolist() == [t < len(span) for t in range(made.mask.shape[1])]
        expected = plain(model.module, prefix, span).float()
        torch.testing.assert_close(made.log_prob[row][made.mask[row]], expected, atol=tolerance, rtol=0)
        assert not made.log_prob[row][~made.mask[row]].any()


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.sampled_from([4, 16, 64]), st.sampled_from([10.0, 1e6]), st.sampled_from([101, 505, 1 << 26]))
def test_scores_are_those_of_one_pass_a_sequence(pairs, token_budget, knee, logit_budget):
    with torch.no_grad():
        options = {"token_budget": token_budget, "knee": knee, "logit_budget": logit_budget}
        check_equal(with_options(MODEL, **options), pairs, 1e-4)
        check_equal(with_options(DOUBLE, **options), pairs, 1e-5)


@settings(max_examples=20, deadline=None)
@given(PAIRS, st.booleans(), st.sampled_from([202, 1 << 26]))
def test_gradients_are_those_of_one_pass_a_sequence(pairs, share, logit_budget):
    model = with_options(DOUBLE, share=share, logit_budget=logit_budget)
    weights = list(model.module.parameters())
    scores = model.score([p for p, _ in pairs], [s for _, s in pairs])
    found = torch.autograd.grad(scores.log_prob.exp().sum(), weights)
    total = sum(plain(model.module, p, s).exp().sum() for p, s in pairs)
    for ours, theirs in zip(found, torch.autograd.grad(total, weights), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_what_is_said_of_the_whole_distribution():
    prefixes, spans = [[1, 9, 8], [1, 9]], [[7, 20], [8, 7, 33]]
    with torch.no_grad():
        made = MODEL.score(prefixes, spans, also=("entropy", "self_certainty", "margin"))
        for row, (prefix, span) in enumerate(zip(prefixes, spans, strict=True)):
            logits = MODEL.module(input_ids=torch.tensor([prefix + span])).logits[0, len(prefix) - 1 : -1]
            p = torch.distributions.Categorical(logits=logits)
            uniform = torch.distributions.Categorical(logits=torch.zeros_like(logits))
            top = p.probs.topk(2).values
            expected = p.entropy(), torch.distributions.kl_divergence(uniform, p), top[:, 0] - top[:, 1]
            for field, value in zip((made.entropy, made.self_certainty, made.margin), expected, strict=True):
                torch.testing.assert_close(field[row, : len(span)], value, atol=1e-5, rtol=1e-4)
                assert not field[row, len(span) :].any()
    assert MODEL.score(prefixes, spans).entropy is None


def test_a_uniform_model_and_a_certain_one():
    model = tiny_model()
    for weight in model.module.parameters():
        weight.data.zero_()
    made = model.score([[1]], [[5]], also=("entropy", "self_certainty", "margin"))
    n = math.log(model.module.config.vocab_size)
    assert made.log_prob.item() == pytest.approx(-n)
    assert made.entropy.item() == pytest.approx(n)
    assert made.self_certainty.item() == pytest.approx(0.0, abs=1e-6)
    assert made.margin.item() == pytest.approx(0.0, abs=1e-6)


def completions(**changes):
    """Two rows: one with a gap (somebody else's words) in the middle, one shorter."""
    fields = {
        "prompt": ["ab", "abc"],
        "text": ["", ""],
        "ids": torch.tensor([[9, 8, 7, 6], [5, 4, 0, 0]]),
        "mask": torch.tensor([[True, False, True, True], [True, True, False, False]]),
        "prompt_ids": torch.tensor([[0, 1, 14, 15], [1, 14, 15, 16]]),
        "prompt_mask": torch.tensor([[False, True, True, True], [True] * 4]),
    }
    return Completions(**{**fields, **changes})


def test_log_probs_of_completions():
    prompts = [[1, 14, 15], [1, 14, 15, 16]]
    for temperature in (1.0, 0.5):
        found = MODEL.log_probs(completions(), temperature=temperature)
        for row, ids in enumerate([[9, 8, 7, 6], [5, 4]]):
            logits = MODEL.module(input_ids=torch.tensor([prompts[row] + ids])).logits[0, len(prompts[row]) - 1 : -1]
            expected = (logits / temperature).log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
            expected = torch.cat([expected, torch.zeros(4 - len(ids))]) * completions().mask[row]
            torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=0)


def test_log_probs_encode_prompts_that_bring_no_tokens():
    bare = completions(prompt_ids=None, prompt_mask=None)
    torch.testing.assert_close(MODEL.log_probs(bare), MODEL.log_probs(completions()))


def test_log_probs_of_nothing():
    silent = completions(mask=torch.zeros(2, 4, dtype=torch.bool))
    assert MODEL.log_probs(silent).tolist() == [[0.0] * 4] * 2
    assert MODEL.score([], []).log_prob.shape == (0, 0)


def test_log_probs_train_the_module():
    model = copy.deepcopy(MODEL)
    optimizer = torch.optim.Adam(model.module.parameters(), 1e-2)
    before = model.log_probs(completions()).sum().item()
    for _ in range(10):
        optimizer.zero_grad()
        (-model.log_probs(completions()).sum()).backward()
        optimizer.step()
    assert model.log_probs(completions()).sum().item() > before + 1


def test_too_long_is_an_error_with_both_lengths():
    with pytest.raises(ContextOverflow, match=r"60 tokens of prompt and 5 .* 65, .* 64"):
        MODEL.score([[5] * 3, [5] * 60], [[6], [6] * 5])
    MODEL.score([[5] * 60], [[6] * 4])
    with pytest.raises(ContextOverflow, match="66"):
        MODEL.log_probs(completions(prompt=["a" * 61, "b"], prompt_ids=None, prompt_mask=None))


@pytest.mark.parametrize(
    ("prefixes", "spans", "also", "said"),
    [
        ([[]], [[5]], (), "0 tokens before"),
        ([[5]], [[]], (), "span of 0"),
        ([[5]], [[5], [5]], (), "1 prefixes for 2"),
        ([[5]], [[5]], ("perplexity",), "entropy, self_certainty, margin"),
    ],
)
def test_bad_input(prefixes, spans, also, said):
    with pytest.raises(ValueError, match=said):
        MODEL.score(prefixes, spans, also=also)


def test_temperature_zero_has_no_probabilities():
    with pytest.raises(ValueError, match="positive"):
        MODEL.log_probs(completions(), temperature=0.0)


SHARED = [([1, 20, 30, *middle], [40, 50, 60]) for middle in ([21], [22, 23], [24], [22, 25])]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ("Llama", {"num_key_value_heads": 2}, "eager"),
        lambda: ("Qwen2", {"num_key_value_heads": 2}, "sdpa"),
        lambda: ("Gemma2", {"num_key_value_heads": 2, "head_dim": 8, "final_logit_softcapping": 0.5}, "eager"),
        lambda: ("Gemma3Text", {"num_key_value_heads": 2, "head_dim": 8}, "sdpa"),
        lambda: ("GPT2", {"bos_token_id": 1, "eos_token_id": 2}, "sdpa"),
        lambda: ("GPTNeoX", {}, "sdpa"),
        lambda: ("OPT", {"ffn_dim": 64, "word_embed_proj_dim": 32}, "sdpa"),
    ],
)
def test_other_architectures_score_alike(make):
    family, options, attention = make()
    config = getattr(transformers, f"{family}Config")(**SMALL, initializer_range=0.2, **options)
    module = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    with torch.no_grad():
        for share in (True, False):
            check_equal(CausalLM(module, MODEL.tokenizer, share=share), SHARED, 1e-4)


@pytest.mark.parametrize(
    ("family", "options", "said"),
    [
        ("Mistral", {"num_key_value_heads": 2, "sliding_window": 6}, "looks back over 6 tokens, .* has 8"),
        ("Mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4, "initializer_range": 0.2}, "does not heed"),
        ("Mamba", {"state_size": 4}, "cannot be told"),
    ],
)
def test_models_that_cannot_share_rows_say_so_and_score_without(family, options, said):
    config = getattr(transformers, f"{family}Config")(**(SMALL | options))
    module = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        with pytest.raises(ValueError, match=f"{said}.*share=False"):
            CausalLM(module, MODEL.tokenizer).score(*zip(*SHARED, strict=True))
        check_equal(CausalLM(module, MODEL.tokenizer, share=False), SHARED, 1e-4)


def test_an_attention_that_takes_no_mask_is_refused():
    model = tiny_model()
    model.module.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match=r"flash_attention_2.*share=False"):
        model.score(*zip(*SHARED, strict=True))


def test_the_module_keeps_its_mode():
    model = tiny_model()
    model.module.train()
    model.score(*zip(*SHARED, strict=True))
    model.generate(["a"], max_tokens=2, seed=0)
    assert model.module.training


def test_it_pickles_and_copies():
    again = pickle.loads(pickle.dumps(MODEL))
    torch.testing.assert_close(again.score([[1, 2]], [[3]]).log_prob, MODEL.score([[1, 2]], [[3]]).log_prob)
    assert again.name == "tiny-3"


def test_a_seed_is_a_model():
    one, same, other = (tiny_model(seed=seed).score([[1]], [[5, 6]]).log_prob for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    state = torch.get_rng_state()
    tiny_model(seed=5)
    assert torch.equal(state, torch.get_rng_state())


def test_no_such_model(tmp_path):
    with pytest.raises(OSError, match=r"no config\.json, and 0 GGUF"):
        CausalLM.load(str(tmp_path))
    with pytest.raises(OSError, match=r"no-such-model.*download=True"):
        CausalLM.load("no-such-model")


def test_it_loads_what_transformers_saves(tmp_path):
    MODEL.module.save_pretrained(tmp_path)
    MODEL.tokenizer.save_pretrained(tmp_path)
    again = CausalLM.load(str(tmp_path), token_budget=8)
    torch.testing.assert_close(again.score([[1, 2]], [[3]]).log_prob, MODEL.score([[1, 2]], [[3]]).log_prob)
    assert again.name == tmp_path.name
    assert again.encode("ab") == MODEL.encode("ab")
    assert again.max_length == 64
