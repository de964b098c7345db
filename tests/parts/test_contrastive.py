import math

import pytest
import torch

from guerdon.parts.contrastive import pair_features, simcse, sinkhorn, swav
from guerdon.parts.info_nce import info_nce


def rows(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_simcse_of_one_row_and_of_orthonormal_rows():
    assert simcse(rows(1, 3), rows(1, 3, 1)).item() == 0.0
    for n, tau in ((2, 0.05), (5, 0.5)):
        eye = torch.eye(n, 7, dtype=torch.float64)
        expected = math.log(1 + (n - 1) * math.exp(-1 / tau))
        assert simcse(eye, 3 * eye, temperature=tau).tolist() == pytest.approx([expected] * n)
    same = torch.ones(4, 3)
    assert simcse(same, same).tolist() == pytest.approx([math.log(4)] * 4)


def test_simcse_is_the_loss_of_info_nce():
    a, b = rows(6, 4), rows(6, 4, 1)
    cosines = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=-1)
    assert torch.allclose(simcse(a, b), math.log(6) - info_nce(cosines / 0.05))


def test_codes_share_the_batch_evenly():
    scores = rows(12, 3)
    q = sinkhorn(scores, epsilon=0.5, iterations=200)
    assert q.sum(1).tolist() == pytest.approx([1.0] * 12)
    assert q.sum(0).tolist() == pytest.approx([4.0] * 3)
    three = sinkhorn(scores / 5)
    assert three.sum(1).tolist() == pytest.approx([1.0] * 12)
    assert torch.isfinite(sinkhorn(torch.tensor([[1.0, -1.0], [1.0, -1.0]]), epsilon=1e-3)).all()


def test_sinkhorn_by_hand():
    q = sinkhorn(torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]]), epsilon=1.0, iterations=1)
    # exp: [[3, 1], [1, 1]]; columns scaled: [[3/4, 1/2], [1/4, 1/2]]; rows scaled
    assert q.flatten().tolist() == pytest.approx([0.6, 0.4, 1 / 3, 2 / 3])


def test_swav_by_its_definition_and_without_gradient_through_codes():
    a, b, c = rows(6, 4), rows(6, 4, 1), rows(3, 4, 2).requires_grad_()
    found = swav(a, b, c)
    unit = [x / x.norm(dim=1, keepdim=True) for x in (a, b, c.detach())]
    s, t = unit[0] @ unit[2].T, unit[1] @ unit[2].T
    expected = -(sinkhorn(s) * (t / 0.1).log_softmax(1)).sum(1) - (sinkhorn(t) * (s / 0.1).log_softmax(1)).sum(1)
    assert torch.allclose(found, expected)
    assert torch.allclose(swav(b, a, c), found)
    fixed = torch.autograd.grad(found.sum(), c)[0]
    w = c.detach().clone().requires_grad_()
    scores = [u @ torch.nn.functional.normalize(w, dim=1).T for u in unit[:2]]
    codes = [sinkhorn(x) for x in (s, t)]
    loss = -(codes[0] * (scores[1] / 0.1).log_softmax(1)).sum() - (codes[1] * (scores[0] / 0.1).log_softmax(1)).sum()
    assert torch.allclose(fixed, torch.autograd.grad(loss, w)[0])


def test_what_is_contrasted():
    chosen, rejected = rows(3, 2), rows(3, 2, 1)
    assert torch.equal(pair_features(chosen, rejected, choice="pairs"), torch.cat([chosen, rejected]))
    diff = pair_features(chosen, rejected)
    assert torch.equal(diff[:3], chosen - rejected)
    assert torch.equal(diff[3:], rejected - chosen)


def test_refusals():
    with pytest.raises(ValueError, match="'pairs' or 'diff'"):
        pair_features(rows(1, 1), rows(1, 1), choice="both")
    with pytest.raises(ValueError, match="two views"):
        simcse(rows(2, 3), rows(3, 3))
    with pytest.raises(ValueError, match="B > 0"):
        simcse(rows(0, 3), rows(0, 3))
    with pytest.raises(ValueError, match="temperature"):
        simcse(rows(2, 3), rows(2, 3), temperature=0.0)
    with pytest.raises(ValueError, match="prototypes"):
        swav(rows(2, 3), rows(2, 3), rows(2, 4))
