"""The claim scripts of novelty rewards from end to end, at sizes that claim nothing."""

import json
import subprocess
import sys
from pathlib import Path

CLAIMS = Path(__file__).parents[2] / "claims"


def run(name: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, str(CLAIMS / f"{name}.py"), "--toy", "--workers", "1", *options],
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rdd(tmp_path: Path) -> None:
    out = tmp_path / "rdd.json"
    run("rdd", "--out", str(out))
    measured = {check["name"]: check for check in json.loads(out.read_text())["checks"]}
    assert len(measured) == 11
    at_any_size = [name for name in measured if name.startswith("table") or "without spread" in name]
    at_any_size.remove("table: DRND without root")  # of one seed, its largest counts are noisy
    assert len(at_any_size) == 5
    for name in at_any_size:
        assert measured[name]["holds"], measured[name]


def test_intrinsic_minigrid_goes_on_where_it_stopped(tmp_path: Path) -> None:
    out = tmp_path / "minigrid.json"
    options = ["--seeds", "1", "2", "--arms", "PseudoCount, episodic", "constant", "--out", str(out)]
    assert run("intrinsic_minigrid", *options).count(" seed ") == 12
    result = json.loads(out.read_text())
    assert [check["name"] for check in result["checks"]] == [
        "KeyCorridor: episodic counts",
        "KeyCorridor: constant",
        "MultiRoom: episodic counts",
        "MultiRoom: constant",
    ]
    assert len(result["seen"]["runs"]) == 12
    again = run("intrinsic_minigrid", *options)
    assert " seed " not in again, "finished runs are not run again"
