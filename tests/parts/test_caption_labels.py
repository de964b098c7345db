import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.caption_labels import CaptionLabels, pack, unpack
from guerdon.parts.caption_table import CaptionTable
from guerdon.parts.growing import Memo, grown


def table(n: int, prefix: str = "caption") -> CaptionTable:
    made = CaptionTable()
    for i in range(n):
        made.intern(f"{prefix} {i}")
    return made


@given(st.lists(st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=6), max_size=8), st.booleans())
def test_a_table_of_labels_is_a_dictionary(batches, replace):
    labels, expected = CaptionLabels(table(40)), {}
    for batch in batches:
        for caption, good in batch:
            if replace or caption not in expected:
                expected[caption] = float(good)
        ids, good = torch.tensor(batch, dtype=torch.int32).view(-1, 2).unbind(1)
        labels.add(ids[:, None], good.float(), torch.ones(len(batch)), replace=replace)
    assert len(labels) == len(expected)
    found = labels.of(torch.arange(60))
    assert {i: v for i, v in enumerate(found.tolist()) if v == v} == expected
    rows = zip(labels.ids[: len(labels), 0].tolist(), labels.value[: len(labels)].tolist(), strict=True)
    assert dict(rows) == expected


def test_the_first_label_stays_or_the_last_one_wins():
    one, two = torch.tensor([[3]]), torch.tensor([[3], [3]])
    for replace, expected in ((False, 0.25), (True, 0.75)):
        labels = CaptionLabels(table(5))
        assert labels.add(one, torch.tensor([0.25]), torch.ones(1), replace=replace) == 1
        taken = labels.add(two, torch.tensor([0.5, 0.75]), torch.ones(2), replace=replace)
        assert taken == (1 if replace else 0)
        assert labels.of(torch.tensor([3])).item() == expected


def test_pairs_may_come_again():
    labels = CaptionLabels(table(5), width=2)
    for _ in range(3):
        assert labels.add(torch.tensor([[1, 2], [1, 2]]), torch.tensor([0.0, 0.5]), torch.ones(2)) == 2
    assert len(labels) == 6


def test_the_state_means_the_same_beside_another_table():
    labels = CaptionLabels(table(50))
    labels.add(torch.tensor([[7], [30]]), torch.tensor([1.0, 0.0]), torch.tensor([1.0, 2.0]))
    file = io.BytesIO()
    torch.save(labels.state_dict(), file)
    file.seek(0)
    other = table(20, prefix="another")
    again = CaptionLabels(other)
    again.add(torch.tensor([[1]]), torch.tensor([1.0]), torch.ones(1))  # gone once the state is loaded
    again.load_state_dict(torch.load(file, weights_only=True))
    assert len(again) == 2
    assert again.of(torch.tensor([1, other.intern("caption 6"), other.intern("caption 29")])).tolist()[1:] == [1.0, 0.0]
    assert again.of(torch.tensor([1])).isnan().all()
    assert again.weight[:2].tolist() == [1.0, 2.0]


def test_a_saved_state_does_not_change_later():
    labels = CaptionLabels(table(5))
    labels.add(torch.tensor([[1]]), torch.tensor([1.0]), torch.ones(1))
    state = labels.get_extra_state()
    labels.add(torch.tensor([[1]]), torch.tensor([0.0]), torch.ones(1), replace=True)
    assert state["value"].tolist() == [1.0]


@pytest.mark.parametrize("shape", [(0,), (0, 2), (3, 2)])
def test_pack_and_unpack(shape):
    ids = torch.randint(0, 9, shape, dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    captions = table(9)
    assert torch.equal(unpack(captions, pack(captions, ids)), ids)


def test_growth_is_amortised():
    tensor, copies = torch.zeros(0), 0
    for size in range(100_000):
        longer = grown(tensor, size)
        copies += longer is not tensor
        tensor = longer
    assert copies < 10


def test_a_memo_works_each_value_out_once():
    asked = []

    def square(ids):
        asked.extend(ids.tolist())
        return ids.float() ** 2

    memo = Memo()
    assert memo.of(torch.tensor([3, 5, 3]), square).tolist() == [9.0, 25.0, 9.0]
    assert memo.of(torch.tensor([5, 2000]), square).tolist() == [25.0, 4e6]
    assert asked == [3, 5, 2000]
    memo.forget()
    assert memo.of(torch.tensor([5]), square).tolist() == [25.0]
    assert asked[-1] == 5
    assert memo.of(torch.zeros(0, dtype=torch.int32), square).shape == (0,)
    assert not memo.state_dict()
