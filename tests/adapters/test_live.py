"""What is paid step by step is what a learner of ours would have paid for the same rollouts."""

from __future__ import annotations

import numpy as np
import pytest
import samples
import torch
from adapters.control_rewards import Move, Novelty
from gymnasium import spaces
from tensordict import TensorDict

from guerdon.adapters.live import LiveReward
from guerdon.rewards.intrinsic import RND, PseudoCount
from guerdon.rewards.shaping import CountGate, Extrinsic, Normalise
from guerdon.types import Reward, Rollout, Spec, Stream

BOX = spaces.Box(-np.inf, np.inf, (3,), np.float32)
REWARDS = {
    "plain": lambda: Extrinsic() + 0.5 * Move(),
    "normalised": lambda: 0.1 * Extrinsic() + Normalise(Move(), episodic=False),
    "moments": lambda: Normalise(Move(), by="moments"),
    "episodic": lambda: Extrinsic() + Novelty(),
    "normalised episodic": lambda: Normalise(Novelty()) + 0.1 * Move(),
    "learned": lambda: Normalise(RND(hidden=(8,), features=4, fraction=1.0)),
    "unscored": lambda: Normalise(Extrinsic()) + Move(),
}


def live(reward: Reward | str, num_envs: int = 4, **options) -> LiveReward:
    return LiveReward(
        reward, observation_space=BOX, action_space=spaces.Discrete(4), num_envs=num_envs, **options
    )  # fmt: skip


def built(reward: Reward, num_envs: int = 4) -> Reward:
    """As `live` builds it."""
    spec = Spec(spaces.Dict({"obs": BOX}), spaces.Discrete(4), num_envs=num_envs)
    reward.build(spec, generator=torch.Generator().manual_seed(0))
    return reward


def as_learned(reward: Reward, rollouts: list[Rollout]) -> list[torch.Tensor]:
    """What our learner's order of things pays: score, observe, update."""
    paid = []
    for rollout in rollouts:
        with torch.no_grad():
            paid.append(reward.evaluate(rollout).value)
        reward.observe(rollout)
        reward.update(rollout)
    return paid


def rollouts(name: str) -> list[Rollout]:
    """Three in a row: the first observation of each is the last of the one before; ends at every kind of place."""
    whole = samples.rollout(steps=24, seed=3)
    for step, column in ((2, 0), (7, 1), (7, 2), (9, 2), (15, 3), (20, 0)):
        flag = whole.terminated if step % 2 else whole.truncated
        flag[step, column] = True
        whole.valid[step + 1, column] = False
    whole.extrinsic.masked_fill_(~whole.valid, 0.0)
    if name == "unscored":
        whole.extrinsic[5, 2] = torch.nan
    names = ("action", "extrinsic", "terminated", "truncated", "valid")
    return [
        Rollout(obs=whole.obs[at : at + 9], **{k: getattr(whole, k)[at : at + 8] for k in names}) for at in (0, 8, 16)
    ]


@pytest.mark.parametrize("name", REWARDS)
def test_next_step_pays_what_whole_rollouts_are_paid(name: str):
    told, expected = live(REWARDS[name]()), rollouts(name)
    told.reset(expected[0].obs["obs"][0])
    paid = []
    for rollout in expected:
        for t in range(8):
            r = rollout
            flags = (r.terminated[t], r.truncated[t])
            step = told.step(r.action[t], r.obs["obs"][t + 1], r.extrinsic[t], *flags, valid=r.valid[t])
            paid.append(step.total)
            terms = np.nansum(list(step.terms.values()), 0)
            np.testing.assert_allclose(step.total, terms, atol=1e-6, err_msg="the terms sum up to what is paid")
            assert (step.total[~r.valid[t].numpy()] == 0).all()
        told.finish()
    direct = torch.cat(as_learned(built(REWARDS[name]()), expected)).nan_to_num()
    np.testing.assert_allclose(np.stack(paid), direct.numpy(), atol=1e-6)


