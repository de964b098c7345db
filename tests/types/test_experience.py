import math
import pickle

import hypothesis.strategies as st
import pytest
import samples
import torch
from hypothesis import given
from tensordict import TensorDict

from guerdon.types import FIRST, SECOND, TIE, Chain, Completions, Label, Labels, Pairs, Rollout


@pytest.mark.parametrize(
    ("field", "shape", "said"),
    [
        ("extrinsic", (9, 4), "Rollout.extrinsic must have shape [T, B], got [9, 4]: T is 8 in"),
        ("valid", (8, 3), "Rollout.valid must have shape [T, B], got [8, 3]: B is 4 in"),
        ("caption", (8, 4), "Rollout.caption must have shape [T+1, B], got [8, 4]: T is 8 in obs, but 7 here"),
        ("log_prob", (8,), "Rollout.log_prob must have shape [T, B], got [8]"),
        ("terminated", (8, 4, 1), "Rollout.terminated must have shape [T, B], got [8, 4, 1]"),
        ("action", (8,), "Rollout.action must have shape [T, B, *], got [8]"),
    ],
)
def test_a_wrong_shape_dies_at_the_door(field, shape, said):
    with pytest.raises(ValueError) as caught:
        samples.replace(samples.rollout(), **{field: torch.zeros(shape)})
    assert said in str(caught.value)


def test_observations_have_one_step_more():
    obs = TensorDict({"obs": torch.zeros(8, 4, 3)}, (8, 4))
    with pytest.raises(ValueError, match=r"T is 7 in obs, but 8 here"):
        samples.replace(samples.rollout(), obs=obs)


def test_actions_and_extras_may_have_more_dimensions():
    made = samples.replace(
        samples.rollout(), action=torch.zeros(8, 4, 2, 5), extra=TensorDict({"goal": torch.zeros(9, 4, 3)}, (9, 4))
    )
    assert made.shape == (8, 4)


def test_columns_pick_environments():
    r = samples.replace(
        samples.rollout(),
        state=(torch.arange(4.0)[:, None], {"h": torch.arange(4.0)}),
        extra=TensorDict({"goal": torch.arange(36.0).view(9, 4)}, (9, 4)),
    )
    picked = r.columns(torch.tensor([3, 1]))
    assert picked.shape == (8, 2)
    for name in ("action", "extrinsic", "valid", "caption", "caption_count", "log_prob"):
        assert torch.equal(getattr(picked, name), getattr(r, name)[:, [3, 1]])
    assert torch.equal(picked.obs["obs"], r.obs["obs"][:, [3, 1]])
    assert torch.equal(picked.extra["goal"], r.extra["goal"][:, [3, 1]])
    assert picked.state[0].tolist() == [[3.0], [1.0]]
    assert picked.state[1]["h"].tolist() == [3.0, 1.0]
    assert r.columns(slice(1, 3)).extrinsic.equal(r.extrinsic[:, 1:3])
    bare = samples.replace(samples.rollout(), log_prob=None, caption=None, caption_count=None).columns(slice(0, 1))
    assert bare.caption is None
    assert bare.state is None


def test_a_rollout_pickles():
    r = samples.rollout()
    again = pickle.loads(pickle.dumps(r))
    assert isinstance(again, Rollout)
    assert again.extrinsic.equal(r.extrinsic)
    assert again.obs["obs"].equal(r.obs["obs"])


def test_completions_count_their_texts_and_columns():
    made = samples.completions()
    assert made.shape == (6, 5)
    with pytest.raises(ValueError, match="text has 2 entries for 6 rows"):
        samples.replace(made, text=["a", "b"])
    with pytest.raises(ValueError, match=r"columns\['answer'\] has 1 entries for 6 rows"):
        samples.replace(made, columns={"answer": ["x"]})
    with pytest.raises(ValueError, match=r"Completions.mask must have shape \[N, L\]"):
        samples.replace(made, mask=torch.ones(6, 4))
    assert isinstance(samples.replace(made, columns={"answer": list("abcdef")}), Completions)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_comparison_has_three_outcomes(wrong):
    Pairs(first=["a"] * 3, second=["b"] * 3, label=torch.tensor([FIRST, SECOND, TIE]))
    with pytest.raises(ValueError, match="FIRST"):
        Pairs(first=["a"], second=["b"], label=torch.tensor([wrong]))


def test_a_chain_has_one_state_more_than_moves():
    Chain(states=torch.zeros(5, 2, 3), times=torch.zeros(5), log_prob=torch.zeros(4, 2))
    with pytest.raises(ValueError, match="K is 4 in states, but 5 here"):
        Chain(states=torch.zeros(5, 2, 3), times=torch.zeros(5), log_prob=torch.zeros(5, 2))


texts = st.text(max_size=20)
values = st.one_of(st.none(), st.floats(-1e6, 1e6, width=32))
rows = st.builds(
    Label, st.one_of(texts, st.tuples(texts, texts)), values, st.one_of(st.none(), texts), texts, texts,
    st.floats(0, 1e6, width=32),
)  # fmt: skip


