import math
from pathlib import Path

import pytest

from guerdon.judges.parser import label_of_token, parse, weigh
from guerdon.types import FIRST, SECOND, TIE

REPLIES = Path(__file__).parent / "replies"
CAPTION, PAIR = "You kill the newt!", ("You kill the newt!", "It's a wall.")
EXPECTED = {
    "label": {"FOO": 1.0, "BAR": 0.0, "unparseable": None},
    "best": {"1": FIRST, "2": SECOND, "None": TIE, "unparseable": None},
}
GOLDEN = sorted(REPLIES.glob("*/*/*.txt"))


def test_every_folder_of_replies_is_read():
    assert {(file.parts[-3], file.parts[-2]) for file in GOLDEN} == {(f, a) for f in EXPECTED for a in EXPECTED[f]}
    assert len(GOLDEN) > 55


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: "/".join(file.with_suffix("").parts[-3:]))
def test_golden_replies(file):
    field, answer = file.parts[-3], file.parts[-2]
    reply = file.read_bytes().decode("utf-8")
    assert parse(CAPTION if field == "label" else PAIR, reply) == EXPECTED[field][answer]


@pytest.mark.parametrize(
    ("item", "token", "label"),
    [
        (CAPTION, "FOO", "FOO"),
        (CAPTION, " F", "FOO"),
        (CAPTION, "foo.", "FOO"),
        (CAPTION, "**BA", "BAR"),
        (CAPTION, "BARK", None),
        (CAPTION, "b", None),  # may begin any word
        (CAPTION, "", None),
        (CAPTION, " ", None),
        (CAPTION, "1", None),
        (PAIR, "1", "1"),
        (PAIR, "2.", "2"),
        (PAIR, "12", None),
        (PAIR, "No", "None"),
        (PAIR, "Not", None),
    ],
)
def test_which_label_a_first_token_begins(item, token, label):
    assert label_of_token(item, token) == label


def test_first_tokens_of_a_caption_give_a_probability():
    tokens = [("FOO", math.log(0.3)), (" F", math.log(0.3)), ("BAR", math.log(0.2)), ("The", math.log(0.2))]
    assert weigh(CAPTION, tokens) == pytest.approx(0.75)
    assert weigh(CAPTION, [("FOO", -0.1)]) == 1.0
    assert weigh(CAPTION, [("BAR", -0.1), ("FOO", -math.inf)]) == 0.0


def test_first_tokens_of_a_pair_give_the_likeliest_outcome():
    shares = {"1": 0.3, "2": 0.25, " 2": 0.1, "None": 0.2}
    assert weigh(PAIR, [(token, math.log(p)) for token, p in shares.items()]) == SECOND
    assert weigh(PAIR, [("1", -1.0), ("None", -0.5)]) == TIE


def test_a_model_that_is_about_to_say_something_else_gives_no_label():
    assert weigh(CAPTION, [("The", math.log(0.995)), ("FOO", math.log(0.005))]) is None
    assert weigh(PAIR, []) is None
