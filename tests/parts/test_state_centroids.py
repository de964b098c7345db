"""Centroids of states: distances, threshold, what they do not depend on, bad input."""

import pytest
import torch
from sklearn.cluster import KMeans

from guerdon.parts.state_centroids import StateCentroids

G = torch.Generator().manual_seed(0)
H = torch.randn(300, 4, generator=G)
LABELS = (H[:, 0] > 0).long()


def fitted(states=H, **options):
    made = StateCentroids(**options)
    made.fit({"first": (states, LABELS), "second": (states[:200], LABELS[:200])})
    return made


def test_a_centroid_is_at_distance_0_of_itself():
    made = fitted(k=3)
    back = made.points * made.std + made.mean
    least = made.distances(back).amin(1)
    torch.testing.assert_close(least, torch.zeros_like(least), atol=1e-5, rtol=0)


def test_class_means_without_k():
    made = fitted(standardise=False)
    torch.testing.assert_close(made.points[0], H[LABELS == 0].mean(0))
    expected = torch.cdist(H[:5], torch.stack([H[i == LABELS].mean(0) for i in (0, 1)])).amin(1)
    torch.testing.assert_close(made.distances(H[:5])[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_k_means_is_scikit_learns():
    made = StateCentroids(k=3, standardise=False)
    made.fit({"d": (H, LABELS)}, seed=4)
    expected = KMeans(3, n_init=10, random_state=4).fit(H.double().numpy()).cluster_centers_
    torch.testing.assert_close(made.points.double(), torch.as_tensor(expected), rtol=1e-5, atol=1e-6)


def test_threshold_is_a_quantile_of_the_validation_states():
    made = fitted(quantile=0.9)
    assert float(made.trusted(H).float().mean()) == pytest.approx(0.9, abs=0.05)
    made.threshold.fill_(torch.inf)
    assert made.trusted(100 * H).all()
    made.threshold.fill_(-1.0)
    assert not made.trusted(H).any()


def test_far_states_are_not_trusted_by_about_sigma_root_d():
    made = fitted(torch.zeros(300, 4) + 1e-3 * H, standardise=False)
    noise = torch.randn(2000, 4, generator=G)
    assert float(made.distances(noise)[:, 0].square().mean().sqrt()) == pytest.approx(2.0, abs=0.1)


def test_rotations_change_no_distance_but_other_maps_do():
    turn, _ = torch.linalg.qr(torch.randn(4, 4, generator=G))
    plain, turned = fitted(standardise=False), fitted(H @ turn + 3, standardise=False)
    torch.testing.assert_close(turned.distances(H @ turn + 3), plain.distances(H), rtol=1e-3, atol=1e-4)
    bent = torch.diag(torch.tensor([1.0, 5.0, 1.0, 1.0]))
    assert not torch.allclose(fitted(H @ bent, standardise=False).distances(H @ bent), plain.distances(H), atol=0.1)


def test_attribution_is_largest_for_the_nearest_dimension():
    made = StateCentroids()
    made.fit({"near": (H, LABELS), "far": (H + 20, LABELS)})
    weights = made.attribution(H[:10], temperature=0.5)
    torch.testing.assert_close(weights.sum(1), torch.ones(10))
    assert (weights[:, 0] > weights[:, 1]).all()


def test_constant_features_tell_nothing_and_break_nothing():
    states = torch.cat([H, torch.ones(300, 1)], 1)
    assert fitted(states).distances(states).isfinite().all()


def test_a_saved_one_says_the_same():
    made, again = fitted(k=5), StateCentroids()
    again.load_state_dict(made.state_dict())
    torch.testing.assert_close(again.distances(H), made.distances(H))
    assert again.names == ["first", "second"]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="quantile"):
        StateCentroids(quantile=1.5)
    with pytest.raises(RuntimeError, match="fit"):
        StateCentroids().distances(H)
    for states, said in (({}, "at least one"), ({"d": (H * torch.nan, LABELS)}, "finite")):
        with pytest.raises(ValueError, match=said):
            StateCentroids().fit(states)
    with pytest.raises(ValueError, match="lower k"):
        StateCentroids(k=9).fit({"d": (H[:4], LABELS[:4])})
    with pytest.raises(ValueError, match="finite"):
        fitted().distances(H * torch.inf)


def test_few_wide_states_do_not_shut_out_new_ones_of_their_kind():
    g = torch.Generator().manual_seed(3)
    old, new, strange = torch.randn(60, 200, generator=g), torch.randn(500, 200, generator=g), torch.randn(500, 200) + 3
    made = StateCentroids(k=5)
    made.fit({"d": (old, torch.zeros(60))})
    assert float(made.trusted(new).float().mean()) > 0.8
    assert not made.trusted(strange).any()


def test_too_few_states_for_two_halves_are_measured_by_themselves():
    made = StateCentroids(k=3, quantile=1.0)
    made.fit({"d": (H[:4], LABELS[:4])})
    assert made.trusted(H[:4]).all()
