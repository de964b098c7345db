import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from table_model import TableModel

from guerdon.parts.span_scores import (
    REDUCTIONS,
    Span,
    check_span,
    find_slot,
    group_logmeanexp,
    group_softmax,
    leave_one_out_logmeanexp,
    over_spans,
    reduce_span,
    score_spans,
    splice,
)

PROBS = torch.tensor([[0.5, 0.25, 1.0], [0.1, 0.9, 0.3]])
MASK = torch.tensor([[True, True, True], [True, True, False]])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("mean_prob", [1.75 / 3, 0.5]),
        ("product", [0.125, 0.09]),
        ("sum_logp", [math.log(0.125), math.log(0.09)]),
        ("mean_logp", [math.log(0.125) / 3, math.log(0.09) / 2]),
        ("geo_mean", [0.5, 0.3]),
    ],
)
def test_reductions_by_hand(how, expected):
    torch.testing.assert_close(reduce_span(PROBS.log(), MASK, how), torch.tensor(expected))


@given(st.lists(st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=6), min_size=1, max_size=4))
def test_relations_between_reductions(rows):
    width = max(map(len, rows))
    probs = torch.tensor([row + [0.7] * (width - len(row)) for row in rows])
    mask = torch.tensor([[t < len(row) for t in range(width)] for row in rows])
    of = {how: reduce_span(probs.log(), mask, how) for how in REDUCTIONS}
    assert (of["geo_mean"] <= of["mean_prob"] + 1e-6).all()  # AM-GM
    torch.testing.assert_close(of["product"], (mask.sum(1) * of["mean_logp"]).exp(), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(of["sum_logp"], mask.sum(1) * of["mean_logp"])
    alone = mask.sum(1) == 1
    torch.testing.assert_close(of["mean_prob"][alone], of["product"][alone])
    torch.testing.assert_close(of["mean_prob"][alone], of["geo_mean"][alone])


def test_agrees_with_cross_entropy():
    logits, target = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0)), torch.tensor([[1, 2, 3]] * 2)
    log_prob = logits.log_softmax(-1).gather(-1, target[..., None])[..., 0]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(2, 3)
    torch.testing.assert_close(reduce_span(log_prob, torch.ones(2, 3), "mean_logp"), -loss.mean(1))


def test_a_long_span_has_a_finite_logarithm_and_a_product_of_zero():
    log_prob = torch.full((1, 400), -5.0)
    assert reduce_span(log_prob, torch.ones(1, 400), "sum_logp").item() == -2000.0
    assert reduce_span(log_prob, torch.ones(1, 400), "product").item() == 0.0


@pytest.mark.parametrize("how", REDUCTIONS)
def test_gradients_agree_with_differences_and_do_not_leave_the_span(how):
    x = PROBS.double().log().requires_grad_()
    (grad,) = torch.autograd.grad(reduce_span(x, MASK, how).sum(), x)
    assert grad[1, 2] == 0
    step = torch.zeros_like(x)
    step[0, 1] = 1e-2
    moved = reduce_span(x + step, MASK, how).sum() - reduce_span(x - step, MASK, how).sum()
    assert moved.item() / 2e-2 == pytest.approx(grad[0, 1].item(), rel=1e-3)


@pytest.mark.parametrize(
    ("log_prob", "mask", "said"),
    [
        ([[0.2]], [[True]], "above 0"),
        ([[math.nan]], [[True]], "NaN or infinite"),
        ([[-math.inf]], [[True]], "NaN or infinite"),
        ([[-1.0]], [[False]], "no token"),
        ([[-1.0]], [[True, True]], "must both be"),
    ],
)
def test_what_no_log_probability_can_be_is_refused_by_name(log_prob, mask, said):
    with pytest.raises(ValueError, match=f"RLPR: .*{said}"):
        reduce_span(torch.tensor(log_prob), torch.tensor(mask), name="RLPR")


def test_rubbish_outside_the_mask_is_nobodys_business():
    log_prob = torch.tensor([[-1.0, math.nan, 7.0]])
    assert check_span(log_prob, torch.tensor([[True, False, False]])).tolist() == [[-1.0, 0.0, 0.0]]
    with pytest.raises(ValueError, match="a reduction is one of"):
        reduce_span(log_prob[:, :1], torch.ones(1, 1), "median")  # type: ignore[arg-type]


GROUP = torch.tensor([7, 3, 7, 3, 7])
LOGP = torch.tensor([-1.0, -2.0, -3.0, -2.0, math.nan])


