import pytest
import torch
from rewards.preference.linear import Linear, made_pairs

from guerdon.parts.curation import NO_ANSWER
from guerdon.rewards.preference.error_driven_curation import ErrorDrivenCuration
from guerdon.types import FIRST, SECOND, TIE


@pytest.fixture
def pool():
    """60 pairs, all told FIRST, of two kinds: 30 near (1, 0), where that is right, and 30 near (0, 1), where not."""
    g = torch.Generator().manual_seed(0)
    kind = torch.arange(60) % 2
    embedding = torch.eye(2)[kind] + 0.1 * torch.randn(60, 2, generator=g)
    x = torch.stack([torch.eye(2)[kind], torch.zeros(60, 2)], 1)
    return made_pairs(x, torch.full((60,), FIRST)), embedding, kind


def start(pool, **kw):
    pairs, embedding, _ = pool
    pairs.label[1] = SECOND  # what a human says of the second kind
    return ErrorDrivenCuration(pairs, embedding, gold=torch.tensor([0, 1]), silver=torch.tensor([2, 3]), **kw)


def believes_all(pairs, gold, seed):
    return Linear(torch.tensor([20.0, 20.0]))  # p is 1 for the first kind, 0 for the second


def truth(asked, gold, near):
    x = torch.tensor(asked.first.column("x", "truth"))
    return torch.where(x[:, 1] > x[:, 0], SECOND, FIRST)


def test_errors_draw_their_neighbours_and_labels_are_mended(pool):
    curation = start(pool)
    model, logs = curation.round(believes_all, truth)
    assert isinstance(model, Linear)
    assert logs["fetched"] == logs["judged"] == logs["changed"] == 8
    assert logs["gold accuracy"] == 0.5
    assert len(curation.silver) == 10
    assert (curation.silver[2:] % 2 == 1).all()  # all of the kind that the model gets wrong
    assert curation.trained.label[2:].tolist() == [SECOND] * 8
    nearest = torch.nn.functional.cosine_similarity(curation.embedding, curation.embedding[1], dim=1)
    nearest[[0, 1, 2, 3]] = -1
    assert set(curation.silver[2:].tolist()) == set(nearest.topk(8).indices.tolist())
    assert curation.rounds == 1


def test_humans_label_their_share_into_gold_and_the_undecided_are_dropped(pool):
    curation = start(pool, human_share=0.25)
    _, logs = curation.round(believes_all, lambda a, g, n: torch.full((len(a.label),), TIE), human=truth)
    assert (logs["humans"], logs["judged"], logs["dropped"]) == (2, 0, 6)
    assert curation.verified.label.tolist() == [FIRST, SECOND, SECOND, SECOND]
    assert logs["pool"] == 60 - 4 - 8
    _, logs = curation.round(believes_all, lambda a, g, n: torch.full((len(a.label),), NO_ANSWER), limit=3)
    assert (logs["fetched"], logs["dropped"]) == (3, 3)


def test_no_row_is_ever_in_two_sets_and_the_pool_runs_dry(pool):
    curation = start(pool, human_share=0.3)
    for _ in range(12):
        curation.round(believes_all, truth, human=truth)
        rows = torch.cat([curation.gold, curation.silver, curation.pool]).tolist()
        assert sorted(rows) == sorted(set(rows)) == list(range(60))
    wrong = torch.arange(60) % 2 == 1
    assert not wrong[curation.pool].any()  # nothing is left to fetch but what the model has right
    curation.round(believes_all, truth)


def test_judges_are_shown_the_nearest_gold_pairs(pool):
    seen = {}

    def judge(asked, gold, near):
        seen.update(asked=asked, gold=gold, near=near)
        return asked.label

    start(pool, shots=1).round(believes_all, judge)
    assert seen["near"].tolist() == [[1]] * 8
    assert seen["gold"].label.tolist() == [FIRST, SECOND]


def test_the_fit_gets_silver_to_train_on_and_gold_to_choose_by(pool):
    seen = []

    def fit(pairs, gold, seed):
        seen.append((len(pairs.label), len(gold.label), seed))
        return believes_all(pairs, gold, seed)

    curation = start(pool, seed=7)
    for _ in range(2):
        curation.round(fit, truth)
    assert seen == [(2, 2, 7), (10, 2, 8)]


def test_it_goes_on_where_it_stopped(pool):
    whole, half = start(pool, human_share=0.2), start(pool, human_share=0.2)
    whole.round(believes_all, truth, truth, limit=5)
    half.round(believes_all, truth, truth, limit=5)
    again = start(pool)
    again.load_state_dict(half.state_dict())
    again.human_share = 0.2
    for each in (whole, again):
        each.round(believes_all, truth, truth, limit=5)
    assert whole.silver.tolist() == again.silver.tolist()
    assert whole.gold.tolist() == again.gold.tolist()
    assert torch.equal(whole.label, again.label)


def test_fresh_rows_join_the_pool(pool):
    pairs, embedding, _ = pool
    curation = ErrorDrivenCuration(
        pairs, embedding, gold=torch.tensor([0]), silver=torch.tensor([2]), pool=torch.tensor([4])
    )
    curation.add(torch.tensor([6, 8]))
    assert curation.pool.tolist() == [4, 6, 8]
    with pytest.raises(ValueError, match="already"):
        curation.add(torch.tensor([2]))


def test_bad_input(pool):
    pairs, embedding, _ = pool
    one, none = torch.tensor([0]), torch.tensor([], dtype=torch.long)

    def make(embedding=embedding, gold=one, silver=none, **kw):
        return ErrorDrivenCuration(pairs, embedding, gold=gold, silver=silver, **kw)

    with pytest.raises(ValueError, match="verified by humans"):
        make(gold=none)
    with pytest.raises(ValueError, match="embedding"):
        make(embedding=embedding[:3])
    with pytest.raises(ValueError, match="embedding"):
        make(embedding=embedding * torch.nan)
    with pytest.raises(ValueError, match="two of gold"):
        make(silver=one)
    with pytest.raises(ValueError, match="two of gold"):
        make(gold=torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="share"):
        make(human_share=1.5)
    with pytest.raises(ValueError, match="need as many labels"):
        start(pool).round(believes_all, lambda a, g, n: torch.zeros(1).long())
    with pytest.raises(ValueError, match="need as many labels"):
        start(pool).round(believes_all, lambda a, g, n: torch.full((len(a.label),), 5))
    pairs.label[5] = TIE
    with pytest.raises(ValueError, match="with a winner"):
        make(gold=torch.tensor([5]))
