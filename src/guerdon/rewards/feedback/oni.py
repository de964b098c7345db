"""ONI: a reward that a language model's labels teach while the policy learns."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from guerdon.models.caption_cnn import CaptionModel, seed_from
from guerdon.parts.caption_labels import CaptionLabels, pack, unpack
from guerdon.parts.caption_pay import by_last_sight, paid_captions, pay_captions
from guerdon.parts.pair_loss import PREFERENCE
from guerdon.parts.running_moments import RunningMoments
from guerdon.types import About, Experience, Item, Labels, Pairs, Reward, Rollout, Spec

THRESHOLDS = {"retrieval": None, "classification": 0.5, "ranking": -0.5}


class ONI(Reward):
    """Pays captions that a judge finds helpful, less for each repeat in an episode: r(c) * N(c)^-power.

    c is the caption that a step led to and N(c) how often it has occurred in this episode, now included. A judge labels
    the captions that the agent meets, while it plays; the reward model r learns from the labels and is asked with its
    newest state when the policy learns:

    - ``retrieval``: r(c) is the label of c, and 0 where there is none. A later label replaces an earlier one.
    - ``classification``: a CaptionCNN learns label from caption, by cross-entropy; r(c) = 1 if the probability of 1 is
      above `threshold` (0.5), else 0. It also judges captions that have no label. The first label of a caption stays.
    - ``ranking``: the judge compares two captions; a CaptionCNN R learns by Bradley-Terry (a tie is half of either).
      With running mean m and variance v of R over the captions met, r~ = (R(c) - m) / sqrt(v), r(c) = r~ if it is above
      `threshold` (-0.5, in standard deviations), else 0. 0 forbids negative pay.

    Scores are float32 [T, B]; in [0, 1.2021] a caption and episode for labels in [0, 1] and power 3, unbounded with
    ranking. Before the first label, for the empty caption and at invalid steps they are exactly 0. Terminal steps are
    paid like any other; the message after a reset never is.

    Zheng et al., "Online Intrinsic Rewards for Decision Making Agents from Large Language Model Feedback", 2024.
    Where this differs from the authors' release: ranking pays the normalised, thresholded reward (the release computes
    it and then pays R(c), as `raw` does); before the first label no model pays anything; the empty caption is never
    asked about, never paid, and not part of m and v; pairs of one and the same caption are not asked (a tie by
    definition), nor is an empty memory drawn from; an answer that is no label is counted, never taken for one. m and v
    advance in `observe`, from the first label on and after `score`, whose first rollout thus meets m = 0 and v = 1.

    Args:
        model: "retrieval", "classification" or "ranking".
        power: of the episodic count gate; 0 switches it off (card: 3).
        threshold: see above; None is the model's own. Retrieval has none.
        lr: of Adam (release: 1e-4).
        batch_size: captions or pairs a training step (release: 256).
        steps: Adam steps when labels arrive, while there are fewer than `switch` (release: 32).
        switch: from so many labels on, one step at each ``update(rollout)`` instead (release: 25,000).
        raw: pay R(c) itself, as the release does; ranking only.
        pair_every: every so manieth step's caption may come into a pair (release: 10).
        pairs: comparisons drawn a rollout (release: 10).
        memory: captions to draw pairs from, the newest (our choice).
        dedupe: keep a caption in that memory once (release: off).
    """

    about: ClassVar[About] = About(
        rewards="messages that a language model finds helpful, labelled while the agent plays",
        paper="Online Intrinsic Rewards for Decision Making Agents from LLM Feedback (Zheng et al., 2024)",
        link="https://arxiv.org/abs/2410.23022",
        claim="oni",
    )
    reads_captions: ClassVar[bool] = True

    def __init__(
        self,
        *,
        model: Literal["retrieval", "classification", "ranking"] = "retrieval",
        power: float = 3.0,
        threshold: float | None = None,
        lr: float = 1e-4,
        batch_size: int = 256,
        steps: int = 32,
        switch: int = 25_000,
        raw: bool = False,
        pair_every: int = 10,
        pairs: int = 10,
        memory: int = 100_000,
        dedupe: bool = False,
    ) -> None:
        super().__init__()
        if model not in THRESHOLDS:
            raise ValueError(f"ONI's model is one of {', '.join(THRESHOLDS)}, not {model!r}")
        if model == "retrieval" and threshold is not None:
            raise ValueError("ONI(model='retrieval') pays labels as they are: it has no threshold")
        if raw and model != "ranking":
            raise ValueError("ONI's raw scores are those of model='ranking'")
        self.model, self.power, self.threshold = model, power, threshold
        self.lr, self.batch_size, self.steps, self.switch = lr, batch_size, steps, switch
        self.raw, self.pair_every, self.pairs, self.memory, self.dedupe = raw, pair_every, pairs, memory, dedupe

    def build(
        self, spec: Spec, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
    ) -> None:
        if spec.captions is None:
            raise ValueError("ONI needs a task with captions: make it with tasks.make(..., captions=True)")
        self.captions = spec.captions
        self.rng = torch.Generator().manual_seed(seed_from(generator))
        self.labels = CaptionLabels(spec.captions, width=2 if self.model == "ranking" else 1)
        if self.model == "classification":
            self.net = CaptionModel(spec.captions, "classification", lr=self.lr, generator=self.rng)
        if self.model == "ranking":
            self.net = CaptionModel(spec.captions, "ranking", lr=self.lr, clip=10.0, generator=self.rng)
            self.moments = RunningMoments(correction=1)
            self.met = torch.zeros(0, dtype=torch.int32)  # captions to draw pairs from, oldest first
        self.to(device)

    # ---- pay

    def score(self, experience: Experience, **needed: Any) -> Tensor:
        return pay_captions(experience, self._worth, power=self.power, name=self.name)

    def _worth(self, ids: Tensor) -> Tensor:
        """r(c) of each caption, [n]."""
        if not len(self.labels):
            return torch.zeros(len(ids))
        if self.model == "retrieval":
            return self.labels.of(ids.to(self.labels.value.device)).nan_to_num(nan=0.0)
        value = self.net.value(ids)
        threshold = THRESHOLDS[self.model] if self.threshold is None else self.threshold
        if self.model == "classification":
            return (value.sigmoid() > threshold).float()
        if self.raw:
            return value
        value = self.moments.normalise(value)
        return torch.where(value > threshold, value, 0.0)

    # ---- ask

    def observe(self, rollout: Rollout) -> None:
        """Ranking: takes the rollout into the running mean and variance, and into the memory of captions."""
        if self.model != "ranking":
            return
        captions = self._paid(rollout)
        if len(self.labels):
            distinct, place = captions.unique(return_inverse=True)
            self.moments.update(self.net.value(distinct)[place], captions != 0)
        self.met = self._met(captions)
        torch.rand(1, generator=self.rng)  # the next rollout's pairs are drawn elsewhere

    def _met(self, captions: Tensor) -> Tensor:
        """The memory of captions, the newest last, with every so manieth of these."""
        met = captions.flatten()[:: self.pair_every]
        met = torch.cat([self.met, met[met != 0].cpu()])
        return (torch.tensor(by_last_sight(met), dtype=torch.int32) if self.dedupe else met)[-self.memory :]

    def _paid(self, rollout: Rollout) -> Tensor:
        """The captions [T, B] that steps are paid for, where the labels are."""
        return paid_captions(rollout, self.name)[0].to(self.labels.value.device)

    def questions(self, rollout: Rollout) -> list[Item]:
        """The rollout's captions without a label, the last seen last. Ranking: pairs of captions met up to and in it.

        Like a score, the same for the same state and rollout.
        """
        captions = self._paid(rollout)
        if self.model == "ranking":
            met, rng = self._met(captions), torch.Generator()
            rng.set_state(self.rng.get_state())
            drawn = met[torch.randint(len(met), (self.pairs, 2), generator=rng)].tolist() if len(met) else []
            return [(self.captions.text(a), self.captions.text(b)) for a, b in drawn if a != b]
        return [self.captions.text(i) for i in by_last_sight(captions[self.labels.of(captions).isnan()])]

    # ---- learn

    def update(self, experience: Experience | Pairs | Labels) -> dict[str, float]:
        """Learns from labels of its own kind (captions, or pairs for ranking); answers that are none are counted.

        A Rollout (after each policy update) is one training step once there are `switch` labels. Logs: labelled; loss
        and accuracy (without ties) of the last step; unlabelled, a share of steps; answers without a label, by reason.
        """
        logs: dict[str, float] = {}
        if isinstance(experience, Labels):
            taken, logs = self._take(experience)
            if taken and len(self.labels) < self.switch:
                logs |= self._train(self.steps)
        elif isinstance(experience, Rollout):
            if self.model != "ranking":
                captions = self._paid(experience)
                logs["unlabelled"] = float((self.labels.of(captions).isnan() & (captions != 0)).float().mean())
            if len(self.labels) >= self.switch:
                logs |= self._train(1)
        return {f"{self.name}/{key}": value for key, value in (logs | {"labelled": len(self.labels)}).items()}

    def _take(self, labels: Labels) -> tuple[int, dict[str, float]]:
        """How many labels were taken, and how many answers were none, by reason."""
        rows, none = [], Counter[str]()
        for row in labels.rows():
            texts = (row.item,) if isinstance(row.item, str) else row.item
            if len(texts) != self.labels.width:
                continue  # the answer to another reward's question
            value = PREFERENCE.get(row.value) if self.model == "ranking" else row.value
            if row.value is None:
                none[f"no label: {row.reason or 'no reason given'}"] += 1
            elif value is None or not 0.0 <= value <= 1.0:
                none["no label: out of range"] += 1
            else:
                rows.append(([self.captions.intern(text) for text in texts], value, row.weight))
        taken = 0
        if rows:
            ids, value, weight = (torch.tensor(column) for column in zip(*rows, strict=True))
            taken = self.labels.add(ids, value, weight, replace=self.model == "retrieval")
        return taken, dict(none)

    def _train(self, steps: int) -> dict[str, float]:
        """So many Adam steps; returns the last one's loss and accuracy. Retrieval has nothing to train."""
        logs: dict[str, float] = {}
        for rows in self._batches(steps) if self.model != "retrieval" else ():
            logs = self.net.step(self.labels.ids[rows], self.labels.value[rows], self.labels.weight[rows], self.rng)
        return logs

    def _batches(self, steps: int) -> list[Tensor]:
        """Rows of each training step. Pairs are drawn anew each time; captions in shuffled epochs, while few."""
        n, size = len(self.labels), min(self.batch_size, len(self.labels))
        if self.model == "ranking" or n >= self.switch:
            batches = [torch.randint(n, (size,), generator=self.rng) for _ in range(steps)]
        else:
            epochs = -(-steps * size // n)
            batches = [b for _ in range(epochs) for b in torch.randperm(n, generator=self.rng).split(size)][:steps]
        return [rows.to(self.labels.value.device) for rows in batches]

    def get_extra_state(self) -> dict[str, Any]:
        """The generator, and for ranking the captions met. Labels, networks and moments save themselves."""
        met = {"met": pack(self.captions, self.met)} if self.model == "ranking" else {}
        return {"rng": self.rng.get_state(), **met}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.rng.set_state(state["rng"])
        if self.model == "ranking":
            self.met = unpack(self.captions, state["met"])
