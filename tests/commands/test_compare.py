"""`guerdon compare`: what it prints and writes, and what it refuses."""

import json

import numpy as np
import pytest

from guerdon.cli import main


def run(*arguments, capsys):
    """Exit status and what was printed."""
    status = 0
    try:
        main(["compare", *map(str, arguments)])
    except SystemExit as left:
        status = left.code
    printed = capsys.readouterr()
    return status, printed.out + printed.err


@pytest.fixture
def world(tmp_path):
    """Two states, two actions: action a leads to state a. Tables of rewards, and where they are."""
    tau = np.zeros((2, 2, 2))
    tau[:, [0, 1], [0, 1]] = 1.0
    np.savez(tmp_path / "world.npz", transition=tau, gamma=0.5)
    first = np.array([[0.0, 1.0], [0.0, 1.0]])
    potential = np.array([3.0, -1.0])
    shaped = 2 * first[..., None] + 0.5 * potential - potential[:, None, None]
    for name, table in (("a", first), ("shaped", shaped), ("b", -first), ("nan", first * np.nan), ("odd", first[:1])):
        np.save(tmp_path / f"{name}.npy", table)
    return tmp_path


def test_tables(world, capsys):
    out = world / "out" / "found.json"
    picture = world / "out" / "found.png"
    status, said = run(
        world / "a.npy", world / "shaped.npy", world / "b.npy", "--task", world / "world.npz", "--json", out,
        "--picture", picture, capsys=capsys,
    )  # fmt: skip
    assert status == 0, said
    found = json.loads(out.read_text())
    np.testing.assert_allclose(found["distance"], [[0, 0, 2], [0, 0, 2], [2, 2, 0]], atol=1e-12)
    np.testing.assert_allclose(found["half"], np.array(found["distance"]) / 2)
    assert [pair["kind"] for pair in found["pairs"]] == ["scale and shaping", "opposite", "opposite"]
    assert found["pairs"][0]["scale"] == pytest.approx(2.0)
    assert found["gamma"] == 0.5
    assert found["seeds"] == []
    assert "interval" not in found
    witness = found["pairs"][1]["witness"]
    assert witness["actions"] == [[1, 1], [0, 0]]
    np.testing.assert_allclose(witness["returns"], [[2, 0], [-2, 0]], atol=1e-12)
    assert "2 times" in said
    assert "STARC: c=VAL" in said
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert not list(out.parent.glob("*.part"))


@pytest.mark.parametrize("metric", ["epic", "dard"])
def test_other_metrics(world, capsys, metric):
    out = world / "found.json"
    status, said = run(
        world / "a.npy", world / "shaped.npy", "--task", world / "world.npz", "--metric", metric, "--json", out,
        capsys=capsys,
    )  # fmt: skip
    assert status == 0, said
    found = json.loads(out.read_text())
    assert found["metric"].lower().startswith(metric)
    assert found["distance"][0][1] < 1e-7


def test_a_task_and_twice_the_same_reward(capsys, tmp_path):
    out = tmp_path / "found.json"
    status, said = run(
        "Extrinsic()", "Extrinsic()", "RND()", "--task", "FrozenLake-v1", "--json", out, capsys=capsys
    )  # fmt: skip
    assert status == 0, said
    found = json.loads(out.read_text())
    assert found["rewards"] == ["Extrinsic() (1)", "Extrinsic() (2)", "RND()"]
    assert found["pairs"][0]["kind"] == "same"
    assert found["pairs"][1]["kind"] == "order"
    assert "exact" in found["how"]
    (a, b), (c, d) = found["pairs"][1]["witness"]["returns"]
    assert a > b
    assert c < d


def test_a_task_without_a_table(capsys, tmp_path):
    out = tmp_path / "found.json"
    status, said = run(
        "Extrinsic()", "2.0 * Extrinsic()", "--task", "CartPole-v1", "--seeds", "2", "--steps", "256", "--json", out,
        "--picture", tmp_path / "found.png", capsys=capsys,
    )  # fmt: skip
    assert status == 0, said
    found = json.loads(out.read_text())
    assert "sampled, since its first state is drawn" in said
    assert found["seeds"] == [0, 1]
    assert found["interval"]["level"] == 0.95
    assert found["distance"][0][1] < 1e-6
    assert found["pairs"][0]["scale"] == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        (["Extrinsic()", "--task", "FrozenLake-v1"], "at least two rewards"),
        (["Extrinsic()", "Extrinsik()", "--task", "FrozenLake-v1"], "Extrinsic"),
        (["Extrinsic()", "RND()", "--task", "FrozenLak-v1"], "FrozenLake"),
        (["Extrinsic()", "E3B()", "--task", "FrozenLake-v1"], "no score of its own"),
        (["Extrinsic()", "RND()", "--task", "FrozenLake-v1", "--gamma", "1"], "below 1"),
        (["Extrinsic()", "RND()", "--task", "CartPole-v1", "--gamma", "1"], "below 1"),
        (["Extrinsic()", "RND()", "--task", "CartPole-v1", "--metric", "epic"], "fits in a table"),
        (["Extrinsic()", "RND()", "--task", "CartPole-v1", "--steps", "1"], "at least 64"),
        (["{w}/a.npy", "{w}/a.npy", "--task", "CartPole-v1"], "a table of rewards needs a task that fits in a table"),
        (["{w}/a.npy", "{w}/nan.npy", "--task", "{w}/world.npz"], "NaN or infinite at 4"),
        (["{w}/a.npy", "{w}/odd.npy", "--task", "{w}/world.npz"], "got [1, 2]"),
        (["{w}/a.npy", "Extrinsic()", "--task", "{w}/world.npz"], "no observations"),
        (["{w}/a.npy", "{w}/none.npy", "--task", "{w}/world.npz"], "none.npy"),
        (["Extrinsic()", "RND()", "--task", "DeepSea", "--option", "sise=4"], "no option 'sise'"),
        (["{w}/a.npy", "{w}/a.npy", "--task", "{w}/none.npz"], "none.npz"),
    ],
)
def test_mistakes_are_answered_with_a_cure(world, capsys, arguments, cure):
    status, said = run(*(a.format(w=world) for a in arguments), capsys=capsys)
    assert status == 2
    assert cure in said
    assert "Traceback" not in said
