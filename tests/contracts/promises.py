"""The promises of the reward contract, one function each; every one takes a `Case` and fails by assertion."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import io
import pickle
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import samples
import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor

from guerdon.types import FIRST, SECOND, TIE, About, Completions, Experience, Labels, Pairs, Reward, Rollout

PROMISES: list[Callable[[Case], None]] = []


@dataclass(frozen=True)
class Case:
    """One reward to hold to the contract: how to make it, and what it scores."""

    name: str
    make: Callable[[], Reward]
    scores: str = "Rollout"

    def fresh(self, seed: int = 0, device: str = "cpu") -> Reward:
        """A built reward that has seen nothing."""
        made = self.make()
        made.build(samples.spec(), device=device, generator=torch.Generator().manual_seed(seed))
        return made

    def taught(self, seed: int = 0) -> Reward:
        """A reward that has learned from all there is to learn from."""
        made = self.fresh(seed)
        teach(made, self)
        return made

    def experience(self, seed: int = 0) -> Any:
        if self.scores == "Completions":
            return samples.solutions(seed=seed)
        assert self.scores in ("Rollout", "any"), f"tests/samples.py makes no {self.scores} yet"
        return samples.rollout(seed=seed)


def promise(check: Callable[[Case], None]) -> Callable[[Case], None]:
    PROMISES.append(check)
    return check


def lessons(case: Case) -> Iterator[Any]:
    """One of each thing that `update` may be handed; a reward passes over what it cannot use."""
    yield samples.labels()
    yield Labels.from_rows([])
    outcome = torch.tensor([FIRST, SECOND, TIE, FIRST])
    if case.scores == "Completions":
        yield Pairs(first=samples.solutions(4, seed=1), second=samples.solutions(4, seed=2), label=outcome)
    else:
        yield Pairs(first=samples.rollout(seed=1), second=samples.rollout(seed=2), label=outcome)
    yield Pairs(first=samples.TEXTS[:4], second=samples.TEXTS[4:8], label=outcome)
    yield case.experience(seed=3)


def teach(made: Reward, case: Case) -> list[dict[str, float]]:
    """One round of a learner: score, observe, answer, update."""
    experience = case.experience(seed=4)
    made.evaluate(experience, **handed(made))
    if isinstance(experience, Rollout):
        made.observe(experience)
    return [made.update(lesson) for lesson in lessons(case)]


def handed(made: Reward) -> dict[str, Any]:
    """What a learner hands to `score`: a small language model for each need of the reward and of its parts."""
    needs = {need for part in made.modules() if isinstance(part, Reward) for need in part.needs}
    return {need: samples.language_model(need) for need in sorted(needs)}


def value(made: Reward, experience: Experience) -> Tensor:
    return made.evaluate(experience, **handed(made)).value.detach().cpu()


def same(a: Tensor, b: Tensor, message: str) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, equal_nan=True, msg=lambda m: f"{message}\n{m}")


def snapshot(thing: Any) -> bytes:
    """A state, byte for byte."""
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def frozen(experience: Any) -> dict[str, Any]:
    return {k: v.clone() if isinstance(v, (Tensor, TensorDict)) else v for k, v in samples.fields(experience)}


@promise
def constructor_only_remembers(case: Case) -> None:
    made = case.make()
    assert not [*made.parameters(), *made.buffers()], "networks and buffers are made by build, not by the constructor"
    for part in made.modules():
        if isinstance(part, Reward) and type(part).__module__ != "guerdon.types.reward":
            for key, parameter in inspect.signature(type(part)).parameters.items():
                assert parameter.kind is parameter.KEYWORD_ONLY or key == "reward", f"{key} must be keyword-only"
                assert parameter.annotation is not parameter.empty, f"{key} must be typed"
                assert key in part.config(), f"{key} must be remembered under its own name"


@promise
def carries_metadata(case: Case) -> None:
    for part in case.make().modules():
        if isinstance(part, Reward) and type(part).__module__ != "guerdon.types.reward":
            about = part.about
            assert isinstance(about, About)
            assert about.rewards
            assert about.paper
            assert about.link == "" or about.link.startswith("https://")
            assert about.scores in ("Rollout", "Completions", "Chain", "any")
            assert len(inspect.getdoc(type(part)) or "") > 100, "the docstring says what, formula, shapes, range"


@promise
def scores_are_float_tensors_of_the_right_shape(case: Case) -> None:
    made, experience = case.taught(), case.experience()
    scored = made.evaluate(experience, **handed(made))
    assert scored.value.dtype == torch.float32
    rows, columns = experience.shape
    allowed = [(rows, columns)] + ([(rows,)] if case.scores == "Completions" else [])
    assert tuple(scored.value.shape) in allowed
    assert not scored.value.isinf().any()


@promise
def score_is_pure(case: Case) -> None:
    made, experience = case.taught(), case.experience()
    before, content = snapshot(made.state_dict()), snapshot(frozen(experience))
    first, second = value(made, experience), value(made, experience)
    assert torch.equal(first.nan_to_num(), second.nan_to_num()), "scoring twice gives the same"
    assert snapshot(made.state_dict()) == before, "scoring must not change the state"
    assert snapshot(frozen(experience)) == content, "scoring must not change the experience"
    direct = made.score(experience, **handed(made)).detach()
    counted = torch.ones_like(direct, dtype=torch.bool) if direct.ndim == 1 else samples.mask_of(experience)
    same(direct[counted], first[counted], "score and evaluate agree")


@promise
def observing_and_learning_leave_experience_alone(case: Case) -> None:
    made, experience = case.fresh(), case.experience()
    content = snapshot(frozen(experience))
    if isinstance(experience, Rollout):
        made.observe(experience)
        made.questions(experience)
    made.update(experience)
    assert snapshot(frozen(experience)) == content


@promise
def terms_sum_to_the_score(case: Case) -> None:
    made = case.taught()
    scored = made.evaluate(case.experience(), **handed(made))
    assert scored.terms
    assert scored.stages
    for name, tensor in {**scored.terms, **scored.stages}.items():
        assert isinstance(name, str)
        assert isinstance(tensor, Tensor)
    terms = list(scored.terms.values())
    if all(t.shape == scored.value.shape for t in terms):
        total = torch.stack(terms).nan_to_num().sum(0)
        same(total[~scored.value.isnan()], scored.value[~scored.value.isnan()], "the terms sum to the score")


@promise
def uses_no_global_randomness(case: Case) -> None:
    def states() -> str:
        return repr((torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()))  # noqa: NPY002

    before = states()
    value(case.taught(), case.experience())
    assert states() == before, "randomness comes from the generator that build was handed"


@promise
def one_seed_one_result(case: Case) -> None:
    same(*(value(case.taught(seed=5), case.experience()) for _ in range(2)), "equal seeds give equal scores")


@promise
def state_carries_everything(case: Case) -> None:
    made, again, experience = case.taught(seed=0), case.fresh(seed=9), case.experience()
    saved = io.BytesIO()
    torch.save(made.state_dict(), saved)
    saved.seek(0)
    again.load_state_dict(torch.load(saved, weights_only=True))  # weights_only: tensors and plain values, no code
    same(value(again, experience), value(made, experience), "a loaded copy scores like the original")
    for reward in (made, again):  # and it goes on like the original: queues, optimizers, generators
        teach(reward, case)
    same(value(again, experience), value(made, experience), "a loaded copy learns like the original")


@promise
def an_untaught_state_loads_too(case: Case) -> None:
    made, again, experience = case.fresh(seed=0), case.fresh(seed=9), case.experience()
    again.load_state_dict(made.state_dict())
    same(value(again, experience), value(made, experience), "an untaught copy scores like the original")


@promise
def pickles_and_copies(case: Case) -> None:
    made, experience = case.taught(), case.experience()
    for again in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        same(value(again, experience), value(made, experience), "a pickled copy scores like the original")
    assert repr(pickle.loads(pickle.dumps(case.make()))) == repr(case.make()), "it pickles before it is built, too"


@promise
def moves_between_devices(case: Case) -> None:
    made, experience = case.taught(), case.experience()
    expected = value(made, experience)
    same(value(made.to("cpu"), experience), expected, "moving to where it is changes nothing")
    if torch.cuda.is_available():
        same(value(made.to("cuda"), experience.to("cuda")), expected, "scores do not depend on the device")
        teach(case.fresh(device="cuda"), case)


@promise
def batch_order_does_not_matter(case: Case) -> None:
    made, experience = case.fresh(), case.experience()
    for lesson in lessons(case):
        made.update(lesson)
    if isinstance(experience, Completions):
        order = torch.tensor([4, 5, 0, 1, 2, 3])  # groups stay together
        moved = experience.rows(order)
        same(value(made, moved), value(made, experience)[order], "the order of rows does not matter")
    else:
        order = torch.tensor([2, 0, 3, 1])
        moved = experience.columns(order)
        same(value(made, moved), value(made, experience)[:, order], "the order of environments does not matter")


@promise
def padding_does_not_matter(case: Case) -> None:
    made, experience = case.fresh(), case.experience()
    for lesson in lessons(case):
        made.update(lesson)
    expected = value(made, experience)
    padded = samples.padded(experience)
    try:
        scored = value(made, padded)
    except ValueError as refusal:  # it remembers so many environments: then steps alone are padded
        names_the_reward(refusal, made)
        padded = samples.padded(experience, columns=0)
        scored = value(made, padded)
    if expected.ndim == 1:
        return same(scored, expected, "padding tokens do not matter")
    rows, columns = experience.shape
    same(scored[:rows, :columns], expected, "padding does not change what is beside it")
    assert (scored[~samples.mask_of(padded)] == 0).all(), "padding scores 0"


@promise
def invalid_steps_score_zero(case: Case) -> None:
    scored = value(case.taught(), case.experience())
    if scored.ndim == 2:
        assert (scored[~samples.mask_of(case.experience())] == 0).all()


@promise
def an_episode_is_not_paid_for_the_next(case: Case) -> None:
    if case.scores == "Completions":
        return
    made, experience, other = case.fresh(), case.experience(), case.experience(seed=7)
    for lesson in lessons(case):
        made.update(lesson)
    changed = samples.replace(experience)
    for column, last in ((0, 2), (1, 3)):  # see samples.rollout: where the first episodes end
        changed.obs["obs"][last + 2 :, column] = other.obs["obs"][last + 2 :, column]
        changed.caption[last + 2 :, column] = other.caption[last + 2 :, column]
        changed.extrinsic[last + 2 :, column] = other.extrinsic[last + 2 :, column]
        changed.action[last + 2 :, column] = other.action[last + 2 :, column]
    changed = samples.recount(changed)
    for column, last in ((0, 2), (1, 3)):
        before, after = value(made, experience)[: last + 1, column], value(made, changed)[: last + 1, column]
        same(after, before, "what comes after an end does not change what came before it")


@promise
def ends_are_scored_like_other_steps(case: Case) -> None:
    """Whether an end was a termination or a truncation may matter, but neither is infinite or lost."""
    if case.scores == "Completions":
        return
    made, experience = case.taught(), case.experience()
    swapped = samples.replace(experience, terminated=experience.truncated, truncated=experience.terminated)
    unscored = value(made, experience).isnan()
    assert (value(made, swapped).isnan() == unscored).all()


@promise
def replayed_steps_score_the_same_or_are_refused(case: Case) -> None:
    if case.scores == "Completions":
        return
    made, experience = case.fresh(), case.experience()
    for lesson in lessons(case):
        made.update(lesson)
    try:
        scored = value(made, samples.replayed(experience))
    except ValueError as refusal:
        names_the_reward(refusal, made)
    else:
        same(scored.view(experience.shape), value(made, experience), "a replayed step is worth what it was worth")


@promise
def unscored_stays_unscored(case: Case) -> None:
    """A task that did not score a step: NaN there, or a score that does not depend on it; elsewhere no change."""
    if case.scores == "Completions":
        return
    made, experience = case.taught(), case.experience()
    holed = samples.replace(experience)
    holed.extrinsic[5, 2] = torch.nan
    before, after = value(made, experience), value(made, holed)
    elsewhere = torch.ones_like(before, dtype=torch.bool)
    elsewhere[5, 2] = False
    same(after[elsewhere], before[elsewhere], "an unscored step changes no other")
    made.observe(holed)
    assert (value(made, experience).isnan() == before.isnan()).all(), "an unscored step must not enter the statistics"


@promise
def logs_are_flat_numbers(case: Case) -> None:
    for logs in teach(case.fresh(), case):
        assert isinstance(logs, dict)
        for key, number in logs.items():
            assert isinstance(key, str)
            assert isinstance(number, (int, float)), f"{key} must be a number, not {type(number).__name__}"


@promise
def questions_are_captions_or_pairs_of_them(case: Case) -> None:
    if case.scores == "Completions":
        return
    made, experience = case.fresh(), case.experience()
    made.observe(experience)
    for item in made.questions(experience):
        assert isinstance(item, str) or (isinstance(item, tuple) and len(item) == 2), f"{item!r} cannot be asked"
        assert "" not in (item, *item), "nothing is to be known of the empty caption"


@promise
def refuses_what_it_cannot_score(case: Case) -> None:
    made = case.taught()
    wrong = samples.rollout() if case.scores == "Completions" else samples.completions()
    for thing in (wrong, torch.zeros(3, 2)):
        with pytest.raises((TypeError, ValueError)) as refusal:
            made.evaluate(thing, **handed(made))
        names_the_reward(refusal.value, made)


@promise
def a_loss_is_a_finite_number_that_reaches_the_policy(case: Case) -> None:
    made, policy = case.taught(), samples.language_model()
    loss = made.loss(case.experience(), policy)
    if loss is None:
        return
    assert loss.ndim == 0
    assert loss.isfinite()
    grads = torch.autograd.grad(loss, list(policy.parameters()), allow_unused=True)
    assert any(g is not None and bool(g.any()) for g in grads), "a loss nobody can lower"


def names_the_reward(refusal: Exception, made: Reward) -> None:
    assert any(p.name in str(refusal) for p in made.modules() if isinstance(p, Reward)), f"which reward? {refusal}"


@promise
def bad_observations_are_refused_or_do_not_matter(case: Case) -> None:
    """NaN, infinities and another shape than the space's: an error that names the reward, or no difference at all."""
    if case.scores == "Completions":
        return
    made, experience = case.taught(), case.experience()
    before = value(made, experience)
    for bad in (torch.nan, torch.inf):
        broken = samples.replace(experience)
        broken.obs["obs"][6, 2] = bad
        _refused_or_same(made, broken, before)
    wider = torch.cat([experience.obs["obs"], experience.obs["obs"][..., :1]], -1)
    lead = experience.obs.batch_size
    _refused_or_same(made, samples.replace(experience, obs=TensorDict({"obs": wider}, lead)), before)


def _refused_or_same(made: Reward, experience: Any, before: Tensor) -> None:
    try:
        after = value(made, experience)
    except ValueError as refusal:
        names_the_reward(refusal, made)
    else:
        same(after, before, "a reward that takes bad observations must not look at them")


@promise
def spaces_that_cannot_be_read_are_refused_or_do_not_matter(case: Case) -> None:
    if case.scores == "Completions":
        return
    made = case.make()
    texts = spaces.Dict({"obs": spaces.Text(8)})
    try:
        made.build(dataclasses.replace(samples.spec(), observation_space=texts))
    except (TypeError, ValueError) as refusal:
        names_the_reward(refusal, made)
    else:
        assert value(made, case.experience()).shape == case.experience().shape


@promise
def no_steps_one_step_and_one_environment(case: Case) -> None:
    if case.scores == "Completions":
        return
    made = case.make()
    made.build(samples.spec(num_envs=1), generator=torch.Generator().manual_seed(0))
    for steps in (0, 1, 3):
        experience = samples.rollout(steps=steps, num_envs=1)
        assert value(made, experience).shape == (steps, 1)
        made.observe(experience)
        made.update(experience)
