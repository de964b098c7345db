import pytest
import table_model
import torch

from guerdon.parts.completions_from_text import END, completions_from_text

MODEL = table_model.TableModel()


def test_bytes_with_an_end_where_there_is_no_model():
    made = completions_from_text(
        [{"prompt": "p", "completion": "hé", "answer": 1}, {"prompt": "p", "completion": "", "answer": 2}]
    )
    assert made.ids.tolist() == [[*"hé".encode(), END], [END, 0, 0, 0]]
    assert made.mask.tolist() == [[True] * 4, [True, False, False, False]]
    assert made.ends().nonzero().tolist() == [[0, 3], [1, 0]], "an empty answer has a place for its value too"
    assert made.group.tolist() == [0, 0]
    assert made.columns == {"answer": [1, 2]}
    assert made.step.tolist() == [[0] * 4] * 2, "a text is one step"
    assert made.prompt_ids is None


def test_lone_surrogates_are_text_like_any_other():
    assert completions_from_text([{"prompt": "", "completion": "\ud800"}]).mask.sum() == 4


def test_steps_end_on_their_last_byte():
    made = completions_from_text([{"prompt": "p", "completion": ["ab", "", "c"]}, {"prompt": "q", "completion": "d"}])
    assert made.text == ["abc", "d"]
    assert made.step[0].tolist() == [0, 0, 2, 2]
    assert made.step_ends().int().tolist() == [[0, 1, 0, 1], [0, 1, 0, 0]]


def test_tokens_of_a_model():
    chat = [{"role": "user", "content": "1+1="}]
    made = completions_from_text(
        [{"prompt": chat, "completion": [{"role": "assistant", "content": "2."}]},
         {"prompt": "ab", "completion": ["x", "yz"]}, {"prompt": "ab", "completion": ""}], model=MODEL,
    )  # fmt: skip
    assert made.text == ["2.", "xyz", ""]
    assert made.ids[:2].tolist() == [[*map(ord, "2."), 0], [*map(ord, "xyz")]]
    assert made.mask.sum(1).tolist() == [2, 3, 0]
    assert made.step[1].tolist() == [0, 1, 1]
    assert made.group.tolist() == [0, 1, 1]
    assert MODEL.decode(made.prompt_ids[0][made.prompt_mask[0]].tolist()) == MODEL.render(chat)
    assert made.prompt_mask[1].nonzero().flatten().tolist() == [
        made.prompt_ids.shape[1] - 2,
        made.prompt_ids.shape[1] - 1,
    ]
    torch.testing.assert_close(MODEL.log_probs(made)[2], torch.zeros(3))


def test_groups_may_be_named():
    rows = [{"prompt": "p", "completion": "a", "group": g} for g in (7, "x", 7)]
    made = completions_from_text(rows)
    assert made.group.tolist() == [0, 1, 0]
    assert made.columns == {}


@pytest.mark.parametrize(
    ("row", "message"),
    [({"prompt": "p"}, '"completion" must be'), ({"completion": "c"}, '"prompt" must be'),
     ({"prompt": [], "completion": "c"}, '"prompt"'), ({"prompt": "p", "completion": []}, '"completion"'),
     ({"prompt": "p", "completion": ["a", 1]}, '"completion"'), ({"prompt": 3, "completion": ""}, '"prompt"'),
     ({"prompt": [{"role": "user", "content": None}], "completion": ""}, '"prompt"')],
)  # fmt: skip
def test_rows_that_are_none(row, message):
    with pytest.raises(ValueError, match=message):
        completions_from_text([row])


def test_rows_with_different_columns_are_not_mixed():
    with pytest.raises(ValueError, match="score them apart"):
        completions_from_text([{"prompt": "p", "completion": "a"}, {"prompt": "p", "completion": "a", "answer": 1}])
