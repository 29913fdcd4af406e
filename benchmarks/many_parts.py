"""Five shapes in one model against one model a shape, on the made benchmark of point clouds.

    python benchmarks/many_parts.py [glfm] [--seeds 0 1 2 3 4] [--size 0.05] [--partial] [--field NAME=VALUE] [--judged 10]

For each seed one model learns from 4 good clouds of each shape, in any pose, and is not told which is which; five more learn
from those of one shape. All judge --judged good and as many defective clouds a shape, the kinds of defects in turn. The route
is right where the centre that a cloud goes to is one to which good clouds of its own shape went in the fit, and none of others.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import amiss
from amiss.contract import Detector
from amiss.data import scans
from amiss.data.shapes import SHAPES
from amiss.fields import parse
from amiss.metrics.ranking import auroc
from amiss.types import Result, Sample, Truth

GOOD, JUDGED = 4, 10


def figures(results: list[Result], truths: list[Truth | None]) -> tuple[float, float]:
    """Object and point AUROC; None for a good cloud."""
    maps = [result.point_map() for result in results]
    marks = [
        np.zeros(len(values), np.bool_) if truth is None or truth.point_mask is None else truth.point_mask
        for values, truth in zip(maps, truths, strict=True)
    ]
    whole = auroc(np.array([result.score for result in results]), np.array([truth is not None for truth in truths]))
    return whole, auroc(np.concatenate(maps), np.concatenate(marks))


def owners(detector: Detector, learned: dict[str, list[Sample]], workdir: Path | None) -> list[str | None]:
    """The shape that each centre stands for; None where several went there."""
    owner: dict[int, set[str]] = {}
    for name, samples in learned.items():
        for result in detector.predict(samples, workdir=workdir):
            owner.setdefault(result.evidence["route"]["centre"], set()).add(name)
    return [next(iter(names)) if len(names := owner.get(k, set())) == 1 else None for k in range(max(owner) + 1)]


def measured(make: Any, seed: int, asked: argparse.Namespace) -> tuple[npt.NDArray[np.float64], float, int, float]:
    """(5, 4): object and point AUROC, together and alone; share of right routes, centres, seconds a cloud together."""
    seen = {"points": asked.points, "partial": asked.partial}
    learned = {
        name: scans.samples(1000 * seed, GOOD, name, points=asked.points, partial=asked.partial and not asked.learn_whole)
        for name in SHAPES
    }
    together = make().fit([sample for samples in learned.values() for sample in samples], workdir=asked.workdir)
    owner = owners(together, learned, asked.workdir)
    rows, right, seconds = [], [], []
    for name in SHAPES:
        ill = scans.defective_samples(1000 * seed + 2, asked.judged, name, size=asked.size, **seen)
        judged = [*scans.samples(1000 * seed + 1, asked.judged, name, **seen), *(sample for sample, _ in ill)]
        truths = [*[None] * asked.judged, *(truth for _, truth in ill)]
        row: list[float] = []
        for detector in (together, *([] if asked.together else [make().fit(learned[name], workdir=asked.workdir)])):
            started = time.perf_counter()
            results = list(detector.predict(judged, workdir=asked.workdir))
            if detector is together:
                seconds.append((time.perf_counter() - started) / len(judged))
                centres = [result.evidence["route"]["centre"] for result in results]
                right += [centre < len(owner) and owner[centre] == name for centre in centres]
            row += figures(results, truths)
        rows.append(row)
        told = " | ".join(f"{value:.3f}" for value in row)
        print(f"| {name} | {seed} | {told} | {np.mean(right[-len(judged) :]):.2f} | {seconds[-1]:.2f} |", flush=True)
    return np.array(rows), float(np.mean(right)), len(owner), float(np.median(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", nargs="?", default="glfm")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--size", type=float, default=0.05, help="of the defects, in diagonals")
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--judged", type=int, default=JUDGED, help="judged clouds a shape, good and defective")
    parser.add_argument("--partial", action="store_true", help="scans from one side")
    parser.add_argument("--learn-whole", action="store_true", help="learn from whole scans all the same")
    parser.add_argument("--together", action="store_true", help="only the one model")
    parser.add_argument("--workdir", type=Path, help="folder that keeps features; seconds then mean nothing")
    parser.add_argument("--field", action="append", default=[], help="NAME=VALUE of the method")
    asked = parser.parse_args()
    kind = type(amiss.detector(asked.method))
    fields = {key: parse(kind, key, text) for key, _, text in (word.partition("=") for word in asked.field)}
    print("| shape | seed | object AUROC together | point | object AUROC alone | point | routed right | s per cloud |")
    print("| --- " * 8 + "|")
    found = [measured(lambda: amiss.detector(asked.method, **fields), seed, asked) for seed in asked.seeds]
    means = np.array([rows.mean(axis=0) for rows, *_ in found])  # (seeds, 2 or 4)
    told = " | ".join(f"{np.mean(column):.3f} ± {np.std(column):.3f}" for column in means.T)
    rights = np.array([right for _, right, *_ in found])
    routed = f"{rights.mean():.3f} ± {rights.std():.3f}, lowest {rights.min():.3f}"
    centres = ", ".join(str(count) for *_, count, _ in found)
    print(f"| all | | {told} | {routed}; centres {centres} | {np.median([seconds for *_, seconds in found]):.2f} |")


if __name__ == "__main__":
    main()
