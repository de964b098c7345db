"""Encoders of labelled pairs: what must not matter, and what must."""

import pytest
import torch

from guerdon.models.set_encoder import ConcatenatedEncoder, SetEncoder


def some(b=4, n=5, d=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, b, n, d, generator=g)
    q = torch.randint(0, 3, (b, n), generator=g) / 2
    return first, second, q, torch.ones(b, n, dtype=torch.bool)


def encoder(kind=SetEncoder, **more):
    torch.manual_seed(0)
    return kind(3, 4, hidden=(16, 16), **more)


def close(a, b):
    torch.testing.assert_close(torch.cat(a), torch.cat(b), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_order_of_the_pairs_does_not_matter():
    net, (first, second, q, mask), order = encoder(), some(), torch.tensor([3, 1, 4, 0, 2])
    close(net(first[:, order], second[:, order], q[:, order], mask), net(first, second, q, mask))


@torch.no_grad()
def test_swapping_sides_and_label_does_not_matter_and_swapping_one_of_them_does():
    net, (first, second, q, mask) = encoder(), some()
    assert torch.equal(torch.cat(net(second, first, 1 - q, mask)), torch.cat(net(first, second, q, mask)))
    mu, other = net(first, second, q, mask)[0], net(first, second, 1 - q, mask)[0]
    assert (mu - other).abs().max() > 1e-3


@torch.no_grad()
def test_padding_does_not_matter_and_more_pairs_do():
    net, (first, second, q, mask) = encoder(), some()
    mask[:, 3:] = False
    close(net(first, second, q, mask), net(first[:, :3], second[:, :3], q[:, :3], mask[:, :3]))
    twice = [torch.cat([x[:, :1], x[:, :1]], 1) for x in (first, second, q)]
    once = [x[:, :1] for x in (first, second, q)]
    full = torch.ones(4, 2, dtype=torch.bool)
    assert (net(*twice, full)[1] - net(*once, full[:, :1])[1]).abs().max() > 1e-3  # seeing a thing twice is seeing more


@torch.no_grad()
def test_a_tie_is_half_of_either_and_says_what_contradiction_says():
    net, (first, second, _, _) = encoder(), some(n=1)
    two = torch.ones(4, 2, dtype=torch.bool)
    pair = [x.expand(-1, 2, -1) for x in (first, second)]
    # with attention the mean of two different rows is not that of two equal ones: compare what a pair is made of
    torch.testing.assert_close(
        0.5 * net.pair(torch.cat([second, first], -1)) + 0.5 * net.pair(torch.cat([first, second], -1)),
        0.5 * net.pair(torch.cat([first, second], -1)) + 0.5 * net.pair(torch.cat([second, first], -1)),
    )
    swapped = net(pair[1], pair[0], torch.full((4, 2), 0.5), two)
    close(net(*pair, torch.full((4, 2), 0.5), two), swapped)
    contradiction = torch.tensor([[0.0, 1.0]]).expand(4, -1)
    close(net(*pair, contradiction, two), net(*pair, 1 - contradiction, two))


@torch.no_grad()
def test_the_concatenated_encoder_sees_order_and_wants_its_number():
    net, (first, second, q, mask) = encoder(ConcatenatedEncoder, pairs=5), some()
    mu, log_var = net(first, second, q, mask)
    assert mu.shape == log_var.shape == (4, 4)
    assert (net(first.flip(1), second.flip(1), q.flip(1), mask)[0] - mu).abs().max() > 1e-3
    for bad in (mask[:, :4], mask.clone().index_fill_(1, torch.tensor([2]), False)):
        n = bad.shape[1]
        with pytest.raises(ValueError, match="reads 5 pairs of each user"):
            net(first[:, :n], second[:, :n], q[:, :n], bad)
