"""The catalogue: every public reward and judge, found by walking the packages, with what each says of itself."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import guerdon
import guerdon.credit
import guerdon.judges
import guerdon.rewards
from guerdon.types import About, Reward

CLAIMS = Path(guerdon.__file__).parents[2] / "claims"
"""The claim checks of a source checkout; a wheel has none."""


@dataclass(frozen=True)
class Entry:
    """One row of the catalogue."""

    name: str
    folder: str  # the question it answers: "feedback", "shaping", ...
    about: About | None  # None where it cannot be imported
    cls: type[Any] | None
    status: str  # of its claim: "holds", "does not hold", "stale", "not run", "see docs", or "" without a claim
    install: str = ""  # what to install where it cannot be imported


def entries(package: ModuleType = guerdon.rewards, claims: Path = CLAIMS) -> list[Entry]:
    """Every public reward under `package`, by folder and name; one whose extra is missing says what to install."""
    found = []
    for folder, name, value in _exports(package):
        if isinstance(value, ImportError):
            found.append(Entry(name, folder, None, None, "", _cure(value)))
        elif isinstance(value, type) and issubclass(value, Reward):
            found.append(Entry(name, folder, value.about, value, claim_status(value, claims)))
    return found


@functools.cache
def rewards() -> dict[str, type[Reward] | str]:
    """The rewards by name; where one cannot be imported, what to install."""
    return {e.name: e.cls or e.install for e in entries()}


@functools.cache
def judges() -> dict[str, type | str]:
    """The judges by name; where one cannot be imported, what to install."""
    found = {n: _cure(v) if isinstance(v, ImportError) else v for n, v in _exported(guerdon.judges)}
    return {n: v for n, v in found.items() if isinstance(v, str) or inspect.iscoroutinefunction(getattr(v, "judge", 0))}


def credit_entries(claims: Path = CLAIMS) -> list[Entry]:
    """Every credit and filter, by name."""
    found = []
    for name, value in credits().items():
        if isinstance(value, str):
            found.append(Entry(name, "credit", None, None, "", value))
        elif about := getattr(value, "about", None):
            found.append(Entry(name, "credit", about, value, claim_status(value, claims)))
    return found


@functools.cache
def credits() -> dict[str, type | str]:
    """The credits and filters by name; where one cannot be imported, what to install."""
    found = {n: _cure(v) if isinstance(v, ImportError) else v for n, v in _exported(guerdon.credit)}
    return {n: v for n, v in found.items() if isinstance(v, (str, type))}


def code_hash(*paths: str | Path) -> str:
    """16 hexadecimal digits that change when one of these files does: a claim's script and the methods' own files."""
    digest = hashlib.sha256()
    for path in paths:
        text = Path(path).read_bytes().replace(b"\r\n", b"\n")
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.hexdigest()[:16]


def claim_status(cls: type[Any], claims: Path = CLAIMS) -> str:
    """What the recorded result says of this method's claim, and whether it still is about this code.

    A result's ``code`` must be ``code_hash(script, inspect.getfile(cls))``; or that of the script with another file of
    ours, where one claim is about several methods: then its ``parts`` must hold this method's file as it is now.
    """
    claim = cls.about.claim
    if not claim:
        return ""
    script, result = claims / f"{claim}.py", claims / "results" / f"{claim}.json"
    if not claims.is_dir():
        return "see docs"
    if not result.exists():
        return "not run"
    try:
        recorded: dict[str, Any] = json.loads(result.read_text())
        _, holds = recorded["code"], recorded["holds"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{result} is not the result of a claim check: run claims/{claim}.py again") from error
    if not script.exists() or not _is_about(recorded, script, Path(inspect.getfile(cls))):
        return "stale"
    return "holds" if holds else "does not hold"


def _is_about(recorded: dict[str, Any], script: Path, method: Path) -> bool:
    """Whether a result came from this script and this method's file, as they are now."""
    source = Path(guerdon.__file__).parent
    if recorded["code"] == code_hash(script, method):
        return True
    listed = {code for name, code in (recorded.get("parts") or {}).items() if name.endswith(f"/{method.name}")}
    if code_hash(method) not in listed:
        return False
    return any(recorded["code"] == code_hash(script, other) for other in source.rglob("*.py"))


def _exports(package: ModuleType) -> Iterator[tuple[str, str, Any]]:
    """(folder, name, value) of all that the subpackages export; an ImportError as the value of what is missing."""
    for info in pkgutil.iter_modules(package.__path__):
        try:
            module = importlib.import_module(f"{package.__name__}.{info.name}")
        except ImportError as error:
            yield info.name, info.name, error
            continue
        for name, value in _exported(module):
            yield info.name, name, value


def _exported(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """(name, value) of what one module exports, which may import it only now."""
    for name in sorted(getattr(module, "__all__", ())):
        try:
            yield name, getattr(module, name)
        except ImportError as error:
            yield name, error


def _cure(error: ImportError) -> str:
    """The command that installs what `error` misses: an extra of ours if one carries it."""
    missing = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or missing == "guerdon":
        raise error  # not for want of a package
    for requirement in importlib.metadata.requires("guerdon") or ():
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra\s*==\s*[\"']([\w-]+)", requirement)
        if name and extra and name[0].replace("-", "_").lower() == missing.lower():
            return f"pip install 'guerdon[{extra[1]}]'"
    return f"pip install {missing}"
