"""A transformer as encoder: the true last token, transformers' own scores, and folders that it loads."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

from guerdon.models import reward_folder, tiny_model
from guerdon.models.reward_encoder import Embeddings
from guerdon.models.reward_head import RewardHead
from guerdon.models.reward_transformer import Transformer, last_token
from guerdon.types import Completions, Spec


def answers(texts, prompts=None):
    empty = torch.zeros(len(texts), 0, dtype=torch.long)
    return Completions(prompt=prompts or [""] * len(texts), text=list(texts), ids=empty, mask=empty.bool())


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("causal")
    model = tiny_model(max_length=64)
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = tiny_model().tokenizer
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=48, initializer_range=0.3, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def built(**options):
    encoder = Transformer(**options)
    encoder.build(Spec(), generator=torch.Generator().manual_seed(1), reader="Mine")
    return encoder


TEXTS = ["yes", "no, it is not", "x", "a much longer answer than that"]


def test_the_last_token_is_the_last_that_is_no_padding():
    hidden = torch.arange(24.0).view(3, 4, 2)
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 0, 0]])
    assert last_token(hidden, mask).tolist() == [hidden[0, 1].tolist(), hidden[1, 3].tolist(), hidden[2, 1].tolist()]
    with pytest.raises(ValueError, match="row 2 has no token"):
        last_token(hidden, mask * torch.tensor([[1], [1], [0]]))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("frozen", [True, False])
def test_padding_on_either_side_changes_nothing(causal, side, frozen):
    encoder = built(model=causal, frozen=frozen)
    alone = torch.cat([encoder(answers([text])) for text in TEXTS])
    together = encoder(answers(TEXTS))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    given = {"input_ids": [row.tolist() for row in encoder.ids(answers(TEXTS))]}
    padded = encoder.tokenizer.pad(given, padding_side=side, return_tensors="pt")
    body = encoder._body(padded["input_ids"], padded["attention_mask"].bool())
    torch.testing.assert_close(body, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["causal", "bert"])
def test_transformers_loads_the_folder_and_gives_the_same_scores(request, kind, tmp_path):
    encoder = built(model=request.getfixturevalue(kind))
    torch.manual_seed(2)
    head = RewardHead(encoder.size, bias=False)
    texts = answers(TEXTS, ["What? "] * 4)
    expected = head(encoder(texts))
    assert expected.std() > 1e-4
    reward_folder.save(tmp_path, encoder, head, {"bias": False})
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert model.config.num_labels == 1
    if kind == "causal":
        written = tokenizer([p + t + tokenizer.eos_token for p, t in zip(texts.prompt, texts.text, strict=True)])
    else:
        written = tokenizer(list(texts.prompt), list(texts.text))
    for side in ("left", "right") if kind == "causal" else ("right",):
        batch = tokenizer.pad(written, padding_side=side, return_tensors="pt")
        batch.pop("token_type_ids", None)
        torch.testing.assert_close(model(**batch).logits[:, 0], expected, rtol=0, atol=1e-5)


def test_micro_batches_change_nothing(causal):
    texts = answers(["word " * (1 + i % 7) for i in range(30)])
    wide, narrow = built(model=causal), built(model=causal, tokens=40)
    torch.testing.assert_close(wide(texts), narrow(texts), rtol=1e-4, atol=1e-5)


def test_a_frozen_one_computes_each_text_once(causal, monkeypatch):
    encoder = built(model=causal, frozen=True)
    first = encoder(answers(["only once"]))
    assert not first.requires_grad
    assert not list(encoder.parameters()), "it is shared, and no part of a reward's state"
    monkeypatch.setattr(Transformer, "_forward", None)
    torch.testing.assert_close(encoder(answers(["only once"])), first)


def test_a_text_that_is_too_long_is_named_or_cut_at_its_beginning(causal, bert):
    texts = answers(["short", "b" * 100 + "the end"])
    with pytest.raises(ValueError, match=r"Mine: row 1 has 109 tokens.*reads 64"):
        built(model=causal)(texts)
    cutting = built(model=causal, truncate=True)
    whole, cut = cutting.ids(texts)
    assert (len(whole), len(cut), cutting.truncated) == (7, 64, 1)
    assert cutting.tokenizer.decode(cut).endswith("the end<eos>")
    assert [len(row) for row in built(model=bert, truncate=True).ids(texts)] == [6, 48]
    with pytest.raises(ValueError, match="reads 5"):
        built(model=causal, max_length=5)(texts)


def test_messages_go_through_the_chat_template(causal):
    encoder = built(model=causal)
    (ids,) = encoder.ids(answers(["fine"], [[{"role": "user", "content": "well?"}]]))
    assert encoder.tokenizer.decode(ids) == "<user>well?<eos><assistant>fine<eos>"
    encoder.tokenizer.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        encoder.ids(answers(["other"], [[{"role": "user", "content": "well?"}]]))


def test_texts_end_with_the_end_token_once(causal):
    encoder = built(model=causal)
    assert [encoder.tokenizer.decode(r) for r in encoder.ids(answers(["a", "b<eos>"]))] == [
        "<bos>a<eos>",
        "<bos>b<eos>",
    ]
    (plain,) = built(model=causal, end=False).ids(answers(["a"]))
    assert encoder.tokenizer.decode(plain) == "<bos>a"


def test_padding_is_another_token_than_the_end(causal, tmp_path):
    """Or transformers would take the end of every text for padding, and read the token before it."""
    tokenizer = AutoTokenizer.from_pretrained(causal)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path)
    tiny_model().module.save_pretrained(tmp_path)
    encoder = built(model=str(tmp_path))
    assert encoder.tokenizer.pad_token == "<unk>"
    assert encoder._body.network.config.pad_token_id == encoder.tokenizer.pad_token_id


def test_an_empty_row_is_refused(causal):
    encoder = built(model=causal, end=False)
    encoder.tokenizer.add_bos_token = False
    encoder._ids[("''", "")] = torch.zeros(0).int().numpy()
    with pytest.raises(ValueError, match="row 0 has no token"):
        encoder(answers([""]))


def test_no_rows_have_no_features(causal):
    assert built(model=causal)(answers([])).shape == (0, 32)


def test_a_body_is_no_reward_model(causal):
    with pytest.raises(ValueError, match="is no reward model but a body"):
        reward_folder.load(causal, Spec(), reader="Mine")


def test_a_damaged_folder_says_so(tmp_path):
    head, encoder = RewardHead(768), Embeddings()
    encoder.build(Spec())
    reward_folder.save(tmp_path, encoder, head, {})
    assert reward_folder.load(tmp_path, Spec(), reader="Mine")[1].size == 768
    (tmp_path / "reward.json").write_text('{"encoder": "Nothing", "options": {}}')
    with pytest.raises(ValueError, match="is damaged"):
        reward_folder.load(tmp_path, Spec(), reader="Mine")
    with pytest.raises(OSError, match="cannot be loaded"):
        reward_folder.load(tmp_path / "elsewhere", Spec(), reader="Mine")
