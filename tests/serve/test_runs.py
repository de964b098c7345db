import json
import math

import numpy as np
import pytest

from guerdon.serve.chart import number, ticks
from guerdon.serve.runs import arms, half_width, read_run


@pytest.fixture
def uneven(make_run):
    """One row with three episodes, one with none, one with one: two stretches of a run."""
    folder = make_run("uneven")
    rows = [
        {"step": 50, "episode/success": 1.0, "episode/count": 3, "term/X/per_episode": 2.0, "ppo/entropy": 1.0},
        {"step": 95, "term/X/per_episode": 4.0, "ppo/entropy": math.nan},
        {"step": 100, "episode/success": 0.0, "episode/count": 1, "term/X/per_episode": 3.0, "ppo/entropy": None},
    ]
    (folder / "progress.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_run(folder)


def test_episodes_weigh_alike(uneven):
    steps, values = uneven.curve("episode/success", points=1)
    assert values.tolist() == [0.75]
    assert steps.tolist() == [75.0]
    assert uneven.final("episode/success") == 0.0


def test_pay_per_episode_counts_what_was_paid_while_none_ended(uneven):
    assert uneven.curve("term/X/per_episode", points=1)[1].tolist() == [(3 * 2.0 + 4.0 + 3.0) / 4]
    assert uneven.final("term/X/per_episode") == 7.0


def test_rows_without_a_number_are_left_out(uneven):
    steps, values = uneven.curve("ppo/entropy", points=2)
    assert (steps.tolist(), values.tolist()) == ([50.0], [1.0])
    assert uneven.final("ppo/entropy") is None
    assert uneven.last("ppo/entropy") == 1.0


def test_half_width_is_students():
    values = np.array([0.2, 0.4, 0.9])
    assert half_width(values) == pytest.approx(4.303 * values.std(ddof=1) / math.sqrt(3))
    assert half_width(np.array([0.3])) == 0


def test_runs_that_differ_in_the_seed_are_one_arm(make_run):
    made = [make_run(f"r{s}", judge="RecordedJudge()", seed=s) for s in (10, 2)] + [make_run("plain")]
    judged, plain = arms([read_run(folder) for folder in made])
    assert [run.seed for run in judged.runs] == [2, 10]
    assert judged.name == "Extrinsic() + 0.1 * ONI() | RecordedJudge()"
    assert plain.name == "Extrinsic()"


def test_the_mean_stands_where_every_seed_has_values(make_run):
    made = [make_run("long", steps=400_000), make_run("short", steps=200_000, seed=1)]
    curve = arms([read_run(folder) for folder in made])[0].curve("episode/success")
    assert curve is not None
    assert curve.steps[-1] == 200_000
    assert [x[-1] for x, _ in curve.seeds] == [400_000, 200_000]


def test_a_last_row_cut_short_is_dropped_and_told(make_run):
    folder = make_run("a", done=False)
    whole = read_run(folder)
    (folder / "progress.jsonl").write_bytes((folder / "progress.jsonl").read_bytes() + b'{"step": 5000')
    cut = read_run(folder)
    assert (whole.cut, cut.cut) == (False, True)
    assert len(cut.progress) == len(whole.progress)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", None, "config.json is missing"),
        ("config.json", "{", "config.json is damaged"),
        ("config.json", "{}", "lacks task and reward"),
        ("progress.jsonl", None, "progress.jsonl is missing"),
        ("progress.jsonl", '{"step": 1}\nnonsense\n{"step": 2}\n', "progress.jsonl is damaged in line 2"),
        ("progress.jsonl", '{"return": 1}\n{"step": 2}\n', "progress.jsonl is damaged in line 1"),
        ("captions.json", '[{"caption": "x"}]', "captions.json is damaged: entry 0"),
        ("captions.json", "{}", "expected a list"),
        ("done.json", "[", "done.json is damaged"),
    ],
)
def test_a_missing_or_damaged_file_is_named(make_run, file, content, said):
    folder = make_run("a")
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(ValueError, match=said):
        read_run(folder)


def test_an_unknown_folder_names_the_runs_beside_it(make_run):
    folder = make_run("real")
    with pytest.raises(ValueError, match="has the runs real"):
        read_run(folder.parent / "unreal")


def test_a_run_without_captions_is_a_run(make_run):
    folder = make_run("a")
    (folder / "captions.json").unlink()
    assert read_run(folder).captions == []


def test_options_are_part_of_the_task(make_run):
    folder = make_run("a")
    config = json.loads((folder / "config.json").read_text()) | {"option": ["rooms=3"]}
    (folder / "config.json").write_text(json.dumps(config))
    assert read_run(folder).task == "TrailOfDoors (rooms=3)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (1234567, "1.23M"),
        (35000, "35k"),
        (-1500, "-1.5k"),
        (2e-5, "2.0e-05"),
        (1e15, "1e+15"),
    ],
)
def test_numbers_are_short(value, shown):
    assert number(value) == shown


def test_ticks_are_round():
    assert ticks(0, 1, 5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert ticks(0, 400_000, 4) == [0, 1e5, 2e5, 3e5, 4e5]
    assert ticks(-0.3, 1.1, 4)[0] == 0.0
