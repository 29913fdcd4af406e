"""The demo: real solar cells from the package elpv-dataset, judged by a model that saw good ones only.

What it does is what a user would type: `amiss fit`, `amiss evaluate` and `amiss predict`. Buerhop-Lutz et al. 2018, Deitsch et
al. 2019; the pictures are CC BY-NC-SA 4.0 and are read where the package keeps them.

Split (the loader's, seed 0): monocrystalline cells only. Of the 588 cells with defect probability 0, 500 to learn from (a
fifth of them held out for the thresholds) and 88 to test on; all 313 cells with probability 1 to test on. No test cell is seen
in fitting. The report shows every third of them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import amiss
from amiss.errors import AmissError

CELLS = ("--dataset", "elpv", "--category", "mono")
FOLDER = Path("demo")


def shown() -> list[Path]:
    """The test pictures that go into the report, every third."""
    return [entry.path for entry in amiss.dataset("elpv").split("mono", "test").entries[::3]]


def run(*arguments: object) -> None:
    """Run one amiss command as a user would, and stop where it fails."""
    words = [str(argument) for argument in arguments]
    typed = words if len(words) < 12 else [*words[:2], f"({len(words) - 4} pictures)", *words[-2:]]
    print("\n$ amiss " + " ".join(typed), flush=True)
    code = subprocess.run([sys.executable, "-m", "amiss", *words], check=False).returncode
    if code:
        sys.exit(code)


def main() -> None:
    try:
        pictures = shown()
    except AmissError as error:
        sys.exit(f"error: {error}; `make demo` installs it")
    FOLDER.mkdir(exist_ok=True)
    model, out = FOLDER / "cells.amiss", FOLDER / "inspection"
    print(__doc__)
    run("fit", *CELLS, "--out", model)
    run("evaluate", model, *CELLS)
    run("predict", model, *pictures, "--out", out)
    print(f"\nOpen the report: {(out / 'report.html').resolve()}")


if __name__ == "__main__":
    main()
