"""What goes wrong with judges."""


class JudgeUnavailable(RuntimeError):
    """Nobody is there to ask just now: the server is down, refuses, or stays silent. Worth asking again later."""


class JudgeMisconfigured(RuntimeError):
    """The judge cannot answer, and asking again will not help: a wrong key, address, model, option or prompt."""
