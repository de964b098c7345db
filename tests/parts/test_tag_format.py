import pytest

from guerdon.parts.tag_format import follows_format

TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("<think>a</think><answer>1</answer>", True),
        ("x <think></think> y <answer></answer> z", True),
        ("<answer>1</answer><think>a</think>", False),
        ("<think>a</think><answer>1</answer><answer>2</answer>", False),
        ("<think>a</think><answer>1", False),
        ("", False),
    ],
)
def test_each_tag_once_and_in_order(text, right):
    assert follows_format([text], TAGS) == [right]
