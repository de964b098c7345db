"""Rewards learned from preferences by regret: likelihoods, what is learned, ends of episodes, bad input."""

import pytest
import samples
import torch
from table_walks import compared, segment, spec, walk, world

from guerdon.parts.segment_regret import successor_set
from guerdon.parts.tabular_mdp import mean_return, optimal_value, uniform
from guerdon.rewards.preference import RegretPreference
from guerdon.types import FIRST, SECOND, TIE, Pairs

M = 3


def setting(*, certain: bool = True, actions: bool = False, seed: int = 0):
    """A world with features, true weights, and the successor features of many policies."""
    mdp = world(8, 3, certain=certain, seed=seed)
    g = torch.Generator().manual_seed(seed)
    f = torch.randn(*mdp.shape, M, dtype=torch.float64, generator=g)
    w = torch.tensor([1.5, -1.0, 0.5], dtype=torch.float64)
    psi = successor_set(mdp, f, torch.cat([torch.randn(40, M, generator=g), w[None].float()]), actions=actions)
    return mdp, f, w, psi


def built(mdp, **options) -> RegretPreference:
    made = RegretPreference(gamma=mdp.gamma, **{"iterations": 600, **options})
    made.build(spec(mdp, M))
    return made


def regret_of(mdp, f, w, segments):
    best = optimal_value(mdp, f @ w)
    state = segments.obs["state"][:-1]
    return (best.value[state] - best.q[state, segments.action]).sum(0)


@pytest.mark.parametrize(("certain", "actions"), [(True, False), (True, True), (False, True)])
def test_its_regret_is_the_exact_one_if_the_best_policy_is_in_the_set(certain, actions):
    mdp, f, w, psi = setting(certain=certain, actions=actions)
    made = built(mdp, successors=psi, weights=tuple(w.tolist()), temperature=(1e-4, 1e-4))
    segments = walk(mdp, f, 50)
    torch.testing.assert_close(made.regret(segments), regret_of(mdp, f, w, segments), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["partial", "regret", "expanded"])
def test_likelihoods_of_both_orders_sum_to_one_and_equal_segments_are_a_coin(kind):
    mdp, f, w, psi = setting()
    made = built(mdp, kind=kind, successors=psi, weights=tuple(w.tolist()))
    a, b = walk(mdp, f, 30, seed=1), walk(mdp, f, 30, seed=2)
    label = torch.full((30,), SECOND)
    forth, back = (made.likelihood(Pairs(first=x, second=y, label=label)) for x, y in ((a, b), (b, a)))
    torch.testing.assert_close(forth.exp() + back.exp(), torch.ones(30, dtype=torch.float64))
    assert (forth - back).abs().max() > 0.1
    same = made.likelihood(Pairs(first=a, second=a, label=torch.tensor([FIRST, SECOND, TIE] * 10)))
    torch.testing.assert_close(same.exp(), torch.full((30,), 0.5, dtype=torch.float64))


def test_more_reward_is_the_same_as_sharper_judgement():
    mdp, f, w, psi = setting()
    pairs = compared(walk(mdp, f, 40, seed=1), walk(mdp, f, 40, seed=2), torch.randn(40))
    cold = {"temperature": (1e-6, 1e-6), "successors": psi}
    scaled = built(mdp, weights=tuple((3 * w).tolist()), **cold)
    sharper = built(mdp, weights=tuple(w.tolist()), beta=3.0, **cold)
    torch.testing.assert_close(scaled.likelihood(pairs), sharper.likelihood(pairs))


