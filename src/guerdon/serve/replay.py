"""Recorded trajectories as frames for a page: pictures (GIF, WebP, PNG, a folder, npz) or a terminal's screens."""

from __future__ import annotations

import base64
import io
import json
import math
import zipfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from guerdon.parts.terminal_screen import PLAIN, Style, TerminalScreen
from guerdon.tasks.animation import KINDS

FPS = 8.0
"""Frames a second where a recording does not say: that of `guerdon watch`."""

MOST_FRAMES = 1500
"""Longer replays are thinned to so many frames."""

MOST_BYTES = 2**30
"""Of an npz file's arrays together."""

Frame = tuple[float, Any]
"""When it is shown (seconds) and what: a picture, or a screen's rows."""


def check_replay(path: Path) -> None:
    """Raises ValueError if `path` is not what `replay` reads; only looks at the beginning of a file."""
    if path.is_dir():
        if not any(_is_picture(child) for child in path.iterdir()):
            raise ValueError(f"the folder {path.name} holds no pictures ({', '.join(KINDS)})")
    elif not path.is_file():
        raise ValueError(f"there is no file {path.name}")
    elif _is_picture(path):
        _open(path).close()
    elif path.suffix == ".npz":
        _arrays(path)
    elif path.suffix == ".cast":
        with path.open(encoding="utf-8", errors="replace") as file:
            _header(file.readline(), path)
    else:
        raise ValueError(f"{path.name} is none of .cast, .npz, {', '.join(KINDS)} or a folder of pictures")


def replay(path: Path) -> dict[str, Any]:
    """What a page needs to play a recording.

    {"kind": "pictures", "times": [n seconds], "frames": [n data URIs]}, or {"kind": "terminal", "width", "height",
    "times", "frames": [n {row: [[text, ink, ground, bold, underlined, inverse], ...]}]}, where a frame holds the rows
    that differ from the frame before. "thinned" tells how many frames there were if not all are shown.

    Raises:
        ValueError: the recording cannot be read.
    """
    check_replay(path)
    try:
        if path.suffix == ".cast":
            return _screens(*_cast(path))
        if path.suffix == ".npz":
            arrays = _arrays(path)
            fps = float(arrays.get("fps", FPS))
            if "frames" not in arrays:
                _, height, width = arrays["tty_chars"].shape
                return _screens(width, height, _tty(arrays, fps))
            return _pictures([(i / fps, Image.fromarray(picture)) for i, picture in enumerate(arrays["frames"])])
        return _pictures(list(_moving(path)))
    except (OSError, ValueError, EOFError, SyntaxError) as error:  # PIL says of some damaged files that they are syntax
        raise ValueError(f"{path.name} cannot be played: {error}") from error


def _thinned(frames: Sequence[Frame]) -> tuple[list[Frame], dict[str, Any]]:
    """At most `MOST_FRAMES`, evenly, with the first and the last."""
    if len(frames) <= MOST_FRAMES:
        return list(frames), {}
    chosen = np.linspace(0, len(frames) - 1, MOST_FRAMES).round().astype(int)
    return [frames[i] for i in chosen], {"thinned": len(frames)}


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in KINDS and path.is_file()


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path, formats=tuple(KINDS.values()))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path.name} is no picture that can be read") from error


def _moving(path: Path) -> Iterator[Frame]:
    """The frames of one moving picture, or the pictures of a folder by name."""
    if path.is_dir():
        for i, child in enumerate(sorted(child for child in path.iterdir() if _is_picture(child))):
            with _open(child) as picture:
                yield i / FPS, picture.convert("RGB")
        return
    at = 0.0
    with _open(path) as moving:
        for frame in ImageSequence.Iterator(moving):
            yield at, frame.convert("RGB")
            at += frame.info.get("duration", 1000 / FPS) / 1000


def _pictures(frames: Sequence[Frame]) -> dict[str, Any]:
    frames, about = _thinned(frames)
    uris = []
    for _, picture in frames:
        held = io.BytesIO()
        picture.save(held, "PNG")
        uris.append("data:image/png;base64," + base64.b64encode(held.getvalue()).decode())
    return {"kind": "pictures", "times": _times(frames), "frames": uris, **about}


def _screens(width: int, height: int, frames: Sequence[Frame]) -> dict[str, Any]:
    frames, about = _thinned(frames)
    shown: list[Any] = [[] for _ in range(height)]
    changes = []
    for _, rows in frames:
        differ = {y: row for y, (row, before) in enumerate(zip(rows, shown, strict=True)) if row != before}
        changes.append({y: [[text, *style] for text, style in row] for y, row in differ.items()})
        shown = rows
    return {"kind": "terminal", "width": width, "height": height, "times": _times(frames), "frames": changes, **about}


