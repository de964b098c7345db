"""Every public reward, found by the catalogue, is held to every promise of the contract."""

import functools
import importlib
import inspect
import pkgutil
import tempfile

import pytest
import samples
from contracts.promises import PROMISES, Case

import guerdon.rewards
from guerdon import catalogue
from guerdon.expression import parse_reward
from guerdon.rewards.preference import BradleyTerry
from guerdon.types import Reward

MORE = [  # further ways of the methods, and rewards made of several
    "ONI(model='classification', steps=2)",
    "ONI(model='ranking', steps=2)",
    "ONI(power=0.0)",
    "Clip(Extrinsic(), low=0.5)",
    "Normalise(Extrinsic(), by='moments')",
    "Normalise(Extrinsic(), episodic=False)",
    "Anneal(Extrinsic(), steps=40, shape='cosine')",
    "Anneal(Extrinsic(), start=1.0, end=0.01, steps=2, shape='exponential', unit='updates')",
    "PseudoCount(episodic=True)",
    "PseudoCount(kind='hashed', bits=16, episodic=True)",
    "PseudoCount(kind='knn')",
    "PseudoCount(kind='knn', k=3, episodic=True, capacity=5)",
    "Normalise(E3B(), gamma=0.0)",
    "Stream(Normalise(NGU(capacity=6)), gamma=0.9) + 0.1 * RE3(average=True)",
    "0.1 * Extrinsic() + 0.4 * ONI()",
    "Stream(0.5 * Clip(Normalise(Extrinsic()), low=-1.0, high=1.0), name='task', gamma=0.9)",
    "BradleyTerry(encoder=Observations(actions=False, standardise=False), hidden=[8, 4], output_activation='relu')",
    "VPL(encoder=Features(['obs']), user=None, kind='concatenated', context=2, latent=2, hidden=[8], iterations=3)",
    "RegretPreference(kind='partial', features='obs', iterations=5, ties=False)",
    "BradleyTerry(encoder=Features(['obs']), monotone=True, activation='tanh', hidden=[8], zero=0.1, centre=0.1)",
    "Extrinsic() * ONI() + -2.0 * (Extrinsic() + CountGate(ONI(power=0.0)))",
]
MORE_TEXT = [
    "AnswerLikelihood(kind='jepo', closing=True)",
    "RLPR(reduction='mean_logp', debias=False, shape='identity', format_weight=-1)",
    "RLPR(shape='sigmoid') + 0.5 * MathVerify()",
    "SALU(confidence='agreement', flat=True)",
    "SALU(confidence='self-check', brier=0.5)",
    "Ensemble(rewards=[BradleyTerry(encoder=Features(['unanswerable'])), MathVerify()], rule='vote')",
    "BradleyTerry(encoder=Embeddings(), lr=0.01, length_norm=True)",
    "RewardFusion(ExactMatch(), encoder='bag-of-words', threshold=0.5)",
    "VPL(encoder=Embeddings(), user=None, scale='spo', latent=2, hidden=[8], iterations=3, comparisons=20)",
    "ConfidenceGate(ExactMatch(), encoder=Features(['unanswerable']), k=1)",
    "BradleyTerry(encoder=Features(['unanswerable'], low=0, high=1), hidden=[4])",
]


@functools.cache
def fitted() -> str:
    """The folder of a reward model, which `RewardModel` needs to be made."""
    made, folder = BradleyTerry(), tempfile.mkdtemp()
    made.build(samples.spec())
    made.save(folder)
    return folder


def expression(entry: catalogue.Entry) -> str:
    assert entry.about
    if entry.name == "RewardModel":
        return f"RewardModel(path={fitted()!r})"
    return entry.about.example or f"{entry.name}()"


CASES = [
    *(
        Case(expression(e), lambda e=e: parse_reward(expression(e)), e.about.scores)
        for e in catalogue.entries()
        if e.cls
    ),
    *(Case(text, lambda text=text: parse_reward(text)) for text in MORE),
    *(Case(text, lambda text=text: parse_reward(text), "Completions") for text in MORE_TEXT),
]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda p: p.__name__)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_promise(case, promise):
    promise(case)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_repr_makes_it_again(case):
    assert repr(parse_reward(repr(case.make()))) == repr(case.make())


def test_every_method_is_exported_by_its_folder():
    exported = {entry.cls for entry in catalogue.entries()}
    for info in pkgutil.walk_packages(guerdon.rewards.__path__, "guerdon.rewards."):
        for cls in vars(importlib.import_module(info.name)).values():
            if inspect.isclass(cls) and issubclass(cls, Reward) and cls.__module__ == info.name:
                assert cls in exported, f"{cls.__name__} must be in __all__ of its folder's __init__.py"


def test_what_is_here_is_found():
    assert {"Extrinsic", "Clip", "Normalise", "Anneal", "CountGate", "ONI"} <= {e.name for e in catalogue.entries()}
