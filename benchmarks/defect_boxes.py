"""How well a method puts boxes about defects on the made benchmark of point clouds, and what it costs.

    python benchmarks/defect_boxes.py [--seeds 0 1 2 3 4] [--shapes gear lump] [--field NAME=VALUE] [--judged 20]

As `clouds.py`: 4 good clouds in any pose to learn from, then --judged good and as many defective ones, the kinds of defects in
turn. Found: share of the defects that a box overlaps with by 0.25. False: boxes for each good cloud. Cells: those of the grid
that are not empty, as they come in and after both hidden layers.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import amiss
from amiss.contract import Detector
from amiss.data import scans
from amiss.data.shapes import SHAPES
from amiss.fields import parse
from amiss.metrics.boxes import average_precision, false_boxes, recall
from amiss.metrics.ranking import auroc

GOOD, JUDGED = 4, 20


@dataclass(frozen=True)
class Figures:
    """Of one shape and seed."""

    found: float
    false: float
    precision: float
    object_auroc: float
    point_auroc: float
    kinds: dict[str, float]
    active: npt.NDArray[Any]
    fit: float
    judge: float


def measured(detector: Detector, name: str, seed: int, asked: argparse.Namespace) -> Figures:
    started = time.perf_counter()
    detector.fit(scans.samples(1000 * seed, GOOD, name))
    fitted = time.perf_counter() - started
    well = scans.samples(1000 * seed + 1, asked.judged, name)
    ill = scans.defective_samples(1000 * seed + 2, asked.judged, name, size=asked.size)
    results = list(detector.predict([*well, *(sample for sample, _ in ill)]))
    boxes, truths = [result.boxes for result in results], [()] * len(well) + [truth.boxes for _, truth in ill]
    kinds: dict[str, list[float]] = {}
    for (_, truth), one in zip(ill, boxes[len(well) :], strict=True):
        kinds.setdefault(truth.kind, []).append(recall([one], [truth.boxes]))
    maps = [result.point_map() for result in results]
    marks = [np.zeros(len(values), np.bool_) for values in maps[: len(well)]]
    marks += [truth.point_mask for _, truth in ill if truth.point_mask is not None]
    return Figures(
        found=recall(boxes, truths),
        false=false_boxes(boxes, truths),
        precision=average_precision(boxes, truths),
        object_auroc=auroc(np.array([result.score for result in results]), np.repeat([False, True], [len(well), len(ill)])),
        point_auroc=auroc(np.concatenate(maps), np.concatenate(marks)),
        kinds={kind: float(np.mean(each)) for kind, each in kinds.items()},
        active=np.mean([result.evidence["active"] for result in results], axis=0),
        fit=fitted,
        judge=float(np.median([result.seconds for result in results])),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="vote3deep")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--size", type=float, default=0.05, help="of the defects, in diagonals")
    parser.add_argument("--judged", type=int, default=JUDGED, help="judged clouds, good and defective")
    parser.add_argument("--field", action="append", default=[], help="NAME=VALUE of the method")
    asked = parser.parse_args()
    kind = type(amiss.detector(asked.method))
    fields = {key: parse(kind, key, text) for key, _, text in (word.partition("=") for word in asked.field)}
    print("| shape | seed | found | false | AP | object AUROC | point AUROC | found by kind | cells | fit s | s per cloud |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    for seed in asked.seeds:
        for name in asked.shapes:
            one = measured(amiss.detector(asked.method, **fields), name, seed, asked)
            row = (one.found, one.false, one.precision, one.object_auroc, one.point_auroc)
            kinds = ", ".join(f"{kind} {value:.2f}" for kind, value in one.kinds.items())
            told = f"{kinds} | {', '.join(f'{count:.0f}' for count in one.active)} | {one.fit:.0f} | {one.judge:.2f}"
            print(f"| {name} | {seed} | {' | '.join(f'{value:.3f}' for value in row)} | {told} |", flush=True)
            rows.append((seed, *row))
    by_seed = [np.mean([row[1:] for row in rows if row[0] == seed], axis=0) for seed in asked.seeds]
    of_seeds = zip(np.mean(by_seed, axis=0), np.std(by_seed, axis=0), strict=True)
    means = (f"{mean:.3f} ± {spread:.3f}" for mean, spread in of_seeds)
    print(f"| all | | {' | '.join(means)} | | | | |")


if __name__ == "__main__":
    main()
