from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.parts.terminal_screen import PLAIN, Style, TerminalScreen


def shown(text: str, width: int = 10, height: int = 4) -> list[str]:
    """The lines after `text`, without styles."""
    screen = TerminalScreen(width, height)
    screen.feed(text)
    return ["".join(part for part, _ in row) for row in screen.rows()]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("ab\r\ncd", ["ab", "cd", "", ""]),
        ("abc\rX", ["Xbc", "", "", ""]),
        ("abc\b\bX", ["aXc", "", "", ""]),
        ("a\tb", ["a       b", "", "", ""]),
        ("0123456789ab", ["0123456789", "ab", "", ""]),  # wraps
        ("0123456789\rX", ["X123456789", "", "", ""]),  # but not before there is more to show
        ("1\r\n2\r\n3\r\n4\r\n5", ["2", "3", "4", "5"]),  # scrolls
        ("\x1b[2;3Hx\x1b[Hy", ["y", "  x", "", ""]),
        ("\x1b[9;99Hx", ["", "", "", "         x"]),
        ("abc\x1b[2Dx", ["axc", "", "", ""]),
        ("a\x1b[Bb\x1b[Ac\x1b[Cd", ["a c d", " b", "", ""]),
        ("abc\x1b[3G!\x1b[3d.", ["ab!", "", "   .", ""]),
        ("abcdef\x1b[3G\x1b[K", ["ab", "", "", ""]),
        ("abcdef\x1b[3G\x1b[1K", ["   def", "", "", ""]),
        ("abcdef\x1b[3G\x1b[2P", ["abef", "", "", ""]),
        ("abcdef\x1b[3G\x1b[2@", ["ab  cdef", "", "", ""]),
        ("abcdef\x1b[3G\x1b[2X", ["ab  ef", "", "", ""]),
        ("a\r\nb\r\nc\x1b[2;1H\x1b[J", ["a", "", "", ""]),
        ("a\r\nb\r\nc\x1b[2;1H\x1b[1J", ["", "", "c", ""]),
        ("a\r\nb\x1b[2JX", ["", " X", "", ""]),
        ("a\r\nb\x1b[3JX", ["a", "bX", "", ""]),  # 3 forgets what has scrolled away
        ("a\r\nb\r\nc\x1b[2;1H\x1b[L", ["a", "", "b", "c"]),
        ("a\r\nb\r\nc\x1b[1;1H\x1b[M", ["b", "c", "", ""]),
        ("a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[3;1H\n!", ["a", "c", "!", "d"]),  # margins
        ("a\r\nb\x1b[H\x1bM!", ["!", "a", "b", ""]),  # reverse line feed
        ("a\x1b7\x1b[3;3Hb\x1b8c", ["ac", "", "  b", ""]),
        ("\x1b(0lqk\x1b(Blqk", ["┌─┐lqk", "", "", ""]),
        ("\x1b)0a\x0eq\x0fq", ["a─q", "", "", ""]),
        ("\x1b]0;a title\x07x\x1b[?25l\x1b[>0cy", ["xy", "", "", ""]),
        ("old\x1b[?1049hnew", ["   new", "", "", ""]),
        ("gone\x1bcnew", ["new", "", "", ""]),
    ],
)
def test_what_stands_on_the_screen(text, lines):
    assert shown(text) == lines


def test_colours_of_all_kinds():
    screen = TerminalScreen(20, 1)
    screen.feed(
        "a\x1b[1;31mb\x1b[22;94mc\x1b[0;7md\x1b[27;38;5;196me\x1b[38;2;1;2;3mf\x1b[39;44mg\x1b[48;5;232mh\x1b[mi"
    )
    assert screen.rows()[0] == [
        ("a", PLAIN), ("b", Style(1, bold=True)), ("c", Style(12)), ("d", Style(inverse=True)), ("e", Style("#ff0000")),
        ("f", Style("#010203")), ("g", Style(ground=4)), ("h", Style(ground="#080808")), ("i", PLAIN),
    ]  # fmt: skip


def test_blanks_with_a_ground_stay():
    screen = TerminalScreen(4, 1)
    screen.feed("a\x1b[41m  ")
    assert screen.rows()[0] == [("a", PLAIN), ("  ", Style(ground=1))]


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("ab\x1b[]()0123456789;?mHJKLMPrhx7D\r\n\b\t\x07\x0e"), max_size=80), st.data())
def test_any_text_is_shown_alike_however_it_is_cut(text, data):
    whole, cut = TerminalScreen(6, 3), TerminalScreen(6, 3)
    at = data.draw(st.integers(0, len(text)))
    whole.feed(text)
    cut.feed(text[:at])
    cut.feed(text[at:])
    assert whole.rows() == cut.rows()
    assert all(sum(len(part) for part, _ in row) <= 6 for row in whole.rows())


def test_a_sequence_that_never_ends_is_given_up():
    screen = TerminalScreen(10, 2)
    screen.feed("\x1b]" + "x" * 5000 + "\x1b[2J\x1b[Hdone")
    assert screen.rows()[0] == [("done", PLAIN)]


@pytest.mark.parametrize("size", [(0, 1), (1, 0), (10_000, 1)])
def test_no_such_terminal(size):
    with pytest.raises(ValueError, match="cannot be shown"):
        TerminalScreen(*size)
