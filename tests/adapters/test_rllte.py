"""RLLTE, in a folder of its own (see tests/references/peers.py): the checks in rllte_checks.py, run with it."""

import subprocess
import sys

from references import peers


def test_rllte():
    peers.check("rllte", "tests/adapters/rllte_checks.py")


def test_without_it_the_adapter_says_what_to_install():
    code = "import sys; sys.modules['rllte'] = None; import guerdon.adapters.rllte"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install rllte-core" in ended.stderr
