"""MiniHack levels of our own, each beside its level file. See `guerdon.tasks.nethack.minihack`.

All of them pay 1 for the stairs and nothing on the way; the way is longer than a random walk gets in the time given.
What the agent meets on it is told by messages, which is what a reward on captions can use:

- Pantry: a winding corridor with a find every five squares ("You see here an apple."). Everything the messages tell of
  lies on the way, so a bonus for new messages finds it as well as a judge does.
- Gallery: a hall of 97 statues of different creatures, and the corridor that leads away from it. The statues' messages
  are as new as those of the finds, and nearer; only a judge tells them apart.
- Museum: as the gallery, with other finds in every game.
- Catacomb: a vault of corpses, then a door, sleeping animals ("You kill the newt!") and finds in turn.
- Guardrooms: rooms in a row, with doors ("The door opens."), sleeping animals and finds.
"""

from guerdon.tasks.nethack.minihack import Level

_STEPS = ("N", "E", "S", "W")
_SEEN = ("glyphs_crop", "blstats")


def _level(name: str, steps: int, character: str = "mon-hum-neu-mal") -> Level:
    return Level(
        des=f"{name}.des",
        actions=_STEPS,
        max_episode_steps=steps,
        penalty_step=0.0,
        character=character,
        autopickup=False,
        observation_keys=_SEEN,
    )


LEVELS: dict[str, Level] = {
    "Pantry": _level("pantry", 100),
    "Gallery": _level("gallery", 110),
    "Museum": _level("museum", 110),
    "Catacomb": _level("catacomb", 110, "val-dwa-law-fem"),
    "Guardrooms": _level("guardrooms", 130, "val-dwa-law-fem"),
}
