"""Features, observations and embeddings as reward models see them."""

import pytest
import samples
import torch

from guerdon.models import reward_encoder
from guerdon.models.reward_encoder import Embeddings, Features, FeatureStore, Observations
from guerdon.types import Completions, Spec

NAMES = ["fluency", "relevance"]


def answers(n=3, **columns):
    empty = torch.zeros(n, 0, dtype=torch.long)
    return Completions(prompt=["?"] * n, text=["!"] * n, ids=empty, mask=empty.bool(), columns=columns)


def built(encoder, spec=None):
    encoder.build(spec or Spec(), reader="Mine")
    return encoder


def test_features_come_in_the_order_of_their_names():
    one = built(Features(NAMES))(answers(relevance=[1, 2, 3], fluency=[4, 5, 6]))
    other = built(Features(NAMES[::-1]))(answers(fluency=[4, 5, 6], relevance=[1, 2, 3]))
    assert one.tolist() == [[4, 1], [5, 2], [6, 3]]
    assert other.tolist() == [[1, 4], [2, 5], [3, 6]]


def test_features_with_bounds_lie_in_0_to_1():
    made = built(Features(["x"], low=1, high=5))(answers(x=[1, 2, 5]))
    assert made.flatten().tolist() == [0.0, 0.25, 1.0]


def test_a_column_of_vectors():
    assert built(Features(["h"], width=2))(answers(h=[[1, 2], torch.tensor([3, 4]), (5, 6)])).tolist()[1] == [3, 4]


@pytest.mark.parametrize(
    ("options", "columns", "said"),
    [
        ({}, {"fluency": [1, 2, 3]}, "reads 'relevance', but completions have fluency"),
        ({}, {"fluency": [1, 2, 3], "relevanc": [1, 2, 3]}, "did you mean relevanc"),
        ({}, {"fluency": [1, 2, 3], "relevance": [1, float("nan"), 3]}, "'relevance' is NaN"),
        ({}, {"fluency": [1, 2, 3], "relevance": [1, "a", 3]}, "something else than numbers"),
        ({}, {"fluency": [1, 2, 3], "relevance": [1, None, 3]}, "something else than numbers"),
        ({}, {"fluency": [1, 2, 3], "relevance": [[1, 2]] * 3}, "2 numbers a row"),
        ({"low": 0, "high": 5}, {"fluency": [1, 2, 3], "relevance": [1, 5.5, 3]}, "5.5, outside 0..5"),
    ],
)
def test_bad_features_are_named(options, columns, said):
    with pytest.raises(ValueError, match=said) as refusal:
        built(Features(NAMES, **options))(answers(**columns))
    assert "Mine" in str(refusal.value)


@pytest.mark.parametrize("bounds", [{"low": 0}, {"high": 1}, {"low": 1, "high": 1}])
def test_bounds_come_together(bounds):
    with pytest.raises(ValueError, match="both low and high"):
        Features(NAMES, **bounds)


def test_a_step_is_seen_as_what_it_led_to():
    experience = samples.rollout()
    made = built(Features(["obs"]), samples.spec())(experience)
    seen = experience.valid
    torch.testing.assert_close(made[seen], experience.obs["obs"][1:][seen])
    assert not made[~seen].any()


def test_observations_see_the_action_unless_told_not_to():
    experience, other = samples.rollout(), samples.rollout()
    other.action = (other.action + 1) % 4
    for actions in (True, False):
        encoder = built(Observations(actions=actions), samples.spec())
        assert encoder(experience).shape == (8, 4, 64)
        assert torch.equal(encoder(experience), encoder(other)) != actions


def test_observations_are_standardised_by_what_was_learned_from():
    experience = samples.rollout()
    wide = samples.replace(experience)
    wide.obs["obs"] *= 1000
    encoder, twin = (built(Observations(hidden=()), samples.spec()) for _ in range(2))
    before = twin(experience)
    encoder.observe(wide)
    twin.observe(experience)
    torch.testing.assert_close(encoder(wide), twin(experience), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(twin(experience), before)


def test_embeddings_are_those_of_the_sentence_encoder_and_made_once(monkeypatch):
    calls = []
    shared = reward_encoder.shared_encoder(Embeddings().model, "cpu")
    inner = shared.encoder.__class__.__call__
    monkeypatch.setattr(shared.encoder.__class__, "__call__", lambda s, texts: calls.extend(texts) or inner(s, texts))
    both, alone = built(Embeddings()), built(Embeddings(prompt=False))
    given = answers(2)
    given.prompt, given.text = ["Which colour has the sky?", "And grass?"], ["It is blue.", "It is green, sir."]
    made = both(given)
    e, p = (inner(shared.encoder, list(texts)) * 384**0.5 for texts in (given.text, given.prompt))
    torch.testing.assert_close(made, torch.cat([e, e * p], 1), rtol=1e-4, atol=1e-4)
    assert sorted(calls) == sorted([*given.text, *given.prompt])
    torch.testing.assert_close(alone(given), made[:, :384])
    assert len(calls) == 4, "another reward with the same model computes nothing again"


def test_a_text_that_is_too_long_is_named_or_cut_and_counted():
    given = answers(3)
    given.text = ["short", "word " * 300, "word " * 400]
    with pytest.raises(ValueError, match=r"Mine: the text of row 1 has 302 tokens.*reads 256 \(2 such rows\)"):
        built(Embeddings())(given)
    cutting = built(Embeddings(truncate=True))
    made = cutting(given)
    assert cutting.truncated == 2
    torch.testing.assert_close(made[1], made[2])


def test_encoders_refuse_what_they_cannot_read():
    with pytest.raises(TypeError, match=r"Mine's Observations.*encoder=Embeddings"):
        built(Observations(), samples.spec())(answers())
    with pytest.raises(TypeError, match="Mine"):
        built(Embeddings())(samples.rollout())
    with pytest.raises(ValueError, match="at least one column"):
        built(Features())


def test_a_store_forgets_the_oldest_when_it_is_full(monkeypatch):
    monkeypatch.setattr(reward_encoder, "STORE_BYTES", 3 * 8)
    store, made = FeatureStore(), []

    def compute(keys):
        made.append(list(keys))
        return torch.tensor([[float(k), 0.0] for k in keys]).reshape(-1, 2)

    assert store([1, 2, 1], compute)[:, 0].tolist() == [1, 2, 1]
    assert store([2, 3, 4], compute)[:, 0].tolist() == [2, 3, 4]
    assert made == [[1, 2], [3, 4]]
    store([1], compute)
    assert made[-1] == [1], "the oldest had to go"
    assert len(store.kept) == 3
    assert store([], compute).shape == (0, 2)
