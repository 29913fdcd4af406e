"""Peak memory and seconds of a fit on many made pictures: the budget is a bound, whatever the number of pictures.

python benchmarks/memory.py [--count 2000] [--side 256] [options of amiss fit, e.g. --size 256]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
from real_data import amiss

from amiss.data import toys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--side", type=int, default=256)
    arguments, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        (Path(folder) / "good").mkdir()
        for index in range(arguments.count):
            image = toys.texture(rng, (arguments.side, arguments.side))
            cv2.imwrite(f"{folder}/good/{index:05d}.png", image)
        for road in ("none", "auto"):
            run = amiss("fit", Path(folder) / "good", "--out", Path(folder) / "m.amiss", "--calibration", road, *options)
            size = f"{arguments.count} pictures of {arguments.side} px"
            print(f"{size}, calibration {road}: {run.seconds:.0f} s, {run.megabytes:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
