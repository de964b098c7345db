"""TorchRL, in a folder of its own (see tests/references/peers.py): the checks in torchrl_checks.py, run with it."""

import subprocess
import sys

from references import peers


def test_torchrl():
    peers.check("torchrl", "tests/adapters/torchrl_checks.py")


def test_without_it_the_adapter_says_what_to_install():
    code = "import sys; sys.modules['torchrl'] = None; import guerdon.adapters.torchrl"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install" in ended.stderr
