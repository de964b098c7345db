"""RND beside TorchRL's, in the folder that has it (see tests/references/peers.py)."""

from references import peers


def test_rnd_equals_torchrls() -> None:
    peers.check("torchrl", "tests/rewards/intrinsic/torchrl_rnd_checks.py")
