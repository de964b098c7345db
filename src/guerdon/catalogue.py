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
    cls: type[Reward] | None
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
def rewards() -> dict[str, type[Reward]]:
    """The rewards that can be made here, by name."""
    return {e.name: e.cls for e in entries() if e.cls}


@functools.cache
def judges() -> dict[str, type]:
    """The judges that can be made here, by name."""
    exported = {name: getattr(guerdon.judges, name) for name in getattr(guerdon.judges, "__all__", ())}
    return {k: v for k, v in exported.items() if inspect.iscoroutinefunction(getattr(v, "judge", None))}


def code_hash(*paths: str | Path) -> str:
    """16 hexadecimal digits that change when one of these files does: a claim's script and the methods' own files."""
    digest = hashlib.sha256()
    for path in paths:
        text = Path(path).read_bytes().replace(b"\r\n", b"\n")
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.hexdigest()[:16]


def claim_status(cls: type[Reward], claims: Path = CLAIMS) -> str:
    """What the recorded result says of this method's claim, and whether it still is about this code.

    A result's ``code`` must be ``code_hash(script, inspect.getfile(cls))``.
    """
    claim = cls.about.claim
    if not claim:
        return ""
    script, result = claims / f"{claim}.py", claims / "results" / f"{claim}.json"
    if not script.exists():
        return "see docs"
    if not result.exists():
        return "not run"
    recorded: dict[str, Any] = json.loads(result.read_text())
    if recorded["code"] != code_hash(script, inspect.getfile(cls)):
        return "stale"
    return "holds" if recorded["holds"] else "does not hold"


def _exports(package: ModuleType) -> Iterator[tuple[str, str, Any]]:
    """(folder, name, value) of all that the subpackages export; an ImportError as the value of what is missing."""
    for info in pkgutil.iter_modules(package.__path__):
        try:
            module = importlib.import_module(f"{package.__name__}.{info.name}")
        except ImportError as error:
            yield info.name, info.name, error
            continue
        for name in sorted(getattr(module, "__all__", ())):
            try:
                yield info.name, name, getattr(module, name)
            except ImportError as error:
                yield info.name, name, error


def _cure(error: ImportError) -> str:
    """The command that installs what `error` misses: an extra of ours if one carries it."""
    missing = (error.name or "").partition(".")[0]
    if not missing:
        raise error
    for requirement in importlib.metadata.requires("guerdon") or ():
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra\s*==\s*[\"']([\w-]+)", requirement)
        if name and extra and name[0].replace("-", "_").lower() == missing.lower():
            return f"pip install 'guerdon[{extra[1]}]'"
    return f"pip install {missing}"
