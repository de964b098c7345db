import contextlib
import sys

import hypothesis.strategies as st
import pytest
import samples
import torch
from hypothesis import example, given, settings

from guerdon.expression import ExpressionError, parse, parse_judge, parse_reward
from guerdon.judges import RecordedJudge
from guerdon.rewards.feedback import ONI
from guerdon.rewards.shaping import Anneal, Clip, CountGate, Extrinsic, Normalise
from guerdon.types import Adopted, Product, Reward, Stream, Sum

OWN = '''
from guerdon.types import About, Reward


class Twice(Reward):
    """Pays the task's reward twice."""

    about = About(rewards="the task, twice", paper="none")

    def __init__(self, *, times=2, options=None):
        super().__init__()
        self.times, self.options = times, options

    def score(self, experience):
        return self.times * experience.extrinsic


class Plain:
    def score(self, experience):
        return experience.extrinsic


class Rule:
    name, prompt = "rule", "1"

    async def judge(self, items):
        return []

    def counters(self):
        return {}


def function():
    raise AssertionError("must not be called")


class Danger:
    def __init__(self, *args):
        raise AssertionError("must not be made")
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_rewards.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_rewards"
    sys.modules.pop("own_rewards", None)


def test_the_expression_of_the_readme():
    made = parse_reward('0.1 * Extrinsic() + 0.4 * ONI(model="retrieval", power=2.5)')
    assert isinstance(made, Sum)
    task, oni = made.parts
    assert isinstance(task, Product)
    assert task.weight == 0.1
    assert isinstance(oni.parts[0], ONI)
    assert oni.parts[0].power == 2.5
    scored = parse_reward("0.1 * Extrinsic() + Clip(Extrinsic(), low=0)").evaluate(samples.rollout())
    extrinsic = samples.rollout().extrinsic
    assert scored.value.equal(0.1 * extrinsic + extrinsic.clamp(min=0))


def test_wrappers_take_their_reward_by_place_or_by_name():
    for text in ("Clip(Extrinsic(), low=-1, high=+1.5)", "Clip(high=1.5, reward=Extrinsic(), low=-1)"):
        made = parse_reward(text)
        assert isinstance(made, Clip)
        assert (made.low, made.high) == (-1, 1.5)
        assert isinstance(made.reward, Extrinsic)


def test_parentheses_signs_and_products():
    assert repr(parse_reward("-2 * (Extrinsic() + ONI()) * 0.5")) == "-1.0 * (Extrinsic() + ONI())"
    assert repr(parse_reward("-Extrinsic()")) == "-1.0 * Extrinsic()"
    assert repr(parse_reward("2*3*Extrinsic()*ONI()")) == "6.0 * Extrinsic() * ONI()"
    assert repr(parse_reward("\n Extrinsic()\n  + ONI() \n")) == "Extrinsic() + ONI()"


def test_literals_of_every_kind(own):
    options = "{'a': (1, -2.5, ['x', None]), 'b': {True: False}, 'c:d(e': \"f'g\"}"
    made = parse_reward(f"{own}:Twice(times=-1e-3, options={options})")
    assert made.times == -0.001
    assert made.options == {"a": (1, -2.5, ["x", None]), "b": {True: False}, "c:d(e": "f'g"}


def test_rewards_and_judges_of_ones_own(own):
    made = parse_reward(f"Extrinsic() + 0.5 * {own}:Twice(times=3)")
    assert type(made.parts[1].parts[0]).__name__ == "Twice"
    assert repr(parse_reward(repr(made))) == repr(made) == "Extrinsic() + 0.5 * own_rewards:Twice(times=3)"
    assert isinstance(parse_reward(f"{own}:Plain()"), Adopted)
    assert parse_judge(f"{own}:Rule()").name == "rule"


def test_only_rewards_and_judges_are_ever_called(own):
    for text in (f"{own}:function()", f"{own}:Danger()", f"{own}:Rule()", "os:system('true')", "builtins:eval('1')"):
        with pytest.raises(ExpressionError, match="has no reward"):
            parse_reward(text)
    with pytest.raises(ExpressionError, match="has no judge"):
        parse_judge(f"{own}:Twice()")


def test_judges():
    assert isinstance(parse_judge("RecordedJudge()"), RecordedJudge)
    assert parse_judge("RecordedJudge(invert=True)").invert is True
    assert repr(parse_judge("RecordedJudge(labels='random', seed=3)")) == "RecordedJudge(labels='random', seed=3)"


ERRORS = [
    ("Extrinsc()", "no reward is called Extrinsc: did you mean Extrinsic?", "^^^^^^^^"),
    ("0.1 * oni()", "did you mean ONI?", "      ^^^"),
    ("Zzz()", "no reward is called Zzz: there are ", "^^^"),
    ("RecordedJudge()", "no reward is called RecordedJudge", "^"),
    ("0.1 * Extrinsic", "write Extrinsic() with parentheses", "      ^^^^^^^^^"),
    ("a.b:C", "write a.b:C() with parentheses", "^^^^^"),
    ("ONI(models='ranking')", "ONI has no keyword 'models': did you mean model?; it knows model, ", "    ^^^^^^"),
    ("Extrinsic(scale=2)", "Extrinsic has no keyword 'scale'; it takes no keywords", "          ^^^^^"),
    ("Extrinsic(2)", "Extrinsic takes 0 arguments without a name; by name: nothing", "          ^"),
    ("Clip(Extrinsic(), -1)", "Clip takes 1 arguments without a name; by name: low, high", "                  ^^"),
    ("Anneal(Extrinsic())", "Anneal needs steps", "^^^^^^"),
    ("Clip(low=1)", "Clip needs reward", "^^^^"),
    ("Clip(Extrinsic(), reward=ONI(), low=1)", "multiple values for argument 'reward'", "^"),
    ("Clip(Extrinsic(), low=2, high=1)", "Clip: Clip needs low <= high", "^^^^"),
    ("ONI(model='rankin')", "ONI: ", "^^^"),
    ("Clip('é', low=1, hgih=2)", "did you mean high?", "                 ^^^^"),
    ("0.1 * Extrinsic( + ", "cannot read this reward: '(' was never closed", "               ^"),
    ("Extrinsic() Extrinsic()", "cannot read this reward", "            ^"),
    ("ONI(model='a", "cannot read this reward: unterminated string", "          ^"),
    ("", "an empty expression", ""),
    ("3 + 4", "'3 + 4' is not a reward but 7", ""),
    ("1 + Extrinsic()", "a number cannot be added to a reward", "^"),
    ("Extrinsic() + 1", "a number cannot be added to a reward", "              ^"),
    ("Extrinsic() - ONI()", "write a + -1 * b", "^"),
    ("'a' * Extrinsic()", "+ and * join rewards and numbers, not 'a'", "^^^"),
    ("True * Extrinsic()", "+ and * join rewards and numbers, not True", "^^^^"),
    ("-'a'", "a sign needs a number or a reward", "^"),
    ("Clip(x, low=1)", "x is neither a literal nor a call", "     ^"),
    ("nosuchmodule.sub:X()", "cannot import nosuchmodule.sub: No module named 'nosuchmodule'", "^^^^"),
    ("guerdon.rewards.shaping:Clipp(1)", "guerdon.rewards.shaping has no reward Clipp: did you mean Clip?", "^^^"),
    ("Extrinsic(*x)", "* cannot spread", "          ^"),
    ("Extrinsic(**x)", "** cannot spread", "            ^"),
    ("(lambda: 1)()", "only a name of the catalogue, or module:Name, can be called", " ^"),
    ("x.y()", "only a name of the catalogue, or module:Name, can be called", "^^^"),
    ("Extrinsic().score", "can stand here", "^"),
    ("[Extrinsic() for x in y]", "can stand here", "^"),
    ("f'{x}'", "can stand here", "^"),
    ("Extrinsic() if x else ONI()", "can stand here", "^"),
    ("(y := Extrinsic())", "can stand here", " ^"),
    ("Clip(Extrinsic(), low=1j)", "can stand here", "                      ^^"),
    ("Clip({**x}, low=1)", "can stand here", "     ^"),
]


@pytest.mark.parametrize(("text", "said", "caret"), ERRORS, ids=[e[0] for e in ERRORS])
def test_an_error_says_what_and_where(text, said, caret):
    with pytest.raises(ExpressionError) as caught:
        parse_reward(text)
    assert said in str(caught.value)
    if caret:
        _, shown, marks = str(caught.value).split("\n")
        assert shown == f"  {text.strip()}"
        assert marks.startswith(f"  {caret}")


def test_a_name_that_needs_an_extra_says_so():
    with pytest.raises(ExpressionError, match=r"Big is not installed: pip install 'guerdon\[text\]'"):
        parse("0.5 * Big()", "reward", {"Big": "pip install 'guerdon[text]'"})


def test_errors_in_judges_say_judge():
    with pytest.raises(ExpressionError, match=r"no judge is called RecordedJuge: did you mean RecordedJudge"):
        parse_judge("RecordedJuge()")
    with pytest.raises(ExpressionError, match="join rewards and numbers"):
        parse_judge("2 * RecordedJudge()")
    with pytest.raises(ExpressionError, match="is not a judge but 3"):
        parse_judge("3")


numbers = st.floats(-1e6, 1e6).filter(bool)
leaves = st.one_of(
    st.builds(Extrinsic),
    st.builds(ONI, power=st.floats(0, 9), model=st.sampled_from(["retrieval", "classification", "ranking"])),
)


def wrapped(inner: st.SearchStrategy[Reward]) -> st.SearchStrategy[Reward]:
    return st.one_of(
        st.builds(Clip, inner, low=st.floats(-9, 0), high=st.floats(0, 9)),
        st.builds(CountGate, inner, power=st.floats(0, 9)),
        st.builds(Normalise, inner, by=st.sampled_from(["returns", "moments"]), episodic=st.booleans()),
        st.builds(Anneal, inner, start=numbers, steps=st.integers(1, 10**9)),
        st.builds(Stream, inner, name=st.one_of(st.none(), st.text()), gamma=st.one_of(st.none(), st.floats(0, 1))),
        st.builds(Sum, inner, inner),
        st.builds(Product, inner, inner),
        st.builds(Product, numbers, inner),
    )


@given(st.recursive(leaves, wrapped, max_leaves=6))
@settings(max_examples=200, deadline=None)
def test_repr_is_an_expression_that_makes_it_again(made):
    again = parse_reward(repr(made))
    assert repr(again) == repr(made)
    assert [type(m) for m in again.modules()] == [type(m) for m in made.modules()]
    for one, two in zip(again.modules(), made.modules(), strict=True):
        if isinstance(one, Reward) and not isinstance(one, (Sum, Product)):
            assert {k: v for k, v in one.config().items() if not isinstance(v, torch.nn.Module)} == {
                k: v for k, v in two.config().items() if not isinstance(v, torch.nn.Module)
            }
        if isinstance(one, Product):
            assert one.weight == two.weight


@given(st.one_of(st.text(alphabet="ONICliplow(=):,.*+-1'\"[]{} é\n", max_size=30), st.text(max_size=9)))
@example("Extrinsic()\0")
@example("-" * 50_000 + "1")
@example("(" * 5_000 + "1")
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(ExpressionError):  # and no other error
        assert isinstance(parse_reward(text), Reward)
