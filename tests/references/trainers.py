"""What verl, OpenRLHF and verifiers make of our adapters, recorded for tests/adapters/test_others.py.

Their pins collide with ours, so this script makes virtual environments of its own in a temporary folder (about 1.5 GB,
gone afterwards), installs them there, lets their own code load and call our functions, and writes trainers.json beside
itself: what each library handed over, what it got, and what it made of that. Nothing of theirs is replaced; verl and
OpenRLHF come without the dependencies that their reward path does not import. Run it again with

    python tests/references/trainers.py
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import site
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

RECORD = Path(__file__).with_suffix(".json")
ROOT = Path(__file__).parents[2]
RAY = ["ray==2.60.0", "aiohttp==3.14.5"]
ALONE = {  # environment -> (what comes without its dependencies, what it imports besides ours)
    "verl": (["verl==0.9.1"], [*RAY, "omegaconf==2.3.1", "codetiming==1.4.0", "orjson==3.13.0"]),
    "openrlhf": (["openrlhf==0.11.2"], [*RAY, "pylatexenc==2.11"]),
    "verifiers": ([], ["verifiers==0.3.1"]),
}
REWARD = "ExactMatch() + 0.5 * adapters.small_rewards:Brief()"
BRIEF = "adapters.small_rewards:Brief()"
ROWS = [  # prompt, response, answer
    ("1+1=", "It is \\boxed{2}", "2"),
    ("1+2=", "Let me think. After that I say that it is \\boxed{4}", "3"),
    ("2+2=", "?", "4"),
]


def verl() -> dict[str, Any]:
    """Its function loader, its naive manager, and ours loaded the way its configuration says; ray's data protocol."""
    import numpy as np
    import torch
    from omegaconf import OmegaConf
    from tensordict import TensorDict
    from verl import DataProto
    from verl.trainer.ppo.reward import get_custom_reward_fn, load_reward_manager

    from guerdon.models.tiny_model import tiny_model

    tokenizer = tiny_model().tokenizer

    def data(prompt: str, response: str, answer: str) -> Any:
        asked, said = (torch.tensor(tokenizer.encode(t, add_special_tokens=False)) for t in (prompt, response))
        padded = torch.cat([said, torch.zeros(3, dtype=torch.long)])
        mask = torch.cat([torch.ones(len(asked) + len(said)), torch.zeros(3)]).long()
        batch = TensorDict({"prompts": asked[None], "responses": padded[None], "attention_mask": mask[None]}, [1])
        others: dict[str, Any] = {"data_source": "sums", "reward_model": {"ground_truth": answer}}
        others["extra_info"] = {"index": 7, "answer": "told to nobody"}
        others["raw_prompt"] = [{"role": "user", "content": prompt}]
        return DataProto(batch=batch, non_tensor_batch={k: _one(np, v) for k, v in others.items()})

    found: dict[str, Any] = {}
    for name in ("compute_score", "compute_score_async"):
        for manager in ("naive", "ours"):
            where: dict[str, Any] = {"source": "register", "name": "naive"}
            rewards = {"several terms": REWARD, "unscored rows": BRIEF}
            if manager == "ours":
                module = {"path": "pkg://guerdon.adapters.verl_manager"}
                where = {"source": "importlib", "name": "RewardManager", "module": module}
                rewards = {"asks for the prompt": f"{REWARD} + adapters.small_rewards:Asked()"}
            for case, reward in rewards.items():
                custom = {"path": "pkg://guerdon.adapters.verl", "name": name}
                custom["reward_kwargs"] = {"reward": reward, "unscored": -1.0}
                config = OmegaConf.create({"reward": {"custom_reward_function": custom, "reward_manager": where}})
                handed: list[dict[str, Any]] = []
                made = load_reward_manager(config, tokenizer, reward_router_address=None, reward_model_tokenizer=None)
                made.compute_score = _watched(get_custom_reward_fn(config), handed)
                results = [made.loop.run_until_complete(made.run_single(data(*row))) for row in ROWS]
                scores = type(made).assemble_rm_scores(data(*ROWS[0]), [results[0]["reward_score"]])
                about = {"name": name, "reward": reward, "handed": handed, "results": results}
                found[f"{name}, {manager} manager, {case}"] = {**about, "rm_scores": scores.tolist()}
    return found


def openrlhf() -> dict[str, Any]:
    """Its single-turn executor, from the written file through sampling to the rewards that it hands on."""
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    from guerdon.models.tiny_model import tiny_model

    tokenizer = tiny_model().tokenizer
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, reward in {"pays": f"0.5 * ({REWARD})", "fails": BRIEF}.items():
            file = Path(folder) / f"{name}.py"
            subprocess.run([sys.executable, "-m", "guerdon.adapters.openrlhf", reward, file], check=True, stdout=2)
            executor = SingleTurnAgentExecutor(str(file))
            found[name] = []
            for prompt, response, answer in ROWS:
                ids = [*tokenizer.encode(response, add_special_tokens=False), tokenizer.eos_token_id]
                output = SimpleNamespace(token_ids=ids, text=response, finish_reason="stop", logprobs=None)
                engine = SimpleNamespace(generate=_answering(SimpleNamespace(outputs=[output])))
                sampling = SimpleNamespace(max_tokens=64, logprobs=None)
                made = asyncio.run(executor.execute(prompt, answer, sampling, 256, tokenizer, engine))
                query = tokenizer.decode(made["observation_tokens"], skip_special_tokens=False)
                rewards = {k: v if v is None else v.tolist() for k, v in made.items() if k in ("reward", "scores")}
                logs = {k: v.tolist() for k, v in made["extra_logs"].items()}
                found[name].append({"query": query, "prompt": prompt, "label": answer, **rewards, "extra_logs": logs})
    return found


