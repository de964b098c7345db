import numpy as np
import pytest
from PIL import Image

from guerdon.tasks.animation import save_animation

PICTURES = [np.full((6, 8, 3), 60 * i, np.uint8) for i in range(4)]


@pytest.mark.parametrize("ending", [".gif", ".webp", ".PNG"])
def test_pictures_come_back_in_order_and_in_time(tmp_path, ending):
    path = tmp_path / f"episode{ending}"
    assert save_animation(path, iter(PICTURES), fps=5) == 4
    with Image.open(path) as film:
        assert film.n_frames == 4
        for i in range(4):
            film.seek(i)
            film.load()
            np.testing.assert_allclose(np.asarray(film.convert("RGB"))[0, 0], 60 * i, atol=2)
            assert film.info["duration"] == (1000 if i == 3 else 200)


def test_one_picture_is_a_film_too(tmp_path):
    assert save_animation(tmp_path / "still.gif", PICTURES[:1]) == 1
    with Image.open(tmp_path / "still.gif") as film:
        assert film.n_frames == 1


@pytest.mark.parametrize(
    ("name", "pictures", "fps", "said"),
    [
        ("film.mp4", PICTURES, 10, r"ends in \.gif, \.webp, \.png, not as 'film.mp4'"),
        ("film.gif", [], 10, "at least one picture"),
        ("film.gif", PICTURES, 0, "fps must be positive"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, pictures, fps, said):
    with pytest.raises(ValueError, match=said):
        save_animation(tmp_path / name, pictures, fps=fps)
    assert not (tmp_path / name).exists()
