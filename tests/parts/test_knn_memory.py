import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.parts.episodes import Visits
from guerdon.parts.knn_memory import EpisodicMemory, LifelongMemory, nearest
from guerdon.parts.two_episodes import TwoEpisodes

STREAM = st.lists(  # rollouts: each visit of two environments, and whether an episode begins with it
    st.lists(st.tuples(*[st.tuples(st.booleans(), st.booleans())] * 2), min_size=1, max_size=8), max_size=5
)


def visits_of(rollout):
    table = torch.tensor(rollout, dtype=torch.bool)  # [T, 2, 2]
    begins, there = table[..., 0], table[..., 1] | table[..., 0]
    earlier = there.long().cumsum(0) - there.long()
    start = torch.where(begins, earlier, 0).cummax(0).values
    return Visits(there, begins.long().cumsum(0), earlier - start)


def by_hand(queries, held, k):
    """Ascending squared distances, infinite where fewer than k are held."""
    found = sorted(float((queries - x).square().sum()) for x in held)[:k]
    return torch.tensor(found + [math.inf] * (k - len(found)))


@settings(max_examples=100, deadline=None)
@given(STREAM, st.integers(1, 6), st.integers(1, 3))
def test_an_episodes_memory_equals_a_list_that_forgets_the_oldest(stream, capacity, k):
    g, memory, lists = torch.Generator().manual_seed(0), EpisodicMemory(2, 3, capacity), [[], []]
    for rollout in stream:
        visits, vectors = visits_of(rollout), torch.randn(len(rollout), 2, 3, generator=g)
        found = memory.nearest(vectors, visits, k)
        for t in range(len(rollout)):
            for b in range(2):
                if rollout[t][b][0]:
                    lists[b] = []
                if visits.there[t, b]:
                    torch.testing.assert_close(found[t, b], by_hand(vectors[t, b], lists[b][-capacity:], k))
                    lists[b].append(vectors[t, b])
        memory.add(vectors, visits)
    assert memory.count.tolist() == [len(x) for x in lists]
    assert memory.entries.shape[1] <= capacity


@settings(max_examples=60, deadline=None)
@given(STREAM, st.integers(1, 3))
def test_two_episodes_equal_two_lists(stream, k):
    g, memory, lists = torch.Generator().manual_seed(0), TwoEpisodes(2, 3, 100), [([], []), ([], [])]
    for rollout in stream:
        visits, vectors = visits_of(rollout), torch.randn(len(rollout), 2, 3, generator=g)
        inside, outside = memory.nearest(vectors, visits, k)
        for t in range(len(rollout)):
            for b in range(2):
                if rollout[t][b][0]:
                    lists[b] = ([], lists[b][0])
                if visits.there[t, b]:
                    torch.testing.assert_close(inside[t, b], by_hand(vectors[t, b], lists[b][0], k))
                    torch.testing.assert_close(outside[t, b], by_hand(vectors[t, b], lists[b][1], k))
                    lists[b][0].append(vectors[t, b])
        memory.add(vectors, visits)


def test_two_episodes_forget_the_oldest():
    memory, line = TwoEpisodes(1, 1, 3), torch.arange(5.0).view(5, 1, 1)
    memory.add(line, Visits(*(x[:, :1] for x in visits_of([[(False, True)] * 2] * 5))))
    assert memory.entries.flatten().tolist() == [2.0, 3.0, 4.0]


@pytest.mark.parametrize("capacity", [1, 7, 50])
@pytest.mark.parametrize("batches", [[3], [20, 1, 30], [80]])
def test_lifes_memory_equals_brute_force_over_the_newest(capacity, batches):
    g, memory, seen = torch.Generator().manual_seed(1), LifelongMemory(4, capacity), torch.zeros(0, 4)
    for size in batches:
        new = torch.randn(size, 4, generator=g)
        memory.add(new)
        seen = torch.cat([seen, new])[-capacity:]
    queries = torch.randn(600, 4, generator=g)
    (found, rows), k = memory.nearest(queries, 5), min(5, len(seen))
    assert len(memory) == len(seen)
    torch.testing.assert_close(found[:, :k], torch.cdist(queries, seen).topk(k, largest=False).values.square())
    assert found[:, k:].isinf().all()
    assert (rows[:, k:] == -1).all()
    torch.testing.assert_close((memory.entries[rows[:, :k]] - queries[:, None]).square().sum(-1), found[:, :k])


def test_search_over_several_blocks():
    g, memory = torch.Generator().manual_seed(1), LifelongMemory(2, 5000)
    memory.add(torch.randn(5000, 2, generator=g))
    queries = torch.randn(3, 2, generator=g)
    expected = torch.cdist(queries.double(), memory.entries.double()).topk(4, largest=False).values.square().float()
    torch.testing.assert_close(memory.nearest(queries, 4)[0], expected, rtol=1e-4, atol=1e-9)


def test_nothing_held_is_infinitely_far():
    squares, rows = LifelongMemory(2, 5).nearest(torch.ones(3, 2), 2)
    assert squares.isinf().all()
    assert (rows == -1).all()
    assert LifelongMemory(2, 5).nearest(torch.ones(0, 2), 2)[0].shape == (0, 2)


def test_a_vector_far_from_the_origin_is_at_no_distance_from_itself():
    """|a|^2 - 2 a b + |b|^2 in float32 would be off by some hundreds here."""
    x = torch.tensor([[[1e4, 1e4], [1e4, 1e4 + 1]]])
    squares, which = nearest(x, x, 2)
    assert squares.tolist() == [[[0.0, 1.0], [0.0, 1.0]]]
    assert which.tolist() == [[[0, 1], [1, 0]]]


@pytest.mark.parametrize(
    "make", [lambda: EpisodicMemory(2, 3, 4), lambda: LifelongMemory(3, 4), lambda: TwoEpisodes(2, 3, 4)]
)
def test_state_comes_back_whatever_its_length(make):
    memory, again, short = make(), make(), make()
    vectors, visits = torch.randn(6, 2, 3), visits_of([[(t == 4, True)] * 2 for t in range(6)])
    given = (vectors.flatten(0, 1),) if isinstance(memory, LifelongMemory) else (vectors, visits)
    memory.add(*given)
    saved = io.BytesIO()
    torch.save(memory.state_dict(), saved)
    saved.seek(0)
    again.load_state_dict(torch.load(saved, weights_only=True))
    for a, b in zip(memory.buffers(), again.buffers(), strict=True):
        assert torch.equal(a, b)
    again.load_state_dict(short.state_dict())
    assert again.entries.numel() == 0
    again.add(*given)
    for a, b in zip(memory.buffers(), again.buffers(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("make", [lambda: EpisodicMemory(2, 3, 0), lambda: LifelongMemory(3, 0)])
def test_a_memory_without_room_is_refused(make):
    with pytest.raises(ValueError, match="at least one vector"):
        make()


def test_no_more_room_is_kept_than_the_capacity():
    life, episodes = LifelongMemory(3, 1500), EpisodicMemory(2, 3, 1500)
    for _ in range(16):
        life.add(torch.zeros(100, 3))
        episodes.add(torch.zeros(100, 2, 3), visits_of([[(False, True)] * 2] * 100))
    assert life.entries.untyped_storage().nbytes() == 1500 * 3 * 4
    assert episodes.entries.untyped_storage().nbytes() == 2 * 1500 * 3 * 4
