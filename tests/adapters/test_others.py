"""verl, OpenRLHF and verifiers: our functions, called with what these libraries' own code was seen to hand over.

The record is made by tests/references/trainers.py, in environments that have the libraries.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import math
import pickle
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from adapters.small_rewards import Asked, Brief
from references.trainers import BRIEF, RECORD, REWARD, ROWS

from guerdon.adapters import verl
from guerdon.adapters.one_row import NoScore
from guerdon.adapters.openrlhf import response, reward_function, write
from guerdon.adapters.verifiers import rubric_function, task_reward
from guerdon.models.tiny_model import tiny_model
from guerdon.rewards.verifiable import ExactMatch

THEIRS = json.loads(RECORD.read_text())
VALUES = [1.0 + 0.5, 0.0, 0.0]  # of REWARD for ROWS: right and brief, wrong and long, no answer and unscored
NAN = pytest.approx(math.nan, nan_ok=True)
CALL = {"data_source": "sums", "solution_str": "\\boxed{2}", "ground_truth": "2", "extra_info": {"index": 7}}


def calls() -> list[Any]:
    return [pytest.param(found, id=name) for name, found in THEIRS["verl"].items() if name != "packages"]


@pytest.mark.parametrize("found", calls())
def test_verl_is_given_what_it_was_seen_to_pass_on(found: dict[str, Any]):
    """The same answer to what verl handed over; verl passed it on whole, the score on the last token."""
    function = getattr(verl, found["name"])
    for handed, result in zip(found["handed"], found["results"], strict=True):
        made = function(**handed, reward=found["reward"], unscored=-1.0)
        made = asyncio.run(made) if inspect.iscoroutine(made) else made
        assert made == pytest.approx(result["reward_extra_info"], nan_ok=True)
        assert made["score"] == pytest.approx(result["reward_score"])
        assert list(made) == list(found["results"][0]["reward_extra_info"]), "verl wants the same keys in every row"
    length = len(ROWS[0][1])
    assert [i for i, v in enumerate(found["rm_scores"][0]) if v] == [length - 1]


def test_verl_was_given_the_right_values():
    for name in ("compute_score", "compute_score_async"):
        found = {
            k: [r["reward_extra_info"] for r in v["results"]] for k, v in THEIRS["verl"].items() if k != "packages"
        }
        assert [r["score"] for r in found[f"{name}, naive manager, several terms"]] == VALUES
        assert [r["Brief"] for r in found[f"{name}, naive manager, several terms"]] == [0.5, 0.0, NAN]
        unscored = found[f"{name}, naive manager, unscored rows"]
        assert [(r["score"], r["not_scored"]) for r in unscored] == [(1.0, 0.0), (0.0, 0.0), (-1.0, 1.0)]
        asks = found[f"{name}, ours manager, asks for the prompt"]
        assert [r["Asked"] for r in asks] == pytest.approx([1.7, 1.7, 0.7]), "the prompt, and the column of extra_info"


def test_verls_function_in_a_file_of_ones_own():
    made = verl.score_function(ExactMatch() + 0.5 * Brief(), unscored=0.0)
    again = pickle.loads(pickle.dumps(made))
    assert again(**CALL) == made(**CALL) == {"ExactMatch": 1.0, "Brief": 0.5, "not_scored": 0.0, "score": 1.5}
    waits = verl.score_function("adapters.small_rewards:waits", asynchronous=True)
    assert inspect.iscoroutinefunction(waits), "this is how verl tells that it must await"
    assert asyncio.run(waits(**CALL))["score"] == 1.0
    assert verl.compute_score(**CALL, reward="adapters.small_rewards:waits")["score"] == 1.0
    assert pickle.loads(pickle.dumps(waits)).func is verl.compute_score_async
    from_extra = CALL | {"extra_info": {"question": "1+1=", "index": 3}}
    assert verl.compute_score(**from_extra, reward=repr(Asked()))["score"] == pytest.approx(1.3)


def test_verl_hears_of_what_is_not_scored():
    with pytest.raises(NoScore, match=r"Brief did not score a completion \(not scored\).*unscored=0\.0"):
        verl.compute_score(**(CALL | {"solution_str": "?"}), reward=BRIEF)
    with pytest.raises(NoScore, match="waits did not score"):
        asyncio.run(verl.compute_score_async(**(CALL | {"solution_str": "?"}), reward="adapters.small_rewards:waits"))
    with pytest.raises(ValueError, match="index"):
        verl.compute_score(**(CALL | {"extra_info": None}), reward="adapters.small_rewards:Asked()")
    with pytest.raises(ValueError, match="did you mean ExactMatch"):
        verl.compute_score(**CALL, reward="ExactMach()")


def test_without_verl_its_manager_says_what_to_install():
    code = "import sys; sys.modules['verl'] = None; import guerdon.adapters.verl_manager"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install verl" in ended.stderr


def test_openrlhf_is_given_what_it_was_seen_to_pass_on():
    for reward, found in ((f"0.5 * ({REWARD})", THEIRS["openrlhf"]["pays"]), (BRIEF, THEIRS["openrlhf"]["fails"])):
        function = reward_function(reward)
        for row in found:
            if row["reward"] is None:
                with pytest.raises(NoScore):
                    function([row["query"]], [row["prompt"]], [row["label"]])
                continue
            made = function([row["query"]], [row["prompt"]], [row["label"]])
            assert made["rewards"].tolist() == pytest.approx(row["reward"])
            assert made["scores"].tolist() == pytest.approx(row["scores"])
            logs = {k: v.tolist() for k, v in made["extra_logs"].items()}
            assert logs == {k: pytest.approx(v, nan_ok=True) for k, v in row["extra_logs"].items()}
    assert [row["reward"] for row in THEIRS["openrlhf"]["pays"]] == [[v / 2] for v in VALUES]
    assert [row["reward"] for row in THEIRS["openrlhf"]["fails"]] == [[1.0], [0.0], None]


def test_openrlhf_several_queries_columns_and_what_cannot_be_told_apart():
    function = reward_function(ExactMatch() + Asked(), answer=None, unscored=0.0)
    labels = [json.dumps({"answer": a, "index": i}) for i, a in enumerate("23")]
    made = function(["1+1=\\boxed{2}</s>", "2+2=\\boxed{4}<|im_end|>"], ["1+1=", "2+2="], labels)
    assert made["rewards"].tolist() == pytest.approx([2.0, 0.1])
    assert made["rewards"].dtype == torch.float32
    assert function([], [], [])["rewards"].shape == (0,)
    with pytest.raises(ValueError, match="the prompt is not in the query"):
        function(["+1=\\boxed{2}"], ["1+1="], labels[:1])
    assert response("<bos>ab</s>c</s>", "a", ["</s>"]) == "b</s>c", "only the end is cut"


def test_openrlhfs_file_is_written_whole_and_works(tmp_path):
    file = write(REWARD, tmp_path / "reward.py")
    assert [p.name for p in tmp_path.iterdir()] == ["reward.py"]
    assert len([line for line in file.read_text().splitlines() if line]) == 2
    module: dict[str, Any] = {}
    exec(file.read_text(), module)
    assert module["reward_func"](["1+1=\\boxed{2}"], ["1+1="], ["2"])["rewards"].tolist() == [1.5]
    with pytest.raises(ValueError, match=r"in \.py"):
        write(REWARD, tmp_path / "reward")
    with pytest.raises(ValueError, match="did you mean"):
        write("ExactMach()", tmp_path / "other.py")
    assert not (tmp_path / "other.py").exists()


def states(rows: list) -> dict[str, list]:
    return {
        "prompt": [[{"role": "user", "content": row[0]}] for row in rows],
        "completion": [[{"role": "assistant", "content": row[1]}] for row in rows],
        "answer": [row[2] for row in rows],
        "info": [{"index": 7}] * len(rows),
    }


def test_verifiers_is_given_what_it_was_seen_to_pass_on():
    both, brief = rubric_function(REWARD, name="both"), rubric_function(BRIEF, unscored=-1.0)
    rows = [dict(zip(states(ROWS), values, strict=True)) for values in zip(*states(ROWS).values(), strict=True)]
    for row, found, value in zip(rows, THEIRS["verifiers"]["rubric"], VALUES, strict=True):
        made = {f.__name__: asyncio.run(f(**row)) for f in (both, brief)}
        assert made == found["metrics"]
        assert found["reward"] == pytest.approx(made["both"] + 2 * made["Brief"])
        assert made["both"] == value
    assert THEIRS["verifiers"]["unpaid"][2]["reward"] == 0.0, "verifiers makes 0 of what is raised"
    with pytest.raises(NoScore):
        asyncio.run(rubric_function(BRIEF)(**rows[2]))


def test_verifiers_scores_groups_together():
    longest = rubric_function("adapters.small_rewards:Longest()", group=True)
    given = {f"{k}s": v for k, v in states(ROWS).items()}
    assert asyncio.run(longest(**given)) == [0.0, 1.0, 0.0]
    assert [r["metrics"]["Longest"] for r in THEIRS["verifiers"]["group"]] == [0.0, 1.0, 0.0]
    waits = rubric_function("adapters.small_rewards:waits", group=True, unscored=0.5)
    assert asyncio.run(waits(**given)) == [1.0, 0.0, 0.5]
    assert set(inspect.signature(longest).parameters) == {"prompts", "completions", "answers", "infos"}


def test_verifiers_v1_tasks():
    function = task_reward(REWARD, name="both")
    found = []
    for (prompt, said, answer), theirs in zip(ROWS, THEIRS["verifiers"]["task"], strict=True):
        trace = _trace(prompt, said, answer)
        found.append(asyncio.run(function(None, trace)))
        if theirs["error"] is None:
            assert found[-1] == pytest.approx(sum(theirs["rewards"].values()))
        else:
            assert "NoScore: brief did not score" in theirs["error"]
            assert theirs["rewards"] == {"right": None, "brief": None}
            with pytest.raises(NoScore):
                asyncio.run(task_reward(BRIEF)(None, trace))
    assert found == VALUES
    terms = asyncio.run(task_reward(REWARD, terms=True)(None, _trace("1+1=", "\\boxed{2}", "2")))
    assert terms == {"ExactMatch": 1.0, "Brief": 0.5}


def _trace(prompt: str, said: str, answer: str) -> Any:
    data = SimpleNamespace(prompt_text=prompt, model_dump=functools.partial(dict, prompt=prompt, answer=answer))
    return SimpleNamespace(task=SimpleNamespace(data=data), assistant_messages=[SimpleNamespace(content=said)])


def test_messages_in_pieces_and_a_tools_words_are_read_as_meant():
    both = rubric_function("ExactMatch(how='number')")
    said = [
        {"role": "assistant", "content": [{"type": "text", "text": "It is "}, {"type": "text", "text": "2"}]},
        {"role": "tool", "content": "9"},
        {"role": "assistant", "content": None},
    ]
    asked = [SimpleNamespace(role="user", content="1+1=")]
    assert asyncio.run(both(prompt=asked, completion=said, answer="2", info=None)) == 1.0


def test_models_are_handed_on():
    model = tiny_model()
    with pytest.raises(ValueError, match="needs a language model"):
        reward_function("guerdon.rewards.likelihood:SelfCertainty()")
    function = reward_function("guerdon.rewards.likelihood:SelfCertainty()", model=model)
    value = function(["1+1=2"], ["1+1="], ["2"])["rewards"]
    expected = model.score([model.encode("1+1=")], [model.encode("2")[1:]], also=["self_certainty"]).self_certainty
    assert value.tolist() == pytest.approx([float(expected[0, 0])], abs=1e-4)
