import pytest
import samples
import torch

from guerdon.parts.episodes import RunningEpisodes, restart
from guerdon.rewards.intrinsic import PseudoCount


def test_the_reset_observation_is_a_visit_and_begins_an_episode():
    visits = RunningEpisodes(4, "X").visits(samples.rollout(steps=6))  # column 0 ends at step 2, column 1 at 3
    assert visits.there.all()
    assert visits.episode[:, 0].tolist() == [1, 1, 1, 1, 2, 2, 2]  # obs[4] is what the invalid step 3 showed
    assert visits.ordinal[:, 0].tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert visits.episode[:, 1].tolist() == [1, 1, 1, 1, 1, 2, 2]
    assert visits.episode[:, 2].tolist() == [1] * 7


def test_an_observation_that_two_rollouts_share_is_one_visit():
    episodes = RunningEpisodes(4, "X")
    episodes.advance(samples.rollout())
    visits = episodes.visits(samples.rollout(steps=3))
    assert not visits.there[0].any()
    assert (visits.episode[:, 2] == 0).all(), "the running episode goes on"
    assert visits.ordinal[:, 2].tolist() == [0, 0, 1, 2]


def test_an_end_at_a_rollouts_end_begins_an_episode_in_the_next():
    episodes, rollout = RunningEpisodes(1, "X"), samples.rollout(steps=3, num_envs=1)
    assert rollout.terminated[-1]
    episodes.advance(rollout)
    following = samples.rollout(steps=2, num_envs=1)
    following.valid[0] = False  # the step that only resets
    visits = episodes.visits(following)
    assert visits.there[:, 0].tolist() == [False, True, True]
    assert visits.episode[:, 0].tolist() == [0, 1, 1]
    assert visits.ordinal[:, 0].tolist()[1:] == [0, 1]


def test_a_first_step_after_an_end_brings_its_own_first_observation():
    """As single steps of a task that resets by itself within the step."""
    episodes = RunningEpisodes(1, "X")
    episodes.advance(samples.rollout(steps=3, num_envs=1))
    visits = episodes.visits(samples.rollout(steps=1, num_envs=1))
    assert visits.there[:, 0].tolist() == [True, True]
    assert visits.episode[:, 0].tolist() == [1, 1]


def test_padding_is_no_visit():
    episodes = RunningEpisodes(4, "X")
    episodes.advance(samples.rollout(steps=2))
    padded = samples.padded(samples.rollout(steps=2), columns=0)
    visits = episodes.visits(padded)
    assert visits.there[:, 2].tolist() == [False, True, True, False, False]


def test_no_steps_show_nothing_new():
    episodes = RunningEpisodes(4, "X")
    visits = episodes.visits(samples.rollout(steps=0))
    assert visits.there.shape == (1, 4)
    assert not visits.there.any()
    episodes.advance(samples.rollout(steps=0))
    assert episodes.ended.all(), "whoever moves next shows a first observation"


def test_another_number_of_environments_is_refused():
    with pytest.raises(ValueError, match="X remembers the episodes of 3 environments, and got 4 columns"):
        RunningEpisodes(3, "X").visits(samples.rollout())


def test_after_a_restart_the_same_games_are_new_episodes():
    reward = PseudoCount(episodic=True)
    reward.build(samples.spec())
    rollout = samples.rollout(steps=3)  # environment 2 goes on
    fresh = reward.score(rollout)
    reward.observe(rollout)
    assert not torch.equal(reward.score(rollout), fresh), "or this test shows nothing"
    restart(reward)
    assert torch.equal(reward.score(rollout), fresh)
