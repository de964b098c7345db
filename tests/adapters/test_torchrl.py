"""TorchRL, in a folder of its own (see tests/references/peers.py): the checks in torchrl_checks.py, run with it."""

from references import peers


def test_torchrl():
    peers.check("torchrl", "tests/adapters/torchrl_checks.py")
