"""Text tasks are deterministic, keep their splits apart, and their gold answers are right."""

from __future__ import annotations

import math
import pickle
import re
from random import Random

import pytest

from guerdon.tasks import text
from guerdon.tasks.text import GSM8K, Arithmetic, FollowUps, Inquiry, LatentChain, Lookup, make
from guerdon.tasks.text.follow_ups import NEGATIVE, POSITIVE
from guerdon.tasks.text.splits import draw, in_split


@pytest.mark.parametrize("name", text.TASKS)
def test_rows_are_deterministic_and_differ_by_seed_and_split(name):
    task, again = make(name), pickle.loads(pickle.dumps(make(name)))
    rows = task.rows(40, 1)
    assert rows == again.rows(40, 1)
    assert len(rows) == 40
    assert rows != task.rows(40, 2)
    assert rows != task.rows(40, 1, split="test")
    for row in rows:
        assert row["prompt"]
        assert row["answer"]
        assert row.keys() == rows[0].keys()
    assert task.rows(0) == []
    with pytest.raises(ValueError, match="split is"):
        task.rows(1, split="validation")


@pytest.mark.parametrize("task", [Arithmetic(), Lookup(), GSM8K()])
def test_no_test_question_is_trained_on_whatever_the_seed(task):
    trained = {row["prompt"] for seed in range(3) for row in task.rows(1500, seed)}
    held_out = {row["prompt"] for row in task.rows(300, 7, split="test")}
    assert len(held_out) > 100
    assert not trained & held_out


def test_the_written_chain_of_arithmetic_is_right_step_by_step():
    rows = [row for o in ("+-", "*") for row in Arithmetic(terms=4, filler=0.9, operations=o).rows(200, 3)]
    for row in rows:
        steps = re.findall(r"(\d+)([-+*])(\d+)=(\d+)", row["solution"])
        assert len(steps) == 3
        assert int(steps[0][0]) == row["terms"][0]
        for a, sign, b, c in steps:
            assert eval(f"({a}{sign}{b}) % 10") == int(c)
        assert eval(row["prompt"].rstrip("=")) % 10 == int(row["answer"])
        assert row["solution"].endswith(f"#### {row['answer']}")


def test_arithmetic_options():
    row = Arithmetic(modulus=None, terms=2, largest=99, mark=("\\boxed{", "}")).rows(1, 5)[0]
    assert int(row["answer"]) == sum(row["terms"])
    assert row["solution"].endswith(f"\\boxed{{{row['answer']}}}")
    plain = [r["solution"] for r in Arithmetic(filler=0.0).rows(200)]
    noisy = [r["solution"] for r in Arithmetic(filler=1.0).rows(200)]
    assert not any(re.search("[a-z]", s) for s in plain)
    share = sum(bool(re.search("[a-z]", s)) for s in noisy) / 200
    assert 0.6 < share < 0.9  # 1 - E[(1 - u)^3] = 3/4
    for bad in ({"terms": 1}, {"modulus": 1}, {"operations": "+*"}, {"filler": 1.5}):
        with pytest.raises(ValueError):
            Arithmetic(**bad)


def test_the_chain_alone_settles_the_answer():
    task = LatentChain(questions=5, chains=4, length=2, unpredictable=0.5, task_seed=1)
    assert len(set(task.answers.values())) == 4
    rows = task.rows(2000, 0)
    for row in rows:
        x = int(row["prompt"][1:-1])
        assert row["chain"] == task.right[x]
        assert row["true_answer"] == task.answers[row["chain"]]
        assert sum(a != b for a, b in zip(row["answer"], row["true_answer"], strict=True)) <= 1
    assert 0.46 < sum(r["answer"] != r["true_answer"] for r in rows) / 2000 < 0.54
    shown = task.demonstrations(4000, 0)
    for letter in task.letters:  # random chains, whatever the question
        assert 0.2 < sum(r["chain"] == letter for r in shown if r["prompt"] == "Q0:") / 800 < 0.3
    assert all(r["answer"] == task.answers[r["chain"]] for r in shown)
    with pytest.raises(ValueError, match="length at least 2"):
        LatentChain(chains=11, length=1)


