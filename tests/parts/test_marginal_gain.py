"""Every set function against its definition on sets, and greedy against brute force."""

import itertools
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.parts.marginal_gain import Additive, Coverage, check_items, greedy, where
from guerdon.parts.set_functions import (
    RBF,
    ConcaveOverModular,
    CovarianceTable,
    FacilityLocation,
    Information,
    item_collection,
)

S, V, CAPACITY = 9, 7, 12


def functions(seed: int = 0) -> dict:
    """One of each kind on a ground set of S items, beside F of a list of items from its definition."""
    g = torch.Generator().manual_seed(seed)
    covered = torch.rand(S, V, generator=g) < 0.35
    weights = torch.rand(V, generator=g, dtype=torch.float64)
    features, likeness = (torch.rand(S, V, generator=g, dtype=torch.float64) for _ in range(2))
    groups, demand = torch.rand(S, 3, generator=g) < 0.5, torch.tensor([1, 2, 3])
    root = torch.randn(S, S, generator=g, dtype=torch.float64)
    covariance = root @ root.T / S

    def information(chain):
        k = covariance[chain][:, chain]
        return 0.5 * torch.logdet(torch.eye(len(chain), dtype=torch.float64) + k / 0.3)

    return {
        "coverage": (Coverage.sets(covered, weights), lambda a: (covered[a].any(0) * weights).sum()),
        "items": (
            item_collection(groups, demand),
            lambda a: groups[sorted(set(a))].sum(0).minimum(demand).sum().double(),
        ),
        "log": (ConcaveOverModular(features), lambda a: features[sorted(set(a))].sum(0).log1p().sum()),
        "root": (ConcaveOverModular(features, torch.sqrt, weights),
                 lambda a: (features[sorted(set(a))].sum(0).sqrt() * weights).sum()),
        "facility": (FacilityLocation(likeness), lambda a: likeness[a].max(0).values.sum()),
        "information": (Information(CovarianceTable(covariance), capacity=CAPACITY, noise=0.3), information),
    }  # fmt: skip


KINDS = list(functions())


def along(function, chains):
    """Gains [H, n] and values [H, n] of chains [n, H] that are added item by item."""
    state = function.reset(len(chains))
    gains, values = [], []
    for item in torch.tensor(chains).T:
        gains.append(function.gain(state, item))
        state = function.add(state, item)
        values.append(function.value(state))
    return torch.stack(gains), torch.stack(values)


CHAINS = st.lists(st.lists(st.integers(0, S - 1), min_size=CAPACITY, max_size=CAPACITY), min_size=1, max_size=3)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(chains=CHAINS, seed=st.integers(0, 5))
def test_gains_sum_to_the_value_and_the_value_is_the_definition(kind, chains, seed):
    function, define = functions(seed)[kind]
    gains, values = along(function, chains)
    torch.testing.assert_close(gains.cumsum(0), values, rtol=0, atol=1e-10)
    for n, chain in enumerate(chains):
        for h in range(CAPACITY):
            assert float(values[h, n]) == pytest.approx(float(define(chain[: h + 1])), abs=1e-9)
    assert (gains >= -1e-12).all(), "monotone on every chain"


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(chain=st.lists(st.integers(0, S - 1), min_size=5, max_size=5), item=st.integers(0, S - 1))
def test_the_same_item_gains_less_on_top_of_more(kind, chain, item):
    function, _ = functions(3)[kind]
    state, gains = function.reset(1), []
    for more in chain:
        gains.append(float(function.gain(state, torch.tensor([item]))))
        state = function.add(state, torch.tensor([more]))
    assert all(later <= earlier + 1e-10 for earlier, later in itertools.pairwise(gains))


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_visit(kind):
    gains, _ = along(functions()[kind][0], [[4, 4, 4]])
    if kind == "information":
        assert gains[0] > gains[1] > gains[2] > 0
    else:
        assert gains[0] > 0
        assert gains[1:].tolist() == [[0], [0]]


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_values_and_the_empty_set_is_worth_nothing(kind):
    function, _ = functions()[kind]
    state = function.add(function.reset(2), torch.tensor([1, 2]))
    before = {k: v.clone() for k, v in state.items()}
    function.gain(state, torch.tensor([3, 4]))
    function.add(state, torch.tensor([3, 4]))
    assert all(torch.equal(state[k], before[k]) for k in before)
    assert function.value(function.reset(3)).tolist() == [0, 0, 0]
    assert function.size == S
    copy = pickle.loads(pickle.dumps(function))
    assert torch.equal(along(copy, [[1, 2]])[1], along(function, [[1, 2]])[1])
    assert not function.state_dict(), "tables are configuration, not state"


