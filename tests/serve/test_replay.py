"""Recordings as frames for the page."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guerdon.serve import replay as module
from guerdon.serve.replay import replay
from guerdon.tasks.animation import save_animation

PICTURES = [np.full((6, 8, 3), 80 * i, np.uint8) for i in range(3)]


def colours(found: dict) -> list[int]:
    """The red of the first pixel of each frame."""
    data = [base64.b64decode(uri.removeprefix("data:image/png;base64,")) for uri in found["frames"]]
    return [Image.open(io.BytesIO(png)).convert("RGB").getpixel((0, 0))[0] for png in data]  # type: ignore[index]


def cast(path: Path, *events: object, header: object = None) -> Path:
    lines = [header or {"version": 2, "width": 10, "height": 3}, *events]
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_a_moving_picture_in_its_own_time(tmp_path, name):
    save_animation(tmp_path / name, PICTURES, fps=4)
    found = replay(tmp_path / name)
    assert found["kind"] == "pictures"
    assert found["times"] == pytest.approx([0, 0.25, 0.5])
    assert colours(found) == pytest.approx([0, 80, 160], abs=2)


def test_a_folder_of_pictures_and_arrays(tmp_path):
    for i, made in enumerate(PICTURES):
        Image.fromarray(made).save(tmp_path / f"{i:03d}.png")
    (tmp_path / "notes.txt").write_text("not shown")
    found = replay(tmp_path)
    assert colours(found) == [0, 80, 160]
    assert found["times"] == [0, 0.125, 0.25]
    np.savez(tmp_path / "a.npz", frames=np.stack(PICTURES), fps=2.0)
    assert colours(replay(tmp_path / "a.npz")) == [0, 80, 160]
    assert replay(tmp_path / "a.npz")["times"] == [0, 0.5, 1]
    np.savez(tmp_path / "grey.npz", frames=np.stack(PICTURES)[..., 0])
    assert colours(replay(tmp_path / "grey.npz")) == [0, 80, 160]


def test_a_cast_shows_the_screen_after_each_output(tmp_path):
    events = [
        [1.0, "o", "ab"],
        [1.5, "i", "typed"],
        [1.5, "o", "\r\n\x1b[1;31mc"],
        [1.505, "o", "d"],
        [2.5, "o", "\x1b[H!"],
    ]
    found = replay(cast(tmp_path / "a.cast", *events))
    assert (found["kind"], found["width"], found["height"]) == ("terminal", 10, 3)
    assert found["times"] == [0, 0.5, 1.5], "the recording begins with its first output; what is near is one frame"
    plain = [None, None, False, False, False]
    assert found["frames"] == [
        {0: [["ab", *plain]]},
        {1: [["cd", 1, None, True, False, False]]},
        {0: [["!", 1, None, True, False, False], ["b", *plain]]},
    ]


def test_a_cast_of_version_three_counts_time_from_event_to_event(tmp_path):
    header = {"version": 3, "term": {"cols": 5, "rows": 2}}
    found = replay(
        cast(tmp_path / "a.cast", "# a remark", [1.0, "o", "a"], [0.5, "o", "b"], [0.5, "o", "c"], header=header)
    )
    assert found["times"] == [0, 0.5, 1.0]
    assert (found["width"], found["height"]) == (5, 2)


def test_a_recording_that_was_cut_short_plays_as_far_as_it_goes(tmp_path):
    assert len(replay(cast(tmp_path / "a.cast", [0, "o", "a"], [1, "o", "b"], '[2, "o"'))["times"]) == 2


def test_nethack_s_own_arrays(tmp_path):
    chars = np.full((2, 24, 80), ord(" "), np.uint8)
    chars[0, 1, 2:4], chars[1, 1, 3:5] = ord("@"), ord("@")
    colours = np.zeros((2, 24, 80), np.int8)
    colours[0, 1, 2], colours[1, 1, 3:5] = 15, 3
    np.savez(tmp_path / "a.npz", tty_chars=chars, tty_colors=colours)
    found = replay(tmp_path / "a.npz")
    assert (found["width"], found["height"], found["times"]) == (80, 24, [0, 0.125])
    assert [run[:2] for run in found["frames"][0][1]] == [["  ", None], ["@", 15], ["@" + " " * 76, None]]
    assert list(found["frames"][1]) == [1], "only what differs is sent"


def test_long_recordings_are_thinned_with_both_ends_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_FRAMES", 3)
    found = replay(cast(tmp_path / "a.cast", *[[i, "o", f"\r{i}"] for i in range(9)]))
    assert found["times"] == [0, 4, 8]
    assert found["thinned"] == 9
    assert found["frames"][2][0][0][0] == "8"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.cast", b"", "no asciicast"),
        ("a.cast", b'{"version": 1}', "no asciicast"),
        ("a.cast", b'{"version": 2, "width": 1e9, "height": 24}', "no asciicast"),
        ("a.cast", b'{"version": 2, "width": 80, "height": 24}', "it shows nothing"),
        ("a.cast", b'{"version": 2, "width": 80, "height": 24}\n[0, "o"]\n[1, "o", "a"]', "line 2 is no event"),
        ("a.cast", b'{"version": 2, "width": 80, "height": 24}\n[NaN, "o", "a"]\n[1, "o", "a"]', "line 2 is no event"),
        ("a.gif", b"GIF89a", "no picture|cannot be played"),
        ("a.png", b"<svg onload=alert(1)>", "no picture"),
        ("a.npz", b"PK", "no npz file"),
        ("a.txt", b"hello", "is none of"),
    ],
)
def test_what_cannot_be_played_says_why(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        replay(tmp_path / name)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"pictures": np.zeros((1, 2, 2, 3), np.uint8)}, "neither frames"),
        ({"frames": np.zeros((1, 2, 2, 3))}, "uint8"),
        ({"frames": np.zeros((1, 2, 2, 4), np.uint8)}, "uint8"),
        ({"frames": np.zeros((0, 2, 2, 3), np.uint8)}, "uint8"),
        ({"frames": np.zeros((1, 2, 2), np.uint8), "fps": np.array(0)}, "fps"),
        ({"frames": np.array([{"a": 1}])}, "pickle"),
        ({"tty_chars": np.zeros((1, 24, 80), np.uint8), "tty_colors": np.zeros((2, 24, 80), np.int8)}, "tty_chars"),
    ],
)
def test_bad_arrays_are_named_and_nothing_in_them_is_run(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=said):
        replay(tmp_path / "a.npz")


def test_arrays_that_unpack_to_more_than_fits_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    np.savez_compressed(tmp_path / "a.npz", frames=np.zeros((10, 50, 50), np.uint8))
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        replay(tmp_path / "a.npz")
