import math

import pytest
import table_model
import torch

from guerdon.rewards.verifiable.abstention import SALU


def model() -> table_model.TableModel:
    made = table_model.TableModel()
    made.put("?", "4", 0.25)
    made.put("4", chr(table_model.END), 0.25)
    made.put(" ", "y", 0.6)
    made.logits.data[ord(" "), ord("n")] = math.log(0.2)
    for before, after in ("ye", "es", "no"):
        made.put(before, after, 1 - 1e-4)
    return made


TEXTS = ["4", "5", "unknown", "unknown 4", ""]


def written(u, **columns):
    return table_model.completions(["4?"] * 5, TEXTS, model=model(), answer=["4"] * 5, unanswerable=[u] * 5, **columns)


def test_responses_are_read_and_paid():
    m = model()
    plain = SALU(confidence="none")
    assert plain.score(written(0), policy=m).tolist() == [1.0, -1.0, -0.5, -1.0, 0.0]
    assert plain.score(written(1), policy=m).tolist() == [-2.0, -2.0, 1.0, -2.0, -1.0]
    assert plain.score(written(None), policy=m).isnan().all()


def test_confidence_is_the_models_own():
    m = model()
    likely = SALU().score(written(0), policy=m)
    assert likely[0].item() == pytest.approx(0.25)  # the geometric mean of 0.25 and 0.25
    checked = SALU(confidence="self-check").confidences(written(0), m)
    torch.testing.assert_close(checked[:4], torch.full((4,), 0.75), rtol=1e-3, atol=1e-3)
    assert checked[4] == 0.0
    messages = written(0)
    messages.prompt = [[{"role": "user", "content": p}] for p in messages.prompt]
    assert SALU(confidence="self-check").confidences(messages, m).shape == (5,)
    together = SALU(confidence="agreement").confidences(written(0), m)
    torch.testing.assert_close(together[:4], torch.zeros(4))
    with pytest.raises(ValueError, match="SALU"):
        SALU(confidence="guess").confidences(written(0), m)  # type: ignore[arg-type]


def test_the_proper_score_is_added_to_the_flat_table():
    m = model()
    got = SALU(brier=0.5).score(written(0), policy=m)
    c = SALU().confidences(written(0), m).detach()
    wanted = torch.tensor([1.0, -1.0, -0.5, -1.0, -1.0])
    wanted = wanted - 0.5 * torch.tensor([(c[0] - 1) ** 2, c[1] ** 2, 0.0, c[3] ** 2, 0.0])
    torch.testing.assert_close(got, wanted)
