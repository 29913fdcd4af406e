"""The demo: real solar cells from the package elpv-dataset, judged by a model that saw good ones only.

What it does is what a user would type: it writes a table of pictures with labels and splits, then runs `amiss fit`,
`amiss evaluate` and `amiss predict` on it. Buerhop-Lutz et al. 2018, Deitsch et al. 2019; the pictures are CC BY-NC-SA 4.0
and are read where the package keeps them.

Split (seed 0): monocrystalline cells only. Of the cells with defect probability 0, 500 to learn from (a fifth of them held out
for the thresholds) and the rest to test on; of the cells with probability 1, 100 to test on. No test cell is seen in fitting.
"""

from __future__ import annotations

import csv
import importlib.util
import random
import subprocess
import sys
from pathlib import Path

SEED, LEARN, DEFECTIVE = 0, 500, 100
FOLDER = Path("demo")


def cells() -> tuple[list[Path], list[Path]]:
    """Paths of the good and of the defective monocrystalline cells."""
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("error: the package elpv-dataset is missing; run `make demo`, or pip install 'amiss[demo]'")
    data = Path(spec.submodule_search_locations[0]) / "data"
    good: list[Path] = []
    defective: list[Path] = []
    for line in (data / "labels.csv").read_text().splitlines():
        path, probability, kind = line.split()
        if kind == "mono" and float(probability) in (0.0, 1.0):
            (defective if float(probability) else good).append(data / path)
    return sorted(good), sorted(defective)


def write_table(table: Path) -> list[Path]:
    """A CSV with paths, labels and splits; returns the test pictures."""
    good, defective = cells()
    draw = random.Random(SEED)
    draw.shuffle(good)
    draw.shuffle(defective)
    test = [(path, "good") for path in good[LEARN:]] + [(path, "defective") for path in defective[:DEFECTIVE]]
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        writer.writerows([path, "good", "train"] for path in good[:LEARN])
        writer.writerows([path, label, "test"] for path, label in test)
    return [path for path, _ in test]


def run(*arguments: object) -> None:
    """Run one amiss command as a user would, and stop where it fails."""
    words = [str(argument) for argument in arguments]
    shown = words if len(words) < 12 else [*words[:2], f"({len(words) - 4} pictures)", *words[-2:]]
    print("\n$ amiss " + " ".join(shown), flush=True)
    code = subprocess.run([sys.executable, "-m", "amiss", *words], check=False).returncode
    if code:
        sys.exit(code)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    table, model, out = FOLDER / "cells.csv", FOLDER / "cells.amiss", FOLDER / "inspection"
    test = write_table(table)
    print(__doc__)
    run("fit", table, "--out", model)
    run("evaluate", model, table)
    run("predict", model, *test, "--out", out)
    print(f"\nOpen the report: {(out / 'report.html').resolve()}")


if __name__ == "__main__":
    main()