@pytest.mark.parametrize(("certain", "actions"), [(True, False), (False, True)])
def test_the_gradient_is_that_of_finite_differences(certain, actions):
    mdp, f, w, psi = setting(certain=certain, actions=actions)
    made = built(mdp, successors=psi)
    pairs = compared(walk(mdp, f, 20, seed=1), walk(mdp, f, 20, seed=2), torch.randn(20))

    def loss(x):
        return made._loss(made._lead(made._both(pairs), x, 0.1), pairs.label).mean()

    assert torch.autograd.gradcheck(loss, (w.clone().requires_grad_(),), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize(("certain", "actions"), [(True, False), (False, True)])
def test_it_learns_a_reward_whose_best_policy_is_the_right_one(certain, actions):
    mdp, f, w, psi = setting(certain=certain, actions=actions)
    a, b = walk(mdp, f, 400, seed=1), walk(mdp, f, 400, seed=2)
    made = built(mdp, successors=psi)
    logs = made.update(compared(a, b, 3 * (regret_of(mdp, f, w, a) - regret_of(mdp, f, w, b))))
    best, plain = optimal_value(mdp, f @ w).policy, uniform(mdp)
    j = [float(mean_return(mdp, f @ w, p)) for p in (optimal_value(mdp, f @ made.w).policy, best, plain)]
    assert (j[0] - j[2]) / (j[1] - j[2]) > 0.95
    assert logs["RegretPreference/accuracy"] > 0.75
    assert logs["RegretPreference/pairs"] == 400
    torch.testing.assert_close(made.w / made.w.norm(), w / w.norm(), atol=0.15, rtol=0)


def test_partial_returns_learn_what_partial_returns_say():
    mdp, f, w, _ = setting()
    a, b = walk(mdp, f, 400, seed=1), walk(mdp, f, 400, seed=2)
    made = built(mdp, kind="partial", l2=0.0)
    made.update(compared(a, b, (b.obs["features"] - a.obs["features"]).sum(0) @ w))
    torch.testing.assert_close(made.w, w, atol=0.35, rtol=0)
    score = made.score(a)
    torch.testing.assert_close(score, (a.obs["features"][1:] @ made.w).float())


def test_indicators_of_state_and_action_are_features_too():
    mdp, f, w, _ = setting()
    a, b = walk(mdp, f, 500, seed=1), walk(mdp, f, 500, seed=2)
    made = built(mdp, kind="partial", features=None)
    assert len(made.w) == 24
    lead = regret_of(mdp, f, w, a) - regret_of(mdp, f, w, b)
    made.update(compared(a, b, 3 * lead))  # labels by regret make it an estimate of A*: its maximum is optimal play
    best = optimal_value(mdp, f @ w)
    advantage = best.q - best.value[:, None]
    learned = made.w.view(8, 3)
    assert float(torch.corrcoef(torch.stack([learned.flatten(), advantage.flatten()]))[0, 1]) > 0.85
    assert (learned.argmax(1) == best.policy.argmax(1)).double().mean() >= 0.75
    table = learned[a.obs["state"][:-1], a.action]
    torch.testing.assert_close(made.score(a), table.float())


def test_the_expanded_kind_finds_the_weights_that_labels_were_made_with():
    mdp, f, w, psi = setting()
    a, b = walk(mdp, f, 4000, seed=1), walk(mdp, f, 4000, seed=2)
    made = built(mdp, kind="expanded", successors=psi, weights=tuple(w.tolist()), l2=0.0, iterations=400, lr=0.05)
    value = optimal_value(mdp, f @ w).value

    def terms(s):
        return torch.stack([s.obs["features"].sum(0) @ w, value[s.obs["state"][-1]], value[s.obs["state"][0]]], -1)

    true = torch.tensor([0.8, 0.3, -0.6], dtype=torch.float64)
    pairs = compared(a, b, (terms(b) - terms(a)) @ true)
    before = made.likelihood(pairs).mean()
    made.update(pairs)
    torch.testing.assert_close(made.c, true, atol=0.12, rtol=0)
    assert made.likelihood(pairs).mean() > before
    torch.testing.assert_close(made.w, w)  # what was known stays


def test_what_is_known_is_not_learned_but_compared():
    mdp, f, w, psi = setting()
    a, b = walk(mdp, f, 1000, seed=1), walk(mdp, f, 1000, seed=2)
    lead = {"partial": (b.obs["features"] - a.obs["features"]).sum(0) @ w,
            "regret": regret_of(mdp, f, w, a) - regret_of(mdp, f, w, b)}  # fmt: skip
    models = {k: built(mdp, kind=k, successors=psi, weights=tuple(w.tolist())) for k in lead}
    for kind, said in lead.items():
        pairs = compared(a, b, said)
        likely = {k: float(m.likelihood(pairs).mean()) for k, m in models.items()}
        assert max(likely, key=likely.__getitem__) == kind
        assert models[kind].update(pairs)["RegretPreference/loss"] == pytest.approx(-likely[kind])
        torch.testing.assert_close(models[kind].w, w)


def test_an_end_is_worth_nothing_and_makes_the_shorter_segment_as_long():
    mdp, f, w, psi = setting()
    a = segment(torch.tensor([[0], [1], [2], [3]]), torch.zeros(3, 1).long(), f, torch.tensor([[0], [0], [1]]).bool())
    made = built(mdp, successors=psi, weights=tuple(w.tolist()), temperature=(1e-5, 1e-5))
    value = (psi @ w).amax(0)
    paid = float((a.obs["features"].sum(0) @ w)[0])
    by_hand = float(value[0] + (1 - mdp.gamma) * (value[1] + value[2])) - paid  # gamma V of the last state is 0
    assert float(made.regret(a)) == pytest.approx(by_hand, abs=1e-6)
    goes_on = segment(torch.tensor([[0], [1], [2], [3]]), torch.zeros(3, 1).long(), f)
    difference = float(made.regret(goes_on) - made.regret(a))
    assert difference == pytest.approx(-mdp.gamma * float(value[3]), abs=1e-6)
    short = segment(torch.tensor([[0], [1], [5]]), torch.zeros(2, 1).long(), f, torch.tensor([[0], [1]]).bool())
    label = torch.tensor([FIRST])
    partial = built(mdp, kind="partial")
    partial.update(Pairs(first=a, second=short, label=label))  # it ended: its partner may be longer
    unended = segment(torch.tensor([[0], [1], [5]]), torch.zeros(2, 1).long(), f)
    with pytest.raises(ValueError, match=r"RegretPreference.*unequal lengths"):
        partial.update(Pairs(first=a, second=unended, label=label))


def test_padding_behind_a_segment_does_not_matter():
    mdp, f, w, psi = setting()
    made = built(mdp, successors=psi, weights=tuple(w.tolist()))
    segments = walk(mdp, f, 5)
    longer = samples.replace(walk(mdp, f, 5, steps=5))
    for key in ("state", "features"):
        longer.obs[key][:4] = segments.obs[key]
        longer.obs[key][4:] = -99
    longer.action[:3] = segments.action
    longer.valid[3:] = False
    torch.testing.assert_close(made.regret(longer), made.regret(segments))


def test_segments_of_unequal_lengths_are_compared_by_their_regrets():
    mdp, f, w, psi = setting()
    made = built(mdp, successors=psi, weights=tuple(w.tolist()))
    short, long = walk(mdp, f, 20, steps=2, seed=1), walk(mdp, f, 20, steps=5, seed=2)
    label = torch.full((20,), SECOND)
    for first, second in ((short, long), (long, short)):
        told = made.likelihood(Pairs(first=first, second=second, label=label))
        by_hand = torch.nn.functional.logsigmoid(made.regret(first) - made.regret(second))
        torch.testing.assert_close(told, by_hand)


def test_ties_are_kept_or_dropped_and_weights_count():
    mdp, f, _, psi = setting()
    a, b = walk(mdp, f, 60, seed=1), walk(mdp, f, 60, seed=2)
    label = torch.tensor([FIRST, SECOND, TIE] * 20)

    def told(ties, weight=None):
        pairs = Pairs(first=a, second=b, label=label, weight=weight)
        return built(mdp, successors=psi, ties=ties, iterations=50).update(pairs)

    kept, dropped, weighted = told(True), told(False), told(True, (label != TIE).float())
    assert kept["RegretPreference/pairs"] == 60
    assert dropped["RegretPreference/pairs"] == 40
    assert dropped == weighted
    with pytest.raises(ValueError, match=r"none tells anything; ties=True"):
        built(mdp, successors=psi, ties=False).update(Pairs(first=a, second=b, label=torch.full((60,), TIE)))


def test_a_set_of_policies_can_come_from_a_file(tmp_path):
    mdp, f, _, psi = setting()
    torch.save(psi, tmp_path / "psi.pt")
    segments = walk(mdp, f, 5)
    made = [built(mdp, successors=s, weights=(1.0, 2.0, 3.0)).regret(segments) for s in (psi, str(tmp_path / "psi.pt"))]
    assert torch.equal(*made)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "regert"}, "'partial', 'regret' or 'expanded'"),
        ({"kind": "regret"}, "needs successors"),
        ({"kind": "expanded", "successors": "psi.pt"}, "needs weights"),
        ({"kind": "partial", "gamma": 1.1}, "gamma"),
        ({"kind": "partial", "temperature": (0.1, 0.0)}, "above 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RegretPreference(**options)


def test_what_does_not_fit_together_is_refused_when_it_is_built():
    mdp, _, _, psi = setting()
    for options, message in [
        ({"successors": psi[..., :2]}, r"\[K, S, 3\]"),
        ({"successors": psi * torch.nan}, "finite"),
        ({"kind": "partial", "weights": (1.0, 2.0)}, "3 features, but 2 weights"),
        ({"kind": "partial", "features": "featrues"}, "observations have"),
    ]:
        with pytest.raises(ValueError, match=message):
            built(mdp, **options)


def test_segments_that_leave_open_what_they_are_worth_are_refused():
    mdp, f, _, psi = setting()
    made, a = built(mdp, successors=psi), walk(mdp, f, 4)
    nowhere = samples.replace(a)
    nowhere.obs["state"][1, 2] = 8
    stateless = samples.replace(a, obs=a.obs.select("features"))
    broken = samples.replace(a)
    broken.obs["features"][2, 1] = torch.nan
    two = samples.replace(a)
    two.terminated[1, 0] = True
    empty = samples.replace(a, valid=torch.zeros_like(a.valid))
    label = torch.zeros(4, dtype=torch.long)
    for bad, message in [
        (nowhere, "0 to 7, got .* to 8"), (stateless, "they are missing"), (broken, "NaN"), (two, "goes on after"),
        (empty, "neither start nor end"), (walk(mdp, f, 3), "as many segments"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"RegretPreference.*{message}"):
            made.update(Pairs(first=a, second=bad, label=label))
    with pytest.raises(ValueError, match="needs successors"):
        built(mdp, kind="partial").regret(a)