@pytest.mark.parametrize("name", REWARDS)
def test_resets_within_the_step_pay_the_same(name: str):
    """Columns of real steps alone, told with `reset(obs, mask)`, against ragged rollouts padded at their ends."""
    told, steps, count = live(REWARDS[name]()), 6, 4
    generator = np.random.default_rng(1)
    now = generator.normal(size=(count, 3)).astype(np.float32)
    told.reset(now)
    direct = built(REWARDS[name]())
    for _ in range(3):
        columns: list[list[tuple]] = [[(now[b],)] for b in range(count)]
        paid = np.zeros((steps, count), np.float32)
        places = np.zeros((steps, count), int)
        for t in range(steps):
            action = generator.integers(4, size=count)
            after = generator.normal(size=(count, 3)).astype(np.float32)
            extrinsic = generator.normal(size=count).astype(np.float32)
            if name == "unscored" and t == 1:
                extrinsic[2] = np.nan
            ended, cut = generator.random(count) < 0.2, generator.random(count) < 0.1
            paid[t] = told.step(action, after, extrinsic, ended, cut).total
            over = ended | cut
            again = generator.normal(size=(count, 3)).astype(np.float32)
            told.reset(np.where(over[:, None], again, np.nan), over)
            for b in range(count):
                places[t, b] = len(columns[b]) - 1
                columns[b].append((after[b], action[b], extrinsic[b], ended[b], cut[b], True))
                if over[b]:
                    columns[b].append((again[b], 0, 0.0, False, False, False))
            now = np.where(over[:, None], again, after)
        told.finish()
        length = max(map(len, columns)) - 1
        for column in columns:
            column.extend([(column[-1][0], 0, 0.0, False, False, False)] * (length + 1 - len(column)))
        obs = torch.tensor(np.stack([[c[t][0] for c in columns] for t in range(length + 1)]))
        kinds = zip(("action", "extrinsic", "terminated", "truncated", "valid"), (int, np.float32, bool, bool, bool))  # noqa: B905
        fields = {
            k: torch.tensor(np.array([[c[t][i] for c in columns] for t in range(1, length + 1)], dtype=kind))
            for i, (k, kind) in enumerate(kinds, 1)
        }
        rollout = Rollout(obs=TensorDict({"obs": obs}, [length + 1, count]), **fields)
        expected = as_learned(direct, [rollout])[0].nan_to_num().numpy()
        np.testing.assert_allclose(paid, np.take_along_axis(expected, places, 0), atol=1e-6)


def test_the_window_is_next_step_with_a_step_in_which_nobody_acted():
    told = live(Extrinsic(), 2)
    told.reset(np.zeros((2, 3)))
    told.step([1, 2], np.full((2, 3), 1.0), [0.5, 0.7], [True, False], [False, False])
    told.reset(np.full((2, 3), 2.0), [True, False])
    told.step([3, 3], np.full((2, 3), 3.0), [1.0, 1.0], [False, False], [False, True])
    made = told.window()
    assert made.obs["obs"][:, :, 0].tolist() == [[0, 0], [1, 1], [2, 1], [3, 3]]
    assert made.valid.tolist() == [[True, True], [False, False], [True, True]]
    assert made.action.tolist() == [[1, 2], [0, 0], [3, 3]]
    assert made.terminated.tolist() == [[True, False], [False, False], [False, False]]
    assert made.truncated.tolist() == [[False, False], [False, False], [False, True]]
    assert told.steps == 2


def test_an_episode_cut_short_by_a_reset_counts_as_truncated():
    told = live(Novelty(), 1)
    told.reset(np.zeros((1, 3)))
    assert told.step([0], np.ones((1, 3)), [0.0], [False], [False]).total == [1.0]
    assert told.step([0], np.ones((1, 3)), [0.0], [False], [False]).total == [0.5]
    told.finish()
    told.reset(np.zeros((1, 3)))
    assert told.step([0], np.ones((1, 3)), [0.0], [False], [False]).total == [1.0], "a new episode remembers nothing"
    made = told.window()
    assert made.truncated.tolist() == [[True], [False], [False]], "an end as NEXT_STEP has it, a reset, and the step"
    assert made.valid.tolist() == [[False], [False], [True]]
    assert made.obs["obs"][:, 0, 0].tolist() == [1, 1, 0, 1]


