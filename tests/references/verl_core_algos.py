"""What verl's own functions make of seeded inputs, recorded for tests/parts/test_equal_to_verl.py.

verl pins other versions than ours, so this script makes a virtual environment of its own in a temporary folder (about
2 GB, gone afterwards), installs verl with what its `trainer.ppo.core_algos` imports, runs it there in double precision
and writes verl_core_algos.npz beside itself. Run it again with

    python tests/references/verl_core_algos.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np

RECORD = Path(__file__).with_suffix(".npz")
VERL = "verl==0.9.1"
NEEDS = (
    "torch==2.13.0", "tensordict==0.15.3", "transformers==5.3.0", "numpy==2.4.6", "omegaconf==2.3.1", "ray==2.60.0",
    "accelerate==1.15.0", "codetiming==1.4.0", "orjson==3.13.0", "packaging",
)  # fmt: skip
SEEDS = (0, 1, 2)
ROWS, LENGTH = 12, 7
AGGREGATIONS = ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm")
CLIPS: dict[str, dict[str, float]] = {  # of the vanilla loss
    "ppo": {"clip_ratio_low": 0.2, "clip_ratio_high": 0.2, "clip_ratio_c": 3.0},
    "dapo": {"clip_ratio_low": 0.2, "clip_ratio_high": 0.28, "clip_ratio_c": 10.0},
}
KINDS = ("k1", "k2", "k3", "k1+", "k3+")


def inputs(seed: int) -> dict[str, np.ndarray]:
    """A batch in double precision: groups of 1, 2, 4 and 5 answers in disorder, masks with holes, an empty row."""
    rng = np.random.default_rng(seed)
    shape = (ROWS, LENGTH)
    mask = rng.random(shape) < 0.7
    mask[:, 1] = True
    mask[3] = False
    old = -3 * rng.random(shape)
    return {
        "mask": mask,
        "group": rng.permutation(np.repeat([7, 2, 9, 4], [1, 2, 4, 5])),
        "score": rng.normal(size=ROWS),
        "second": rng.normal(size=ROWS).round(),
        "reward": rng.normal(size=shape),
        "value": rng.normal(size=shape),
        "old_value": rng.normal(size=shape),
        "advantage": rng.normal(size=shape) * 2,
        "old_log_prob": old,
        "log_prob": old + 0.8 * rng.normal(size=shape),
        "ref_log_prob": old + 2 * rng.normal(size=shape),
    }


def compute() -> dict[str, np.ndarray]:
    """Every recorded array by name, "<seed>/<what>[/gradient]". Imports verl."""
    import torch
    from verl.trainer.config import AlgoConfig
    from verl.trainer.ppo import core_algos as verl
    from verl.workers.config import ActorConfig
    from verl.workers.config.actor import PolicyLossConfig

    found: dict[str, Any] = {}
    for seed in SEEDS:
        arrays = inputs(seed)
        group = arrays.pop("group")
        given = {k: torch.tensor(v, dtype=torch.float64) for k, v in arrays.items()}
        mask = given["mask"]
        outcome = torch.zeros_like(mask)
        outcome[:, -1] = given["score"]
        second = torch.zeros_like(mask)
        second[:, -1] = given["second"]

        def keep(name: str, value: Any, seed: int = seed) -> None:
            found[f"{seed}/{name}"] = np.asarray(value.detach() if isinstance(value, torch.Tensor) else value)

        by_group = {"response_mask": mask, "index": group}
        keep("grpo", verl.compute_grpo_outcome_advantage(outcome.clone(), **by_group)[0])
        plain = {"norm_adv_by_std_in_grpo": False}
        keep("dr_grpo", verl.compute_grpo_outcome_advantage(outcome.clone(), **by_group, **plain)[0])
        keep("rloo", verl.compute_rloo_outcome_advantage(outcome.clone(), **by_group)[0])
        keep("rloo_vectorized", verl.compute_rloo_vectorized_outcome_advantage(outcome.clone(), **by_group)[0])
        baseline = verl.compute_reinforce_plus_plus_baseline_outcome_advantage
        keep("reinforce_plus_plus_baseline", baseline(outcome.clone(), **by_group)[0])
        names = AlgoConfig(gdpo_reward_keys=["score", "second"], gdpo_reward_weights=[1.0, 0.5])
        attention = torch.cat([torch.ones(ROWS, 2), torch.ones_like(mask)], 1).long()
        keep("gdpo", verl.compute_gdpo_outcome_advantage(
            outcome.clone(), **by_group, config=names, batch={"prompts": attention[:, :2], "attention_mask": attention},
            non_tensor_batch={k: arrays[k] for k in ("score", "second")},
        )[0])  # fmt: skip

        for gamma, lam in ((1.0, 1.0), (0.9, 0.7)):
            advantage, target = verl.compute_gae_advantage_return(given["reward"], given["value"], mask, gamma, lam)
            keep(f"gae/{gamma}/{lam}", advantage * mask)
            keep(f"gae/{gamma}/{lam}/target", target * mask)
        config = AlgoConfig(gamma=0.9)
        advantage, returns = verl.compute_reinforce_plus_plus_outcome_advantage(given["reward"], mask, config=config)
        keep("reinforce_plus_plus", advantage)
        keep("reinforce_plus_plus/returns", returns)

        for how in AGGREGATIONS:
            keep(f"aggregate/{how}", verl.agg_loss(given["advantage"], mask, how))
            known = {"batch_num_tokens": 100, "global_batch_size": 20, "loss_scale_factor": 11}
            keep(f"aggregate/{how}/global", verl.agg_loss(given["advantage"], mask, how, **known))

        def loss_of(name: str, function: Any, how: str, seed: int = seed, given: Any = given, **keywords: Any) -> None:
            policy = {k: keywords.pop(k) for k in list(keywords) if k.startswith("clip_cov")}
            config = ActorConfig(
                strategy="fsdp", use_dynamic_bsz=True, rollout_n=1, policy_loss=PolicyLossConfig(**policy), **keywords
            )
            new = given["log_prob"].clone().requires_grad_()
            torch.manual_seed(seed)
            loss, metrics = function(
                given["old_log_prob"], new, given["advantage"], given["mask"], loss_agg_mode=how, config=config
            )
            keep(name, loss, seed)
            keep(f"{name}/gradient", torch.autograd.grad(loss, new)[0], seed)
            for key, value in metrics.items():
                keep(f"{name}/{key.removeprefix('actor/')}", value, seed)

        for clip, keywords in CLIPS.items():
            loss_of(f"vanilla/{clip}", verl.compute_policy_loss_vanilla, "token-mean", **keywords)
        clips = {"clip_ratio_low": 0.1, "clip_ratio_high": 0.15}
        loss_of("gspo", verl.compute_policy_loss_gspo, "seq-mean-token-mean", **clips)
        for low in (0.2, 1.0):
            one_sided = {"clip_ratio_low": low, "clip_ratio_high": 0.28}
            loss_of(f"cispo/{low}", verl.compute_policy_loss_cispo, "token-mean", **one_sided)
        cov = {"clip_cov_ratio": 0.1, "clip_cov_lb": 0.2, "clip_cov_ub": 3.0}
        loss_of("clip_cov", verl.compute_policy_loss_clip_cov, "token-mean", **cov)

        value = given["value"].clone().requires_grad_()
        loss, _ = verl.compute_value_loss(value, given["reward"], given["old_value"], mask, 0.5)
        keep("value_loss", loss)
        keep("value_loss/gradient", torch.autograd.grad(loss, value)[0])
        for kind in KINDS:
            new = given["log_prob"].clone().requires_grad_()
            kl = verl.kl_penalty(new, given["ref_log_prob"], kind)
            keep(f"kl/{kind}", kl)
            keep(f"kl/{kind}/gradient", torch.autograd.grad(kl.sum(), new)[0])
        keep("kl_in_reward", verl.compute_rewards(given["reward"], given["log_prob"], given["ref_log_prob"], 0.1))
        controller = verl.AdaptiveKLController(0.2, 6.0, 1000)
        for current in (6.6, 60.0, 0.0):
            controller.update(current, 100)
        keep("adaptive_kl", controller.value)
    return found


def main() -> None:
    """Makes the environment and runs this script in it; or, told where to write, computes."""
    if len(sys.argv) > 1:
        from importlib.metadata import version

        np.savez_compressed(sys.argv[1], verl=version("verl"), **compute())
        return
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", *NEEDS], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", VERL], check=True)
        subprocess.run([python, __file__, RECORD], check=True)
    print(f"written to {RECORD}, {RECORD.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
