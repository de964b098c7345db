"""The worker pool: seeds, autoreset, captions, resuming, failures."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from toy_game import Toy, Wide, fewer_numbers

from guerdon.tasks.vector import Workers


def play(task, *, seed=0, steps=30, actions=None):
    """Steps all groups; returns arrays over [steps + 1, num_envs] and the finished episodes."""
    generator = np.random.default_rng(1)
    task.reset(seed=seed)
    rows, finished = [], []
    for t in range(steps + 1):
        shown = [task.recv(g) for g in range(task.groups)]
        row = {f"obs/{k}": np.concatenate([s.obs[k] for s in shown]) for k in shown[0].obs}
        for name in ("reward", "terminated", "truncated", "valid", "caption", "caption_count"):
            if getattr(shown[0], name) is not None:
                row[name] = np.concatenate([getattr(s, name) for s in shown])
        rows.append(row)
        finished += [e for s in shown for e in s.finished]
        if t < steps:
            chosen = generator.integers(0, 10, task.num_envs) if actions is None else actions
            for g, part in enumerate(np.split(chosen, task.groups)):
                task.send(g, part)
    return {name: np.stack([r[name] for r in rows]) for name in rows[0]}, finished


def texts(task, ids):
    return [[task.captions.text(i) for i in row] for row in ids.tolist()]


SHAPES = [(0, 1), (0, 2), (1, 2), (2, 2), (3, 1), (2, 4)]


def test_same_games_whatever_the_workers_and_groups():
    seen = []
    for workers, groups in SHAPES:
        with Workers(Toy, num_envs=12, workers=workers, groups=groups) as task:
            shown, finished = play(task)
            shown["text"] = np.array(texts(task, shown.pop("caption")))
            seen.append((shown, sorted(map(str, finished))))
    for shown, finished in seen[1:]:
        assert finished == seen[0][1]
        for name, array in shown.items():
            np.testing.assert_array_equal(array, seen[0][0][name], err_msg=name)
    assert len(np.unique(seen[0][0]["obs/seed"])) > 12 * 4  # no two episodes alike


def test_same_seed_same_games_other_seed_other_games():
    with Workers(Toy, num_envs=4, workers=2) as task:
        first, again, other = (play(task, seed=s)[0]["obs/seed"] for s in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.isin(other, first).any()


@pytest.mark.parametrize("workers", [0, 2])
def test_next_step_autoreset(workers):
    with Workers(Toy, num_envs=6, workers=workers) as task:
        shown, finished = play(task, steps=40)
    over = shown["terminated"] | shown["truncated"]
    assert over.any()
    assert not (shown["terminated"] & shown["truncated"]).any()
    np.testing.assert_array_equal(shown["valid"][1:], ~over[:-1])
    assert shown["valid"][0].all()
    assert (shown["reward"][~shown["valid"]] == 0).all()
    assert (shown["obs/time"][~shown["valid"]] == 0).all()
    assert (np.diff(shown["obs/seed"], axis=0) != 0).tolist() == (~shown["valid"][1:]).tolist()
    assert len(finished) == over.sum()
    ends = {(e["return"], e["length"]) for e in finished}
    for game in range(6):
        t = int(np.argmax(over[:, game]))
        assert (shown["reward"][1 : t + 1, game].sum(), t) in ends
        assert t == shown["obs/seed"][0, game] % 5 + 2


@pytest.mark.parametrize("canonicalise", [None, fewer_numbers])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_captions_and_counts_against_a_plain_reckoning(workers, canonicalise):
    with Workers(Toy, num_envs=6, workers=workers, canonicalise=canonicalise) as task:
        shown, _ = play(task, steps=60)
        said = texts(task, shown["caption"])
    toy = Toy()
    for game in range(6):
        counts = {}
        for t in range(61):
            if t == 0 or not shown["valid"][t, game]:
                counts = {}
            toy.seed, toy.time = int(shown["obs/seed"][t, game]), int(shown["obs/time"][t, game, 0])
            text = (toy.message() or b"").decode()
            text = canonicalise(text) if canonicalise else text
            counts[text] = counts.get(text, 0) + 1
            assert said[t][game] == text
            assert shown["caption_count"][t, game] == counts[text]
    assert shown["caption_count"].max() > 1
    assert task.captions.text(0) == ""
    assert len(task.captions) == len({text for row in said for text in row} | {""})


@pytest.mark.parametrize("workers", [0, 2])
def test_without_captions_nothing_is_read(workers):
    with Workers(functools.partial(Toy, talk=False), num_envs=4, workers=workers, captions=False) as task:
        shown, _ = play(task)
        assert "caption" not in shown
        assert task.captions is None


def test_resumed_run_has_new_games_and_the_old_captions():
    with Workers(Toy, num_envs=4, workers=1) as task:
        before = play(task)[0]["obs/seed"]
        state, known = task.state_dict(), task.captions.state_dict()["texts"]
    for warm in (False, True):
        with Workers(Toy, num_envs=4, workers=1) as task:
            if warm:  # its worker has told captions already, in another order
                play(task, seed=77, steps=3)
            task.load_state_dict(state)
            assert task.captions.state_dict()["texts"][: len(known)] == known
            after, _ = play(task)
            assert not np.isin(after["obs/seed"], before).any()
            toy = Toy()
            toy.seed, toy.time = int(after["obs/seed"][5, 2]), int(after["obs/time"][5, 2, 0])
            assert texts(task, after["caption"])[5][2] == (toy.message() or b"").decode()
            again = task.state_dict()
    with Workers(Toy, num_envs=4, workers=0) as task:
        task.load_state_dict(again)
        third = play(task)[0]["obs/seed"]
        assert not np.isin(third, before).any()
        assert not np.isin(third, after["obs/seed"]).any()


def test_groups_step_on_their_own():
    with Workers(Toy, num_envs=4, workers=1) as task:
        task.reset(seed=0)
        for g in (1, 0):
            task.recv(g)
        for _ in range(3):
            task.send(0, np.ones(2, np.int64))
            assert (task.recv(0).obs["time"] > 0).all()
        task.send(1, np.ones(2, np.int64))
        task.send(0, np.ones(2, np.int64))
        assert (task.recv(1).obs["time"] == 1).all()
        assert task.recv(0).obs["time"].shape == (2, 2)


def test_actions_of_several_numbers():
    with Workers(Wide, num_envs=4, workers=2) as task:
        actions = np.array([[0.5, -0.25]] * 4, np.float32)
        shown, _ = play(task, steps=1, actions=actions)
        np.testing.assert_allclose(shown["reward"][1], 0.75)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"num_envs": 5, "workers": 0}, "multiple of groups"),
        ({"num_envs": 0, "workers": 0}, "multiple of groups"),
        ({"num_envs": 4, "workers": 3}, "workers must be 0 to 2"),
    ],
)
def test_numbers_that_do_not_divide(numbers, said):
    with pytest.raises(ValueError, match=said):
        Workers(Toy, **numbers)


def test_misuse_is_said():
    with Workers(Toy, num_envs=4, workers=0) as task:
        with pytest.raises(RuntimeError, match="reset"):
            task.send(0, np.zeros(2, np.int64))
        task.reset(seed=0)
        with pytest.raises(RuntimeError, match="recv"):
            task.send(0, np.zeros(2, np.int64))
        task.recv(0)
        with pytest.raises(RuntimeError, match="nothing was sent"):
            task.recv(0)
        with pytest.raises(ValueError, match=r"shape \[2\], got \[1\]"):
            task.send(0, np.zeros(1, np.int64))
        with pytest.raises(TypeError):
            task.send(0, np.array([0.5, 0.5]))


def test_a_worker_that_fails_tells_why_and_all_end():
    task = Workers(functools.partial(Toy, fail_at=5), num_envs=8, workers=2)
    with pytest.raises(
        RuntimeError, match=r"worker 0 \(process \d+, games 0 to 1 of each group\) failed:[\s\S]*toy broke"
    ):
        play(task)
    assert all(process.poll() is not None for process, _ in task._team)


def test_a_worker_that_is_killed_is_named():
    task = Workers(functools.partial(Toy, die_at=5), num_envs=8, workers=2)
    with pytest.raises(RuntimeError, match=r"worker 0 \(process \d+, .*\) died: killed by signal 9"):
        play(task)
    assert all(process.poll() is not None for process, _ in task._team)


def test_a_game_that_cannot_be_made():
    with pytest.raises(TypeError, match="unexpected keyword"):
        Workers(functools.partial(Toy, no_such_option=1), num_envs=2, workers=1)


def test_close_ends_the_workers_and_their_games():
    task = Workers(Toy, num_envs=4, workers=2)
    task.reset(seed=0)
    processes = [process for process, _ in task._team]
    task.close()
    assert [process.poll() for process in processes] == [0, 0]
    inside = Workers(Toy, num_envs=2, workers=0)
    games = [game for lane in inside._lanes for game in lane.games]
    inside.close()
    assert all(game.closed for game in games)


PARENT = """
import os, signal
import numpy as np
from toy_game import Toy
from guerdon.tasks.vector import Workers

signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background of a shell inherit it ignored
task = Workers(Toy, num_envs=4, workers=2)
task.reset(seed=0)
[task.recv(g) for g in (0, 1)]
signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the bystander, from its first moment
bystander = os.fork()  # holds the sockets open when the parent is gone
if not bystander:
    os.closerange(0, 3)
    signal.pause()
signal.signal(signal.SIGINT, signal.default_int_handler)
print(bystander, *(process.pid for process, _ in task._team), flush=True)
while True:
    for g in (0, 1):
        task.send(g, np.zeros(2, np.int64))
        task.recv(g)
    print(".", flush=True)
"""


def wait_until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)  # between looks; the deadline decides


def running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


@pytest.fixture
def parent():
    path = os.pathsep.join([*sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    bystander, *pids = [int(word) for word in process.stdout.readline().split()]
    yield process, pids
    process.kill()
    process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.kill(bystander, signal.SIGKILL)


def test_workers_end_with_a_parent_that_is_killed(parent):
    process, pids = parent
    assert len(pids) == 2
    assert all(map(running, pids))
    process.stdout.readline()
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(running, pids)))


def test_ctrl_c_reaches_the_parent_alone(parent):
    process, pids = parent
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)  # what a terminal sends to everybody in the foreground
    _, errors = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert errors.count("Traceback") == 1, errors  # no worker complained
    wait_until(lambda: not any(map(running, pids)))
