import copy

import pytest
import torch
import torch.nn.functional as F

from guerdon.models.caption_cnn import _STAGES, CaptionCNN, CaptionModel
from guerdon.parts.caption_table import WIDTH, CaptionTable, encode


def texts_of_all_lengths() -> list[str]:
    return ["", *("abcdefghijklmnop"[i % 16] * i for i in range(1, WIDTH + 1, 5)), "x" * WIDTH]


def all_columns(net: CaptionCNN, captions: torch.Tensor) -> torch.Tensor:
    """The convolutions over all 256 characters, without any short cut."""
    x = net.embed(captions.int()).transpose(1, 2)
    for (_, pooled), conv in zip(_STAGES, net.convs, strict=True):
        x = F.relu(conv(x))
        x = F.max_pool1d(x, 3) if pooled else x
    return x


@pytest.mark.parametrize("head", ["classification", "ranking"])
def test_leaving_out_the_padding_changes_nothing(head):
    net, captions = CaptionCNN(head), encode(texts_of_all_lengths())
    columns = net._columns(captions)
    assert columns.shape == (len(captions), 64, 5)
    torch.testing.assert_close(columns, all_columns(net, captions), rtol=1e-4, atol=1e-6)
    for row in captions:  # alone, where the batch's longest caption is this one
        torch.testing.assert_close(net._columns(row[None]), all_columns(net, row[None]), rtol=1e-4, atol=1e-6)


def test_gradients_are_those_of_the_whole_network():
    net, captions = CaptionCNN("ranking"), encode(["You kill the newt!", "It's a wall."])
    net._columns(captions).square().sum().backward()
    short = [p.grad.clone() for p in (net.embed.weight, *net.convs.parameters())]
    net.zero_grad()
    all_columns(net, captions).square().sum().backward()
    for a, b in zip(short, (net.embed.weight, *net.convs.parameters()), strict=True):
        torch.testing.assert_close(a, b.grad, rtol=1e-3, atol=1e-6)


def test_shapes_and_sizes_of_the_card():
    captions = encode(["a", "b", "c"])
    classifier, ranker = CaptionCNN("classification"), CaptionCNN("ranking")
    assert classifier(captions).shape == (3, 2)
    assert ranker(captions).shape == (3,)
    assert classifier.features.in_features == 5 * 64
    assert [m.out_features for m in classifier.body if hasattr(m, "out_features")] == [512, 512]
    assert [m.out_features for m in ranker.body if hasattr(m, "out_features")] == [256, 512]


def test_dropout_only_in_training_and_from_its_generator():
    net, captions = CaptionCNN("classification"), encode(["You kill the newt!"] * 3)
    drawn = [net(captions, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(net(captions), net(captions))
    many = [net(captions[:1], generator=g) for g in [torch.Generator().manual_seed(0)] for _ in range(400)]
    torch.testing.assert_close(torch.stack(many).mean(0), net(captions[:1]), rtol=0.1, atol=0.01)


def test_weights_come_from_the_generator():
    before = torch.get_rng_state()
    nets = [CaptionCNN("ranking", generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(nets[0].out.weight, nets[1].out.weight)
    assert not torch.equal(nets[0].out.weight, nets[2].out.weight)


def model(head: str) -> tuple[CaptionModel, torch.Tensor]:
    table = CaptionTable()
    ids = [
        table.intern(f"You {verb} the {noun}.") for verb in ("kill", "see", "hit") for noun in ("newt", "door", "orc")
    ]
    return CaptionModel(table, head, lr=1e-2, clip=10.0), torch.tensor(ids)


@pytest.mark.parametrize("head", ["classification", "ranking"])
def test_a_step_changes_what_was_read(head):
    made, ids = model(head)
    before, g = made.value(ids), torch.Generator().manual_seed(0)
    rows = ids[:, None] if head == "classification" else torch.stack([ids, ids.flip(0)], 1)
    target = (torch.arange(len(ids)) > 4).float()
    logs = [made.step(rows, target, torch.ones(len(ids)), g) for _ in range(40)]
    assert logs[-1]["loss"] < 0.5 * logs[0]["loss"]
    assert not torch.equal(made.value(ids), before)


def test_a_weight_of_zero_teaches_nothing():
    made, ids = model("classification")
    before = copy.deepcopy(made.net.state_dict())
    made.step(ids[:, None], torch.ones(len(ids)), torch.zeros(len(ids)), torch.Generator())
    assert all(torch.equal(before[k], v) for k, v in made.net.state_dict().items())


def test_ties_have_no_part_in_the_accuracy():
    made, ids = model("ranking")
    pairs, g = torch.stack([ids, ids.flip(0)], 1), torch.Generator().manual_seed(0)
    assert "accuracy" not in made.step(pairs, torch.full((len(ids),), 0.5), torch.ones(len(ids)), g)


def test_the_gradient_is_clipped(monkeypatch):
    made, ids = model("ranking")
    made.clip = 1e-3
    steps = []
    monkeypatch.setattr(made.optimiser, "step", lambda: steps.append([p.grad.norm() for p in made.net.parameters()]))
    made.step(ids[None, :2], torch.ones(1), torch.ones(1), torch.Generator())
    assert torch.stack(steps[0]).norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_captions_are_read_once_for_each_state_of_the_weights(monkeypatch):
    made, ids = model("ranking")
    read = []
    monkeypatch.setattr(made.captions, "encode", lambda i, real=made.captions.encode: read.append(len(i)) or real(i))
    made.value(ids[:4])
    made.value(ids)
    assert read == [4, 5]
    state = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in made.state_dict().items()}
    made.load_state_dict(state)
    made.value(ids)
    assert read == [4, 5, 9]
