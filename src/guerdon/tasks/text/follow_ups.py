"""Simulated users who follow up on a response, happier with good ones."""

from __future__ import annotations

from random import Random

from guerdon.tasks.text.splits import Row, Split, random_of

POSITIVE = ("thanks, that is it", "perfect, just right", "great, that helps", "yes, exactly so")
NEGATIVE = ("no, that is wrong", "this is no help", "you missed the point", "not what i asked")
UNRELATED = ("one more thing", "next question", "ok, go on", "hello again")
PRAISE = "what a fine question"
_STEPS = ("first", "then", "next", "last", "mix", "cut", "bake", "fold", "stir", "rest", "heat", "cool")
_VAGUE = ("maybe", "hm", "um", "some", "stuff", "things", "or so", "not sure", "dunno", "well", "like", "er")


class FollowUps:
    """A request, a response of hidden quality, and what the user says next.

        P(positive | good) = `if_good`, P(positive | bad) = `if_bad`; with probability `unrelated` the follow-up is
        about neither, and with `flattered` a response that praises is met kindly whatever its quality.

    Quality is in the response's words: a good one is made of steps, a bad one of vagueness. Row: `prompt` (the
    request), `response`, `follow_up`, `good` and `positive` (1, 0; positive is -1 for an unrelated follow-up), `praise`
    (0 or 1) and `answer`, a good response to the request. `responses` are the ones a policy may choose from.

    Args:
        if_good: chance of a positive follow-up to a good response.
        if_bad: the same for a bad one.
        unrelated: share of follow-ups that say nothing of quality.
        praise: share of responses that flatter.
        flattered: chance that flattery turns the follow-up positive.
        words: of a response.
        choices: how many different responses there are, half of them good.
        task_seed: of the responses.
    """

    def __init__(
        self,
        *,
        if_good: float = 0.8,
        if_bad: float = 0.3,
        unrelated: float = 0.2,
        praise: float = 0.0,
        flattered: float = 0.5,
        words: int = 3,
        choices: int = 50,
        task_seed: int = 0,
    ) -> None:
        shares = {"if_good": if_good, "if_bad": if_bad, "unrelated": unrelated, "praise": praise}
        for name, share in (shares | {"flattered": flattered}).items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is a probability, got {share}")
        if not 1 <= words <= 8 or not 2 <= choices <= 1000:
            raise ValueError(f"1 <= words <= 8 and 2 <= choices <= 1000 are needed, got {words} and {choices}")
        self.if_good, self.if_bad, self.unrelated, self.praise, self.flattered = *shares.values(), flattered
        self.words, self.choices, self.task_seed = words, choices, task_seed
        random = Random(f"responses {task_seed}")
        self.responses = [" ".join(random.choices((_VAGUE, _STEPS)[i % 2], k=words)) for i in range(choices)]
        self.quality = [i % 2 for i in range(choices)]

    def rows(self, n: int, seed: int = 0, *, split: Split = "train") -> list[Row]:
        """`n` dialogues: request, response, follow-up."""
        random = random_of(seed, split)
        return [self._row(random) for _ in range(n)]

    def _row(self, random: Random) -> Row:
        which = random.randrange(self.choices)
        good, praise = self.quality[which], int(random.random() < self.praise)
        best = random.choice([r for r, q in zip(self.responses, self.quality, strict=True) if q])
        follow_up, positive = self.follow_up(random, good=bool(good), praise=bool(praise))
        return {
            "prompt": f"how do i make {random.choice(('bread', 'soup', 'cake', 'rice', 'tea', 'jam'))}",
            "answer": best,
            "response": (f"{PRAISE} " if praise else "") + self.responses[which],
            "follow_up": follow_up,
            "good": good,
            "positive": positive,
            "praise": praise,
        }

    def follow_up(self, random: Random, *, good: bool, praise: bool = False) -> tuple[str, int]:
        """What the user says, and whether it is positive (1), negative (0) or about neither (-1)."""
        if random.random() < self.unrelated:
            return random.choice(UNRELATED), -1
        kind = praise and random.random() < self.flattered
        positive = kind or random.random() < (self.if_good if good else self.if_bad)
        return random.choice(POSITIVE if positive else NEGATIVE), int(positive)