def _times(frames: Sequence[Frame]) -> list[float]:
    start = frames[0][0] if frames else 0.0
    return [round(at - start, 3) for at, _ in frames]


def _header(line: str, path: Path) -> tuple[int, int, int]:
    """Version, width and height that an asciicast begins with."""
    try:
        header = json.loads(line)
        version = header["version"]
        size = header if version == 2 else header["term"]
        width, height = (size["width"], size["height"]) if version == 2 else (size["cols"], size["rows"])
        TerminalScreen(width, height)
        if version not in (2, 3):
            raise ValueError(version)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path.name} is no asciicast of version 2 or 3") from error
    return version, width, height


def _cast(path: Path) -> tuple[int, int, list[Frame]]:
    """The screens of an asciicast after each of its outputs; what follows within 1/50 s is one frame with it."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    version, width, height = _header(lines[0], path)
    screen, frames, at = TerminalScreen(width, height), list[Frame](), 0.0
    for number, line in enumerate(lines[1:], 2):
        if not line.strip() or (version == 3 and line.startswith("#")):
            continue
        try:
            when, kind, data = json.loads(line)
            at = at + float(when) if version == 3 else float(when)
            if not math.isfinite(at) or not isinstance(data, str):
                raise ValueError("no event")
        except (ValueError, TypeError, RecursionError) as error:
            if number == len(lines):  # cut short while it was recorded
                break
            raise ValueError(f"line {number} is no event") from error
        if kind == "o":
            screen.feed(data)
            if frames and at - frames[-1][0] < 0.02:
                frames[-1] = frames[-1][0], screen.rows()
            else:
                frames.append((at, screen.rows()))
    if not frames:
        raise ValueError("it shows nothing")
    return width, height, frames


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """What an npz file holds: frames [T, H, W, 3] or [T, H, W], or NetHack's tty_chars and tty_colors [T, 24, 80]."""
    try:
        with zipfile.ZipFile(path) as held:
            if sum(info.file_size for info in held.infolist()) > MOST_BYTES:
                raise ValueError(f"{path.name} holds more than {MOST_BYTES} bytes")
        with np.load(path, allow_pickle=False) as held:
            wanted = ("frames", "tty_chars", "tty_colors", "fps")
            arrays = {name: held[name] for name in wanted if name in held}
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise ValueError(f"{path.name} is no npz file that can be read: {error}") from error
    if not (arrays.get("fps", np.array(FPS)).shape == () and float(arrays.get("fps", FPS)) > 0):
        raise ValueError(f"{path.name}: fps is one positive number")
    if "frames" in arrays:
        shape, kind = arrays["frames"].shape, arrays["frames"].dtype
        if kind != np.uint8 or 0 in shape or not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)):
            raise ValueError(f"{path.name}: frames are uint8 [T, H, W, 3] or [T, H, W], not {kind} {list(shape)}")
    elif {"tty_chars", "tty_colors"} <= arrays.keys():
        shapes = [arrays[name].shape for name in ("tty_chars", "tty_colors")]
        if shapes[0] != shapes[1] or len(shapes[0]) != 3 or 0 in shapes[0]:
            raise ValueError(f"{path.name}: tty_chars and tty_colors are [T, rows, columns], not {shapes}")
    else:
        raise ValueError(f"{path.name} holds neither frames, nor tty_chars and tty_colors")
    return arrays


def _tty(arrays: dict[str, np.ndarray], fps: float) -> list[Frame]:
    """NetHack's own screens; bit 3 of a colour is brightness."""
    frames = []
    for i, (chars, colours) in enumerate(zip(arrays["tty_chars"], arrays["tty_colors"], strict=True)):
        rows = []
        for line, shades in zip(chars.tolist(), colours.tolist(), strict=True):
            cuts = [0, *(x for x in range(1, len(line)) if shades[x] != shades[x - 1]), len(line)]
            texts = ["".join(map(chr, line[a:b])) for a, b in pairwise(cuts)]
            rows.append([(text, _shade(shades[a])) for text, a in zip(texts, cuts, strict=False)])
        frames.append((i / fps, rows))
    return frames


def _shade(colour: int) -> Style:
    return PLAIN._replace(ink=colour & 15) if colour & 15 else PLAIN