@given(st.lists(rows, max_size=6))
def test_labels_give_back_the_rows_they_were_made_of(made):
    stacked = Labels.from_rows(made)
    assert list(stacked.rows()) == made
    assert [math.isnan(v) for v in stacked.value.tolist()] == [row.value is None for row in made]
    assert list(pickle.loads(pickle.dumps(stacked)).rows()) == made


def test_labels_check_their_shapes():
    with pytest.raises(ValueError, match=r"Labels.weight must have shape \[N\]"):
        samples.replace(Labels.from_rows([Label("a", 1.0)]), weight=torch.ones(2))


def answers() -> Completions:
    """Three rows: two steps with a gap (a tool's words) between them; one step; nothing generated."""
    mask = torch.tensor([[1, 1, 0, 1, 1, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]).bool()
    step = torch.tensor([[0, 0, 0, 1, 2, 2], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    return Completions(
        prompt=["p", "q", "r"], text=["a", "b", "c"], ids=torch.arange(18).reshape(3, 6), mask=mask, step=step,
        columns={"answer": ["1", "2", "3"]}, prompt_ids=torch.tensor([[0, 1], [2, 3], [0, 4]]),
    )  # fmt: skip


def test_ends_of_answers_and_steps() -> None:
    made = answers()
    assert made.ends().nonzero().tolist() == [[0, 4], [1, 0]]
    assert made.step_ends().nonzero().tolist() == [[0, 1], [0, 3], [0, 4], [1, 0]]
    made.step = None
    with pytest.raises(ValueError, match=r"set Completions\.step"):
        made.step_ends()


@pytest.mark.parametrize("index", [[2, 0], torch.tensor([2, 0])])
def test_rows_of_completions(index) -> None:
    picked = answers().rows(index)
    assert picked.text == ["c", "a"]
    assert picked.prompt_ids.tolist() == [[0, 4], [0, 1]]
    assert picked.columns == {"answer": ["3", "1"]}
    assert picked.ids[:, 0].tolist() == [12, 0]
    assert answers().rows(torch.tensor([True, False, True])).text == ["a", "c"]
    assert answers().rows(slice(1, None)).text == ["b", "c"]


def test_a_column_is_read_by_name_or_says_which_there_are() -> None:
    assert answers().column("answer", "X") == ["1", "2", "3"]
    with pytest.raises(ValueError, match="X reads the column 'answers' of completions, which have 'answer'"):
        answers().column("answers", "X")
    with pytest.raises(ValueError, match="which have none"):
        samples.completions().column("answer", "X")


@pytest.mark.parametrize("index", [[2, 0], torch.tensor([True, False, True]), slice(1, 3)])
def test_rows_of_pairs_of_any_kind(index) -> None:
    at = torch.arange(3)[index].tolist()
    label, columns = torch.tensor([FIRST, SECOND, TIE]), {"user": ["a", "b", "c"]}
    play, texts = samples.rollout(num_envs=3), ["x", "y", "z"]
    empty = torch.zeros(3, 0, dtype=torch.long)
    written = Completions(prompt=["?"] * 3, text=texts, ids=empty, mask=empty.bool())
    for side in (texts, written, play):
        pairs = Pairs(first=side, second=side, label=label, columns=columns).rows(index)
        assert pairs.label.tolist() == label[at].tolist()
        assert pairs.columns == {"user": [columns["user"][i] for i in at]}
        assert pairs.weight is None
        if side is play:
            assert torch.equal(pairs.second.extrinsic, play.extrinsic[:, at])
        else:
            assert list(pairs.second if side is texts else pairs.second.text) == [texts[i] for i in at]
    weighted = Pairs(first=texts, second=texts, label=label, weight=torch.tensor([1.0, 2.0, 3.0])).rows(index)
    assert weighted.weight.tolist() == [i + 1.0 for i in at]


def test_many_picks_are_the_rows_of_each_and_draw_as_they_go() -> None:
    empty = torch.zeros(5, 0, dtype=torch.long)
    written = Completions(
        prompt=["?"] * 5, text=list("abcde"), ids=empty, mask=empty.bool(), columns={"x": [1, 2, 3, 4, 5]}
    )
    pairs = Pairs(first=written, second=list("vwxyz"), label=torch.zeros(5, dtype=torch.long))
    drawn = []

    def indices():
        for index in ([4, 0], torch.tensor([True, False, True, False, False]), slice(1, 2)):
            drawn.append(index)
            yield index

    found = []
    for picked in pairs.picks(indices()):
        found.append(("".join(picked.first.text), "".join(picked.second), picked.first.columns["x"], len(drawn)))
    assert found == [("ea", "zv", [5, 1], 1), ("ac", "vx", [1, 3], 2), ("b", "w", [2], 3)]
    assert list(pairs.picks([])) == []
