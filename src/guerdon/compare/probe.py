"""What does a reward do? Standard probes of a novelty bonus, in a world of which every visit is known."""

from __future__ import annotations

import copy
import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats

from guerdon.compare.probe_world import WALK, ProbeWorld
from guerdon.types import Reward, Rollout

ROUNDS = 60
FALLS, AGREES, PARTLY, LIKES_NOISE, FOLLOWS, GROWS = -0.1, 0.9, 0.5, 2.0, 1.5, 1.05
"""Where verdicts begin: exponents, rank correlations, ratios."""


class Finding(NamedTuple):
    """What one probe measured, and what that means in a word or two."""

    probe: str
    measured: float
    verdict: str
    means: str


@dataclass
class Practice:
    """A reward that has lived through a world, with what was seen on the way; [R, S] after each of R rounds."""

    reward: Reward
    world: ProbeWorld
    visits: np.ndarray  # of each place but the first
    bonus: np.ndarray  # of a step to it
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(0))  # [R], of a step
    bytes: np.ndarray = field(default_factory=lambda: np.zeros(0))  # [R], of the state


@dataclass
class Probe:
    """All findings, and the practice they came from."""

    findings: list[Finding]
    practice: Practice
    noisy: Practice  # beside the television, where there is always something new
    in_episode: np.ndarray  # [n], the bonus of the n-th visit in one episode

    def verdicts(self) -> dict[str, str]:
        """Verdict by probe."""
        return {f.probe: f.verdict for f in self.findings}


def probe(
    reward: Reward, *, rounds: int = ROUNDS, seed: int = 0, progress: Callable[[str, float], None] | None = None
) -> Probe:
    """Runs a reward of Rollouts, not built yet, through the probes; it stays as it was.

    Copies of it are built and practise for `rounds` episodes of 23 walkers of 16 steps in a `ProbeWorld`: one plainly,
    one on observations ten times as large, one beside a television. What a practised copy pays is looked at with its
    state held still.

    - decay: the exponent x of b ~ n^x, the bonus of a step to a place against its visits n, within places over rounds.
    - counts: the rank correlation of the last bonuses with 1 / sqrt(n + 1), over places.
    - new above seen: how often a place that was never visited is paid more than one visited often (0.5 is chance).
    - in the episode: the exponent of the bonus against the number of visits in one episode.
    - next episode: the bonus of a walk to places never visited that repeats the last episode's, over that one's.
    - terminal: the bonus of steps to a terminal observation, over the same ones where the episode is cut off.
    - noise: the bonus of fresh noise over that of a dull step, after practice beside the television.
    - scale: the bonus on observations ten times as large, over the plain one.
    - memory: the state's bytes after all rounds beside the television, over those after half of them.
    - time: the seconds of a step there in the last quarter of the rounds, over those in the second (a noisy figure).

    Args:
        reward: as a user makes it, such as ``RND()``.
        rounds: of practice.
        seed: of the world; networks are seeded by 0.
        progress: called with what is done and the share of it.

    Raises:
        ValueError: the reward cannot live in the world (it needs captions, images, or a language model), and why.
    """
    told = progress or (lambda what, share: None)
    plain = practise(reward, ProbeWorld(seed=seed), rounds, lambda share: told("practice", share))
    large = practise(reward, ProbeWorld(seed=seed, scale=10.0), rounds, lambda share: told("ten times as large", share))
    noisy = practise(reward, ProbeWorld(seed=seed, television=0.5), rounds, lambda share: told("television", share))
    in_episode = pay(plain, plain.world.back_and_forth())[::2].mean(1)
    findings = [
        *_visits(plain), *_episodes(plain, in_episode), _noise(noisy), _scale(plain, large), *_growth(noisy),
    ]  # fmt: skip
    return Probe(findings, plain, noisy, in_episode)


def practise(reward: Reward, world: ProbeWorld, rounds: int, told: Callable[[float], None] | None = None) -> Practice:
    """A built copy of `reward` after so many rounds in `world`."""
    made = copy.deepcopy(reward)
    try:
        made.build(world.spec, generator=torch.Generator().manual_seed(0))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{reward.name} cannot be probed on vectors of numbers: {error}; try --task") from error
    visits, bonus, seconds, sizes = [], [], [], []
    seen = Practice(made, world, np.zeros(0), np.zeros(0))
    for turn in range(rounds):
        rollout = world.practice()
        start = time.perf_counter()
        with torch.no_grad():
            made.evaluate(rollout)
        made.observe(rollout)
        made.update(rollout)
        seconds.append((time.perf_counter() - start) / int(rollout.valid.sum()))
        sizes.append(state_bytes(made))
        visits.append(world.visits[1:].clone())
        bonus.append(pay(seen, world.sweep())[0])
        if told:
            told((turn + 1) / rounds)
    seen.visits, seen.bonus = np.stack(visits), np.stack(bonus)
    seen.seconds, seen.bytes = np.array(seconds), np.array(sizes)
    return seen


