import pytest
import samples

from guerdon.rewards.shaping import Anneal, Clip, Extrinsic


def weights(made: Anneal, rollouts: int) -> list[float]:
    """The weight before each of some rollouts of 32 steps, and after the last."""
    seen = [made.weight]
    r = samples.rollout(8, 4)
    r.valid[:] = True
    for _ in range(rollouts):
        made.observe(r)
        seen.append(made.weight)
    return seen


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [1.0, 0.775, 0.55, 0.325, 0.1, 0.1]),
        ("cosine", [1.0, 0.868198, 0.55, 0.231802, 0.1, 0.1]),
        ("exponential", [1.0, 10**-0.25, 10**-0.5, 10**-0.75, 0.1, 0.1]),
    ],
)
def test_the_weight_moves_from_start_to_end_and_stays(shape, expected):
    assert weights(Anneal(Extrinsic(), end=0.1, steps=128, shape=shape), 5) == pytest.approx(expected)
    assert weights(Anneal(Extrinsic(), end=0.1, steps=4, shape=shape, unit="updates"), 5) == pytest.approx(expected)


def test_it_can_rise():
    assert weights(Anneal(Extrinsic(), start=0.0, end=2.0, steps=64), 2) == [0.0, 1.0, 2.0]
    assert weights(Anneal(Extrinsic(), start=-1.0, end=-4.0, steps=64, shape="exponential"), 1)[1] == pytest.approx(
        -2.0
    )


def test_only_valid_steps_count_and_only_observe_counts_them():
    made, r = Anneal(Extrinsic(), steps=1000), samples.rollout()
    made.score(r)
    made.update(r)
    assert made.seen == 0
    made.observe(r)
    assert made.seen == int(r.valid.sum()) == 30


def test_terms_keep_their_names_and_stages_show_both_sides():
    made, r = Anneal(Extrinsic() + Clip(Extrinsic(), low=0.0), end=0.0, steps=60), samples.rollout()
    made.observe(r)
    scored = made.evaluate(r)
    assert scored.terms["Extrinsic"].equal(0.5 * r.extrinsic)
    assert scored.terms["Clip(Extrinsic)"].equal(0.5 * r.extrinsic.clamp(min=0.0))
    assert scored.stages["Anneal(Extrinsic+Clip(Extrinsic))/out"].equal(scored.value)
    assert scored.stages["Anneal(Extrinsic+Clip(Extrinsic))/in"].equal(r.extrinsic + r.extrinsic.clamp(min=0.0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"steps": 1, "shape": "square"},
        {"steps": 1, "unit": "days"},
        {"steps": 1, "shape": "exponential"},
        {"steps": 1, "shape": "exponential", "start": -1.0, "end": 1.0},
    ],
)
def test_schedules_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=r"Anneal needs|cannot reach or cross 0"):
        Anneal(Extrinsic(), **wrong)
