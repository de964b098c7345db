"""The wheel holds what it needs, and works in an environment of its own, also without NetHack."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import guerdon

ROOT = Path(__file__).parents[1]
NO_NETHACK = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("nle", "minihack"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, as a release would be, with nothing fetched."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", source / "src", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", out, source]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return next(out.glob("guerdon-*.whl"))


@pytest.fixture(scope="module")
def run(wheel, tmp_path_factory):
    """Runs `guerdon` as installed from the wheel, in a virtual environment that borrows this one's other packages."""
    home = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    site = next((home / "lib").glob("python3*/site-packages"))
    install = [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "-q", "--no-deps", wheel]
    subprocess.run(install, check=True, capture_output=True, text=True)
    borrowed = [p for p in sys.path if p.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(borrowed))  # appended after our own, .pth files in them not read
    (site / "no_nethack.py").write_text(NO_NETHACK)
    (site / "no_nethack.pth").write_text("import no_nethack")

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"COLUMNS": "200"}
        command = [home / "bin" / "guerdon", *args]
        return subprocess.run(command, capture_output=True, text=True, cwd=home, env=env)

    where = [home / "bin" / "python", "-c", "import guerdon; print(guerdon.__file__)"]
    found = subprocess.run(where, capture_output=True, text=True, cwd=home, check=True).stdout.strip()
    assert found.startswith(str(site)), "the tests would run the checkout, not the wheel"
    return run


def test_the_wheel_holds_every_file_of_the_package(wheel):
    package = ROOT / "src"
    wanted = {
        path.relative_to(package).as_posix()
        for path in (package / "guerdon").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert wanted - names == set()
    licences = {name.partition("/licenses/")[2] for name in names if "/licenses/" in name}
    assert "LICENSE" in licences
    assert any("nethack_captions" in name for name in licences)


def test_help_and_version(run):
    done = run("--help")
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout
    assert run("--version").stdout.strip() == guerdon.__version__


def test_the_catalogue_needs_no_nethack(run):
    done = run("list", "--json")
    assert done.returncode == 0, done.stderr
    names = {row["name"] for row in json.loads(done.stdout)["rewards"]}
    assert {"ONI", "Extrinsic"} <= names
    assert run("list").returncode == 0


def test_a_task_that_needs_an_extra_says_which(run):
    done = run("train", "NetHackScore")
    assert done.returncode == 2
    assert "guerdon[nethack]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_report_needs_no_nethack(run, tmp_path):
    done = run("report", str(tmp_path))
    assert done.returncode == 2
    assert "config.json is missing" in done.stderr


def test_a_mistyped_command_names_the_near_ones(run):
    done = run("tran")
    assert done.returncode == 2
    assert "train" in done.stderr


def test_constraints_hold_versions_and_nothing_else():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "torch==2.13.0"
    assert all(line.count("==") == 1 and not set(line) & set("/@: ") for line in lines)
