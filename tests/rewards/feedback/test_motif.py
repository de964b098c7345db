import gzip
import json
import warnings

import pytest
import samples
import torch

from guerdon.parts.caption_table import CaptionTable
from guerdon.rewards.feedback import Motif, motif
from guerdon.rewards.feedback.motif import read_pairs
from guerdon.types import FIRST, SECOND, TIE, Pairs, Spec

GOOD = [f"You open the {name} door." for name in ("oak", "iron", "red", "old", "brass", "tall")]
BAD = [f"The {name} gnome misses." for name in ("oak", "iron", "red", "old", "brass", "tall")]
PAIRS = (
    [(g, b, "a") for g in GOOD for b in BAD] + [(b, g, "b") for g in GOOD for b in BAD] + [(GOOD[0], GOOD[1], "tie")]
)


def built(seed=0, **keywords) -> Motif:
    made = Motif(**({"pairs": PAIRS, "lr": 2e-3, "batch_size": 16, "epochs": 2} | keywords))
    made.build(Spec(captions=CaptionTable()), generator=torch.Generator().manual_seed(seed))
    return made


def pay(made: Motif, texts: list[str]) -> torch.Tensor:
    """What each text is paid, once."""
    rollout = samples.rollout(steps=len(texts), num_envs=1)
    rollout.caption[1:, 0] = torch.tensor([made.captions.intern(text) for text in texts])
    rollout.valid.fill_(True)
    rollout.caption_count.fill_(1)
    return made.score(rollout)[:, 0]


@pytest.fixture(scope="module")
def fitted():
    return built()


def test_prefers_what_was_preferred_under_names_it_never_saw(fitted):
    new = [form.format(name) for form in ("You open the {} door.", "The {} gnome misses.") for name in ("jade", "grey")]
    paid = pay(fitted, new)
    assert paid[:2].min() > 0.5
    assert paid[2:].max() <= 0


def test_statistics_are_those_of_the_training_set(fitted):
    raw = fitted.net.value(torch.arange(1, len(fitted.captions)))
    normal = (raw - fitted.mean) / fitted.var.sqrt()
    assert fitted.quantiles[0] >= normal.min() - 1e-4
    assert fitted.quantiles[100] <= normal.max() + 1e-4
    assert fitted.quantiles.diff().min() >= 0
    assert abs(float(normal.mean())) < 0.3
    for quantile, expected in (
        (0.5, fitted.quantiles[50]),
        (0.055, fitted.quantiles[5].lerp(fitted.quantiles[6], 0.5)),
    ):
        fitted.quantile = quantile
        texts = GOOD + BAD
        value = (
            fitted.net.value(torch.tensor([fitted.captions.intern(t) for t in texts])) - fitted.mean
        ) / fitted.var.sqrt()
        torch.testing.assert_close(pay(fitted, texts), torch.where(value > expected, value, 0.0), rtol=1e-3, atol=1e-3)
    fitted.quantile = 0.5


def test_one_who_was_not_fitted_refuses_to_score(monkeypatch):
    monkeypatch.setattr(motif, "AT_BUILD", 10)
    made = built()
    with pytest.raises(RuntimeError, match=r"call fit\(\), or pass weights="):
        pay(made, GOOD)
    logs = made.fit()
    assert logs["Motif/pairs"] == len(PAIRS)
    assert logs["Motif/accuracy"] > 0.9
    assert pay(made, GOOD).max() > 0


def test_weights_instead_of_fitting(fitted, tmp_path, monkeypatch):
    torch.save(fitted.state_dict(), tmp_path / "motif.pt")
    monkeypatch.setattr(Motif, "fit", lambda *_: pytest.fail("must not be fitted again"))
    made = built(seed=5, pairs=None, weights=str(tmp_path / "motif.pt"))
    torch.testing.assert_close(pay(made, GOOD + BAD), pay(fitted, GOOD + BAD), rtol=1e-4, atol=1e-4)


def test_playing_teaches_it_nothing_but_pairs_do(fitted):
    made = built(seed=1)
    before = pay(made, GOOD + BAD)
    assert made.update(samples.rollout()) == {}
    assert made.update(samples.labels()) == {}
    assert made.questions(samples.rollout()) == []
    assert torch.equal(pay(made, GOOD + BAD), before)
    outcome = torch.tensor([{"a": SECOND, "b": FIRST, "tie": TIE}[label] for *_, label in PAIRS])
    made.update(Pairs(first=[a for a, *_ in PAIRS], second=[b for _, b, _ in PAIRS], label=outcome))
    made.update(Pairs(first=[a for a, *_ in PAIRS], second=[b for _, b, _ in PAIRS], label=outcome))
    assert pay(made, GOOD).max() <= 0 < pay(made, BAD).min()


def test_warns_where_it_learned_nothing():
    with pytest.warns(UserWarning, match="learned nothing"):
        built(lr=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built()


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.gz"])
def test_a_file_of_pairs(tmp_path, name):
    rows = [{"a": "x", "b": "y", "preferred": p, "note": "ignored"} for p in ("a", "b", "tie")]
    data = ("\n".join(map(json.dumps, rows)) + "\n\n").encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    pairs = read_pairs(str(tmp_path / name))
    assert pairs.label.tolist() == [FIRST, SECOND, TIE]
    assert (pairs.first, pairs.second) == (["x"] * 3, ["y"] * 3)


DAMAGED = [
    '{"a": "x", "b": "y"}',
    "[1]",
    "{",
    '{"a": "x", "b": "y", "preferred": "c"}',
    '{"a": 1, "b": "", "preferred": "a"}',
]


@pytest.mark.parametrize("line", DAMAGED)
def test_a_damaged_file_names_its_line(tmp_path, line):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"a": "x", "b": "y", "preferred": "a"}\n' + line)
    with pytest.raises(ValueError, match=r"pairs.jsonl, line 2: a comparison is"):
        read_pairs(str(path))


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="compares nothing"):
        read_pairs([])
    with pytest.raises(ValueError, match="nothing to fit"):
        built(holdout=1.0)


def test_the_packaged_pairs():
    pairs = read_pairs()
    assert len(pairs.label) == 1550
    assert pairs.label.bincount().tolist() == [475, 529, 546]


def test_defaults_of_the_card():
    made = Motif()
    assert (made.quantile, made.lr, made.batch_size, made.epochs, made.holdout) == (0.5, 1e-5, 1024, 10, 0.2)
