import json
import os
import subprocess
import sys

import pytest

from guerdon.commands.report import report
from guerdon.serve import page
from guerdon.serve.notes import difference, kind, notes
from guerdon.serve.report import text
from guerdon.serve.runs import Arm, arms, read_run


def test_a_count_bonus_that_ties_is_told_first(three_arms):
    said = notes(arms([read_run(folder) for folder in three_arms]))
    assert said[0].startswith("A count bonus does as well here: “random labels”")
    assert any(note.startswith("“ONI” ends ahead of “task reward only”") for note in said)
    assert any("only 3 seeds" in note for note in said)


def test_a_count_bonus_that_falls_behind_is_not_called_a_tie(make_run):
    made = [make_run(f"oni{s}", arm="ONI", judge="RecordedJudge()", level=0.9, seed=s) for s in range(3)]
    made += [make_run(f"ones{s}", arm="1", judge="RecordedJudge(labels='ones')", level=0.2, seed=s) for s in range(3)]
    said = notes(arms([read_run(folder) for folder in made]))
    assert said[0].startswith("“ONI” ends ahead of “1”")
    assert not any("count bonus" in note for note in said)


def test_feedback_that_does_not_help_is_told(make_run):
    made = [make_run("oni", arm="ONI", judge="RecordedJudge()", level=0.1), make_run("plain", arm="plain", level=0.3)]
    said = notes(arms([read_run(folder) for folder in made]))
    assert said[0].startswith("“ONI” does not end ahead of “plain” (success -0.20)")
    assert any(note.startswith("One seed an arm") for note in said)


def test_arms_that_all_fail_are_not_called_a_count_bonus_that_does_as_well(make_run):
    made = [make_run("oni", arm="ONI", judge="RecordedJudge()", level=0.01)]
    made += [make_run("ones", arm="ones", judge="RecordedJudge(labels='ones')", level=0.01)]
    said = notes(arms([read_run(folder) for folder in made]))
    assert said[0].startswith("“ONI” does not end ahead of “ones”")


def test_figures_that_never_change_come_later(make_run):
    folder = make_run("a")
    rows = [json.loads(line) | {"episode/gold": 0.0} for line in (folder / "progress.jsonl").read_text().splitlines()]
    (folder / "progress.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    html = page([folder])
    assert html.index("<h3>Depth") < html.index("More curves") < html.index("<h3>Gold")


@pytest.mark.parametrize(
    ("judge", "part"),
    [
        (None, "no feedback"),
        ("RecordedJudge()", "feedback"),
        ("RecordedJudge(invert=False)", "feedback"),
        ("RecordedJudge(invert=True)", "inverted"),
        ("RecordedJudge(labels='ones')", "count bonus"),
        ("KeywordJudge(words=('door',), noise=0.5)", "count bonus"),
    ],
)
def test_an_arm_is_told_by_its_judge(make_run, judge, part):
    assert kind(Arm("x", [read_run(make_run("a", judge=judge))])) == part


def test_a_difference_is_paired_where_the_seeds_are_the_same(make_run):
    first = Arm("a", [read_run(make_run(f"a{s}", level=0.5 + 0.1 * s, seed=s)) for s in range(3)])
    second = Arm("b", [read_run(make_run(f"b{s}", level=0.4 + 0.1 * s, seed=s)) for s in range(3)])
    gap = difference(first, second, "episode/success")
    assert gap is not None
    assert gap[0] == pytest.approx(0.1, abs=0.01)
    assert gap[2] - gap[1] < 0.01  # the levels differ by as much in every seed


def test_unfinished_and_short_runs_are_told(make_run):
    running, short = make_run("running", done=False), make_run("short")
    config = json.loads((short / "config.json").read_text()) | {"steps": 1_000_000}
    (short / "config.json").write_text(json.dumps(config))
    (short / "done.json").write_text(json.dumps({"step": 400_000, "seconds": 1, "reason": "Ctrl-C"}))
    html = page([running, short])
    assert "running has not finished" in html
    assert "short stopped after 400k of 1M steps: Ctrl-C." in html


def test_each_task_has_a_part_of_its_own(make_run):
    html = page([make_run("a"), make_run("b", task="NetHackScore")])
    assert "<h2>TrailOfDoors</h2>" in html
    assert "<h2>NetHackScore</h2>" in html


def test_a_run_that_has_just_begun_has_a_page(make_run):
    folder = make_run("a", done=False)
    (folder / "progress.jsonl").write_text("")
    (folder / "captions.json").unlink()
    assert "No episode has ended" in page([folder])


def test_text_is_inert_and_visible():
    assert text('<b a="1">&\x00\udc80\u2066') == "&lt;b a=&quot;1&quot;&gt;&amp;\\x00\\udc80\\u2066"
    assert text("é ÿ") == "é ÿ"


def test_the_command_writes_beside_the_runs(make_run, capsys):
    first, second = make_run("a"), make_run("b", seed=1)
    report([first])
    report([first, second])
    assert capsys.readouterr().out.split() == [str(first / "report.html"), str(first.parent / "report.html")]
    assert (first / "report.html").read_text().startswith("<!doctype html>")


def test_the_command_line_names_what_is_wrong(tmp_path):
    command = [sys.executable, "-m", "guerdon.cli", "report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "300"})
    assert done.returncode == 2
    assert "config.json is missing" in done.stderr
    assert "Traceback" not in done.stderr
