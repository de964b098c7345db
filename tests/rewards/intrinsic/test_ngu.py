import math

import pytest
import torch
from rewards.intrinsic.remembering import built, rollout, scores, spec, stream

from guerdon.rewards.intrinsic import NGU


def on_numbers(made, num_envs=1):
    """The reward in features that are the observations themselves."""
    built(made, of=spec(num_envs))
    made.net.encode = lambda obs: obs["obs"].float()
    return made


def by_algorithm(squares, mean, *, epsilon=1e-3, cluster=0.008, c=1e-3, most=8.0):
    """Algorithm 1 of Badia et al. from the squared distances to the neighbours on."""
    kernels = [epsilon / (max(d / mean - cluster, 0.0) + epsilon) for d in squares]
    similarity = math.sqrt(sum(kernels)) + c
    return 0.0 if similarity > most else 1 / similarity


def test_hand_computed_episode():
    """From 0 to 1 to 3 to 3, with two neighbours: what was seen before is 0; 0, 1; 0, 1, 3."""
    paid = on_numbers(NGU(k=2, features=1)).score(rollout([0, 1, 3, 3])).flatten().tolist()
    squares = [[1.0], [4.0, 9.0], [0.0, 4.0]]
    means = [1.0, (1 + 4 + 9) / 3, (1 + 4 + 9 + 0 + 4) / 5]
    assert paid == pytest.approx([by_algorithm(d, m) for d, m in zip(squares, means, strict=True)], rel=1e-4)
    assert paid[0] == pytest.approx(1 / (math.sqrt(1e-3 / (1 - 0.008 + 1e-3)) + 1e-3), rel=1e-5)
    assert paid[1] > 20
    assert paid[2] < 1


@pytest.mark.parametrize("constants", [{"epsilon": 1e-4}, {"cluster": 0.5, "c": 0.1}, {"most": 1.5}])
def test_equals_algorithm_1_over_a_long_stream(constants):
    made, memory, started = on_numbers(NGU(k=3, features=1, limit=1.0, **constants), 4), [[] for _ in range(4)], False
    total = number = zeros = 0.0
    for seed in range(3):
        r = stream(seed=seed)
        r.obs["obs"] = r.obs["obs"][..., :1].round(decimals=1)
        paid, shown = scores(made, r), r.obs["obs"][..., 0].double().tolist()
        if not started:
            memory, started = [[x] for x in shown[0]], True
        for t in range(40):
            found = []
            for b in range(4):
                if not r.valid[t, b]:
                    memory[b] = []
                squares = sorted((shown[t + 1][b] - x) ** 2 for x in memory[b])[:3]
                memory[b].append(shown[t + 1][b])
                found.append(squares)
            total += sum(map(sum, found))
            number += sum(map(len, found))
            for b in range(4):
                expected = by_algorithm(found[b], total / number, **constants) if r.valid[t, b] else 0.0
                zeros += expected == 0 and bool(r.valid[t, b])
                assert paid[t, b] == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert (zeros > 0) == ("most" in constants)


def test_the_lifelong_factor_is_a_clipped_deviation():
    made, r = built(NGU(limit=3.0)), stream()
    bonus = made.score(r)
    assert (made._lifelong(torch.tensor([0.0, 9e9])) == 1).all(), "before any error was seen"
    made.moments.update(torch.tensor([2.0, 6.0]))  # mean 4, deviation 2
    found = made._lifelong(torch.tensor([1.0, 4.0, 5.0, 6.0, 100.0]))
    torch.testing.assert_close(found, torch.tensor([1.0, 1.0, 1.5, 2.0, 3.0]), rtol=1e-3, atol=1e-3)
    predicted, targets = made.distiller.compare(r)
    factor = made._lifelong((predicted - targets[0]).square().sum(-1).view(r.shape))
    torch.testing.assert_close(made.score(r), bonus * factor)


def test_what_is_new_to_life_pays_most_and_what_is_old_to_the_episode_least():
    """Episodes between two places; then one that goes on to where none has been."""
    made = built(NGU(lr=1e-3), 1, of=spec())
    known = rollout([0, 1] * 32, ends=[(62, 0)])
    for _ in range(40):
        scores(made, known)
        made.update(known)
    r = rollout([1, 0, 1, 4])
    there, back, beyond = made.score(r).flatten().tolist()
    assert back < 1 < there < beyond


def test_updates_teach_both_networks():
    made, r = built(NGU()), stream()
    logs = [made.update(r) for _ in range(30)]
    assert set(logs[0]) == {"NGU/inverse_loss", "NGU/distillation_loss"}
    assert all(logs[-1][key] < logs[0][key] for key in logs[0])
    assert made.update("anything else") == {}
