"""Methods on the made benchmark of point clouds: object and point AUROC, seconds a cloud, over shapes and seeds.

    python benchmarks/clouds.py patchcore [--seeds 0 1 2 3 4] [--size 0.05] [--partial] [--field NAME=VALUE] [--judged 10]

For each shape and seed the method learns from 4 good clouds in any pose and judges --judged good and as many defective ones,
the kinds of defects in turn. Point AUROC over all points of a shape's clouds. Mean over shapes; the spread is between seeds.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import amiss
from amiss.contract import Detector
from amiss.data import scans
from amiss.data.shapes import SHAPES
from amiss.fields import parse
from amiss.metrics.ranking import auroc

GOOD, JUDGED = 4, 10


@dataclass(frozen=True)
class Figures:
    """Of one shape and seed; `kinds`: point AUROC of each kind of defect against the points of its own clouds."""

    object_auroc: float
    point_auroc: float
    kinds: dict[str, float]
    seconds: float


def measured(detector: Detector, name: str, seed: int, asked: argparse.Namespace) -> Figures:
    points, partial = asked.points, asked.partial
    detector.fit(scans.samples(1000 * seed, GOOD, name, points=points, partial=partial and asked.learn_partial))
    well = scans.samples(1000 * seed + 1, asked.judged, name, points=points, partial=partial)
    ill = scans.defective_samples(1000 * seed + 2, asked.judged, name, size=asked.size, points=points, partial=partial)
    started = time.perf_counter()
    results = list(detector.predict([*well, *(sample for sample, _ in ill)]))
    seconds = (time.perf_counter() - started) / len(results)
    scores = np.array([result.score for result in results])
    maps = [result.point_map() for result in results]
    marks = [np.zeros(len(values), np.bool_) for values in maps[: len(well)]]
    marks += [truth.point_mask for _, truth in ill if truth.point_mask is not None]
    kinds: dict[str, list[float]] = {}
    for (_, truth), values, marked in zip(ill, maps[len(well) :], marks[len(well) :], strict=True):
        kinds.setdefault(truth.kind, []).append(auroc(values, marked))
    return Figures(
        auroc(scores, np.repeat([False, True], [len(well), len(ill)])),
        auroc(np.concatenate(maps), np.concatenate(marks)),
        {kind: float(np.mean(each)) for kind, each in kinds.items()},
        seconds,
    )


def spread(values: npt.NDArray[np.float64]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--size", type=float, default=0.05, help="of the defects, in diagonals")
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--judged", type=int, default=JUDGED, help="judged clouds, good and defective")
    parser.add_argument("--partial", action="store_true", help="judge scans from one side")
    parser.add_argument("--learn-partial", action="store_true", help="learn from scans from one side too")
    parser.add_argument("--field", action="append", default=[], help="NAME=VALUE of the method")
    asked = parser.parse_args()
    found: dict[int, list[Figures]] = {seed: [] for seed in asked.seeds}
    print(f"| {asked.method}: shape | seed | object AUROC | point AUROC | point AUROC by kind | s per cloud |")
    print("| --- | --- | --- | --- | --- | --- |")
    for seed in asked.seeds:
        for name in asked.shapes:
            detector = amiss.detector(asked.method)
            fields = {key: parse(type(detector), key, text) for key, _, text in (word.partition("=") for word in asked.field)}
            one = measured(amiss.detector(asked.method, **fields), name, seed, asked)
            found[seed].append(one)
            kinds = ", ".join(f"{kind} {value:.2f}" for kind, value in one.kinds.items())
            told = f"{one.object_auroc:.3f} | {one.point_auroc:.3f} | {kinds} | {one.seconds:.2f}"
            print(f"| {name} | {seed} | {told} |", flush=True)
    by_seed = [[(one.object_auroc, one.point_auroc) for one in each] for each in found.values()]
    means = np.mean(by_seed, axis=1)  # (seeds, 2)
    seconds = np.median([one.seconds for each in found.values() for one in each])
    print(f"| all | | {spread(means[:, 0])} | {spread(means[:, 1])} | | {seconds:.2f} |")


if __name__ == "__main__":
    main()
