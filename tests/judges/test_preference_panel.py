import re

import pytest
import torch

from guerdon.judges.preference_panel import PreferencePanel, chat
from guerdon.parts.curation import NO_ANSWER
from guerdon.types import FIRST, SECOND, TIE, Completions, Pairs


def pairs(first, second, label=FIRST, columns=None):
    n = len(first)
    empty = torch.zeros(n, 0, dtype=torch.long)
    sides = [Completions(prompt=["Which?"] * n, text=list(t), ids=empty, mask=empty.bool()) for t in (first, second)]
    return Pairs(first=sides[0], second=sides[1], label=torch.full((n,), label), columns=columns)


def candidates(messages):
    """Both texts of the last question of a chat."""
    return [re.findall(rf"<candidate_{i}>\n(.*?)\n</candidate_{i}>", messages[1]["content"], re.S)[-1] for i in (1, 2)]


def longer(chats):
    """A judge that likes the longer text."""
    found = [candidates(c) for c in chats]
    return [f"Hm. <best>{1 if len(a) > len(b) else 2 if len(b) > len(a) else None}</best>" for a, b in found]


def test_a_judge_is_heard_whatever_the_order():
    asked = pairs(["long one", "a", "same"], ["b", "longer", "size"])
    panel = PreferencePanel(longer, votes=9)
    assert panel(asked).tolist() == [FIRST, SECOND, TIE]
    assert panel.ballots(asked).shape == (3, 1, 9)


def test_a_judge_that_always_takes_the_first_place_says_nothing_on_the_whole():
    votes = PreferencePanel(lambda chats: ["<best>1</best>"] * len(chats), votes=400).ballots(pairs(["a"], ["b"]))
    assert 150 < int((votes == FIRST).sum()) < 250


def test_the_majority_is_taken_by_judge_first():
    def saying(*answers):
        def write(chats):
            swapped = [candidates(c)[0] == "b" for c in chats]
            return [f"<best>{a if not s else 3 - a}</best>" for a, s in zip(answers, swapped, strict=True)]

        return write

    panel = PreferencePanel(saying(1, 1, 1, 1, 1), saying(1, 1, 2, 2, 2), saying(2, 1, 2, 1, 2))
    asked = pairs(["a"], ["b"])
    assert panel(asked).item() == SECOND
    assert int((panel.ballots(asked) == FIRST).sum()) == 9  # of 15


def test_replies_that_cannot_be_read_are_no_votes():
    replies = ["1", None, "<best>1</best> or <best>2</best>", "", "<best>first</best>"]
    assert PreferencePanel(lambda chats: replies)(pairs(["a"], ["b"])).item() == NO_ANSWER
    with pytest.raises(ValueError, match="1 replies to 5"):
        PreferencePanel(lambda chats: ["<best>1</best>"])(pairs(["a"], ["b"]))


def test_nearest_verified_pairs_and_attributes_are_shown():
    seen = []

    def judge(chats):
        seen.extend(chats)
        return longer(chats)

    verified = pairs(["u", "v"], ["w", "x"], SECOND)
    asked = pairs(["a"], ["b"], columns={"attributes": [{"task": "maths"}]})
    PreferencePanel(judge, votes=1)(asked, verified, torch.tensor([[1]]))
    text = seen[0][1]["content"]
    assert seen[0][0]["role"] == "system"
    assert "Example 1, judged by people" in text
    assert "<candidate_1>\nv\n</candidate_1>" in text
    assert "Verdict: candidate 2 is better" in text
    assert "<candidate_1>\nu" not in text
    assert '{"task": "maths"}' in text
    assert sorted(candidates(seen[0])) == ["a", "b"]


def test_a_chat_of_messages_and_a_swap():
    row = {"prompt": [{"role": "user", "content": "Hi"}], "first": "a", "second": "b"}
    plain, swapped = chat(row), chat(row, swap=True)
    assert candidates(plain) == ["a", "b"]
    assert candidates(swapped) == ["b", "a"]
    assert "user: Hi" in plain[1]["content"]
    assert "about_the_request" not in plain[1]["content"]


def test_refusals():
    with pytest.raises(ValueError, match="at least one judge"):
        PreferencePanel()
    with pytest.raises(ValueError, match="at least one vote"):
        PreferencePanel(longer, votes=0)
    with pytest.raises(TypeError, match="Completions"):
        PreferencePanel(longer)(Pairs(first=["a"], second=["b"], label=torch.tensor([FIRST])))
