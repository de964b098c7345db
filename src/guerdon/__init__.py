"""guerdon: rewards for reinforcement-learning agents and for language and diffusion models."""

__version__ = "0.1.0"
