"""Games of a process share the code of NetHack's library, and nothing else of it."""

import numpy as np
import pytest

pytest.importorskip("nle", reason="needs the extra nethack")

from guerdon import tasks
from guerdon.tasks.nethack import library

pytestmark = pytest.mark.skipif(not library._SUPPORTED, reason="code is shared on 64-bit Linux only")


def loaded(kind):
    """Of every loaded copy of NetHack, the file behind its segments of this kind: {address: inode}."""
    with open("/proc/self/maps") as maps:
        lines = [line.split() for line in maps if "nle.so" in line]
    return {line[0]: line[4] for line in lines if line[1] == kind}


def started(seed):
    game = tasks.game("NetHackScore")
    game.bind({key: np.zeros(space.shape, space.dtype) for key, space in game.observation_space.spaces.items()})
    game.reset(seed)
    return game


def test_code_is_shared_and_data_is_not():
    before = len(loaded("r-xp"))
    games = [started(seed) for seed in range(3)]
    for _ in range(2):
        code, data = loaded("r-xp"), loaded("rw-p")
        assert len(code) == before + 3
        assert len(list(code.values())) - len(set(code.values())) >= 2  # one inode under all of ours
        assert len(set(data.values())) >= 3
        for game in games:  # a reset loads the library anew
            game.reset(9)
    for game in games:
        game.close()


def test_games_side_by_side_play_as_they_do_alone():
    generator = np.random.default_rng(0)
    actions = generator.integers(0, 23, (3, 200)).tolist()
    alone = []
    for seed in range(3):
        game = started(seed)
        alone.append([(*game.step(a), game.message()) if not game.done() else None for a in actions[seed]])
        game.close()
    games, together = [started(seed) for seed in range(3)], [[], [], []]
    for t in range(200):
        for seed, game in enumerate(games):
            together[seed].append((*game.step(actions[seed][t]), game.message()) if not game.done() else None)
    assert together == alone
    for game in games:
        game.close()


def test_another_library_is_not_mistaken_for_it(tmp_path):
    game = started(0)
    other = tmp_path / "other.so"
    other.write_bytes(b"something else")
    assert not library.adopt(str(other))
    assert library.adopt(game._nle.dlpath)
    game.close()
