import gzip
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.parts.pair_rows import read_pairs, to_pairs
from guerdon.types import FIRST, SECOND, TIE, Completions

GOOD = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}
USER = {"role": "user", "content": "2 + 2?"}
FOUR, FIVE = {"role": "assistant", "content": "4"}, {"role": "assistant", "content": "5"}


@pytest.fixture
def write(tmp_path):
    def write_lines(*rows, name="pairs.jsonl"):
        path = tmp_path / name
        text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write_lines


def only(path):
    (row,), _ = read_pairs(path)
    return row.prompt, row.first, row.second, row.label


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (GOOD, ("2 + 2?", "4", "5", FIRST)),
        ({"prompt": "p", "first": "a", "second": "b", "label": "second"}, ("p", "a", "b", SECOND)),
        ({"prompt": "p", "first": "a", "second": "b", "label": 1}, ("p", "a", "b", FIRST)),
        ({"prompt": "p", "first": "a", "second": "b", "label": 0.5}, ("p", "a", "b", TIE)),
        ({"prompt": "p", "first": "a", "second": "a", "label": "tie"}, ("p", "a", "a", TIE)),
        ({"input": "p", "output_1": "a", "output_2": "b", "label": 2}, ("p", "a", "b", SECOND)),
        ({"prompt": [USER], "chosen": [FOUR], "rejected": [FIVE]}, ([USER], "4", "5", FIRST)),
        ({"prompt": [USER], "chosen": "4", "rejected": "5"}, ([USER], "4", "5", FIRST)),
        ({"chosen": [USER, FOUR], "rejected": [USER, FIVE]}, ([USER], "4", "5", FIRST)),
        ({"prompt": "2 + 2?", "chosen": [USER, FOUR], "rejected": [USER, FIVE]}, ([USER], "4", "5", FIRST)),
        ({"chosen": "The sky is green", "rejected": "The sky is great"}, ("The sky is", " green", " great", FIRST)),
        ({"chosen": "yes", "rejected": "yet"}, ("", "yes", "yet", FIRST)),
    ],
)
def test_every_form_of_a_row(write, row, expected):
    assert only(write(row)) == expected


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "no JSON"),
        ('"text"', "no JSON object but str"),
        ("\udcff".encode("utf-8", "surrogateescape").decode("latin-1") + "{", "no JSON"),
        ({"prompt": "p", "choosen": "a", "rejected": "b"}, "is 'choosen' meant to be 'chosen'"),
        ({"prompt": "p", "first": "a", "second": "b"}, "None is none of"),
        ({"prompt": "p", "first": "a", "second": "b", "label": "fist"}, "is 'first' meant"),
        ({"prompt": "p", "first": "a", "second": "b", "label": 0}, "none of"),
        ({"prompt": "p", "first": "a", "second": "b", "label": True}, "none of"),
        ({"prompt": "p", "first": "a", "second": "b", "label": [1]}, "none of"),
        ('{"prompt": "p", "first": "a", "second": "b", "label": NaN}', "none of"),
        ({"prompt": "p", "chosen": "a", "rejected": None}, "rejected is neither"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "the prompt is neither"),
        ({"prompt": [], "chosen": "a", "rejected": "b"}, "the prompt is neither"),
        ({"prompt": "p", "chosen": "a", "rejected": "a"}, "are the same"),
        ({"chosen": [USER, FOUR], "rejected": [USER, FIVE, USER]}, "rejected has 2 messages"),
        ({"prompt": "else", "chosen": [USER, FOUR], "rejected": [USER, FIVE]}, "not the prompt"),
        ({"prompt": "p", "chosen": [{"role": "assistant"}], "rejected": [FIVE]}, "chosen is neither"),
        ('{"prompt": "\\ud800", "chosen": "a", "rejected": "b"}', "half a character"),
        (json.dumps(GOOD)[:-1] + ', "margin": NaN}', "margin is nan"),
        (json.dumps(GOOD)[:-1] + ', "weight": Infinity}', "weight is inf"),
        (GOOD | {"weight": -1}, "weight is -1"),
        (GOOD | {"weight": "1"}, "weight is '1'"),
        (GOOD | {"alpha": 0.6}, "alpha is 0.6, not a finite number from 0 to 0.5"),
        (GOOD | {"features": [1]}, "features is"),
        (GOOD | {"features": {"length": [1]}}, "feature 'length'"),
    ],
)
def test_a_bad_line_is_named_counted_and_left_out_only_if_asked(write, row, reason):
    path = write(GOOD, "", row, GOOD | {"prompt": "other"})
    with pytest.raises(ValueError, match=r"1 bad lines: .*pairs\.jsonl, line 3: ") as error:
        read_pairs(path)
    assert reason in str(error.value)
    rows, report = read_pairs(path, bad="skip")
    assert [row.prompt for row in rows] == ["2 + 2?", "other"]
    assert report.rows == 2
    assert len(report.bad) == 1
    assert "1 bad lines" in report.lines()[0]


