"""nle's own tasks on the compiled core: score, staircase, gold, scout. Equal to nle's bit for bit."""

from __future__ import annotations

from typing import Any

from guerdon.tasks.nethack.core import GOLD, ON_STAIRS_DOWN, RUNNING, SCORE, SUCCESS, NetHackGame, nethack


class NetHackScore(NetHackGame):
    """Pays the change of the in-game score, and -0.01 for a step that takes no game time (nle's NetHackScore-v0)."""

    def pay(self, status: int) -> float:
        gained = self.now[SCORE] - self.before[SCORE] if self.alive() else 0.0
        return gained + self.time_penalty()


class NetHackStaircase(NetHackGame):
    """Pays `reward_win` and ends on the stairs down (nle's NetHackStaircase-v0, with MiniHack's `reward_lose`)."""

    def __init__(self, *, reward_win: float = 1.0, reward_lose: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.reward_win, self.reward_lose = reward_win, reward_lose

    def end(self) -> int:
        return SUCCESS if self.internal[ON_STAIRS_DOWN] else RUNNING

    def pay(self, status: int) -> float:
        reward = 0.0 if not status else self.reward_win if status == SUCCESS else self.reward_lose
        return reward + self.time_penalty()

    def measure(self, status: int) -> dict[str, float]:
        return {"success": float(status == SUCCESS)}


class NetHackGold(NetHackGame):
    """Pays the change of the gold carried (nle's NetHackGold-v0); only gold is picked up by walking over it."""

    def __init__(self, *, options: Any = None, **others: Any) -> None:
        if options is None:
            options = ["pickup_types:$" if o.startswith("pickup_types") else o for o in nethack.NETHACKOPTIONS]
        super().__init__(options=options, **others)

    def pay(self, status: int) -> float:
        if not self.alive():
            return 0.0
        return self.now[GOLD] - self.before[GOLD] + self.time_penalty()


class NetHackScout(NetHackGame):
    """Pays the squares newly seen (nle's NetHackScout-v0)."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("scout", True)
        super().__init__(**options)

    def pay(self, status: int) -> float:
        if not self.alive():
            return 0.0
        before = self.scout()
        self.look()
        gained = self.scout() - before
        return gained + self.time_penalty()
