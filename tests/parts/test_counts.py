import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.parts.counts import VisitCounts, digests
from guerdon.parts.episodes import Visits

STREAM = st.lists(  # rollouts of three environments: what each step showed, and whether a new episode began there
    st.lists(st.tuples(*[st.tuples(st.integers(-3, 3), st.booleans(), st.booleans())] * 3), max_size=9), max_size=6
)


def visits_of(rollout):
    """The numbers [T, 3] of a drawn rollout, and its visits."""
    table = torch.tensor([[list(map(int, cell)) for cell in row] for row in rollout], dtype=torch.int64)
    table = table.view(len(rollout), 3, 3)
    begins = table[..., 1].bool()
    return table[..., 0] * 2**60, Visits(table[..., 2].bool() | begins, begins.long().cumsum(0), None)


@settings(max_examples=200, deadline=None)
@given(STREAM, st.booleans())
def test_equal_a_dictionary_over_long_streams(stream, episodic):
    counts, seen = VisitCounts(3 if episodic else None), [{} for _ in range(3)]
    for rollout in stream:
        numbers, visits = visits_of(rollout)
        found = counts.before(numbers, visits)
        for t in range(len(rollout)):
            tables = [dict(table) for table in seen] if episodic else [dict(seen[0])] * 3  # as the step began
            for b in range(3):
                number, begins, there = int(numbers[t, b]), rollout[t][b][1], bool(visits.there[t, b])
                if episodic and begins:
                    seen[b], tables[b] = {}, {}
                assert found[t, b] == (tables[b].get(number, 0) if there else 0)
                table = seen[b if episodic else 0]
                table[number] = table.get(number, 0) + there
        counts.add(numbers, visits)
    assert len(counts) == sum(n > 0 for table in (seen if episodic else seen[:1]) for n in table.values())


def all_there(steps, columns):
    there = torch.ones(steps, columns, dtype=torch.bool)
    return Visits(there, torch.zeros(steps, columns, dtype=torch.int64), None)


def test_environments_that_move_together_do_not_see_each_other():
    counts = VisitCounts()
    numbers = torch.tensor([[7, 7], [7, 8]])
    assert counts.before(numbers, all_there(2, 2)).tolist() == [[0, 0], [2, 0]]


@pytest.mark.parametrize("episodic", [False, True])
def test_state_comes_back(episodic):
    counts, again = (VisitCounts(2 if episodic else None) for _ in range(2))
    numbers = torch.tensor([[2**62, -(2**63)], [3, 3], [3, 2**62]])
    counts.add(numbers, all_there(3, 2))
    saved = io.BytesIO()
    torch.save(counts.state_dict(), saved)
    saved.seek(0)
    again.load_state_dict(torch.load(saved, weights_only=True))
    assert again.tables == counts.tables
    assert torch.equal(again.before(numbers, all_there(3, 2)), counts.before(numbers, all_there(3, 2)))


def test_episodes_of_other_games_begin_anew():
    counts, fewer = VisitCounts(2), VisitCounts(1)
    counts.add(torch.ones(3, 2, dtype=torch.int64), all_there(3, 2))
    fewer.load_state_dict(counts.state_dict())
    assert fewer.tables == [{}]


def test_digests_tell_observations_apart():
    """All one-hot pictures, small numbers, powers of two and their negatives, and swapped places."""
    rows = [torch.eye(300), 2.0 ** torch.arange(-40, 40).view(-1, 1).expand(-1, 300)]
    rows += [-rows[1], torch.arange(3, 400).view(-1, 1).expand(-1, 300).float()]
    x = torch.cat(rows)
    found = digests({"obs": x[None]}, ["obs"])
    assert found.shape == (1, len(x))
    assert len(found.unique()) == len(x.unique(dim=0)) == len(x) - sum(2.0**i in range(3, 400) for i in range(40))


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=7), st.integers(0, 6), st.floats(width=32))
def test_a_digest_depends_on_every_number(values, place, other):
    changed = list(values)
    changed[place % len(values)] = other
    a, b = (digests({"obs": torch.tensor(x).view(1, 1, -1)}, ["obs"]) for x in (values, changed))
    assert (a == b).all() == (changed == values)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.bool, torch.float64, torch.float32])
def test_digests_of_any_kind_of_number(dtype):
    x = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 1, 0]]).to(dtype)[None]
    found = digests({"obs": x}, ["obs"])[0]
    assert found[0] == found[2] != found[1]


def test_digests_of_several_keys_and_of_single_numbers():
    obs = {"a": torch.tensor([[1, 2, 1]]), "b": torch.tensor([[2, 1, 1]])}
    assert len(digests(obs, ["a", "b"]).unique()) == 3
    assert digests(obs, ["a"])[0, 0] == digests(obs, ["a"])[0, 2]
    assert (digests(obs, ["a", "b"]) != digests(obs, ["b", "a"])).tolist() == [[True, True, False]]


def test_the_two_zeros_are_one():
    assert len(digests({"obs": torch.tensor([[[0.0], [-0.0]]])}, ["obs"]).unique()) == 1


def test_digests_spread_as_chance_would():
    """The 20 highest bits of 4096 counters: as many different ones as throwing balls into boxes leaves."""
    found = digests({"obs": torch.arange(4096).view(1, -1)}, ["obs"]) >> 44
    expected = 2**20 * (1 - math.exp(-4096 / 2**20))
    assert abs(len(found.unique()) - expected) < 5 * math.sqrt(8)
