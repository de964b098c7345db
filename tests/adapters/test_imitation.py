"""imitation, in a folder of its own (see tests/references/peers.py): the checks in imitation_checks.py, run with it."""

from references import peers


def test_imitation():
    peers.check("imitation", "tests/adapters/imitation_checks.py")
