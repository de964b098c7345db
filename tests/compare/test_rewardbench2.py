"""RewardBench 2: records, results, and judges that rate or rank."""

import asyncio
import math

import pytest
import torch

from guerdon.compare import rewardbench2 as rb2
from guerdon.parts.one_to_many import Scores, best_of
from guerdon.parts.questions import Question


def record(**changes):
    made = {
        "id": "7", "prompt": "1+1?", "chosen": ["2"], "rejected": ["3", "4", "5"], "num_correct": 1,
        "total_completions": 4, "subset": "Math",
    }  # fmt: skip
    return made | changes


def ties(kind, number=0):
    chosen = ["a"] if kind == "ref" else ["a", "b"]
    return record(id=f"{kind}:{number}", subset="Ties", chosen=chosen, num_correct=None, total_completions=None)


def test_records_become_questions():
    (found,) = rb2.read_records([record()])
    assert found == Question("7", "1+1?", ("2",), ("3", "4", "5"), "Math")
    assert found.scores([9, 1, 2, 3]) == Scores([9], [1, 2, 3])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subset": "Maths"}, "did you mean 'Math'"),
        ({"subset": "Cooking"}, "there are Factuality"),
        ({"total_completions": 5}, "total_completions 5, but holds 4"),
        ({"num_correct": 2}, "num_correct 2, but holds 1"),
        ({"chosen": [], "num_correct": 0, "total_completions": 3}, "right answer"),
        ({"rejected": [], "total_completions": 1}, "wrong answer"),
        ({"chosen": "2"}, "lists of texts"),
        ({"subset": "Ties"}, "ref:<n> or tied:<n>"),
    ],
)
def test_bad_records_are_refused_by_name(changes, said):
    with pytest.raises(ValueError, match=said):
        rb2.read_records([record(**changes)])


def test_a_missing_field_is_named():
    with pytest.raises(ValueError, match="record 0 has no id and no chosen"):
        rb2.read_records([{"prompt": "", "rejected": [], "subset": "Math"}])


def test_other_counts_of_scores_are_refused():
    (found,) = rb2.read_records([record()])
    with pytest.raises(ValueError, match="7 has 4 answers, and 3 scores"):
        found.scores([1, 2, 3])


def test_the_average_is_over_subsets_not_over_questions():
    rows = [record(), record(id="8"), record(id="9", subset="Focus")]
    right, wrong = Scores([1], [0, 0, 0]), Scores([0], [1, 0, 0])
    found = rb2.summary(rb2.read_records(rows), [right, right, wrong])
    assert found == {"Math": 1, "Focus": 0, "average": 0.5}


def test_ties_are_joined_by_their_number():
    rows = [ties(*of) for of in (("tied", 1), ("ref", 0), ("tied", 0), ("ref", 1))]
    questions = rb2.read_records(rows)
    scores = [Scores([2, 1.5], [0] * 3), Scores([2], [1.8] * 3), Scores([2, 1.5], [0] * 3), Scores([2], [0] * 3)]
    found = rb2.ties(questions, scores)
    assert (found.preferred, found.preferred_hard) == (1, 0.5)
    assert rb2.summary(questions, scores)["Ties"] == found.score


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("Good.\n\n9", 9), ("10 ", 10), ("It is 7", 7), ("Rating: 3", 3), ("8.", -1), ("0", -1), ("11", -1), ("", -1),
        ("I give it 9 of ten", -1), ("**6**", -1), (None, -1), ("7.5", -1), ("8/10", -1),
    ],
)  # fmt: skip
def test_a_rating_is_the_last_thing_of_a_reply(reply, rating):
    assert rb2.parse_rating(reply) == rating


@pytest.mark.parametrize(
    ("reply", "first", "last"),
    [
        ("[[C]]", 2, 2), ("not [[A]] but [[D]]", 0, 3), ("[[D]] beats [[B]]", 1, 1), ("[A]", None, None),
        ("[[E]]", None, None), (None, None, None),
    ],
)  # fmt: skip
def test_the_first_letter_counts_or_the_last_tag(reply, first, last):
    assert rb2.parse_ranking(reply) == first
    assert rb2.parse_ranking(reply, take="last") == last


