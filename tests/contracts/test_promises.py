"""The promises themselves: rewards that break one are caught by it, and honest ones keep them all."""

from typing import ClassVar

import pytest
import torch
from contracts import promises
from contracts.promises import PROMISES, Case

from guerdon.types import About, Reward, Scored


class Honest(Reward):
    """Pays each token its log-probability: a small reward of text, to see that the promises hold for text as well."""

    about: ClassVar[About] = About(rewards="likely tokens", paper="none", scores="Completions")

    def __init__(self, *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def build(self, spec, *, device="cpu", generator=None):
        self.register_buffer("level", torch.zeros((), device=device))

    def score(self, experience):
        return self.scale * (experience.log_prob - self.level)

    def update(self, experience):
        self.level += 1
        return {"Honest/level": float(self.level)}


@pytest.mark.parametrize("promise", PROMISES, ids=lambda p: p.__name__)
def test_an_honest_reward_of_text(promise):
    promise(Case("Honest()", Honest, "Completions"))


class Believes(Reward):
    """Pays an answer what a language model that it is handed makes of its tokens, and has a loss of its own."""

    about: ClassVar[About] = About(rewards="likely answers", paper="none", scores="Completions")
    needs = frozenset({"policy", "reference"})

    def score(self, experience, *, policy, reference):
        return (policy.log_probs(experience) - reference.log_probs(experience)).sum(1)

    def loss(self, experience, policy):
        return -policy.log_probs(experience).sum(1).mean()


@pytest.mark.parametrize("promise", PROMISES, ids=lambda p: p.__name__)
def test_an_honest_reward_that_asks_models(promise):
    promise(Case("Believes()", Believes, "Completions"))
    promise(Case("Sum", lambda: Believes() + 2.0 * Honest(), "Completions"))


class Broken(Reward):
    """Pays the task's own reward, and breaks one promise in each of the classes below, as a test of that promise."""

    about: ClassVar[About] = About(rewards="nothing", paper="none")

    def build(self, spec, *, device="cpu", generator=None):
        self.register_buffer("calls", torch.zeros((), device=device))

    def score(self, experience):
        return experience.extrinsic.clone()


class Counts(Broken):
    def score(self, experience):
        self.calls += 1
        return experience.extrinsic + self.calls


class Hides(Broken):
    def build(self, spec, *, device="cpu", generator=None):
        self.secret = 0.0

    def update(self, experience):
        self.secret += 1.0
        return {}

    def score(self, experience):
        return experience.extrinsic + self.secret


class Doubles(Broken):
    def evaluate(self, experience, **needed):
        return Scored(experience.extrinsic.double(), {}, {})


class Centres(Broken):
    def score(self, experience):
        return experience.extrinsic - experience.extrinsic.mean()


class Numbers(Broken):
    def score(self, experience):
        return experience.extrinsic + torch.arange(experience.shape[1])


class LooksAhead(Broken):
    def score(self, experience):
        return experience.extrinsic.flip(0).cumsum(0).flip(0)


class Draws(Broken):
    def build(self, spec, *, device="cpu", generator=None):
        self.register_buffer("weight", torch.randn(()))

    def score(self, experience):
        return experience.extrinsic * self.weight


class Overwrites(Broken):
    def score(self, experience):
        experience.extrinsic.mul_(2.0)
        return experience.extrinsic.clone()


class OverwritesLater(Broken):
    def observe(self, rollout):
        rollout.obs["obs"].zero_()


class Zeroes(Broken):
    def score(self, experience):
        return (experience.extrinsic - experience.extrinsic.nanmean()).nan_to_num()


class Nests(Broken):
    def update(self, experience):
        return {"loss": {"value": 1.0}}


class Works(Broken):
    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(1, 1)


class Forgets(Broken):
    def __init__(self, scale=1.0) -> None:
        super().__init__()


class AsksNothing(Broken):
    def questions(self, rollout):
        return [""]


class Detaches(Broken):
    def loss(self, experience, policy):
        return sum(p.sum() for p in policy.parameters()).detach().requires_grad_()


class Swallows(Broken):
    def score(self, experience):
        return experience.obs["obs"][1:].nan_to_num().clamp(-1, 1).sum(-1)


class Mute(Broken):
    def build(self, spec, *, device="cpu", generator=None):
        if not hasattr(spec.observation_space["obs"], "low"):
            raise TypeError("no")


BROKEN = [
    (Swallows, promises.bad_observations_are_refused_or_do_not_matter),
    (Mute, promises.spaces_that_cannot_be_read_are_refused_or_do_not_matter),
    (Counts, promises.score_is_pure),
    (Hides, promises.state_carries_everything),
    (Doubles, promises.scores_are_float_tensors_of_the_right_shape),
    (Centres, promises.padding_does_not_matter),
    (Numbers, promises.batch_order_does_not_matter),
    (LooksAhead, promises.an_episode_is_not_paid_for_the_next),
    (LooksAhead, promises.replayed_steps_score_the_same_or_are_refused),
    (Draws, promises.uses_no_global_randomness),
    (Draws, promises.one_seed_one_result),
    (Overwrites, promises.score_is_pure),
    (OverwritesLater, promises.observing_and_learning_leave_experience_alone),
    (Zeroes, promises.unscored_stays_unscored),
    (Nests, promises.logs_are_flat_numbers),
    (Works, promises.constructor_only_remembers),
    (Forgets, promises.constructor_only_remembers),
    (Detaches, promises.a_loss_is_a_finite_number_that_reaches_the_policy),
    (AsksNothing, promises.questions_are_captions_or_pairs_of_them),
]


@pytest.mark.parametrize(("cls", "promise"), BROKEN, ids=lambda x: x.__name__)
def test_a_broken_promise_is_caught(cls, promise):
    with pytest.raises(AssertionError):
        promise(Case(cls.__name__, cls))


@pytest.mark.parametrize("promise", PROMISES, ids=lambda p: p.__name__)
def test_nothing_else_about_them_is_broken(promise):
    promise(Case("Broken()", Broken))
