from __future__ import annotations

from typing import Any

import pytest
import torch
from adapters.trl_runs import ABOUT, Ids, Letters, MeanLogProb, letters, train, trl
from torch import Tensor
from transformers import TrainerCallback

from guerdon.adapters.trl import reward_func
from guerdon.adapters.trl_trainer import GRPOTrainer
from guerdon.credit import GroupAdvantage
from guerdon.models.language_model import CausalLM
from guerdon.models.tiny_model import tiny_model
from guerdon.types import Completions, Reward, Scored


class Ramp:
    """A credit that differs from token to token, and remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[Completions, Scored]] = []

    def __call__(self, completions: Completions, scored: Scored) -> Tensor:
        self.given.append((completions, scored))
        place = torch.arange(completions.shape[1])
        return torch.where(completions.mask, (-0.5) ** place * (1 + completions.ids % 3), 0.0)


class Probe(TrainerCallback):
    """The gradient of the first step, and the weights it was taken at."""

    def __init__(self, model: Any) -> None:
        self.before = {k: v.clone() for k, v in model.state_dict().items()}
        self.gradient: Tensor | None = None

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **rest: Any) -> None:
        if self.gradient is None:
            self.gradient = gradient_of(model)


def gradient_of(module: Any) -> Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters()])


def first_gradient(tmp_path, functions: Any, **settings: Any) -> tuple[Tensor, Any]:
    probe = Probe(tiny_model(seed=3).module)
    options = {"callbacks": [probe]} | settings.pop("options", {})
    trainer = train(tmp_path, functions, cls=GRPOTrainer, options=options, max_steps=1, **settings)
    assert probe.gradient is not None
    return probe.gradient, trainer


def test_each_tokens_own_advantage_reaches_the_loss(tmp_path):
    """The gradient is that of -sum A log p over all tokens / tokens, and not that of the row's mean advantage."""
    credit = Ramp()
    gradient, _ = first_gradient(tmp_path, [reward_func(Letters())], options={"credit": credit}, loss_type="dapo")
    (made, _), model = credit.given[0], tiny_model(seed=3)
    assert made.shape[0] == 8

    def expected(advantage: Tensor) -> Tensor:
        model.module.zero_grad()
        (-(advantage * model.log_probs(made) * made.mask).sum() / made.mask.sum()).backward()
        return gradient_of(model.module)

    advantage = Ramp()(made, Scored(torch.zeros(8), {}, {}))
    own = expected(advantage)
    mean = expected((advantage.sum(1, keepdim=True) / made.mask.sum(1, keepdim=True)).expand_as(advantage))
    torch.testing.assert_close(gradient, own, rtol=1e-3, atol=1e-6)
    assert (gradient - mean).norm() > 0.1 * own.norm(), "the test must tell tokens from rows"


def test_a_credit_gets_the_weighted_sum_of_all_functions_ours_and_trls(tmp_path):
    def short(completions: list[str], **rest: Any) -> list[float | None]:
        return [None if c[:1].isalpha() else -len(c) for c in completions]

    credit = Ramp()
    train(
        tmp_path, [reward_func(Letters()), reward_func(Ids(), asynchronous=True), short], cls=GRPOTrainer,
        options={"credit": credit}, reward_weights=[2.0, 0.5, 10.0], max_steps=1,
    )  # fmt: skip
    made, scored = credit.given[0]
    assert list(scored.terms) == ["Letters", "Ids", "short"]
    assert made.group is not None
    assert made.group.tolist() == [0] * 4 + [1] * 4
    assert [made.prompt[i] for i in (0, 4)] == [made.prompt[i] for i in (3, 7)]
    for n, text in enumerate(made.text):
        tokens = [int(i) for i, kept in zip(made.ids[n], made.mask[n], strict=True) if kept]
        own = letters(text, made.columns["answer"][n])
        total = 0.5 * sum(tokens) / 100 + (0.0 if own != own else 2 * own - 10 * len(text))
        assert float(scored.value[n].sum()) == pytest.approx(total, abs=1e-4)
        assert float(scored.value[n, 0]) == pytest.approx(0.5 * tokens[0] / 100) or len(tokens) == 1


def test_group_advantage_of_the_library_trains_like_trls_own(tmp_path):
    """The same estimator, once TRL's and once ours: the same first gradient, though one is [N] and one [N, L]."""
    function = reward_func(Letters())
    ours, trainer = first_gradient(
        tmp_path / "a", [function], options={"credit": GroupAdvantage(spread="group", eps=1e-4)}
    )
    theirs, other = first_gradient(tmp_path / "b", [function])
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
    assert theirs.norm() > 0
    assert list(trainer._logs["advantages"]) == pytest.approx(list(other._logs["advantages"]), abs=1e-4)


def test_the_table_shows_the_advantages_that_were_trained_on(tmp_path):
    credit = Ramp()
    trainer = train(tmp_path, [reward_func(Letters())], cls=GRPOTrainer, options={"credit": credit})
    made, scored = credit.given[-1]
    assert list(trainer._logs["advantages"]) == pytest.approx(
        (Ramp()(made, scored).sum(1) / made.mask.sum(1)).tolist(), abs=1e-5
    )
    assert len(trainer._logs["advantages"]) == 8


