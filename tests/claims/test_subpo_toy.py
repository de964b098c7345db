"""The claim script of SubPO from end to end, at a size that claims nothing."""

import importlib.util
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from guerdon.tasks.coverage import CoverageBandit, CoverageGrid

CLAIMS = Path(__file__).parents[2] / "claims"


@pytest.fixture(scope="module")
def claim():
    sys.path.insert(0, str(CLAIMS))  # where the script finds `_claim`
    spec = importlib.util.spec_from_file_location("claim_subpo", CLAIMS / "subpo.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["claim_subpo"] = module
    spec.loader.exec_module(module)
    module.BATCHES = 5
    yield module
    sys.path.remove(str(CLAIMS))
    del sys.modules["claim_subpo"]


@pytest.fixture(scope="module")
def result(claim, tmp_path_factory):
    out = tmp_path_factory.mktemp("claim") / "subpo.json"
    claim.main(["--toy", "--seeds", "7", "--workers", "1", "--out", str(out)])
    return json.loads(out.read_text())


def test_the_result_has_the_agreed_form(result):
    assert (result["claim"], result["seeds"]) == ("subpo", [7])
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    for check in result["checks"]:
        assert check["low"] <= check["measured"] <= check["high"]
    assert len({check["name"] for check in result["checks"]}) == len(result["checks"]) == 12
    assert {Path(part).name for part in result["parts"]} >= {"subpo.py", "marginal_gain.py", "coverage.py"}


def test_what_holds_at_any_size(result):
    check = {c["name"]: c for c in result["checks"]}
    for name in ("uniform", "telescoping", "gradient variance, no baseline"):
        assert check[name]["holds"], name
    assert 0.2 < check["SubPO-M: end"]["measured"] < 0.5, "twelve updates are a beginning"
    assert check["prefix, no baseline: behind"]["measured"] > 0.02
    arms = result["seen"]["F over the planner's (first, update 100, last)"]
    assert arms["total F"] != arms["SubPO-M"] != arms["prefix"]
    assert arms["SubPO-M"][0] == arms["additive"][0], "the same first batch"


def test_the_planner_takes_the_best_six_moves_and_then_the_next(claim):
    """On a line of 9 cells nothing is better than going right; with 7 moves two plans are needed."""
    task = CoverageGrid(num_envs=1, rows=1, columns=9, horizon=7, radius=0.0, weights="constant")
    assert claim.planned(task) == 8
    hot = [[1.0, 1.0, 0, 0, 0, 0, 0, 0, 50.0]]
    near = CoverageGrid(num_envs=1, rows=1, columns=9, horizon=8, start=2, radius=0.0, weights=hot)
    assert claim.planned(near) == 50


def test_the_optimum_is_that_of_all_sets(claim):
    task = CoverageBandit(num_envs=1, cells=6, horizon=2, elements=10)
    best = max((task.covers[[0, a, b]].any(0) * task.weights).sum() for a, b in itertools.product(range(6), repeat=2))
    assert claim.optimum(task) == pytest.approx(best)


def test_the_credits_to_compare_with(claim):
    gain = torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    flags = (torch.tensor([[False, False], [True, True]]), torch.zeros(2, 2).bool(), torch.ones(2, 2).bool())
    assert claim.total(gain, *flags).tolist() == [[0, 0], [0, 0]]
    assert claim.prefix(gain, *flags).tolist() == [[1, 3], [3, 3]]
    assert claim.prefix_baseline(gain, *flags).tolist() == [[-1, 1], [0, 0]]
    assert claim.no_baseline(gain, *flags).tolist() == [[3, 3], [2, 0]]
    np.testing.assert_array_equal(claim.SEEDS, range(10, 15))
