"""SINBAD's scorer beside the inverse it stands for: the shrunk covariance of p numbers inverted in full, in float64.

    python benchmarks/sinbad_scorer.py [--width 5000] [--good 350] [--queries 20] [--rounds 3]

The vectors are cumulative histograms of made sets. Each round times both, fit and queries together, one after the other, so
that other work on the machine meets both alike; medians are printed, and the largest relative gap between their distances.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.kit.sets import SetFeatures, ShrunkNearest, Whitening

Array = npt.NDArray[Any]
SHRINKAGE, THRESHOLDS = 0.1, 5
WHITENINGS: tuple[Whitening, ...] = ("inverse", "root")


def histograms(count: int, width: int, rng: np.random.Generator) -> Array:
    """(count, width) descriptions of sets that differ in their mixture, float64."""
    centres = rng.standard_normal((6, 64)) * 2
    mixtures = rng.dirichlet(np.full(6, 4.0), count)
    picked = np.stack([rng.choice(6, 196, p=mixture) for mixture in mixtures])  # (count, E)
    sets = np.moveaxis(centres[picked] + rng.standard_normal((count, 196, 64)), 2, 1)
    features = SetFeatures.fit(sets[:32], rng, directions=width // THRESHOLDS, thresholds=THRESHOLDS)
    return features(sets).astype(np.float64)


def dense(vectors: Array, queries: Array, whiten: Whitening) -> Array:
    """Squared distances (m, n) by the p x p matrix."""
    covariance = np.cov(vectors.T, bias=True)
    mean_variance = np.trace(covariance) / len(covariance)
    inverse = np.linalg.inv((1 - SHRINKAGE) * covariance + SHRINKAGE * mean_variance * np.eye(len(covariance)))
    out = []
    for query in queries:
        apart = query - vectors
        white = apart @ inverse
        out.append((white**2).sum(axis=1) if whiten == "inverse" else (apart * white).sum(axis=1))
    return np.array(out)


def short(vectors: Array, queries: Array, whiten: Whitening) -> Array:
    return ShrunkNearest(vectors, shrinkage=SHRINKAGE, whiten=whiten).squared(queries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=5000)
    parser.add_argument("--good", type=int, default=350)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    drawn = histograms(arguments.good + arguments.queries, arguments.width, np.random.default_rng(0))
    vectors, queries = drawn[: arguments.good], drawn[arguments.good :]
    print(f"{len(vectors)} vectors of {vectors.shape[1]} numbers, {len(queries)} queries, {arguments.rounds} rounds")
    for whiten in WHITENINGS:
        seconds: dict[str, list[float]] = {"dense inverse": [], "ShrunkNearest": []}
        gap = 0.0
        for _ in range(arguments.rounds):
            found = []
            for name, way in zip(seconds, (dense, short), strict=True):
                started = time.perf_counter()
                found.append(way(vectors, queries, whiten))
                seconds[name].append(time.perf_counter() - started)
            gap = max(gap, float(np.abs(found[1] / found[0] - 1).max()))
        slow, fast = (statistics.median(spent) for spent in seconds.values())
        print(
            f"{whiten}: dense inverse {slow:.2f} s, ShrunkNearest {fast:.3f} s, {slow / fast:.0f} times as fast; gap {gap:.1e}"
        )


if __name__ == "__main__":
    main()
