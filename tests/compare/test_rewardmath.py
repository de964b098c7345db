"""RewardMATH: score files, benchmark files, joins."""

import gzip
import json
from pathlib import Path

import pytest

from guerdon.compare import rewardmath
from guerdon.parts.one_to_many import Scores
from guerdon.parts.questions import read_rows

NAMES = [rewardmath.RIGHT, "other", "third"]


def row(score, problem="p", names=NAMES):
    return {"problem": problem, "solution_reference": names, "score": score}


def test_scores_find_the_right_solution_by_its_name():
    found = rewardmath.read_scores([row([1, 3, 2], names=["other", rewardmath.RIGHT, "third"])])
    assert found == [("p", Scores([3.0], [1.0, 2.0]))]


def test_step_scores_need_an_aggregator():
    found = rewardmath.read_scores([row([[0.5, 0.8], [0.9], [0.1, 0.9, 0.5]])], how="min")
    assert found[0][1] == Scores([0.5], [0.9, 0.1])
    with pytest.raises(ValueError, match="step scores need an aggregator"):
        rewardmath.read_scores([row([[0.5], [0.9], [0.1]])])
    with pytest.raises(ValueError, match="numbers need no aggregator"):
        rewardmath.read_scores([row([1, 2, 3])], how="min")


@pytest.mark.parametrize(
    ("bad", "how", "said"),
    [
        (row([1, 2]), None, "3 solutions and 2 scores"),
        (row([1, 2, float("nan")]), None, "nan"),
        (row([1, 2, 3], names=["a", "b", "c"]), None, "right answer"),
        (row([1], names=[rewardmath.RIGHT]), None, "wrong answer"),
        (row([[0.5], [1.5], [0.1]]), "mean", "probability"),
        (row([[0.5], [], [0.1]]), "mean", "no step"),
        ({"problem": "p", "score": []}, None, "no solution_reference"),
        (row(["a", "b", "c"]), None, "row 0"),
    ],
)
def test_bad_rows_are_refused_by_number(bad, how, said):
    with pytest.raises(ValueError, match=said):
        rewardmath.read_scores([bad], how=how)


def test_tables_are_joined_on_the_problem_not_zipped():
    a = rewardmath.read_scores(
        [row([1, 0, 0], "x"), row([2, 0, 0], "y"), row([9, 0, 0], "x"), row([3, 0, 0], "only a")]
    )
    b = rewardmath.read_scores([row([20, 0, 0], "y"), row([10, 0, 0], "x")])
    found = rewardmath.joined({"a": a, "b": b})
    assert [s.right[0] for s in found["a"]] == [1, 2]  # of a problem twice the first
    assert [s.right[0] for s in found["b"]] == [10, 20]


def test_summary_is_in_percent():
    found = rewardmath.summary([Scores([1], [0, 0]), Scores([1], [1, 2])])
    assert found == pytest.approx(
        {"accuracy": 50, "accuracy with ties": 50, "MRR": 100 * (1 + 1 / 3) / 2, "pairs won": 50}
    )


def solution(text, kind, problem=0):
    return {"problem_id": problem, "problem": "1+1?", "eval_solution": [text, "so"], "solution_type": kind}


def test_problems_of_both_benchmark_files():
    direct = rewardmath.read_problems([solution("2", "chosen"), solution("3", "rejected"), solution("4", "rejected")])
    pairs = [{"problem_id": 0, "problem": "1+1?", "chosen_position": side, "eval_solution_A": a, "eval_solution_B": b}
             for side, a, b in (("A", ["2", "so"], ["3", "so"]), ("B", ["4", "so"], ["2", "so"]))]  # fmt: skip
    assert direct == rewardmath.read_problems(pairs)
    assert (direct[0].right, direct[0].wrong) == (("2\nso",), ("3\nso", "4\nso"))
    with pytest.raises(ValueError, match="wrong answer"):
        rewardmath.read_problems([solution("2", "chosen")])
    with pytest.raises(ValueError, match="row 0 has no eval_solution"):
        rewardmath.read_problems([{"problem_id": 0, "problem": "", "solution_type": "chosen"}])


DATA = Path(__file__).parents[2] / "claims/data/rewardmath"


def test_a_public_file_gives_the_published_figures():
    rows = read_rows(DATA / "chatgpt.json.gz")
    assert len(rows) == 485
    found = rewardmath.summary([s for _, s in rewardmath.read_scores(rows)])
    assert [round(x, 2) for x in found.values()] == [0.21, 64.74, 13.99, 24.47]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "row 1: a row is an object"),
        ("", "no rows"),
        ('{"a": 1}\n{"a"', "line 2 is no JSON"),
        ("[{", "no JSON array"),
    ],
)
def test_files_that_hold_no_rows(tmp_path, text, said):
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_rows(path)


def test_rows_of_lines_arrays_and_packed_files(tmp_path):
    rows = [{"a": 1}, {"a": "ü"}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "b.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    with gzip.open(tmp_path / "c.json.gz", "wt") as file:
        json.dump(rows, file)
    (tmp_path / "d.json.gz").write_bytes(b"not packed")
    for name in ("a.json", "b.jsonl", "c.json.gz"):
        assert read_rows(tmp_path / name) == rows
    with pytest.raises(ValueError, match="UTF-8"):
        read_rows(tmp_path / "d.json.gz")