def test_information_of_two_identical_points():
    f = Information(CovarianceTable(torch.ones(1, 1)), capacity=2)
    gains, values = along(f, [[0, 0]])
    assert gains[:, 0].tolist() == pytest.approx([0.5 * math.log(2), 0.5 * math.log(1.5)], abs=1e-12)
    assert gains[:, 0].tolist() == pytest.approx([0.3466, 0.2027], abs=5e-5)
    assert float(values[1]) == pytest.approx(0.5 * math.log(3), abs=1e-12)


def test_information_of_points_in_the_plane():
    kernel = RBF(length=0.7, variance=2.0)
    f = Information(kernel, capacity=6, noise=0.1, dimensions=2)
    points = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state, total = f.reset(2), torch.zeros(2, dtype=torch.float64)
    for h in range(6):
        total += f.gain(state, points[:, h])
        state = f.add(state, points[:, h])
    k = kernel(points[:, :, None], points[:, None])
    wanted = 0.5 * torch.logdet(torch.eye(6, dtype=torch.float64) + k / 0.1)
    torch.testing.assert_close(total, wanted, rtol=0, atol=1e-10)
    torch.testing.assert_close(f.value(state), wanted, rtol=0, atol=1e-10)
    assert f.size is None
    with pytest.raises(ValueError, match="capacity"):
        f.add(state, points[:, 0])


def test_the_release_entropy_without_its_offset_is_not_monotone():
    """Why information is used instead: 1/2 log det(K_A + 1e-6 I) falls with a point like one that is there."""
    k = torch.ones(2, 2, dtype=torch.float64) + 1e-6 * torch.eye(2)
    assert 0.5 * torch.logdet(k) < 0.5 * torch.logdet(k[:1, :1]) - 1


def test_discs_cover_what_is_near():
    f = Coverage.discs((8, 8), radius=1.5)
    corner, edge, inside = 0, 3, 8 * 4 + 4
    assert f.gain(f.reset(3), torch.tensor([corner, edge, inside])).tolist() == [4, 6, 9]
    assert (Coverage.discs((8, 8)).gain(f.reset(64), torch.arange(64)) == 1).all()
    cross = Coverage.discs((3, 3), radius=1.0, weights=torch.arange(9.0).view(3, 3))
    assert float(cross.gain(cross.reset(1), torch.tensor([4]))) == 1 + 3 + 4 + 5 + 7
    line = Coverage.discs((5,), radius=1.0)
    assert along(line, [[0, 1, 4]])[0][:, 0].tolist() == [2, 1, 2]
    cube = Coverage.discs((3, 3, 3), radius=1.0)
    assert float(cube.gain(cube.reset(1), torch.tensor([13]))) == 7


def test_the_additive_surrogate_pays_every_visit_alike():
    f = Coverage.discs((4, 4), radius=1.0)
    gains, values = along(Additive(f), [[5, 5, 6]])
    assert gains[:, 0].tolist() == [5, 5, 5]
    assert values[:, 0].tolist() == [5, 10, 15]
    assert Additive(f).size == 16


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(4, 12), k=st.integers(1, 4))
def test_greedy_reaches_its_share_of_the_best(seed, n, k):
    g = torch.Generator().manual_seed(seed)
    covered, weights = torch.rand(n, 14, generator=g) < 0.3, torch.rand(14, generator=g, dtype=torch.float64)
    f = Coverage.sets(covered, weights)
    chosen = greedy(f, torch.arange(n), k, block=5)
    best = max(float((covered[list(a)].any(0) * weights).sum()) for a in itertools.combinations(range(n), k))
    got = float((covered[chosen.index].any(0) * weights).sum())
    assert got == pytest.approx(float(chosen.gain.sum()), abs=1e-12)
    assert got >= (1 - 1 / math.e) * best - 1e-12
    assert len(set(chosen.index.tolist())) == k
    assert (chosen.gain.diff() <= 1e-12).all()