def test_a_missing_row_is_unanswerable_and_a_shown_one_is_not():
    rows = Lookup(entries=3, missing=0.4).rows(2000, 0)
    for row in rows:
        table, asked = re.fullmatch(r"(.*)\. (\w+)\?", row["prompt"]).groups()
        shown = dict(entry.split(" ") for entry in table.split(", "))
        assert len(shown) == 3
        assert row["unanswerable"] == (asked not in shown)
        assert row["answer"] == shown.get(asked, "unknown")
    assert 0.36 < sum(r["unanswerable"] for r in rows) / 2000 < 0.44


def test_the_oracle_tells_the_truth_about_the_first_attributes_named():
    task = Inquiry(attributes=12, most=2)
    assert all(math.isclose(sum(p.values()), 1) for p in task.prior.values())
    entropy = {a: -sum(p * math.log2(p) for p in prior.values()) for a, prior in task.prior.items()}
    assert min(entropy.values()) < 1 < 2.5 < max(entropy.values()) <= 4
    row = task.rows(1, 0)[0]
    reply = task.ask(row["specification"], "Which Colour, and what shape or size?")
    spec = row["specification"]
    assert reply.constraints == {"colour": {spec["colour"]}, "shape": {spec["shape"]}}
    assert task.read(reply.text) == reply.constraints
    assert task.ask(spec, "what do you want? discoloured?").constraints == {}
    with pytest.raises(ValueError, match="has no value"):
        task.read("The colour is plaid.")


def test_specifications_follow_the_prior_and_copies_agree():
    task = Inquiry(attributes=3, task_seed=2)
    rows = task.rows(4000, 0)
    for name, prior in task.prior.items():
        for value, p in prior.items():
            seen = sum(r["specification"][name] == value for r in rows) / 4000
            assert abs(seen - p) < 4.5 * math.sqrt(p * (1 - p) / 4000) + 1e-3
    coupled = Inquiry(attributes=3, coupled=True)
    assert coupled.prior["size"] == coupled.prior["colour"]
    assert all(r["specification"]["size"] == r["specification"]["colour"] for r in coupled.rows(50))


def test_users_are_happier_with_good_responses():
    task = FollowUps(unrelated=0.25)
    rows = task.rows(8000, 0)
    assert 0.23 < sum(r["positive"] < 0 for r in rows) / 8000 < 0.27
    for good, expected in ((1, 0.8), (0, 0.3)):
        about = [r for r in rows if r["good"] == good and r["positive"] >= 0]
        assert abs(sum(r["positive"] for r in about) / len(about) - expected) < 0.03
        assert all(r["follow_up"] in (POSITIVE if r["positive"] else NEGATIVE) for r in about)
    assert sum(task.quality) == 25
    best = dict(zip(task.responses, task.quality, strict=True))
    assert all(best[r["answer"]] for r in rows)


def test_flattery_pays_without_quality():
    task = FollowUps(unrelated=0.0, praise=1.0, flattered=0.5)
    rows = [r for r in task.rows(6000, 0) if not r["good"]]
    assert abs(sum(r["positive"] for r in rows) / len(rows) - (0.5 + 0.5 * 0.3)) < 0.04
    assert task.follow_up(Random(0), good=True)[1] in (0, 1)


def test_gsm8k_is_whole_and_its_solutions_end_with_the_answer():
    rows = GSM8K().rows(3000, 0)
    assert len({r["prompt"] for r in rows}) == 3000
    assert len({r["prompt"] for r in GSM8K().rows(1319, 0, split="test")}) == 1319
    for row in rows:
        assert re.fullmatch(r"-?\d+(\.\d+)?", row["answer"])
        assert "<<" not in row["solution"]
        assert row["solution"].endswith(f"\n#### {row['answer']}")
    chat = GSM8K(chat=True, instruction="Solve this: {question} Think.").rows(1, 0)[0]["prompt"]
    assert chat == [{"role": "user", "content": f"Solve this: {rows[0]['prompt']} Think."}]


def test_names_and_options_are_answered_with_what_is_near():
    with pytest.raises(ValueError, match="Arithmetic"):
        make("Arithmetics")
    with pytest.raises(ValueError, match="modulus"):
        make("Arithmetic", modulo=3)
    split = "train" if in_split("always the same", "test") else "test"
    with pytest.raises(ValueError, match="make the task larger"):
        draw(lambda random: {"prompt": "always the same"}, 1, 0, split, tries=20)
