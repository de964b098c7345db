"""Texts to tokens: beginnings, borders, chats."""

import pytest

pytest.importorskip("transformers")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from guerdon.models import tiny_model
from guerdon.models.token_model import TokenModel

CHARACTERS = tiny_model().tokenizer
CHAT = [{"role": "user", "content": "hi"}]


class Tokens(TokenModel):
    """One that neither predicts nor writes."""

    def __init__(self, tokenizer):
        super().__init__(tokenizer, name="tokens", max_length=10)

    _predict = _write = None


@pytest.fixture(scope="module")
def words() -> Tokens:
    """Byte-level pairs, as most models have: a space belongs to the word after it, and no beginning token."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(["the answer is 12 and the answer is 345"] * 20, trainer)
    return Tokens(PreTrainedTokenizerFast(tokenizer_object=made))


def test_a_beginning_token_comes_once():
    model = Tokens(CHARACTERS)
    assert model.encode("ab")[0] == CHARACTERS.bos_token_id
    assert model.encode("<bos>ab") == model.encode("ab")
    assert len(model.encode("ab")) == 3
    assert model.decode(model.encode("a b\n")) == "<bos>a b\n"


def test_no_beginning_token_where_the_tokenizer_sets_none(words):
    assert words.decode(words.encode("the answer")) == "the answer"
    assert words.split("the answer", 0, 3)[0] == []


@pytest.mark.parametrize("text", ["the answer is 12", "é the 答 answer 🙂 is"])
def test_split_is_the_whole_text_up_to_the_end(words, text):
    whole = words.encode(text)
    for start in range(len(text)):
        for end in range(start + 1, len(text) + 1):
            before, span = words.split(text, start, end)
            assert before + span == whole[: len(before) + len(span)]
            assert text[start:end] in words.decode(span)
            shown = words.decode(before)
            assert text.startswith(shown)
            assert len(shown) <= start < len(words.decode(before + span[:1]))


def test_a_token_over_the_border_belongs_to_the_span(words):
    text = "the answer is"
    assert words.decode(words.encode(text)[1:2]) == " answer"
    before, span = words.split(text, 6, 9)  # "swe"
    assert (words.decode(before), words.decode(span)) == ("the", " answer")


def test_split_of_characters():
    model = Tokens(CHARACTERS)
    before, span = model.split("<bos>a b=42!", 9, 11)
    assert (model.decode(before), model.decode(span)) == ("<bos>a b=", "42")
    assert model.split("a b=42!", 4, 6) == (before, span)


@pytest.mark.parametrize(("start", "end"), [(2, 2), (3, 2), (-1, 2), (0, 9)])
def test_no_span(start, end):
    with pytest.raises(ValueError, match="no span"):
        Tokens(CHARACTERS).split("abc", start, end)


def test_chats_are_rendered_and_left_as_they_were():
    model = Tokens(CHARACTERS)
    assert model.render("as it is") == "as it is"
    assert model.render(CHAT) == "<user>hi<eos><assistant>"
    assert model.render(CHAT, add_generation_prompt=False) == "<user>hi<eos>"
    assert CHAT == [{"role": "user", "content": "hi"}]


def test_a_tokenizer_without_a_template_takes_texts_only(words):
    with pytest.raises(ValueError, match="no chat template"):
        words.render(CHAT)


def test_a_tokenizer_without_offsets_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match="fast tokenizer"):
        Tokens(Slow())
