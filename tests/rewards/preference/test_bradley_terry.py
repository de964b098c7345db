"""BradleyTerry: it learns who is better, of texts, features and segments, and its loss is what it says."""

import math

import pytest
import samples
import torch

from guerdon.models import tiny_model
from guerdon.models.reward_encoder import Embeddings, Features, Observations
from guerdon.models.reward_transformer import Transformer
from guerdon.parts.pair_accuracy import accuracy, told_right
from guerdon.rewards.preference import BradleyTerry
from guerdon.types import FIRST, SECOND, TIE, Completions, Pairs, Spec


def features(rows, **more):
    n = len(rows)
    empty = torch.zeros(n, 0, dtype=torch.long)
    return Completions(
        prompt=["?"] * n, text=more.get("text", ["!"] * n), ids=empty, mask=empty.bool(), columns={"h": list(rows)}
    )


def made(**options):
    reward = BradleyTerry(**{"encoder": Features(["h"], width=3), **options})
    reward.build(samples.spec(), generator=torch.Generator().manual_seed(0))
    return reward


def comparisons(n=400, seed=0):
    """Pairs of 3 features whose better one has more of the first and less of the second."""
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(n, 3, generator=g), torch.randn(n, 3, generator=g)
    worth = torch.tensor([2.0, -1.0, 0.0])
    label = torch.where((a - b) @ worth > 0, FIRST, SECOND)
    return Pairs(first=features(a), second=features(b), label=label)


def held_accuracy(reward, pairs):
    with torch.no_grad():
        return accuracy(told_right(reward.values(pairs.first), reward.values(pairs.second), pairs.label))


@pytest.mark.parametrize("options", [{}, {"hidden": (16,)}, {"hidden": (8,), "activation": "tanh", "zero": 0.01}])
def test_it_learns_what_makes_features_better(options):
    reward = made(lr=0.03, epochs=10, **options)
    logs = reward.update(comparisons())
    assert held_accuracy(reward, comparisons(seed=1)) > 0.95
    assert logs["BradleyTerry/accuracy"] > 0.8
    slope = reward.attribution(comparisons(seed=1).first).mean(0)
    assert slope[0] > 3 * abs(slope[2])
    assert slope[1] < 0


def test_segments_are_worth_the_sum_of_their_valid_steps():
    reward = BradleyTerry(encoder=Observations(actions=False), lr=0.003, epochs=150)
    reward.build(samples.spec(), generator=torch.Generator().manual_seed(0))
    rollouts = [samples.rollout(num_envs=64, seed=s) for s in range(4)]
    steps = reward.score(rollouts[0])
    torch.testing.assert_close(reward.values(rollouts[0]), (steps * rollouts[0].valid).sum(0))

    def truth(rollout):
        return (rollout.obs["obs"][1:, :, 0] * rollout.valid).sum(0)

    def pairs(a, b):
        return Pairs(first=a, second=b, label=torch.where(truth(a) > truth(b), FIRST, SECOND))

    reward.update(pairs(*rollouts[:2]))
    assert held_accuracy(reward, pairs(*rollouts[2:])) > 0.8


def test_texts_by_embeddings():
    reward = BradleyTerry(encoder=Embeddings(prompt=False), epochs=20, lr=0.01)
    reward.build(Spec())
    words = ["wonderful", "lovely", "great", "pleasant", "kind"], ["horrible", "awful", "bad", "nasty", "cruel"]
    kind, unkind = (features([[0, 0, 0]] * 5, text=[f"What a {w} day" for w in side]) for side in words)
    reward.update(Pairs(first=kind.rows([0, 1, 2]), second=unkind.rows([0, 1, 2]), label=torch.zeros(3).long()))
    assert bool((reward.score(kind.rows([3, 4])) > reward.score(unkind.rows([3, 4])).max()).all())


