"""What is said of held-out pairs, against figures by hand."""

import math

import pytest
import torch

from guerdon.compare.held_out import calibration, draw_calibration, draw_learning, figures
from guerdon.types import FIRST, SECOND, TIE, Completions, Pairs


def answers(texts):
    empty = torch.zeros(len(texts), 0, dtype=torch.long)
    return Completions(prompt=["?"] * len(texts), text=list(texts), ids=empty, mask=empty.bool())


def given():
    pairs = Pairs(
        first=answers(["a b", "a", "a b", "a"]), second=answers(["a", "a b", "a", "b"]),
        label=torch.tensor([FIRST, FIRST, SECOND, TIE]),
        columns={"subset": ["x", "x", "y", "y"], "sample": [1, 1, 2, 2], "where": list("pqrs")},
    )  # fmt: skip
    return torch.tensor([[2.0, 0.0], [0.0, 3.0], [0.0, 1.0], [5.0, 0.0]]), pairs


def test_by_hand():
    found = figures(*given(), groups=["p", "q", "r", "s"])
    assert (found["pairs"], found["ties"], found["n"]) == (4, 1, 3)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert 0 <= found["low"] < 2 / 3 < found["high"] <= 1
    assert found["subset"]["x"]["accuracy"] == 0.5
    assert found["subset"]["y"] | {"low": 0, "high": 0} == {"accuracy": 1.0, "low": 0, "high": 0, "n": 1}
    assert found["length"]["the better one is longer"]["accuracy"] == 1.0
    assert found["length"]["the better one is shorter"] == pytest.approx(
        {"accuracy": 0.5, "n": 2} | {k: found["length"]["the better one is shorter"][k] for k in ("low", "high")}
    )
    assert found["accuracy_plus"] == 0.5
    costs = [math.log(1 + math.exp(-2)), math.log(1 + math.exp(3)), math.log(1 + math.exp(-1))]
    tie = 0.5 * math.log(1 + math.exp(5)) + 0.5 * math.log(1 + math.exp(-5))
    assert found["loss"] == pytest.approx((sum(costs) + tie) / 4, rel=1e-5)
    (worst,) = found["worst"]
    assert (worst["where"], worst["lead"], worst["preferred"], worst["second"]) == ("q", -3.0, "first", "a b")


def test_pairs_of_one_prompt_count_as_one_draw():
    n = 200
    right = torch.arange(n) // 20 % 2 == 0
    scores = torch.stack([right.float(), torch.full((n,), 0.5)], 1)
    pairs = Pairs(first=answers(["a"] * n), second=answers(["b"] * n), label=torch.zeros(n).long())
    alone, grouped = (figures(scores, pairs, groups=g) for g in (range(n), [i // 20 for i in range(n)]))
    assert alone["accuracy"] == grouped["accuracy"] == 0.5
    assert grouped["high"] - grouped["low"] > 3 * (alone["high"] - alone["low"])
    assert alone["high"] - alone["low"] == pytest.approx(2 * 1.96 * 0.5 / n**0.5, rel=0.1)


def test_a_model_that_is_as_sure_as_it_is_right_is_calibrated():
    g = torch.Generator().manual_seed(0)
    lead = 4 * torch.rand(20_000, generator=g)
    right = torch.rand(20_000, generator=g) < lead.sigmoid()
    label = torch.where(right, FIRST, SECOND)
    found = calibration(lead, torch.zeros_like(lead), label)
    assert found["error"] < 0.02
    assert sum(row["n"] for row in found["bins"]) == 20_000
    assert calibration(10 * lead, torch.zeros_like(lead), label)["error"] > 0.1
    assert calibration(lead[:0], lead[:0], label[:0]) == {"bins": [], "error": None}


def test_a_missing_score_is_an_error():
    scores, pairs = given()
    scores[1, 0] = math.nan
    with pytest.raises(ValueError, match="1 of 4 pairs have no score"):
        figures(scores, pairs, groups=range(4))
    with pytest.raises(ValueError, match=r"need scores \[N, 2\]"):
        figures(scores[:2], pairs, groups=range(4))


def test_the_pictures_are_drawn(tmp_path):
    draw_calibration(figures(*given(), groups=range(4)), tmp_path / "c.png")
    rows = [{"step": 0.0, "held/loss": 0.7, "held/accuracy": 0.5}, {"step": 1.0, "loss": 0.6}]
    draw_learning([*rows, {"step": 2.0, "loss": 0.5, "held/loss": 0.6, "held/accuracy": 0.7}], tmp_path / "l.svg")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert b"held-out loss" in (tmp_path / "l.svg").read_bytes() or b"<svg" in (tmp_path / "l.svg").read_bytes()
