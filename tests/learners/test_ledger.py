from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from guerdon.expression import parse_reward
from guerdon.learners.ledger import CaptionLedger
from guerdon.parts.caption_table import CaptionTable
from guerdon.types import Label, Labels, Rollout, Spec


def rollout(captions: list[list[int]], counts: list[list[int]], valid: list[list[bool]] | None = None) -> Rollout:
    """One game a row."""
    shown = torch.tensor(captions, dtype=torch.int32).T
    t, b = shown.shape[0] - 1, shown.shape[1]
    no = torch.zeros(t, b, dtype=torch.bool)
    return Rollout(
        obs=TensorDict({}, [t + 1, b]), action=torch.zeros(t, b), extrinsic=torch.ones(t, b),
        terminated=no, truncated=no,
        valid=~no if valid is None else torch.tensor(valid).T, caption=shown,
        caption_count=torch.tensor(counts, dtype=torch.int32).T,
    )  # fmt: skip


def test_the_ledger_books_what_captions_were_paid_and_nothing_of_the_task():
    captions = CaptionTable()
    door, wall = captions.intern("The door opens."), captions.intern("It's a wall.")
    reward = parse_reward("2 * Extrinsic() + 0.5 * ONI()")
    reward.build(Spec(captions=captions))
    reward.update(Labels.from_rows([Label("The door opens.", 1.0), Label("It's a wall.", 0.0)]))
    ledger = CaptionLedger(reward, captions)
    seen = rollout([[0, door, wall, door]], [[1, 1, 1, 2]])
    for _ in range(2):
        ledger.add(seen, reward.terms(seen))
    rows = {row["caption"]: row for row in ledger.rows()}
    assert rows["The door opens."]["count"] == 4
    assert rows["The door opens."]["paid"] == pytest.approx(2 * 0.5 * (1 + 1 / 8))
    assert rows["The door opens."]["value"] == 1.0
    assert rows["It's a wall."] == {"caption": "It's a wall.", "count": 2, "paid": 0.0, "value": 0.0}
    assert "" not in rows


def test_a_caption_first_seen_later_finds_room_and_a_reset_is_not_counted():
    captions = CaptionTable()
    reward = parse_reward("ONI()")
    reward.build(Spec(captions=captions))
    ledger = CaptionLedger(reward, captions)
    assert ledger.rows() == []
    for i in range(50):
        new = captions.intern(f"caption {i}")
        one = rollout([[0, new, new]], [[1, 1, 2]], valid=[[True, False]])
        ledger.add(one, reward.terms(one))
    assert {row["count"] for row in ledger.rows()} == {1}
    assert len(ledger.rows()) == 50


def test_a_ledger_goes_on_from_its_state():
    captions = CaptionTable()
    reward = parse_reward("ONI()")
    reward.build(Spec(captions=captions))
    a, b = CaptionLedger(reward, captions), CaptionLedger(reward, captions)
    one = rollout([[0, captions.intern("x")]], [[1, 1]])
    a.add(one, reward.terms(one))
    b.load_state_dict(a.state_dict())
    assert b.rows() == a.rows() != []
