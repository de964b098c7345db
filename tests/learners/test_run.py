"""Runs: repeated exactly, resumed, and asked for what cannot be."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from text_runs import config, rows

from guerdon.learners.checkpoint import load_newest
from guerdon.learners.play import Player
from guerdon.learners.run import RunError, open_run, train


def timeless(row):
    """A row without what depends on the clock: the annotator's queue, and durations."""
    return {k: v for k, v in row.items() if "second" not in k and not k.startswith(("time/", "labels/"))}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(config(), tmp_path_factory.mktemp("runs") / "finished")


def test_a_run_learns_from_labels_and_writes_down_what_it_did(finished):
    last = rows(finished)[-1]
    assert last["step"] == 2048
    assert last["labels/labelled"] > 20
    assert last["term/ONI/per_episode"] > 0 == rows(finished)[0]["term/ONI/per_episode"]  # nothing paid before labels
    assert last["stage/0.1*ONI/max"] == pytest.approx(0.1 * last["stage/ONI/max"])
    paid = json.loads((finished / "captions.json").read_text())
    assert all(("open" in row["caption"] or "goal" in row["caption"]) == (row["value"] == 1) for row in paid[:20])
    assert json.loads((finished / "done.json").read_text())["reason"] == "finished"
    assert list((finished / "tensorboard").iterdir())


def test_the_same_configuration_gives_the_same_run(finished, tmp_path):
    again = train(open_run(finished).config, tmp_path / "again")
    assert [timeless(r) for r in rows(again)] == [timeless(r) for r in rows(finished)]
    a, b = (load_newest(f / "checkpoints")[0]["learner"]["policy"] for f in (finished, again))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_reward_of_weight_zero_changes_nothing(tmp_path):
    """Captions read, labels asked for and paid with 0.0: bit for bit the run without them."""
    without = train(config(reward="Extrinsic()", judge=None), tmp_path / "without")
    weightless = train(config(reward="Extrinsic() + 0.0 * ONI()"), tmp_path / "weightless")
    a, b = (load_newest(f / "checkpoints")[0]["learner"]["policy"] for f in (without, weightless))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_goes_on_where_it_stopped(tmp_path):
    folder = train(config(steps=1024), tmp_path / "run")
    before = load_newest(folder / "checkpoints")[0]
    train(config(steps=2048), folder, resume=True)
    steps = [row["step"] for row in rows(folder)]
    assert steps == list(range(128, 2049, 128))  # each iteration once
    after = load_newest(folder / "checkpoints")[0]
    assert (
        after["learner"]["task"]["captions"]["texts"][: len(before["learner"]["task"]["captions"]["texts"])]
        == (before["learner"]["task"]["captions"]["texts"])
    )
    assert rows(folder)[8]["labels/labelled"] >= rows(folder)[7]["labels/labelled"]
    assert open_run(folder).config.steps == 2048
    train(config(steps=0), folder, resume=True)  # unless told otherwise, as far as the run was to go
    assert [row["step"] for row in rows(folder)] == steps


def test_a_folder_holds_one_run(finished, tmp_path):
    with pytest.raises(RunError, match="--resume"):
        train(config(), finished)
    with pytest.raises(RunError, match="is no run"):
        train(config(), tmp_path / "none", resume=True)
    with pytest.raises(RunError, match=str(finished.name)):
        open_run(finished.parent / "finishd")


def test_a_task_that_cannot_be_made_leaves_no_run_behind(tmp_path):
    with pytest.raises(ValueError, match="no task is called"):
        train(dataclasses.replace(config(), task="NoSuchTask"), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()
    train(dataclasses.replace(config(), steps=1), tmp_path / "run")


def test_a_damaged_configuration_is_named(finished, tmp_path):
    (tmp_path / "config.json").write_text((finished / "config.json").read_text()[:-40])
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        open_run(tmp_path)


def test_streams_get_heads_of_their_own(tmp_path):
    reward = "Extrinsic() + Stream(0.1 * ONI(), name='feedback', gamma=0.9, episodic=False)"
    folder = train(config(reward=reward, steps=512), tmp_path / "streams")
    policy = load_newest(folder / "checkpoints")[0]["learner"]["policy"]
    assert len(policy["critic.bias"]) == 2


@pytest.mark.parametrize(
    "learner", ["PPO(rollout=16, recurrent=True, minibatches=2)", "PPO(rollout=16, estimator='vtrace', epochs=2)"]
)
def test_other_learners_train_too(tmp_path, learner):
    folder = train(config(learner=learner, steps=512), tmp_path / "run")
    assert rows(folder)[-1]["ppo/kl"] < 0.2


def test_a_player_takes_as_many_episodes_of_each_game(finished):
    with Player(open_run(finished), envs=4) as player:
        played = list(player.episodes(8))
    assert len(played) == 8
    assert all({"return", "length", "term/ONI", "term/Extrinsic"} <= e.keys() for e in played)
    assert all(0 <= e["term/ONI"] <= 0.1 * 9 * 1.2021 for e in played)


def test_greedy_play_repeats(finished):
    def lengths():
        with Player(open_run(finished), envs=2, greedy=True) as player:
            return [e["length"] for e in player.episodes(4)]

    assert lengths() == lengths()


def test_recorded_rollouts_can_be_read(finished):
    paths = sorted((finished / "rollouts").glob("*.pt"))
    assert len(paths) == config().record
    state = torch.load(paths[0], weights_only=True)
    assert set(state["rollout"]["caption"].unique().tolist()) == set(state["ids"].tolist())


def test_a_configuration_says_everything(finished):
    stored = json.loads((finished / "config.json").read_text())
    assert {f.name for f in dataclasses.fields(config())} == stored.keys() - {"guerdon"}