def judge(reply):
    """A judge that answers each chat by `reply` of its user turn."""

    async def ask(chats):
        return [reply(chat[-1]["content"]) for chat in chats]

    return ask


QUESTIONS = [
    Question(str(i), f"What is {i}?", (f"right {i}",), tuple(f"wrong {i}.{k}" for k in range(3))) for i in range(40)
]


def test_ratings_of_a_good_judge_and_of_one_that_does_not_answer():
    good = asyncio.run(rb2.ratings(QUESTIONS, judge(lambda text: "8" if "right" in text else "3")))
    assert all(s == Scores([8], [3, 3, 3]) for s in good)
    evasive = asyncio.run(rb2.ratings(QUESTIONS, judge(lambda text: "It depends.")))
    assert {best_of(s) for s in evasive} == {0.25}
    silent = asyncio.run(rb2.ratings(QUESTIONS[:1], judge(lambda text: None)))
    assert all(math.isnan(x) for x in (*silent[0].right, *silent[0].wrong))
    silent = asyncio.run(rb2.rankings(QUESTIONS[:1], judge(lambda text: None), generator=torch.Generator()))
    assert all(math.isnan(x) for x in (*silent[0].right, *silent[0].wrong))


def test_what_an_unread_rating_is_worth_is_a_choice():
    reply = judge(lambda text: "five" if "wrong" in text else "5")
    assert asyncio.run(rb2.ratings(QUESTIONS[:1], reply)) == [Scores([5], [-1, -1, -1])]
    assert asyncio.run(rb2.ratings(QUESTIONS[:1], reply, invalid="worst-case")) == [Scores([5], [11, 11, 11])]
    with pytest.raises(ValueError, match="no rating"):
        asyncio.run(rb2.ratings(QUESTIONS[:1], reply, invalid="raise"))


def test_ties_are_rated_by_a_prompt_of_their_own():
    plain, own = (rb2.rating_messages("?", "!", ties=t)[0]["content"] for t in (False, True))
    assert "Do not weigh depth" in own
    assert "Do not weigh depth" not in plain


def find(text):
    """The letter under which the right answer stands."""
    return next(x for x in "ABCD" if f"[Answer {x}]\nright" in text)


def test_a_ranking_judge_meets_the_right_answer_everywhere():
    seen = []

    def reply(text):
        seen.append(find(text))
        return f"I think [[{find(text)}]]"

    found = asyncio.run(rb2.rankings(QUESTIONS, judge(reply), generator=torch.Generator().manual_seed(0)))
    assert set(seen) == set("ABCD")
    assert all(s == Scores([1], [0, 0, 0]) for s in found)


def test_a_judge_with_a_favourite_place_is_right_by_chance():
    found = asyncio.run(
        rb2.rankings(QUESTIONS * 25, judge(lambda t: "[[A]]"), generator=torch.Generator().manual_seed(0))
    )
    assert sum(map(best_of, found)) / 1000 == pytest.approx(0.25, abs=0.04)
    assert all(sum([*s.right, *s.wrong]) == 1 for s in found)


def test_the_answer_that_a_wrong_judge_named_is_the_one_that_is_credited():
    def reply(text):
        return f"[[{next(x for x in 'ABCD' if '.2' in text.split(f'[Answer {x}]')[1].split('[End')[0])}]]"

    found = asyncio.run(rb2.rankings(QUESTIONS, judge(reply), generator=torch.Generator().manual_seed(1)))
    assert all(s == Scores([0], [0, 0, 1]) for s in found)


def test_most_judges_decide_and_a_silent_one_counts_a_quarter():
    good, bad = judge(lambda t: f"[[{find(t)}]]"), judge(lambda t: f"[[{'A' if find(t) != 'A' else 'B'}]]")
    found = asyncio.run(rb2.rankings(QUESTIONS, bad, good, good, generator=torch.Generator()))
    assert {best_of(s) for s in found} == {1}
    found = asyncio.run(rb2.rankings(QUESTIONS, judge(lambda t: "none"), generator=torch.Generator()))
    assert {best_of(s) for s in found} == {0.25}


def test_several_right_answers_cannot_be_ranked():
    with pytest.raises(ValueError, match="rate it"):
        asyncio.run(rb2.rankings([Question("t", "?", ("a", "b"), ("c",))], judge(str), generator=torch.Generator()))