def verifiers() -> dict[str, Any]:
    """Its classic rubric, one rollout and a group at a time, and its v1 task with a real trace."""
    import verifiers.legacy as classic
    import verifiers.v1 as vf
    from verifiers.v1.trace import AgentInfo, TraceTask

    from guerdon.adapters.verifiers import rubric_function, task_reward

    def state(prompt: str, response: str, answer: str) -> Any:
        said = [{"role": "assistant", "content": response}]
        return {
            "prompt": [{"role": "user", "content": prompt}],
            "completion": said,
            "answer": answer,
            "info": {"index": 7},
            "trajectory": [],
        }

    def score(rubric: Any, rows: list, group: bool = False) -> list[dict[str, Any]]:
        states = [state(*row) for row in rows]
        if group:
            asyncio.run(rubric.score_group(states))
        else:
            for made in states:
                asyncio.run(rubric.score_rollout(made))
        return [{k: made[k] for k in ("reward", "metrics", "advantage") if k in made} for made in states]

    functions = [rubric_function(REWARD, name="both"), rubric_function(BRIEF, unscored=-1.0)]
    unpaid = classic.Rubric(funcs=[rubric_function(BRIEF)])
    longer = classic.Rubric(funcs=[rubric_function("adapters.small_rewards:Longest()", group=True)])
    found = {
        "rubric": score(classic.Rubric(funcs=functions, weights=[1.0, 2.0]), ROWS),
        "unpaid": score(unpaid, ROWS),
        "group": score(longer, [("1+1=", row[1], row[2]) for row in ROWS], group=True),
    }

    class Data(vf.TaskData):
        answer: str

    class Sum(vf.Task[Data, vf.State, vf.TaskConfig]):
        right = vf.reward(task_reward("ExactMatch()", name="right"))
        brief = vf.reward(task_reward(BRIEF, name="brief"), weight=0.5)

    found["task"] = []
    for prompt, response, answer in ROWS:
        task = Sum(Data(prompt=prompt, answer=answer))
        said = [vf.MessageNode(message=vf.AssistantMessage(content=response), sampled=True)]
        of = TraceTask(type="Sum", data=task.data)
        trace = vf.Trace(task=of, agent=AgentInfo(config=vf.AgentConfig()), nodes=said)
        try:
            asyncio.run(task.score(trace))
            error = None
        except vf.TaskError as raised:
            error = str(raised)
        rewards = {k: v if v is None else v.value for k, v in trace.rewards.items()}
        found["task"].append({"rewards": rewards, "error": error})
    return found


def _one(np: Any, value: Any) -> Any:
    array = np.empty(1, dtype=object)
    array[0] = value
    return array


def _watched(function: Any, handed: list[dict[str, Any]]) -> Any:
    """`function`, of the same kind, and what it is handed."""

    def note(given: dict[str, Any]) -> None:
        handed.append(json.loads(json.dumps(given, default=lambda x: x.tolist())))

    async def awaited(**given: Any) -> Any:
        note(given)
        return await function(**given)

    def called(**given: Any) -> Any:
        note(given)
        return function(**given)

    return awaited if inspect.iscoroutinefunction(function) else called


def _answering(output: Any) -> Any:
    async def generate(*args: Any, **kwargs: Any) -> Any:
        return output

    return generate


def main() -> None:
    record = {}
    for name, (alone, needs) in ALONE.items():
        with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
            venv.create(folder, with_pip=True)
            python = Path(folder) / "bin" / "python"
            ask = [python, "-c", "import site; print(site.getsitepackages()[0])"]
            packages = subprocess.check_output(ask, text=True)
            ours = site.getsitepackages()[0]  # torch, transformers, ..., after what is installed there
            Path(packages.strip(), "zz_ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            for packages in ([*alone, "--no-deps"] if alone else [], needs):
                if packages:
                    subprocess.run([*install, *packages], check=True)
            places = os.pathsep.join(str(ROOT / folder) for folder in ("src", "tests"))
            made = subprocess.run(
                [python, __file__, name], check=True, stdout=subprocess.PIPE, text=True, cwd=folder,
                env=os.environ | {"PYTHONPATH": places},
            )  # fmt: skip
            record[name] = {"packages": [*alone, *needs], **json.loads(made.stdout.splitlines()[-1])}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps({"verl": verl, "openrlhf": openrlhf, "verifiers": verifiers}[sys.argv[1]]()))
    else:
        main()