def test_lists_packed_files_and_marks_at_the_beginning(write):
    llmbar = [{"input": "p", "output_1": "a", "output_2": "b", "label": 1}] * 2
    rows, report = read_pairs(write(json.dumps(llmbar, indent=1), name="a.json"))
    assert [row.where.rpartition(", ")[2] for row in rows] == ["item 1", "item 2"]
    assert len(report.duplicates) == 1
    assert len(read_pairs(write(GOOD, name="a.jsonl.gz"))[0]) == 1
    assert len(read_pairs(write("\ufeff" + json.dumps(GOOD)))[0]) == 1


@pytest.mark.parametrize("text", ["", "\n\n", "[]"])
def test_an_empty_set_is_refused(write, text):
    with pytest.raises(ValueError, match="compares nothing"):
        read_pairs(write(text))


def test_files_that_cannot_be_read(write, tmp_path):
    with pytest.raises(ValueError, match="no file"):
        read_pairs(tmp_path / "none.jsonl")
    torn = write(*[GOOD] * 50, name="torn.jsonl.gz")
    torn.write_bytes(torn.read_bytes()[:-20])
    with pytest.raises(ValueError, match="cannot be read"):
        read_pairs(torn)
    with pytest.raises(ValueError, match="begins as a JSON list"):
        read_pairs(write('[{"prompt"', name="torn.json"))


def test_duplicates_and_contradictions_are_found_in_either_order(write):
    pair = {"prompt": "p", "first": "a", "second": "b", "label": 1}
    swapped = {"prompt": "p", "first": "b", "second": "a"}
    path = write(pair, swapped | {"label": 2}, GOOD, swapped | {"label": 1}, GOOD)
    rows, report = read_pairs(path)
    assert len(rows) == report.rows == 5
    assert report.duplicates == [f"{path}, line 2: as {path}, line 1", f"{path}, line 5: as {path}, line 3"]
    assert len(report.contradictions) == 1
    assert len(report.lines()) == 2
    rows, report = read_pairs(path, repeats="drop")
    assert [row.prompt for row in rows] == ["2 + 2?"]
    assert report.rows == 1


def test_users_may_differ(write):
    pair = {"prompt": "p", "first": "a", "second": "b"}
    path = write(pair | {"label": 1, "user": "ann"}, pair | {"label": 2, "user": "bob"})
    assert not read_pairs(path)[1].lines()
    path = write(pair | {"label": 1, "user": "ann"}, pair | {"label": "tie", "user": "ann"})
    assert len(read_pairs(path)[1].contradictions) == 1


def test_one_sided_labels_are_reported_but_not_those_of_chosen_and_rejected(write):
    def report(n, label, form=("first", "second")):
        told = {} if form[0] == "chosen" else {"label": label}
        return read_pairs(write(*[{"prompt": str(i), form[0]: "a", form[1]: "b"} | told for i in range(n)]))[1]

    assert "all 11 pairs with a winner name the second" in report(11, "second").one_sided
    assert "name the first" in report(11, 1).lines()[0]
    assert not report(10, "second").one_sided
    assert not report(11, "tie").one_sided
    assert not report(50, 1, ("chosen", "rejected")).one_sided


def test_pairs_of_rows(write):
    rows, _ = read_pairs(
        write(
            GOOD | {"weight": 2, "margin": 0.5, "user": "ann", "features": {"length": [3, 9], "level": 1}},
            {"prompt": "p", "first": "a", "second": "b", "label": 2, "features": {"level": 0.5, "length": 4}},
        )
    )
    pairs = to_pairs(rows)
    assert isinstance(pairs.first, Completions)
    assert pairs.first.shape == (2, 0)
    assert list(pairs.first.text) == ["4", "a"]
    assert list(pairs.second.text) == ["5", "b"]
    assert pairs.label.tolist() == [FIRST, SECOND]
    assert pairs.weight.tolist() == [2.0, 1.0]
    assert pairs.columns["margin"] == [0.5, 0.0]
    assert pairs.columns["user"] == ["ann", None]
    assert pairs.first.column("length", "x") == [3, 4]
    assert pairs.second.column("length", "x") == [9, 4]
    with pytest.raises(ValueError, match="features"):
        to_pairs([rows[0], rows[1]._replace(columns={})])
    with pytest.raises(ValueError, match="no pairs"):
        to_pairs([])


@given(st.lists(st.sampled_from(["first", "second", "tie"]), min_size=1, max_size=30), st.integers(0, 99))
def test_a_drawn_order_changes_no_winner(tmp_path_factory, labels, seed):
    path = tmp_path_factory.mktemp("pairs") / "p.jsonl"
    rows = [
        {"prompt": "p", "first": f"a{i}", "second": f"b{i}", "label": label, "features": {"x": [0, 1]}}
        for i, label in enumerate(labels)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    read, _ = read_pairs(path)
    plain, drawn = to_pairs(read), to_pairs(read, generator=torch.Generator().manual_seed(seed))

    def winners(pairs):
        sides = list(zip(pairs.first.text, pairs.second.text, pairs.first.column("x", ""), strict=True))
        return [
            (sorted(s[:2]), None if label == TIE else s[label], s[0][0] == "ab"[s[2]])
            for s, label in zip(sides, pairs.label.tolist(), strict=True)
        ]

    assert winners(plain) == winners(drawn)
    assert plain.weight is None
