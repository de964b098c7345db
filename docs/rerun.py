"""Runs claim checks or benchmarks again, the short ones first: ``python docs/rerun.py claims [--all] [NAME ...]``."""

from __future__ import annotations

import argparse
import subprocess
import sys

from results import ROOT, Check, checks


def due(kind: str, *, everything: bool, names: list[str]) -> list[Check]:
    """What is to be run: the named ones, or all, or those whose result is missing or no longer about this code."""
    found = checks(kind)
    unknown = set(names) - {check.name for check in found}
    if unknown:
        raise SystemExit(f"no {' '.join(sorted(unknown))} under {kind}/: there is {', '.join(c.name for c in found)}")
    wanted = [c for c in found if (c.name in names if names else everything or c.status == "not run" or c.changed)]
    return sorted(wanted, key=lambda check: check.long)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("claims", "benchmarks"))
    parser.add_argument("names", nargs="*", help="only these")
    parser.add_argument("--all", action="store_true", help="also those whose result is up to date")
    args = parser.parse_args()
    todo, failed = due(args.kind, everything=args.all, names=args.names), []
    if not todo:
        print(f"every result under {args.kind}/results is about this code")
    for check in todo:
        script = str(check.script.relative_to(ROOT))
        print(f"== {script}{' (long)' if check.long else ''}", flush=True)
        if subprocess.run([sys.executable, script], cwd=ROOT).returncode:
            failed.append(script)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