def test_the_loss_by_hand():
    reward = made(zero=0.1, centre=0.2, margin=0.3)
    pairs = comparisons(3)
    pairs.label = torch.tensor([FIRST, SECOND, TIE])
    pairs.weight = torch.tensor([1.0, 2.0, 1.0])
    pairs.columns = {"margin": [0.0, 0.5, 9.0]}
    (loss,) = reward.losses(pairs)
    a, b = reward.values(pairs.first).tolist(), reward.values(pairs.second).tolist()

    def cost(lead):
        return math.log(1 + math.exp(-lead))

    each = [cost(a[0] - b[0] - 0.3), cost(b[1] - a[1] - 0.8), 0.5 * cost(a[2] - b[2]) + 0.5 * cost(b[2] - a[2])]
    each = [c + 0.1 * (x * x + y * y) + 0.2 * (x + y) ** 2 for c, x, y in zip(each, a, b, strict=True)]
    assert loss.item() == pytest.approx((each[0] + 2 * each[1] + each[2]) / 4, rel=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path, model = tmp_path_factory.mktemp("model"), tiny_model()
    model.module.save_pretrained(path)
    model.tokenizer.save_pretrained(path)
    return str(path)


def mixed(n=24):
    words = torch.randint(1, 30, (n, 2), generator=torch.Generator().manual_seed(0)).tolist()
    sides = [features([[0, 0, 0]] * n, text=["ab " * w[i] for w in words]) for i in range(2)]
    weight = torch.rand(n, generator=torch.Generator().manual_seed(1))
    return Pairs(first=sides[0], second=sides[1], label=torch.arange(n) % 3, weight=weight)


def test_micro_batches_have_the_batchs_loss_and_gradient(folder):
    found = []
    for tokens, chunk in ((10**6, 10**6), (200, 64)):
        encoder = Transformer(model=folder, tokens=chunk)
        reward = BradleyTerry(encoder=encoder, tokens=tokens, zero=0.1, centre=0.1)
        reward.build(Spec(), generator=torch.Generator().manual_seed(0))
        parts = list(reward.losses(mixed()))
        sum(parts).backward()
        found.append((len(parts), float(sum(parts)), [p.grad for p in reward.parameters()]))
    (whole, loss, gradient), (many, again, parts) = found
    assert whole == 1
    assert many > 5
    assert again == pytest.approx(loss, abs=1e-5)
    for a, b in zip(gradient, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_a_transformer_learns(folder):
    reward = BradleyTerry(encoder=Transformer(model=folder), lr=1e-3, batch_size=8, epochs=4)
    reward.build(Spec(), generator=torch.Generator().manual_seed(0))
    better = features([[0, 0, 0]] * 16, text=[f"{'a' * (i % 5 + 1)}!" for i in range(16)])
    worse = features([[0, 0, 0]] * 16, text=[f"{'a' * (i % 5 + 1)}?" for i in range(16)])
    before = {k: v.clone() for k, v in reward.encoder.named_parameters()}
    pairs = Pairs(first=better, second=worse, label=torch.zeros(16).long())
    reward.update(pairs)
    assert held_accuracy(reward, pairs) == 1.0
    assert any(not torch.equal(v, before[k]) for k, v in reward.encoder.named_parameters())


def test_a_dead_head_is_drawn_anew_and_counted():
    reward = made(output_activation="relu", lr=1e-3)
    with torch.no_grad():
        reward.head.last.weight.zero_()
        reward.head.last.bias.fill_(-1.0)
    logs = reward.update(comparisons(32))
    assert logs["BradleyTerry/restarts"] == 1
    assert logs["BradleyTerry/loss"] == pytest.approx(math.log(2))
    assert reward.head.last.weight.any()


def test_length_norm_divides_by_the_log_of_the_words():
    plain, normed = made(), made(length_norm=True)
    rows = features([[1.0, 2.0, 3.0]] * 2, text=["one two three", ""])
    expected = plain.score(rows) / torch.tensor([math.log(4), math.log(2)])
    torch.testing.assert_close(normed.score(rows), expected)


def test_equal_features_teach_nothing():
    reward, same = made(), features(torch.ones(4, 3))
    before = [p.clone() for p in reward.parameters()]
    logs = reward.update(Pairs(first=same, second=same, label=torch.zeros(4).long()))
    assert logs["BradleyTerry/loss"] == pytest.approx(math.log(2))
    for a, b in zip(before, reward.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_bad_input_is_refused():
    reward = made()
    with pytest.raises(ValueError, match="no pairs"):
        reward.update(comparisons().rows([]))
    nan = comparisons(4)
    nan.first.columns["h"][2] = torch.tensor([1.0, math.nan, 0.0])
    with pytest.raises(ValueError, match="BradleyTerry: the feature 'h' is NaN"):
        reward.update(nan)
    weightless = comparisons(4)
    weightless.weight = torch.zeros(4)
    with pytest.raises(ValueError, match="weights of 4 pairs sum to 0"):
        reward.update(weightless)
    for options in ({"batch_size": 0}, {"lr": 0.0}, {"zero": -1.0}):
        with pytest.raises(ValueError, match="BradleyTerry needs"):
            BradleyTerry(**options)
    with pytest.raises(ValueError, match="cannot be saved"):
        made(length_norm=True).save("nowhere")
