"""What claim checks and benchmarks have measured, and whether it still is about this code."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from guerdon.catalogue import code_hash

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Check:
    """A script under claims/ or benchmarks/, with what it wrote when it last ran."""

    script: Path

    @property
    def name(self) -> str:
        """The script's stem."""
        return self.script.stem

    @property
    def path(self) -> Path:
        """Where its result stands."""
        return self.script.parent / "results" / f"{self.name}.json"

    @cached_property
    def tree(self) -> ast.Module:
        """The script, parsed and not run."""
        return ast.parse(self.script.read_text(encoding="utf-8"))

    @property
    def about(self) -> str:
        """The first paragraph of its docstring, on one line."""
        return " ".join((ast.get_docstring(self.tree) or "").partition("\n\n")[0].split())

    @property
    def long(self) -> bool:
        """Whether the script says ``LONG = True``: it takes up to 100 minutes, others up to 10."""
        assigned = (node for node in self.tree.body if isinstance(node, ast.Assign | ast.AnnAssign))
        return any("LONG = True" in ast.unparse(node) or "LONG: bool = True" in ast.unparse(node) for node in assigned)

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """What it wrote, or None if it has not been run."""
        if not self.path.exists():
            return None
        try:
            return json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{self.path} is damaged ({error}): run {self.script.relative_to(ROOT)} again") from error

    @cached_property
    def changed(self) -> list[str]:
        """The files that have changed since the result was written: the method itself, or the parts it lists."""
        result = self.result or {}
        files = [self.script, *(ROOT / "src").rglob("*.py")]
        known = {code_hash(self.script)} | {code_hash(self.script, file) for file in files}
        found = [] if result.get("code") in known else ["the script or the method"]
        for name, code in (result.get("parts") or {}).items():
            if not (ROOT / name).exists() or code_hash(ROOT / name) != code:
                found.append(name)
        return found

    @property
    def status(self) -> str:
        """ "not run", "stale", "holds", "does not hold", or "measured" where nothing was claimed."""
        if self.result is None:
            return "not run"
        if "the script or the method" in self.changed:
            return "stale"
        verdicts = [self.result["holds"]] if "holds" in self.result else []
        verdicts += [ratio["holds"] for ratio in self.result.get("ratios", ()) if ratio.get("holds") is not None]
        return "measured" if not verdicts else "holds" if all(verdicts) else "does not hold"


def checks(kind: str) -> list[Check]:
    """The scripts under `kind`, "claims" or "benchmarks"; names that begin with an underscore are their helpers."""
    return [Check(path) for path in sorted((ROOT / kind).glob("*.py")) if not path.name.startswith("_")]
