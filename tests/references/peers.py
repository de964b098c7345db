"""Libraries whose pins collide with ours, each in a folder of its own that is looked into before ours.

`make setup` installs them into .venv/peers (about 120 MB) by

    python tests/references/peers.py

without their dependencies; what their code needs besides and we have serves them, too. Tests run files of checks there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv" / "peers"
PEERS = {
    "torchrl": [  # 0.14.1 is the newest, and wants tensordict below 0.15
        "torchrl==0.14.1", "tensordict==0.14.3", "hoptorch==0.1.4", "orjson==3.13.0", "importlib_metadata==10.2.0",
        "zipp==4.1.2",
    ],
    "imitation": [
        "imitation==1.0.1", "gymnasium==0.29.1", "stable-baselines3==2.2.1", "seals==0.2.1", "sacred==0.8.7",
        "huggingface-sb3==3.0",
    ],
    "rllte": ["rllte-core==1.0.1", "numpy==1.26.4", "gymnasium==0.29.1", "termcolor==3.3.0", "pynvml==11.5.0"],
}  # fmt: skip
EMPTY = {  # what RLLTE imports for its image augmentations, and needs a build of its own for our PyTorch
    "rllte": {"torchvision/__init__.py": "", "torchvision/transforms.py": "class ColorJitter: ...\n"}
}


def install(name: str) -> None:
    """Makes the folder of one library, whole or not at all."""
    fresh = FOLDER / f"{name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(fresh), *PEERS[name]], check=True)
    for file, text in EMPTY.get(name, {}).items():
        (fresh / file).parent.mkdir(exist_ok=True)
        (fresh / file).write_text(text)
    (fresh / "peer.txt").write_text("\n".join(PEERS[name]))
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    os.replace(fresh, FOLDER / name)


def installed(name: str) -> bool:
    """Whether its folder holds what is listed here."""
    said = FOLDER / name / "peer.txt"
    return said.exists() and said.read_text() == "\n".join(PEERS[name])


def run(name: str, *command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs Python with the library. Skips the test that asks for it if the library is not there."""
    if not installed(name):
        pytest.skip(f"needs {name} in a folder of its own: make setup")
    places = os.pathsep.join(map(str, [FOLDER / name, ROOT / "src", ROOT / "tests"]))
    environment = os.environ | {"PYTHONPATH": places, "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [sys.executable, *map(str, command)], env=environment, cwd=cwd, capture_output=True, text=True
    )


def check(name: str, checks: str) -> None:
    """Runs a file of tests with the library; all must pass, and none be skipped."""
    made = run(name, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nothing-missing", ROOT / checks)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "skipped" not in made.stdout.splitlines()[-1]


if __name__ == "__main__":
    for peer in PEERS:
        if not installed(peer):
            install(peer)
