"""Memories beside RLLTE's, in the folder that has it (see tests/references/peers.py)."""

from references import peers


def test_memories_equal_rlltes() -> None:
    peers.check("rllte", "tests/rewards/intrinsic/rllte_memory_checks.py")
