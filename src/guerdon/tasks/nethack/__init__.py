"""NetHack and MiniHack games on nle's compiled core. Nothing here imports nle before a game is made."""