def test_finish_tells_raw_normalised_and_weighted_values_apart():
    told = live(0.5 * Normalise(Extrinsic()) + Move(), 2)
    for rollout in range(2):
        if rollout == 0:
            told.reset(np.zeros((2, 3)))
        told.step([0, 0], np.zeros((2, 3)), [3.0, 5.0], [False, False], [False, False])
        spread = float((told.reward.parts[0].parts[0].moments.var + 1e-8).sqrt())
        logs = told.finish()
        assert logs["extrinsic/mean"] == 4.0
        assert logs["stage/Normalise(Extrinsic)/in/mean"] == 4.0
        assert logs["stage/Normalise(Extrinsic)/out/mean"] == pytest.approx(4.0 / spread)
        assert logs["term/Normalise(Extrinsic)/mean"] == pytest.approx(2.0 / spread)
        assert logs["total/mean"] == pytest.approx(2.0 / spread + logs["term/Move/mean"])
        assert logs["Move/scale"] == pytest.approx(float(told.reward.parts[1].scale))
    assert spread != pytest.approx(1.0)
    assert told.finish() == {}, "there was no step"


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_learns_the_same_wherever_environments_are_stepped(mode):
    told = [live(Normalise(RND(hidden=(8,), fraction=1.0))) for _ in range(2)]
    logs = []
    for one, context in zip(told, (mode, torch.enable_grad), strict=True):
        with context():
            one.reset(np.zeros((4, 3)))
            one.step(**STEP)
            logs.append(one.finish())
    assert logs[0] == pytest.approx(logs[1])
    assert told[0].step(**STEP).total == pytest.approx(told[1].step(**STEP).total)


def test_unscored_steps_pay_nothing_and_are_counted():
    told = live(Extrinsic(), 2)
    told.reset(np.zeros((2, 3)))
    paid = told.step([0, 0], np.zeros((2, 3)), [np.nan, 5.0], [False, False], [False, False])
    assert paid.total.tolist() == [0.0, 5.0]
    assert np.isnan(paid.info()["reward/Extrinsic"]).tolist() == [True, False]
    logs = told.finish()
    assert logs["term/Extrinsic/unscored"] == 1.0
    assert logs["total/mean"] == 5.0


def test_replayed_steps_are_worth_what_the_reward_says_now():
    told = live(Normalise(Move()) + Extrinsic(), 2)
    told.reset(np.zeros((2, 3)))
    after = np.arange(6.0).reshape(2, 3)
    first = told.step([1, 2], after, [0.5, 0.7], [False, False], [False, False]).total
    told.reset(after, [False, False])
    again = told.again(np.zeros((2, 3)), [[1], [2]], [[0.5], [0.7]], [False] * 2, [False] * 2, after)
    np.testing.assert_allclose(again, first, atol=1e-6)
    told.finish()
    later = told.again(np.zeros((5, 3)), [1] * 5, [0.5] * 5, [False] * 5, [False] * 5, np.tile(after[0], (5, 1)))
    assert later.shape == (5,)
    assert abs(later[0] - first[0]) > 1e-3
    assert not live(Stream(Novelty(), episodic=False)).replayable
    assert not live(PseudoCount(episodic=True)).replayable
    assert live(Normalise(PseudoCount(), episodic=True)).replayable, "that is about its returns"
    with pytest.raises(ValueError, match="Novelty looks at a step in its place"):
        live(Novelty()).again(*[np.zeros((1, 3))] * 6)


def test_captions_are_counted_within_episodes():
    told = live(CountGate(Extrinsic(), power=1.0), 2)
    told.reset(np.zeros((2, 3)), captions=["hello", None])
    still = (np.zeros((2, 3)), [1.0, 1.0], [False, False], [False, False])
    assert told.step([0, 0], *still, captions=["hello", "a"]).total.tolist() == [0.5, 1.0]
    assert told.step([0, 0], *still[:2], [True, False], [False] * 2, captions=["b", "a"]).total.tolist() == [1.0, 0.5]
    told.reset(np.zeros((2, 3)), [True, False], captions=["hello", "not heard"])
    assert told.step([0, 0], *still, captions=["hello", "a"]).total.tolist() == pytest.approx([0.5, 1 / 3])
    assert told.window().caption_count.tolist() == [[1, 1], [2, 1], [1, 2], [1, 2], [2, 3]]
    again = live(CountGate(Extrinsic()), 2)
    again.load_state_dict(told.state_dict())
    assert again.captions.text(2) == told.captions.text(2)
    with pytest.raises(ValueError, match="caption of each of 2"):
        told.step([0, 0], *still)