def pay(practice: Practice, rollout: Rollout) -> np.ndarray:
    """What the practised reward pays, [T, B]; NaN where it says nothing."""
    with torch.no_grad():
        return practice.reward.evaluate(rollout).value.double().numpy()


def state_bytes(reward: Reward) -> int:
    """Of the reward's saved state."""
    buffer = io.BytesIO()
    torch.save(reward.state_dict(), buffer)
    return buffer.tell()


def exponent(x: np.ndarray, y: np.ndarray) -> float:
    """The x of y ~ n^x within each column of [R, S]; 0 where nothing varies. Places without n or y count nothing."""
    ok = (x > 0) & (y > 0)
    a, b = np.log(np.where(ok, x, 1.0)), np.log(np.where(ok, y, 1.0))
    count = np.maximum(ok.sum(0), 1)
    a, b = np.where(ok, a - (a * ok).sum(0) / count, 0.0), np.where(ok, b - (b * ok).sum(0) / count, 0.0)
    return float((a * b).sum() / (a * a).sum()) if (a * a).sum() > 0 else 0.0


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's; 0 where one of the two does not vary."""
    return float(stats.spearmanr(a, b)[0]) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0  # type: ignore[arg-type]


def _decay(x: float) -> str:
    if x > FALLS:
        return "none" if x < -FALLS else "rises"
    return "faster than 1/n" if x < -1.2 else "1/n" if x < -0.8 else "1/sqrt(n)" if -0.65 < x < -0.35 else "falls"


def rank_word(x: float) -> str:
    """What a rank correlation with exact counts means."""
    return "agrees" if x >= AGREES else "partly" if x >= PARTLY else "no"


def _visits(plain: Practice) -> list[Finding]:
    last, n = plain.bonus[-1], plain.visits[-1]
    x = exponent(plain.visits, plain.bonus)
    order = rank_correlation(last, 1 / np.sqrt(n + 1))
    new, often = last[n == 0], last[n >= np.median(n[n > 0])]
    above = float((new[:, None] > often).mean() + 0.5 * (new[:, None] == often).mean())
    word = "yes" if above >= AGREES else "mostly" if above >= 0.7 else "no"
    return [
        Finding("decay", x, _decay(x), "exponent of the bonus against the visits of a place"),
        Finding("counts", order, rank_word(order), "rank correlation with 1 / sqrt(n + 1)"),
        Finding("new above seen", above, word, "a place never visited is paid more than a common one"),
    ]


def _episodes(plain: Practice, in_episode: np.ndarray) -> list[Finding]:
    n = np.arange(1, len(in_episode) + 1.0)
    x = exponent(n[:, None], in_episode[:, None]) if (in_episode > 0).sum() > 1 else 0.0
    if (in_episode[1:] <= 0).all() and in_episode[0] > 0:
        x, falls = -math.inf, "once an episode"
    else:
        falls = _decay(x)
    paid = pay(plain, plain.world.walks(3))  # the first still follows what was practised
    second, third = (paid[turn * (WALK + 1) :][:WALK] for turn in (1, 2))
    again = _ratio(third.mean(), second.mean())
    start = "no memory of it" if falls == "none" else "starts again" if again > 0.95 else "carries on"
    final = pay(plain, plain.world.walks(3, terminal=True))[WALK + 1 :][:WALK]
    ending = _ratio(final[-1].mean(), second[-1].mean())
    kind = "unpaid" if ending == 0 else "paid as others" if abs(ending - 1) < 0.05 else "paid otherwise"
    return [
        Finding("in the episode", x, falls, "exponent of the bonus against the visits in one episode"),
        Finding("next episode", again, start, "the same walk in the next episode, over this one's bonus"),
        Finding("terminal", ending, kind, "a step that ends the episode, over the same one truncated"),
    ]


def _noise(noisy: Practice) -> Finding:
    paid = pay(noisy, noisy.world.watching())[0]
    x = _ratio(paid[::2].mean(), paid[1::2].mean())
    return Finding("noise", x, "attracted" if x > LIKES_NOISE else "immune", "fresh noise, over a dull step")


def _scale(plain: Practice, large: Practice) -> Finding:
    x = _ratio(large.bonus[-1].mean(), plain.bonus[-1].mean())
    return Finding("scale", x, "free" if 1 / FOLLOWS < x < FOLLOWS else "follows", "observations ten times as large")


def _growth(noisy: Practice) -> list[Finding]:
    rounds = len(noisy.bytes)
    size = noisy.bytes[-1] / noisy.bytes[rounds // 2]
    early, late = (noisy.seconds[rounds * a // 4 : rounds * (a + 1) // 4] for a in (1, 3))
    spent = float(np.median(late) / np.median(early)) if len(early) else math.nan
    return [
        Finding("memory", size, "grows" if size > GROWS else "constant", "bytes after all rounds, over half of them"),
        Finding("time", spent, "grows" if spent > 1.5 else "constant", "seconds a step late, over early"),
    ]


def _ratio(a: Any, b: Any) -> float:
    return float(a) / float(b) if b else (1.0 if a == b else math.inf)
