import pytest
import table_model

from guerdon.rewards.verifiable.exact_match import ExactMatch

TEXTS = [r"so \boxed{1,234.50}", r"\boxed{7}", "no idea", "<answer> 1234.5 </answer>", "#### $1234.5$\nwell"]


def written(**columns: list):
    return table_model.completions(["p"] * len(TEXTS), TEXTS, model=table_model.TableModel(), **columns)


def test_right_wrong_and_missing():
    c = written(answer=["1234.5"] * 5)
    assert ExactMatch().score(c).tolist() == [1.0, 0.0, 0.0, 1.0, 1.0]
    assert ExactMatch(right=100, wrong=10, how="boxed").score(c).tolist() == [100, 10, 0, 0, 0]


def test_numbers_in_the_column_and_other_columns():
    assert ExactMatch(answer="gold").score(written(gold=[1234.5] * 5))[0] == 1.0
    with pytest.raises(ValueError, match="ExactMatch reads the column 'answer'"):
        ExactMatch().score(written(gold=[1] * 5))
