"""How far a fitted detector holds made defects from made good parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amiss.contract import Detector
from amiss.data import toys
from amiss.metrics.ranking import auroc
from amiss.types import Sample

SIZE = (96, 96)


def good(kind: str, count: int, seed: int = 0) -> list[Sample]:
    return toys.samples(seed, count, kind, SIZE)


def bad(kind: str, count: int, seed: int = 100) -> list[Sample]:
    return [sample for sample, _ in toys.defective_samples(seed, count, kind, SIZE)]


def judged(detector: Detector, samples: Sequence[Sample]) -> list[float]:
    return [result.score for result in detector.predict(samples)]


def separation(detector: Detector, kind: str = "object", seeds: Sequence[int] = (0, 1000)) -> float:
    """Mean image AUROC over made sets of 12 good parts to learn from, 12 good and 12 defective ones to judge."""
    found = []
    for seed in seeds:
        detector.fit(good(kind, 12, seed))
        well, ill = judged(detector, good(kind, 12, seed + 50)), judged(detector, bad(kind, 12, seed + 100))
        found.append(auroc(np.array([*well, *ill]), np.repeat([False, True], 12)))
    return float(np.mean(found))
