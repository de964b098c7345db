import math
import threading

import pytest
import table_model

from guerdon.rewards.verifiable.math_verify import MathVerify, equal

pytest.importorskip("math_verify")


def written(*texts: str, answer: str):
    return table_model.completions(
        ["p"] * len(texts), texts, model=table_model.TableModel(), answer=[answer] * len(texts)
    )


def test_equal_as_mathematics():
    c = written(r"\boxed{0.5}", r"\boxed{\frac{2}{4}}", r"\boxed{0.51}", "1/2", "<answer>1/2</answer>", answer="1/2")
    assert MathVerify().score(c).tolist() == [1.0, 1.0, 0.0, 0.0, 1.0]


def test_what_nobody_can_read_is_not_scored():
    assert math.isnan(equal("3", ""))
    assert equal("red", "Red") == 1.0


def test_a_comparison_that_takes_too_long_is_not_scored(monkeypatch):
    def forever(*_, **__):
        threading.Event().wait()

    monkeypatch.setattr("math_verify.grader.sympy_expr_eq", forever)
    assert math.isnan(equal("2", "3", timeout=1))


def test_it_works_in_a_thread():
    got = []
    thread = threading.Thread(target=lambda: got.append(MathVerify().score(written(r"\boxed{0.5}", answer="1/2"))))
    thread.start()
    thread.join()
    assert got[0].tolist() == [1.0]
