"""Pictures of an episode as one moving picture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

KINDS = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}
"""What a file's name may end in; the last is an animated PNG."""


def check_animation(path: str | Path) -> str:
    """The format of an animation called `path`. Raises ValueError if it is none we can write."""
    kind = KINDS.get(Path(path).suffix.lower())
    if kind is None:
        raise ValueError(f"an animation ends in {', '.join(KINDS)}, not as {Path(path).name!r} does")
    return kind


def save_animation(path: str | Path, pictures: Iterable[np.ndarray], *, fps: float = 10.0) -> int:
    """Writes `pictures` (uint8 [H, W, 3], as `render` and `picture` draw them) to `path`; returns how many they were.

    >>> env = gymnasium.make("guerdon/AGV-C-static-v0", render_mode="rgb_array")
    >>> save_animation("episode.gif", pictures)  # [env.render(), ...]

    The last picture stays for a second. A GIF has 256 colours and times in hundredths of a second.

    Raises:
        ValueError: no pictures, an ending that is none of `KINDS`, a rate that is not positive.
    """
    kind, frames = check_animation(path), [Image.fromarray(picture) for picture in pictures]
    if not frames:
        raise ValueError("an animation needs at least one picture")
    if fps <= 0:
        raise ValueError(f"fps must be positive, not {fps}")
    times = [round(1000 / fps)] * (len(frames) - 1) + [1000]
    rest = {"save_all": True, "append_images": frames[1:], "duration": times, "loop": 0} if len(frames) > 1 else {}
    frames[0].save(path, format=kind, **rest)
    return len(frames)
