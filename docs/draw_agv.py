"""Draws the four AGV warehouses side by side: ``python docs/draw_agv.py -> docs/img/agv.png``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from guerdon import tasks

pictures = []
for name in ("AGV-S-static", "AGV-S-dynamic", "AGV-C-static", "AGV-C-dynamic"):
    task = tasks.arrays(name, random_start=False)(num_envs=1)
    task.reset(seed=4)
    for turn in (0.0, 0.04, -0.04, 0.0, 0.0):
        for _ in range(3):
            task.send(0, np.array([[0.3, turn]], np.float32))
    pictures.append(np.pad(task.picture(), ((0, 0), (0, 8), (0, 0)), constant_values=255))
Image.fromarray(np.concatenate(pictures, 1)).quantize(64).save(Path(__file__).parent / "img" / "agv.png", optimize=True)
