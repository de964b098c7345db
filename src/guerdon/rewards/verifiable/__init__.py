"""Is it right? Rewards that check an answer."""

__all__: list[str] = []
