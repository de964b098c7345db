"""What a terminal shows after it was sent some text: the part of a VT100 that recorded games and programs use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

_TOKEN = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f]+)"
    r"|\x1b\[(?P<private>[<-?]?)(?P<numbers>[0-9;:]*)[ -/]*(?P<final>[@-~])"
    r"|\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\)"  # titles and the like
    r"|\x1b(?P<set>[()])(?P<charset>.)|\x1b[*+#%].|\x1b(?P<single>[^\[\]PX^_()*+#%])"
    r"|(?P<control>[\x00-\x1a\x1c-\x1f\x7f])",
    re.DOTALL,
)
_LINES = str.maketrans("`afgjklmnopqrstuvwxyz{|}~", "◆▒°±┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·")
"""DEC's line drawing, which NetHack's DECgraphics uses."""


class Style(NamedTuple):
    """How a character looks. A colour is one of 16, "#rrggbb", or None for the terminal's own."""

    ink: int | str | None = None
    ground: int | str | None = None
    bold: bool = False
    underlined: bool = False
    inverse: bool = False


PLAIN = Style()
Run = tuple[str, Style]
"""Neighbouring characters that look the same."""


class TerminalScreen:
    """A screen of `height` lines of `width` characters: feed it text, look at its `rows`.

    Knows cursor movement, erasing, inserting and deleting, scrolling with margins, colours (16, 256, true), DEC's line
    drawing and the alternate screen's clearing; ignores the rest. Every character is one cell wide.

    Raises:
        ValueError: a size that no terminal has.
    """

    def __init__(self, width: int = 80, height: int = 24) -> None:
        if not (0 < width <= 1000 and 0 < height <= 500):
            raise ValueError(f"a terminal of {width} x {height} characters cannot be shown")
        self.width, self.height = width, height
        self._rest = ""
        self._reset()

    def rows(self) -> list[list[Run]]:
        """Each line as runs of equal style, blanks at its end left out."""
        found = []
        for line in self.cells:
            cells = line[:]
            while cells and cells[-1] == (" ", PLAIN):
                cells.pop()
            runs = groupby(cells, key=lambda cell: cell[1])
            found.append([("".join(c for c, _ in run), style) for style, run in runs])
        return found

    def feed(self, text: str) -> None:
        """Shows text; a sequence that is not complete waits for the rest of it."""
        text, at = self._rest + text, 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:  # an escape sequence that has not ended, or never will
                if len(text) - at < 4096:
                    break
                at += 1
                continue
            at = match.end()
            if written := match["text"]:
                self._write(written)
            elif final := match["final"]:
                if not match["private"]:
                    numbers = [int(n or 0) for n in match["numbers"].replace(":", ";")[:200].split(";")]
                    self._sequence(final, numbers)
                elif match["private"] == "?" and final in "hl" and "1049" in match["numbers"]:
                    self._erase(0, self.height)
            elif match["set"]:
                self.charsets["()".index(match["set"])] = match["charset"] == "0"
            else:
                self._control(match["single"] or "", match["control"] or "")
        self._rest = text[at:]

    def _reset(self) -> None:
        self.x, self.y, self.style, self.saved = 0, 0, PLAIN, (0, 0, PLAIN)
        self.top, self.bottom = 0, self.height
        self.charsets, self.shifted = [False, False], 0
        self.cells: list[list[Run]] = [self._blank() for _ in range(self.height)]

    def _blank(self) -> list[Run]:
        return [(" ", PLAIN)] * self.width

    def _write(self, text: str) -> None:
        if self.charsets[self.shifted]:
            text = text.translate(_LINES)
        while text:
            if self.x >= self.width:
                self.x = 0
                self._line_feed()
            part, text = text[: self.width - self.x], text[self.width - self.x :]
            self.cells[self.y][self.x : self.x + len(part)] = [(c, self.style) for c in part]
            self.x += len(part)

    def _line_feed(self) -> None:
        if self.y == self.bottom - 1:
            self._scroll(self.top, 1)
        else:
            self.y = min(self.y + 1, self.height - 1)

    def _scroll(self, top: int, lines: int) -> None:
        """Moves the lines from `top` to the margin up, or down if `lines` is negative."""
        region, count = self.cells[top : self.bottom], min(abs(lines), self.bottom - top)
        blank = [self._blank() for _ in range(count)]
        moved = region[count:] + blank if lines > 0 else blank + region[: len(region) - count]
        self.cells[top : self.bottom] = moved

    def _erase(self, first: int, last: int) -> None:
        self.cells[first:last] = [self._blank() for _ in range(first, last)]

    def _control(self, single: str, control: str) -> None:
        if control == "\r":
            self.x = 0
        elif control in ("\n", "\x0b", "\x0c") or single in ("D", "E"):
            self._line_feed()
            self.x = 0 if single == "E" else self.x
        elif control == "\b":
            self.x = max(0, min(self.x, self.width - 1) - 1)
        elif control == "\t":
            self.x = min(self.width - 1, (self.x // 8 + 1) * 8)
        elif control in ("\x0e", "\x0f"):
            self.shifted = int(control == "\x0e")
        elif single == "M":
            if self.y == self.top:
                self._scroll(self.top, -1)
            else:
                self.y = max(0, self.y - 1)
        elif single == "7":
            self.saved = self.x, self.y, self.style
        elif single == "8":
            self.x, self.y, self.style = self.saved
        elif single == "c":
            self._reset()

    def _sequence(self, final: str, numbers: list[int]) -> None:
        first = numbers[0]
        count = min(max(1, first), 1000)
        line = self.cells[self.y]
        x = min(self.x, self.width - 1)
        match final:
            case "H" | "f":
                self._move((numbers[1] if len(numbers) > 1 else 1) - 1, first - 1)
            case "A" | "B" | "C" | "D":
                step = {"A": (0, -1), "B": (0, 1), "C": (1, 0), "D": (-1, 0)}[final]
                self._move(x + step[0] * count, self.y + step[1] * count)
            case "E" | "F":
                self._move(0, self.y + (count if final == "E" else -count))
            case "G" | "`":
                self._move(first - 1, self.y)
            case "d":
                self._move(self.x, first - 1)
            case "J" if first < 3:  # 3 is the lines that have scrolled away
                if first in (0, 1):
                    self._sequence("K", [first])
                self._erase(0 if first else self.y + 1, self.y if first == 1 else self.height)
            case "K":
                start, stop = (x, self.width) if first == 0 else (0, x + 1) if first == 1 else (0, self.width)
                line[start:stop] = [(" ", PLAIN)] * (stop - start)
            case "P":
                line[x:] = (line[x + count :] + self._blank())[: self.width - x]
            case "@":
                line[x:] = (self._blank()[:count] + line[x:])[: self.width - x]
            case "X":
                line[x : x + count] = self._blank()[: len(line[x : x + count])]
            case "L" | "M" if self.top <= self.y < self.bottom:
                self._scroll(self.y, count if final == "M" else -count)
            case "S" | "T":
                self._scroll(self.top, count if final == "S" else -count)
            case "r":
                bottom = numbers[1] if len(numbers) > 1 and numbers[1] else self.height
                self.top, self.bottom = max(0, first - 1), min(bottom, self.height)
                if self.top >= self.bottom:
                    self.top, self.bottom = 0, self.height
                self._move(0, 0)
            case "s":
                self.saved = self.x, self.y, self.style
            case "u":
                self.x, self.y, self.style = self.saved
            case "m":
                self.style = _styled(self.style, numbers)

    def _move(self, x: int, y: int) -> None:
        self.x, self.y = min(max(0, x), self.width - 1), min(max(0, y), self.height - 1)


def _styled(style: Style, numbers: list[int]) -> Style:
    """A style after ``ESC [ numbers m``."""
    rest = iter(numbers)
    for n in rest:
        if n == 0:
            style = PLAIN
        elif n in (1, 22):
            style = style._replace(bold=n == 1)
        elif n in (4, 24):
            style = style._replace(underlined=n == 4)
        elif n in (7, 27):
            style = style._replace(inverse=n == 7)
        elif n in (38, 48):
            colour = _colour(next(rest, 0), rest)
            style = style._replace(ink=colour) if n == 38 else style._replace(ground=colour)
        elif 30 <= n <= 39 or 90 <= n <= 97:
            style = style._replace(ink=None if n == 39 else n - 30 if n < 40 else n - 82)
        elif 40 <= n <= 49 or 100 <= n <= 107:
            style = style._replace(ground=None if n == 49 else n - 40 if n < 50 else n - 92)
    return style


def _colour(kind: int, rest: Iterator[int]) -> int | str | None:
    """The colour that follows 38 or 48: 5 and one of 256, or 2 and red, green, blue."""
    numbers = [next(rest, 0) for _ in range({5: 1, 2: 3}.get(kind, 0))]
    if not numbers or not all(0 <= n <= 255 for n in numbers):
        return None
    if kind == 2:
        return "#" + "".join(f"{n:02x}" for n in numbers)
    n = numbers[0]
    if n < 16:
        return n
    levels = (0, 95, 135, 175, 215, 255)
    cube = n - 16
    shades = [8 + 10 * (n - 232)] * 3 if n > 231 else [levels[cube // 36], levels[cube // 6 % 6], levels[cube % 6]]
    return "#" + "".join(f"{shade:02x}" for shade in shades)
