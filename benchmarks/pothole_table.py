"""Write a CSV of the pothole pictures for `amiss bench`: that set keeps pictures and disparities side by side.

python benchmarks/pothole_table.py [--data ../shared/data] [--out build/bench/pothole.csv]
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path


def write_table(root: Path, out: Path) -> None:
    """root  the folder with train/, test/ and ground_truth/     out  the CSV: path, label, split, mask"""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "mask"])
        for split in ("train", "test"):
            for path in sorted((root / split).glob("*/rgb/*")):
                kind = path.parts[-3]
                mask = root / "ground_truth" / kind / f"{path.stem}_mask.png"
                writer.writerow([path.resolve(), kind, split, mask.resolve() if mask.is_file() else ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/pothole.csv"))
    asked = parser.parse_args()
    write_table(asked.data / "pothole_rgbd" / "road", asked.out)


if __name__ == "__main__":
    main()
