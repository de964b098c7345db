import json
from pathlib import Path

import numpy as np
import pytest

from guerdon.commands.judge_accuracy import judge_accuracy, measure
from guerdon.judges.record import Entry, Record
from guerdon.types import FIRST, SECOND, TIE


def record(told_by_words: bool, *, templates: int = 40, members: int = 5) -> Record:
    """Captions whose first word is their label, or says nothing of it; the second word is their template."""
    chance = np.random.default_rng(0)
    made = Record()
    for t in range(templates):
        helpful = t % 2
        word = ("wall", "gold")[helpful if told_by_words else chance.integers(2)]
        for m in range(members):
            made.captions[f"{word} template{t} member{m}"] = Entry(helpful, 2.0 * helpful, f"T{t}")
    good = [c for c, e in made.captions.items() if e.helpful]
    bad = [c for c, e in made.captions.items() if not e.helpful]
    made.pairs = dict.fromkeys(zip(good[:30], bad[:30], strict=True), FIRST)
    made.pairs |= {(b, g): SECOND for g, b in zip(good[30:60], bad[30:60], strict=True)}
    made.pairs |= dict.fromkeys(zip(good[60:80], good[80:100], strict=True), TIE)
    return made


def figures(**options):
    return {figure.name: figure for figure in measure(record(**options))}


def test_what_words_tell_is_right_on_unseen_templates():
    found = figures(told_by_words=True)
    for figure in found.values():
        assert (figure.low, figure.value, figure.high) == (1.0, 1.0, 1.0), figure
    assert found["helpful or not, unseen templates"].cases == 200
    assert found["pairs by guessed values, all outcomes"].cases == 80
    assert found["pairs by guessed values, where both choose"].cases == 60


def test_a_template_is_never_on_both_sides():
    """Labels that only the template's own word tells: known templates give them away, unseen ones do not."""
    found = figures(told_by_words=False)
    unseen = found["helpful or not, unseen templates"]
    assert unseen.low < 0.5 < unseen.high
    assert unseen.high < 0.8
    assert found["helpful or not, unseen captions of known templates"].value == 1.0
    assert found["pairs by recorded values, all outcomes"].value == 1.0
    assert found["pairs by guessed values, all outcomes"].value < 0.8


def test_records_that_cannot_be_measured():
    with pytest.raises(ValueError, match="5 folds need 5 templates"):
        measure(record(True, templates=4))
    one_kind = Record(captions={f"c{i}": Entry(1.0, 1.0) for i in range(9)})
    with pytest.raises(ValueError, match="only one kind"):
        measure(one_kind)


def test_the_command_prints_a_table(tmp_path, capsys):
    path = tmp_path / "mine.jsonl"
    rows = [{"caption": c, "helpful": e.helpful, "template": e.template} for c, e in record(True).captions.items()]
    path.write_text("\n".join(map(json.dumps, rows)))
    judge_accuracy(record=path, folds=4)
    shown = capsys.readouterr().out
    assert "4 folds by template" in shown
    assert "1.000 to 1.000" in shown
    assert "pairs" not in shown


def test_the_published_figure_can_be_read():
    result = json.loads((Path(__file__).parents[2] / "benchmarks/results/recorded_judge.json").read_text())
    ratio = result["ratios"][0]
    assert ratio["name"] == "helpful or not, unseen templates"
    assert 0.5 < ratio["low"] <= ratio["value"] <= ratio["high"] < 1
