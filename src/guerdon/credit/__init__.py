"""Who earned it? What turns rewards into advantages: one small callable a method."""

__all__: list[str] = []