def test_greedy_finds_the_trap_and_breaks_ties_by_order():
    """Two halves are best; greedy takes the large middle first."""
    rows = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 0]]).bool()
    f = Coverage.sets(rows, torch.tensor([1.0, 1.1, 1.1, 1.0]))
    assert greedy(f, torch.arange(3), 2).index.tolist() == [2, 0]
    assert float(greedy(f, torch.arange(3), 2).gain.sum()) == pytest.approx(3.2)
    assert greedy(f, torch.tensor([1, 1, 2]), 3).index.tolist() == [2, 0, 1], "places in the ground set, not items"


def test_greedy_spreads_answers_in_an_embedding():
    """Diversity of a group: three clusters of points, one of each is picked first."""
    g = torch.Generator().manual_seed(1)
    points = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]]).repeat(4, 1) + 0.1 * torch.randn(12, 2, generator=g)
    f = Information(RBF(), capacity=3, dimensions=2)
    assert sorted(i % 3 for i in greedy(f, points, 3).index.tolist()) == [0, 1, 2]


def test_where_takes_whole_sets():
    f = Information(CovarianceTable(torch.eye(3)), capacity=2)
    a, b = f.add(f.reset(2), torch.tensor([0, 1])), f.reset(2)
    mixed = where(torch.tensor([True, False]), a, b)
    assert mixed["count"].tolist() == [1, 0]
    assert f.value(mixed).tolist() == pytest.approx([0.5 * math.log(2), 0])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Coverage.sets(torch.ones(2, 2), torch.tensor([1.0, -1.0])), "at least 0"),
        (lambda: Coverage.sets(torch.ones(2, 2), torch.tensor([1.0, torch.nan])), "finite"),
        (lambda: Coverage.sets(torch.ones(0, 2)), "items"),
        (lambda: Coverage(torch.zeros(0, 1), torch.ones(1)), "at least one item"),
        (lambda: Coverage(torch.tensor([[0, 0]]), torch.ones(1)), "twice"),
        (lambda: Coverage(torch.tensor([[3]]), torch.ones(2)), "0 to 1"),
        (lambda: Coverage.discs((0, 3)), "sides"),
        (lambda: Coverage.discs((2, 2), radius=-1), "radius"),
        (lambda: Coverage.discs((2, 2), weights=torch.ones(3)), "0 to 2"),
        (lambda: FacilityLocation(-torch.ones(2, 2)), "at least 0"),
        (lambda: FacilityLocation(torch.ones(2)), "2 dimension"),
        (lambda: ConcaveOverModular(torch.ones(2, 2), torch.square), "concave"),
        (lambda: ConcaveOverModular(torch.ones(2, 2), torch.cos), "0 at 0"),
        (lambda: item_collection(torch.ones(2, 1), torch.tensor([0])), "greater than 0"),
        (lambda: Information(RBF(), capacity=0), "capacity"),
        (lambda: Information(RBF(), capacity=1, noise=0.0), "noise"),
        (lambda: RBF(length=0.0), "length"),
        (lambda: CovarianceTable(torch.tensor([[1.0, 2.0], [0.0, 1.0]])), "symmetric"),
        (lambda: CovarianceTable(torch.tensor([[1.0, 2.0], [2.0, 1.0]])), "semi-definite"),
        (lambda: greedy(Coverage.discs((2,)), torch.arange(2), 3), "1 to 2 of 2"),
        (lambda: greedy(Coverage.discs((2,)), torch.arange(0), 1), "1 to 0 of 0"),
        (lambda: greedy(Coverage.discs((2,)), torch.tensor([0, 2]), 1), "0 to 1"),
        (lambda: check_items(Coverage.discs((2,)), torch.tensor([-1])), "0 to 1"),
        (lambda: check_items(Coverage.discs((2,)), torch.zeros(1, 2)), "not vectors"),
    ],
)  # fmt: skip
def test_bad_input(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_greedy_names_the_item_whose_gain_is_not_a_number():
    points = torch.tensor([[0.0], [torch.nan]])
    with pytest.raises(ValueError, match=r"item 1 on top of \[\] is NaN"):
        greedy(Information(RBF(), capacity=2, dimensions=1), points, 1)
