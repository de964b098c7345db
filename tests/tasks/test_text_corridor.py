import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from guerdon import tasks
from guerdon.tasks.text_corridor import (
    BACK,
    BUMP,
    DIG,
    FORWARD,
    GOAL,
    GOLD,
    QUIET,
    TextCorridor,
    TextCorridorVector,
    item_name,
)


def action_for(task: TextCorridorVector, what: int) -> np.ndarray:
    """The action that does `what` in each game's room."""
    rooms = np.minimum(task.recv(0).obs["room"], task.rooms - 1)
    return (task.meaning[rooms] == what).argmax(1)


def walk(task: TextCorridorVector, what: int, times: int) -> list:
    steps = []
    for _ in range(times):
        task.send(0, action_for(task, what))
        steps.append(task.recv(0))
    return steps


def captions(task: TextCorridorVector, step) -> list[str]:
    return [task.captions.text(i) for i in step.caption]


def test_the_way_is_told_and_only_the_last_door_pays():
    task = TextCorridorVector(num_envs=3, rooms=4, steps=20)
    task.reset(seed=0)
    assert captions(task, task.recv(0)) == [QUIET] * 3
    steps = walk(task, FORWARD, 4)
    assert [captions(task, s)[0] for s in steps] == ["you open door 0", "you open door 1", "you open door 2", GOAL]
    assert [float(s.reward[0]) for s in steps] == [0, 0, 0, 1]
    assert steps[-1].terminated.all()
    assert steps[-1].finished[0] == {"return": 1, "length": 4, "success": 1, "depth": 4, "gold": 0}


def test_gold_is_in_the_first_room_only_and_counts_within_an_episode():
    task = TextCorridorVector(num_envs=2, rooms=5, steps=6)
    task.reset(seed=0)
    dug = walk(task, DIG, 3)
    assert [captions(task, s)[1] for s in dug] == [GOLD] * 3
    assert [int(s.caption_count[1]) for s in dug] == [1, 2, 3]
    walk(task, FORWARD, 1)
    assert GOLD not in captions(task, walk(task, DIG, 1)[0])
    last = walk(task, BACK, 1)[0]
    assert last.truncated.all()
    assert last.obs["room"].tolist() == [0, 0]
    assert last.finished[0]["gold"] == 3

    again = walk(task, DIG, 1)[0]  # the step that only resets: its action does nothing, and counts start afresh
    assert not again.valid.any()
    assert again.caption_count.tolist() == [1, 1]
    assert captions(task, again) == [QUIET] * 2
    assert walk(task, DIG, 1)[0].caption_count.tolist() == [1, 1]


def test_bumping_stays_and_walking_back_stops_at_the_first_room():
    task = TextCorridorVector(num_envs=1, rooms=5, steps=50)
    task.reset(seed=3)
    walk(task, FORWARD, 2)
    assert walk(task, BUMP, 1)[0].obs["room"] == 2
    assert [int(s.obs["room"][0]) for s in walk(task, BACK, 3)] == [1, 0, 0]


@pytest.mark.parametrize("options", [{}, {"open_ended": 0.3, "named_doors": True, "first_item": 5000}])
def test_batch_and_single_environment_show_the_same(options):
    rng = np.random.default_rng(0)
    batch = TextCorridorVector(num_envs=4, rooms=3, steps=15, layout=2, **options)
    singles = [gym.make("guerdon/TextCorridor-v0", rooms=3, steps=15, layout=2, **options) for _ in range(4)]
    batch.reset(seed=11)
    infos = [env.reset(seed=11 + i)[1] for i, env in enumerate(singles)]
    assert captions(batch, batch.recv(0)) == [info["caption"] for info in infos]
    over = [False] * 4
    ends = {"terminated": 0, "truncated": 0}
    for _ in range(200):
        actions = rng.integers(0, 4, 4)
        batch.send(0, actions)
        seen = batch.recv(0)
        for i, env in enumerate(singles):
            if over[i]:
                obs, info = env.reset()
                reward, terminated, truncated = 0.0, False, False
            else:
                obs, reward, terminated, truncated, info = env.step(int(actions[i]))
            assert seen.valid[i] == (not over[i])
            assert seen.obs["room"][i] == obs["room"]
            assert (seen.reward[i], seen.terminated[i], seen.truncated[i]) == (reward, terminated, truncated)
            assert captions(batch, seen)[i] == info["caption"]
            over[i] = terminated or truncated
            ends["terminated"] += terminated
            ends["truncated"] += truncated
    assert min(ends.values()) > 5