NO = [False] * 4
STEP = {"action": [0] * 4, "obs": np.ones((4, 3)), "extrinsic": [0.0] * 4, "terminated": NO, "truncated": NO}


@pytest.mark.parametrize("order", ["load, reset", "reset, load"])
def test_state_goes_on_with_other_episodes(order: str):
    def reward() -> Reward:
        return Normalise(Novelty()) + Move()

    made, again, fresh = live(reward()), live(reward(), seed=7), live(reward(), seed=7)
    made.reset(np.zeros((4, 3)))
    for _ in range(3):
        made.step(**STEP)
    made.finish()
    for what in order.split(", "):
        if what == "load":
            again.load_state_dict(made.state_dict())
        else:
            again.reset(np.zeros((4, 3)))
    made.reset(np.zeros((4, 3)))
    fresh.reset(np.zeros((4, 3)))
    for _ in range(2):
        paid, expected, other = (one.step(**STEP).total for one in (again, made, fresh))
        np.testing.assert_allclose(paid, expected, atol=1e-6)
        assert abs(paid - other).min() > 1e-3
    assert again.finish() == pytest.approx(made.finish())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"obs": np.full((4, 3), np.inf)}, "Extrinsic: observation 'obs' is NaN or infinite at 12 places"),
        ({"obs": np.full((4, 3), np.nan)}, "NaN or infinite"),
        ({"obs": np.zeros((4, 5))}, r"must have shape \[4, 3\], got \[4, 5\]"),
        ({"obs": np.zeros((3, 3))}, r"must have shape \[4, 3\], got \[3, 3\]"),
        ({"obs": {"obs": np.zeros((4, 3))}}, "not of the space"),
        ({"action": [0] * 3}, r"actions must have shape \[4\], got \[3\]"),
        ({"extrinsic": [0.0]}, r"rewards must have shape \[4\]"),
        ({"terminated": False}, r"terminated must have shape \[4\], got \[\]"),
        ({"extrinsic": [np.inf] * 4}, "infinite"),
    ],
)
def test_bad_input_is_refused_by_name(wrong: dict, message: str):
    told = live(Extrinsic())
    told.reset(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=message):
        told.step(**STEP | wrong)


def test_what_cannot_be_done_says_why():
    with pytest.raises(RuntimeError, match="reset before the first step"):
        live(Extrinsic()).step(**STEP)
    told = live(Extrinsic())
    with pytest.raises(RuntimeError, match="first reset must be of all"):
        told.reset(np.zeros((4, 3)), [True, False, True, True])
    told.reset(np.zeros((4, 3)))
    told.step(**STEP | {"terminated": [False, True, False, False]})
    with pytest.raises(RuntimeError, match=r"environments \[1\] stepped on"):
        told.step(**STEP)
    with pytest.raises(ValueError, match="Extrinsic was built before"):
        live(told.reward)
    with pytest.raises(ValueError, match="RND was built before"):
        live(built(RND()))
    with pytest.raises(TypeError, match="parentheses"):
        live(Extrinsic)
    with pytest.raises(ValueError, match="at least 1"):
        live(Extrinsic(), 0)
    with pytest.raises(TypeError, match="flatten it first"):
        LiveReward(Extrinsic(), observation_space=spaces.Tuple([BOX]), action_space=spaces.Discrete(2))
    with pytest.raises(TypeError, match="Discrete, MultiDiscrete or a Box"):
        LiveReward(Extrinsic(), observation_space=BOX, action_space=spaces.MultiBinary(2))
    with pytest.warns(UserWarning, match="a Stream's gamma"):
        live(Extrinsic() + Stream(Move(), gamma=0.9))
    assert live("2.0 * Extrinsic()").reward.name == "Extrinsic"
