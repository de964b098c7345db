import pytest
import samples
import torch

from guerdon.rewards.shaping import CountGate, Extrinsic


def repeats(n: int):
    """A rollout [n, 1] that pays 1 a step for one and the same caption, seen for the first time at step 0."""
    return samples.replace(
        samples.rollout(n, 1),
        extrinsic=torch.ones(n, 1),
        valid=torch.ones(n, 1, dtype=torch.bool),
        terminated=torch.zeros(n, 1, dtype=torch.bool),
        caption_count=torch.tensor([1, *range(1, n + 1)], dtype=torch.int32)[:, None],
    )


def test_a_repeat_pays_by_its_power():
    assert CountGate(Extrinsic()).score(repeats(3))[:, 0].tolist() == pytest.approx([1.0, 1 / 8, 1 / 27])
    assert CountGate(Extrinsic(), power=1.0).score(repeats(2))[:, 0].tolist() == [1.0, 0.5]
    assert CountGate(Extrinsic(), power=0.0).score(repeats(3))[:, 0].tolist() == [1.0, 1.0, 1.0]


def test_farming_one_caption_is_bounded():
    gate = CountGate(Extrinsic())
    assert gate.score(repeats(10)).sum().item() == pytest.approx(1.197532, abs=1e-6)
    assert gate.score(repeats(5000)).sum().item() == pytest.approx(1.2020569, abs=1e-5)


def test_unscored_stays_unscored():
    r = repeats(3)
    r.extrinsic[1] = torch.nan
    assert CountGate(Extrinsic()).score(r).isnan()[:, 0].tolist() == [False, True, False]


def test_it_needs_counts():
    bare = samples.replace(samples.rollout(), caption_count=None)
    with pytest.raises(ValueError, match=r"CountGate\(Extrinsic\) needs caption counts"):
        CountGate(Extrinsic()).score(bare)
    with pytest.raises(ValueError, match="must not be negative"):
        CountGate(Extrinsic(), power=-1.0)