def test_log_mean_exp_of_groups_by_hand():
    seven = math.log((math.exp(-1) + math.exp(-3)) / 2)
    expected = torch.tensor([seven, -2.0, seven, -2.0, math.nan])
    torch.testing.assert_close(group_logmeanexp(LOGP, GROUP), expected, equal_nan=True)
    others = torch.tensor([-3.0, -2.0, -1.0, -2.0, math.nan])
    torch.testing.assert_close(leave_one_out_logmeanexp(LOGP, GROUP), others, equal_nan=True)
    w = math.exp(-1) / (math.exp(-1) + math.exp(-3))
    torch.testing.assert_close(group_softmax(LOGP, GROUP), torch.tensor([w, 0.5, 1 - w, 0.5, 0.0]))


def test_nobody_else_is_nan():
    assert leave_one_out_logmeanexp(torch.tensor([-1.0]), torch.tensor([0])).isnan().all()


@given(st.lists(st.floats(-500, 0), min_size=2, max_size=8))
def test_jensen_and_identical_rows(values):
    x, group = torch.tensor(values), torch.zeros(len(values))
    assert group_logmeanexp(x, group)[0] >= x.mean() - 1e-3
    same = torch.full_like(x, values[0])
    torch.testing.assert_close(group_logmeanexp(same, group), same, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(leave_one_out_logmeanexp(same, group), same, rtol=1e-5, atol=1e-4)


def test_a_dominating_row_leaves_the_others_their_digits():
    x = torch.tensor([0.0, -60.0, -61.0])
    got = leave_one_out_logmeanexp(x, torch.zeros(3))[0].item()
    assert got == pytest.approx(-60 + math.log((1 + math.exp(-1)) / 2), rel=1e-6)


def test_gradient_of_log_mean_exp_is_the_softmax_even_beside_unscored_rows():
    x = LOGP.clone().requires_grad_()
    value = group_logmeanexp(x, GROUP)
    (grad,) = torch.autograd.grad(value[0] + value[1], x)
    torch.testing.assert_close(grad.nan_to_num(), group_softmax(LOGP, GROUP))
    assert grad.isfinite().all()


def test_the_answer_slot():
    text = "<think>a</think> <answer>4</answer> no <answer> 5 </answer> end"
    assert find_slot(text).inside == " 5 "
    assert find_slot("<answer> 5").inside == " 5"
    assert find_slot("5") is None
    assert find_slot("[A]x[B]", ("[A]", "[B]")).inside == "x"


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("<think>z</think><answer>7</answer>", "<think>z</think><answer> 42 </answer>"),
        ("z<answer>\n7</answer> and more", "z<answer>\n42 </answer>"),
        ("z<answer>\n", "z<answer> 42 </answer>"),
        ("z<answer>7", "z<answer> 42 </answer>"),
    ],
)
def test_the_reference_takes_the_answers_place(response, expected):
    spliced = splice(response, " 42\n")
    assert spliced.text == expected
    assert spliced.inside == "42"
    assert splice(response, "42", closing=True).inside == "42 </answer>"


def test_no_slot_and_no_reference():
    assert splice("no tag", "42") is None
    forced = splice("no tag", "42", force=True)
    assert (forced.text, forced.inside) == ("no tag<answer> 42 </answer>", "42")
    with pytest.raises(ValueError, match="reference answer is empty"):
        splice("<answer>1</answer>", "  ")
    moved = forced.after("prompt ")
    assert moved.inside == "42"
    assert moved.text.startswith("prompt no tag")


def test_spans_of_responses_are_scored_after_their_prompts():
    model = TableModel(max_length=12)
    model.put("=", "4", 0.25)
    model.put("4", "2", 0.5)
    spans = [Span("=42 so", 1, 3), None, Span("x" * 20 + "=4", 21, 22), Span("=4", 1, 2)]
    scores = score_spans(model, ["6*7"] * 4, spans, also=("entropy",))
    assert scores.mask.tolist() == [[True, True], [False, False], [False, False], [True, False]]
    torch.testing.assert_close(scores.log_prob[0].exp(), torch.tensor([0.25, 0.5]))
    assert scores.entropy.shape == (4, 2)
    mean = over_spans(scores, "mean_prob", empty=0.0, name="X")
    torch.testing.assert_close(mean, torch.tensor([0.375, 0.0, 0.0, 0.25]))
    (grad,) = torch.autograd.grad(mean.sum(), model.logits)
    assert grad[ord("=")].any()
    assert not grad[ord("6")].any()
    nothing = score_spans(model, ["6*7"], [None])
    assert over_spans(nothing, "sum_logp", empty=math.nan, name="X").isnan().all()
    with pytest.raises(ValueError):
        score_spans(model, ["6*7"], [Span("abc", 2, 2)])
