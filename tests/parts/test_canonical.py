import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.judges.record import read_record
from guerdon.parts.canonical import canonical
from guerdon.parts.caption_table import CaptionTable


@pytest.mark.parametrize(
    ("one", "another", "shown"),
    [
        ("You see here 5 gold pieces.", "You see here 16 gold pieces.", "You see here N gold pieces."),
        ("f - a scroll labeled FOOBIE BLETCH.", "k - a scroll labeled NR 9.", "_ - a scroll labeled _."),
        ("Read what? [abc or ?*]", "Read what? [$d or ?*]", "Read what? [_]"),
        ("i - a sky blue potion.", "F - an effervescent potion.", "_ - a _ potion."),
        ("n - an uncursed scroll of light.", "n - a scroll of confuse monster.", None),
        ("# pray", "# loot", "# _"),
        ("Search for: n", "Search for: xq", "Search for: _"),
    ],
)  # fmt: skip
def test_alike(one, another, shown):
    first, second = canonical(one), canonical(another)
    assert shown is None or (first, second) == (shown, shown)
    assert first.replace("an ", "a ") == second.replace("an ", "a ")


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("You kill the newt!", "You kill the jackal!"),
        ("What do you want to write in the dust here? Elbereth", "What do you want to write in the dust here? x"),
        ("You see here a gold ring.", "You see here a gold potion."),
        ("There is a newt corpse here; eat it? [ynq] (n)", "There is a rat corpse here; eat it? [ynq] (n)"),
    ],
)
def test_apart(one, another):
    assert canonical(one) != canonical(another)


PIECES = st.sampled_from(
    ["a", "an ", "5", "12,000", " - ", "# ", "labeled ", "FOO 9", "potion", " of ", "called ", "[ab or ?*]", "the "]
)  # fmt: skip


@given(st.lists(st.one_of(PIECES, st.text(st.characters(max_codepoint=255), max_size=8)), max_size=9).map("".join))
def test_never_longer(text):
    assert len(canonical(text)) <= len(text)


def test_the_record_falls_into_groups_that_share_a_label():
    """On the 15,133 recorded captions: stable when done twice, never longer, and nearly no group is of two minds."""
    groups = {}
    for caption, entry in read_record().captions.items():
        shown = canonical(caption)
        assert len(shown) <= len(caption)
        assert canonical(shown) == shown
        groups.setdefault(shown, set()).add(entry.helpful)
    assert len(groups) < 0.75 * 15_133
    assert sum(len(helpful) > 1 for helpful in groups.values()) <= 3


def test_in_a_caption_table():
    table = CaptionTable(canonicalise=canonical)
    assert table.intern("$ - 5 gold pieces.") == table.intern("$ - 16 gold pieces.")
