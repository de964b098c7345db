"""MiniHack levels of our own: name -> `Level`, each beside its level file. See `guerdon.tasks.nethack.minihack`."""

from guerdon.tasks.nethack.minihack import Level

LEVELS: dict[str, Level] = {}
