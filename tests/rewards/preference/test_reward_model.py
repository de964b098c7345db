"""RewardModel: folders of every encoder, and other people's sequence classifiers."""

import pytest
import samples
import torch
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForSequenceClassification

from guerdon.models import tiny_model
from guerdon.models.reward_encoder import Embeddings, Features, Observations
from guerdon.rewards.preference import BradleyTerry, RewardModel
from guerdon.types import Completions, Pairs, Spec


def answers(texts, **columns):
    empty = torch.zeros(len(texts), 0, dtype=torch.long)
    return Completions(
        prompt=["?"] * len(texts), text=list(texts), ids=empty, mask=empty.bool(), columns=columns or None
    )


def loaded(folder, spec=None, **options):
    model = RewardModel(path=str(folder), **options)
    model.build(spec or Spec())
    return model


@pytest.mark.parametrize("options", [{}, {"hidden": (5,), "activation": "tanh", "output_activation": "relu"}])
def test_features_and_embeddings_score_as_they_did(tmp_path, options):
    given = answers(["one", "two"], x=[0.5, 4.0])
    for encoder in (Features(["x"], low=0, high=5), Embeddings(prompt=False)):
        reward = BradleyTerry(encoder=encoder, **options)
        reward.build(Spec(), generator=torch.Generator().manual_seed(3))
        reward.save(tmp_path / type(encoder).__name__)
        again = loaded(tmp_path / type(encoder).__name__)
        torch.testing.assert_close(again.score(given), reward.score(given).detach())
        assert not any(p.requires_grad for p in again.parameters())
        assert again.update(Pairs(first=given, second=given, label=torch.zeros(2).long())) == {}


def test_a_reward_of_control_keeps_its_moments(tmp_path):
    reward = BradleyTerry(encoder=Observations(actions=False))
    reward.build(samples.spec())
    pair = Pairs(first=samples.rollout(seed=1), second=samples.rollout(seed=2), label=torch.zeros(4).long())
    reward.update(pair)
    reward.save(tmp_path)
    torch.testing.assert_close(
        loaded(tmp_path, samples.spec()).score(samples.rollout()), reward.score(samples.rollout()).detach()
    )


def test_an_encoder_of_ones_own_cannot_be_saved(tmp_path):
    class Mine(Features):
        pass

    reward = BradleyTerry(encoder=Mine(["x"]))
    reward.build(Spec())
    with pytest.raises(TypeError, match="Mine cannot be saved"):
        reward.save(tmp_path / "mine")


def foreign(folder, labels=1):
    tokenizer = tiny_model().tokenizer
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=32, num_labels=labels, pad_token_id=tokenizer.pad_token_id, initializer_range=0.3,
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer


def test_other_peoples_classifiers(tmp_path):
    tokenizer = foreign(tmp_path)
    model = loaded(tmp_path)
    network = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    given = answers(["ab", "a longer one", "c"])
    batch = tokenizer([f"?{text}" for text in given.text], padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(model.score(given), network(**batch).logits[:, 0], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"RewardModel: row 1 has 42 tokens.*reads 32"):
        model.score(answers(["a", "b" * 40]))
    cut = loaded(tmp_path, truncate=True)
    assert cut.score(answers(["a", "b" * 40])).isfinite().all()
    assert cut.encoder.truncated == 1


def test_several_labels_are_no_reward(tmp_path):
    foreign(tmp_path, labels=3)
    with pytest.raises(ValueError, match="3 labels"):
        loaded(tmp_path)
