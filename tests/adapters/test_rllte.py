"""RLLTE, in a folder of its own (see tests/references/peers.py): the checks in rllte_checks.py, run with it."""

from references import peers


def test_rllte():
    peers.check("rllte", "tests/adapters/rllte_checks.py")