def test_the_policy_is_the_live_model(tmp_path):
    reward = MeanLogProb()
    trainer = train(tmp_path, [reward_func(reward)], cls=GRPOTrainer, max_steps=3)
    assert len(reward.seen) == 3
    module = tiny_model(seed=3).module
    for (weights, made, value), row in zip(reward.seen, trainer.state.log_history, strict=False):
        module.load_state_dict(weights)
        expected = []
        for n in range(8):
            prompt = made.prompt_ids[n][made.prompt_mask[n]]
            own = made.ids[n][made.mask[n]]
            logits = module(torch.cat([prompt, own])[None]).logits[0].log_softmax(-1)
            at = torch.arange(len(prompt) - 1, len(prompt) + len(own) - 1)
            expected.append(float(logits[at, own].mean()))
        assert value.tolist() == pytest.approx(expected, abs=1e-4)
        assert row["rewards/MeanLogProb/mean"] == pytest.approx(sum(expected) / 8, abs=1e-4)
    first, last = (torch.cat([v.flatten() for v in seen[0].values()]) for seen in (reward.seen[0], reward.seen[-1]))
    assert not torch.equal(first, last), "the model that is asked is the one that is trained"


class Push(Reward):
    """A reward that pays nothing and whose loss is minus the mean log-probability of its completions."""

    about = ABOUT
    learned = 0

    def score(self, experience: Any, **needed: Any) -> Tensor:
        return torch.zeros(experience.shape[0])

    def update(self, experience: Any) -> dict[str, float]:
        self.learned += len(experience.text)
        return {"learned": float(self.learned)}

    def loss(self, experience: Any, policy: Any) -> Tensor:
        return -policy.log_probs(experience).sum() / 8


def test_a_rewards_own_loss_and_update_are_part_of_training(tmp_path):
    credit = Ramp()
    reward = Push()
    gradient, trainer = first_gradient(
        tmp_path, [reward_func(reward)], options={"credit": lambda *both: 0 * credit(*both)}, reward_weights=[0.5]
    )
    model = tiny_model(seed=3)
    (0.5 * -model.log_probs(credit.given[0][0]).sum() / 8 / 2).backward()  # two passes of half the rows each
    torch.testing.assert_close(gradient, gradient_of(model.module), rtol=1e-3, atol=1e-6)
    assert reward.learned == 8
    assert trainer.state.log_history[0]["Push/learned"] == 8.0


def test_evaluation_between_steps_leaves_the_batch_alone(tmp_path):
    """Rows of an evaluation do not stand in for those of the training batch that is still being learned from."""
    seen: list[tuple[bool, list[str]]] = []

    class Watch(Push):
        def loss(self, experience: Any, policy: Any) -> Tensor:
            seen.append((policy.module.training, list(experience.prompt)))
            return super().loss(experience, policy)

    model = tiny_model(seed=3)
    rows = trl_rows("1+1=", 2)
    trainer = GRPOTrainer(
        model=model.module, reward_funcs=[reward_func(Watch())], processing_class=model.tokenizer,
        train_dataset=rows, eval_dataset=trl_rows("eval", 1),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", save_strategy="no", disable_tqdm=True,
            max_steps=4, per_device_train_batch_size=4, per_device_eval_batch_size=4, num_generations=4,
            num_iterations=2, max_completion_length=4, eval_strategy="steps", eval_steps=1,
            gradient_checkpointing=False,
        ),
    )  # fmt: skip
    trainer.train()
    assert {training for training, _ in seen} == {True, False}
    assert all(set(prompts) == {"1+1="} if training else set(prompts) == {"eval"} for training, prompts in seen)


def trl_rows(prompt: str, count: int) -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_list([{"prompt": prompt, "answer": "2"}] * count)


def test_what_a_credit_may_not_do(tmp_path):
    wrong = {"credit": lambda made, scored: torch.zeros(8)}
    with pytest.raises(ValueError, match=r"a credit must give \[8, \d+\] numbers"):
        train(tmp_path, [reward_func(Letters())], cls=GRPOTrainer, options=wrong)
    unscored = {"credit": lambda made, scored: torch.full(made.shape, torch.nan)}
    with pytest.raises(ValueError, match="without NaN"):
        train(tmp_path, [reward_func(Letters())], cls=GRPOTrainer, options=unscored)
    with pytest.raises(ValueError, match="one advantage a completion only"):
        train(tmp_path, [reward_func(Letters())], cls=GRPOTrainer, options=wrong, loss_type="vespo")


def test_tool_tokens_are_context_and_turns_are_steps(tmp_path):
    """A rollout function whose completions hold tokens that the policy did not write."""

    def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
        encode = trainer.processing_class.encode
        said, told = encode("12", add_special_tokens=False), encode("tool", add_special_tokens=False)
        return {
            "prompt_ids": [encode(p) for p in prompts],
            "completion_ids": [said + told + said] * len(prompts),
            "logprobs": [[-1.0] * 8] * len(prompts),
            "env_mask": [[1, 1, 0, 0, 0, 0, 1, 1]] * len(prompts),
        }

    reward = MeanLogProb()
    credit = Ramp()
    train(
        tmp_path,
        [reward_func(reward)],
        cls=GRPOTrainer,
        options={"credit": credit, "rollout_func": rollout},
        max_steps=1,
    )
    made = credit.given[0][0]
    assert made.text == ["1212"] * 8
    assert made.step is not None
    assert made.step[0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1], "a tool's words lead to the next turn"
    assert made.mask[0].tolist() == [True, True, False, False, False, False, True, True]
    weights, _, value = reward.seen[0]
    model = tiny_model(seed=3)
    model.module.load_state_dict(weights)
    whole = model.score([model.encode(made.prompt[0])] * 2, [made.ids[0].tolist(), made.ids[0, :6].tolist()]).log_prob
    expected = (whole[0, :2].sum() + whole[0, 6:].sum()) / 4
    assert float(value[0]) == pytest.approx(float(expected), abs=1e-4)
    assert isinstance(model, CausalLM)
