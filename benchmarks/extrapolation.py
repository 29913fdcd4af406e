"""How many good parts the extrapolated NG threshold calls NG, by number of calibration scores and shape of their tail."""

from __future__ import annotations

import numpy as np
from scipy import stats

from amiss.calibration import Calibration

DRAWS, BUDGET = 600, 0.01


def rate(n: int, name: str, rng: np.random.Generator) -> float:
    """Mean probability that a fresh good score exceeds the threshold."""
    law = {"normal": stats.norm, "Gumbel": stats.gumbel_r, "exponential": stats.expon}[name]
    draws = law.rvs(size=(DRAWS, n), random_state=rng)
    thresholds = [Calibration(tuple(map(float, row)), BUDGET, "split").threshold for row in draws]
    return float(np.mean(law.sf(np.array(thresholds, float))))


def main() -> None:
    rng = np.random.default_rng(0)
    names = ("normal", "Gumbel", "exponential")
    print("| good parts | supported | " + " | ".join(names) + " |")
    print("| --- " * (2 + len(names)) + "|")
    for n in (8, 10, 15, 28, 60, 90):
        cells = " | ".join(f"{rate(n, name, rng):.1%}" for name in names)
        print(f"| {n} | {1 / (n + 1):.1%} | {cells} |")


if __name__ == "__main__":
    main()
