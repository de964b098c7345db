import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.running_moments import RunningMoments

BATCHES = st.lists(st.lists(st.floats(-1e3, 1e3), max_size=9), min_size=1, max_size=8)


@given(BATCHES)
def test_equals_all_data_at_once(batches):
    moments = RunningMoments(pseudo_count=0.0)
    for batch in batches:
        moments.update(torch.tensor(batch, dtype=torch.float64))
    data = np.concatenate([np.asarray(b, float) for b in batches])
    if len(data):
        assert moments.count == len(data)
        np.testing.assert_allclose(moments.mean, data.mean(), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(moments.var, data.var(), rtol=1e-9, atol=1e-6)


@given(BATCHES)
def test_onis_combination_of_sample_variances(batches):
    """As the release does it: mean 0, variance 1, count 1e-4 at first, then batches with their ddof-1 variance."""
    moments = RunningMoments(correction=1)
    mean, var, count = 0.0, 1.0, 1e-4
    for batch in filter(None, batches):
        moments.update(torch.tensor(batch, dtype=torch.float64))
        n, m, v = len(batch), np.mean(batch), np.var(batch, ddof=1) if len(batch) > 1 else 0.0
        square = var * count + v * n + (m - mean) ** 2 * count * n / (count + n)
        mean, var, count = mean + (m - mean) * n / (count + n), square / (count + n), count + n
    np.testing.assert_allclose([moments.mean, moments.var, moments.count], [mean, var, count], rtol=1e-9, atol=1e-9)


def test_before_data_it_leaves_values_alone():
    values = torch.tensor([-2.0, 0.0, 5.0])
    assert RunningMoments().normalise(values).tolist() == values.tolist()


def test_one_value_is_no_nan():
    moments = RunningMoments(correction=1)
    moments.update(torch.tensor([3.0]))
    assert moments.mean == pytest.approx(3.0, abs=1e-3)
    assert moments.var.isfinite()
    assert moments.normalise(torch.tensor([3.0])).isfinite().all()


def test_no_spread_normalises_to_zero():
    moments = RunningMoments(pseudo_count=0.0)
    moments.update(torch.full((4,), 7.0))
    assert moments.normalise(torch.tensor([7.0, 7.0])).tolist() == [0.0, 0.0]


def test_mask_and_shape():
    moments, plain = RunningMoments((2,), pseudo_count=0.0), RunningMoments((2,), pseudo_count=0.0)
    values = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(5, 3, generator=torch.Generator().manual_seed(1)) > 0.5
    moments.update(values.where(mask[..., None], torch.nan), mask)
    plain.update(values[mask])
    assert torch.equal(moments.mean, plain.mean)
    assert torch.equal(moments.var, plain.var)
    before = moments.mean.clone()
    moments.update(values, torch.zeros(5, 3, dtype=torch.bool))
    assert torch.equal(moments.mean, before)
    with pytest.raises(ValueError, match=r"moments of shape \[2\]"):
        moments.update(torch.zeros(5, 3))


def test_far_from_zero_it_keeps_its_precision():
    moments = RunningMoments()
    data = 1e6 + np.random.default_rng(0).normal(size=10_000)
    for batch in data.reshape(100, 100):
        moments.update(torch.from_numpy(batch))
    assert float(moments.mean) == pytest.approx(data.mean(), rel=1e-6)
    assert RunningMoments(pseudo_count=0.0).mean.dtype == torch.float64


def test_state_round_trip():
    moments, again = RunningMoments(), RunningMoments()
    moments.update(torch.tensor([1.0, 2.0, 4.0]))
    file = io.BytesIO()
    torch.save(moments.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    for one in (moments, again):
        one.update(torch.tensor([5.0, 9.0]))
    assert torch.equal(moments.mean, again.mean)
    assert torch.equal(moments.var, again.var)
