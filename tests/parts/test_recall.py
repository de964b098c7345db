import copy
import pickle

import samples
import torch
from torch import nn

from guerdon.parts.recall import Recall


def test_a_rollout_is_worked_out_once_until_something_changes():
    calls, net = [], nn.Linear(1, 1)
    recall: Recall[int] = Recall()
    first, second = samples.rollout(), samples.rollout()

    def look(rollout):
        return recall.of(rollout, net, lambda: calls.append(rollout) or len(calls))

    assert [look(first), look(first)] == [1, 1]
    assert [look(second), look(first)] == [2, 3], "another rollout, though an equal one, is another"
    with torch.no_grad():
        net.weight.add_(1.0)
    assert look(first) == 4, "weights have changed"
    for again in (copy.deepcopy(recall), pickle.loads(pickle.dumps(recall))):
        assert again.of(first, net, lambda: "anew") == "anew", "a copy holds nothing"
    recall.forget()
    assert look(first) == 5


def test_it_does_not_keep_a_rollout_alive():
    recall: Recall[int] = Recall()
    rollout, net = samples.rollout(), nn.Linear(1, 1)
    recall.of(rollout, net, lambda: 1)
    del rollout
    assert recall._held is not None
    assert recall._held[0]() is None