def test_captions_are_about_six_hundred_or_without_end():
    def distinct(**options) -> list[int]:
        task = TextCorridorVector(num_envs=64, **options)
        task.reset(seed=0)
        rng = np.random.default_rng(1)
        sizes = []
        for _ in range(400):
            task.send(0, rng.integers(0, 4, 64))
            sizes.append(len(task.captions))
        return sizes

    fixed, growing = distinct(), distinct(open_ended=0.1)
    assert 600 < fixed[-1] <= 600 + 30 + 3
    # a tenth of the neutral captions of the last 100 steps were new
    assert growing[-1] - growing[-101] == pytest.approx(0.1 * 0.7 * 6400, rel=0.2)


def test_names_do_not_overlap_between_vocabularies():
    def texts(first_item: int) -> set[str]:
        task = TextCorridorVector(num_envs=8, rooms=6, steps=200, items=10, first_item=first_item, named_doors=True)
        task.reset(seed=0)
        walk(task, FORWARD, 6)
        rng = np.random.default_rng(0)
        for _ in range(300):
            task.send(0, rng.integers(0, 4, 8))
        return {task.captions.text(i) for i in range(len(task.captions))}

    both = texts(0) & texts(1000)
    assert both == {"", QUIET, GOLD, GOAL}
    assert len({item_name(i) for i in range(20_000)}) == 20_000
    assert not any(word in item_name(i) for i in range(2000) for word in ("door", "gold", "goal"))


def test_a_resumed_task_keeps_its_captions_and_plays_other_games():
    def play(task: TextCorridorVector) -> list[list[str]]:
        task.reset(seed=5)
        return [captions(task, step) for step in walk(task, BUMP, 8)]

    task, resumed = (TextCorridorVector(num_envs=2, rooms=3, steps=10) for _ in range(2))
    first = play(task)
    assert play(task) == first
    resumed.load_state_dict(task.state_dict())
    assert play(resumed) != first
    known = len(task.captions)
    assert [resumed.captions.text(i) for i in range(known)] == [task.captions.text(i) for i in range(known)]


def test_it_is_a_task_by_name():
    task = tasks.make("TextCorridor", num_envs=3, rooms=4, canonicalise=lambda text: text.partition(" the ")[0], seed=1)
    rng = np.random.default_rng(0)
    for _ in range(200):
        task.send(0, rng.integers(0, 4, 3))
    texts = [task.captions.text(i) for i in range(len(task.captions))]
    assert "you bump into" in texts
    assert len(texts) == len(set(texts)) < 20  # names are gone
    assert task.recv(0).caption_count.min() >= 1


def test_gymnasium_accepts_it():
    check_env(gym.make("guerdon/TextCorridor-v0").unwrapped, skip_render_check=True)


def test_stepping_after_the_end_or_before_the_start_is_an_error():
    env = TextCorridor(rooms=2, steps=1)
    env.reset(seed=0)
    assert env.step(0)[3]
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)
    with pytest.raises(RuntimeError, match="reset"):
        TextCorridorVector(num_envs=1).recv(0)


@pytest.mark.parametrize("wrong", [{"rooms": 0}, {"open_ended": 1.5}, {"first_item": -1}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must be at least 1|share between|numbered from"):
        TextCorridorVector(**wrong)
