"""How right the recorded judge is about captions of templates it has not seen, and about pairs.

Nothing was claimed beforehand, so the figures have no target; a constant or random answer has a balanced accuracy of
0.5. The classifier's features and strength were chosen among a dozen on the same captions, from 0.911 to 0.928, so the
first figure is a little kind to it.
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path

import sklearn

from guerdon.catalogue import code_hash
from guerdon.commands.judge_accuracy import measure, show
from guerdon.judges.record import read_record

ROOT = Path(__file__).parents[1]
METHOD = ROOT / "src/guerdon/judges/caption_classifier.py"
PARTS = [ROOT / "src/guerdon/commands/judge_accuracy.py", ROOT / "src/guerdon/judges/record.py"]
FOLDS = 5


def main() -> None:
    began = time.perf_counter()
    record = read_record()
    figures = measure(record, folds=FOLDS)
    ratios = [asdict(figure) | {"target": None, "holds": None} for figure in figures]
    result = {
        "benchmark": Path(__file__).stem,
        "code": code_hash(__file__, METHOD),
        "parts": {str(part.relative_to(ROOT)): code_hash(part) for part in PARTS},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"scikit-learn {sklearn.__version__}",
        "peer": None,
        "ratios": ratios,
        "record": record.version,
        "captions": len(record.captions),
        "templates": len({entry.template for entry in record.captions.values()}),
        "pairs": len(record.pairs),
        "folds": FOLDS,
        "seconds": round(time.perf_counter() - began, 1),
    }
    path = ROOT / "benchmarks/results/recorded_judge.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    show(figures, folds=FOLDS)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
