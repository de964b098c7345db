"""What does the model itself believe? Rewards made of the likelihood of answers and of confidence."""

__all__: list[str] = []
