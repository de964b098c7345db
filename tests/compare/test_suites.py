"""Suites: which format a file has, what is read from it, what is refused."""

import gzip
import json
from pathlib import Path

import pytest

from guerdon.compare.suites import form_of, read_suite, score_file

DATA = Path(__file__).parents[2] / "claims/data"
PAIR = {"prompt": "?", "chosen": "a", "rejected": "b"}
ROWS = {
    "pairs": [PAIR, PAIR | {"chosen": "c"}],
    "RewardBench 2": [{"id": "1", "prompt": "?", "chosen": ["a"], "rejected": ["b", "c", "d"], "subset": "Math"}],
    "RewardMATH": [
        {"problem_id": 0, "problem": "?", "eval_solution": [text], "solution_type": kind}
        for text, kind in (("a", "chosen"), ("b", "rejected"))
    ],
    "contrast instructions": [
        {"query": "I", "retrieval": "J", "query_response_k": "R", "retrieval_response_k": "S"},
        {"query": "I", "retrieval": "K", "query_response_k": "R", "retrieval_response_k": "R"},
    ],
}


def write(path, rows, *, lines=True):
    text = "".join(json.dumps(row) + "\n" for row in rows) if lines else json.dumps(rows, indent=1)
    if path.suffix == ".gz":
        with gzip.open(path, "wt") as file:
            file.write(text)
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("form", ROWS)
@pytest.mark.parametrize(("name", "lines"), [("a.jsonl", True), ("a.json", False), ("a.jsonl.gz", True)])
def test_formats_are_told_by_their_columns(tmp_path, form, name, lines):
    path = write(tmp_path / name, ROWS[form], lines=lines)
    assert form_of(path) == form
    suite = read_suite([path])
    assert suite.form == form
    assert len(suite.questions) == {"pairs": 2, "RewardBench 2": 1, "RewardMATH": 1, "contrast instructions": 2}[form]


def test_a_pair_of_conversations_with_a_subset_is_a_pair(tmp_path):
    says = [[{"role": "user", "content": "?"}, {"role": "assistant", "content": c}] for c in "ab"]
    path = write(tmp_path / "a.jsonl", [{"chosen": says[0], "rejected": says[1], "subset": "chat"}])
    suite = read_suite([path])
    assert (suite.form, suite.subsets) == ("pairs", ["chat"])
    assert suite.questions[0].right == ("a",)


def test_llmbar_has_five_subsets():
    suite = read_suite([DATA / "llmbar"])
    counts = {name: sum(q.subset == name for q in suite.questions) for name in suite.subsets}
    assert counts == {
        "adversarial_gptinst": 92, "adversarial_gptout": 47, "adversarial_manual": 46, "adversarial_neighbor": 134,
        "natural": 100,
    }  # fmt: skip
    rows = json.loads((DATA / "llmbar/natural.json").read_text())
    of_natural = [q for q in suite.questions if q.subset == "natural"]
    assert [q.right[0] for q in of_natural] == [row[f"output_{row['label']}"] for row in rows]


def test_ties_and_same_responses_are_left_out_and_counted(tmp_path):
    ties = [{"prompt": "?", "first": "a", "second": "b", "label": label} for label in ("first", "tie", "second")]
    suite = read_suite([write(tmp_path / "p.jsonl", ties)])
    assert [(q.right, q.wrong) for q in suite.questions] == [(("a",), ("b",)), (("b",), ("a",))]
    assert any("1 ties" in note for note in suite.notes)
    contrast = read_suite([write(tmp_path / "c.json", ROWS["contrast instructions"], lines=False)])
    assert "1 items have the same response" in contrast.notes[0]


def test_bad_lines_are_refused_with_their_place_or_left_out(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(PAIR) + '\n{"prompt": \n' + json.dumps(PAIR | {"prompt": "!"}) + "\n")
    with pytest.raises(ValueError, match="line 2"):
        read_suite([path])
    suite = read_suite([path], bad="skip")
    assert len(suite.questions) == 2
    assert any("line 2" in note for note in suite.notes)


def test_files_of_two_formats_are_not_mixed(tmp_path):
    write(tmp_path / "a.jsonl", ROWS["pairs"])
    write(tmp_path / "b.jsonl", ROWS["RewardBench 2"])
    with pytest.raises(ValueError, match="audit them apart"):
        read_suite([tmp_path])


def test_missing_and_empty_places(tmp_path):
    write(tmp_path / "pairs.jsonl", ROWS["pairs"])
    for paths, said in (
        ([tmp_path / "pair.jsonl"], "did you mean .*pairs.jsonl"),
        ([], "name a file"),
        ([write(tmp_path / "empty.jsonl", [])], "compares nothing"),
    ):
        with pytest.raises(ValueError, match=said):
            read_suite(paths)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=r"no \.json"):
        read_suite([tmp_path / "folder"])


def test_score_files_bring_their_questions():
    suite, values = score_file(DATA / "rewardmath/Math_Shepherd.json.gz", None)
    assert (len(suite.questions), len(values[0]), suite.texts) == (483, 10, False)
    assert "aggregated by prod" in suite.notes[0]
    assert score_file(DATA / "llmbar/natural.json", None) is None
