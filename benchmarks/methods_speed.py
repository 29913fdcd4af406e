"""Milliseconds per part of each image method on made pictures, beside the floor that its backbone sets.

    python benchmarks/methods_speed.py [--good 200] [--size 256] [--rounds 30]

The pictures are made, so the figures are about speed alone. Floor: the same picture through the same part of the backbone.
Rounds of all methods and floors are interleaved, so that other work on the machine meets all alike; medians are printed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import amiss
from amiss.contract import Detector
from amiss.data import toys
from amiss.kit.extract import ImageExtractor
from amiss.types import Sample

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "padim (32 x 32 places, 100 channels)": ("padim", {"grid": 8, "channels": 100, "layers": (4, 8, 16)}),
    "padim": ("padim", {}),
    "rad": ("rad", {}),
    "rad, grid of stride 8, 50 pictures": ("rad", {"grid": 8, "images": 50}),
    "spade, same place": ("spade", {"match": "same"}),
    "patchcore": ("patchcore", {}),
}


def floor(detector: Detector, size: int) -> Callable[[Sample], object]:
    """The backbone part of a detector alone."""
    layers = detector.fields()["layers"]
    return ImageExtractor("efficientnet_lite0", tuple(layers), size, "keep", token=detector.name in ("rad", "spade"))


def judged(detector: Detector, sample: Sample) -> object:
    return next(detector.predict([sample]))


def milliseconds(work: Callable[[Sample], object], sample: Sample) -> float:
    started = time.perf_counter()
    work(sample)
    return (time.perf_counter() - started) * 1e3


def pool_seconds(count: int, side: int) -> float:
    """Fit of MuSc-V2 with its default fields on a pool, features included."""
    pool = toys.samples(7, count, "texture", (side, side))
    started = time.perf_counter()
    amiss.detector("musc_v2").fit(pool)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--good", type=int, default=200)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=30)
    asked = parser.parse_args()
    side = asked.size
    good, parts = toys.samples(0, asked.good, "texture", (side, side)), toys.samples(1, asked.rounds, "texture", (side, side))
    detectors = {name: amiss.detector(kind, size=side, **more).fit(good) for name, (kind, more) in SETTINGS.items()}
    work: dict[str, Callable[[Sample], object]] = {}
    for name, detector in detectors.items():
        work[name] = partial(judged, detector)
        work[f"{name}: floor"] = floor(detector, side)
    times: dict[str, list[float]] = {name: [] for name in work}
    for sample in parts:
        for name, call in work.items():
            times[name].append(milliseconds(call, sample))
    print(f"{asked.good} good pictures, {side} px, median of {asked.rounds} rounds, milliseconds per part (floor)")
    for name in detectors:
        print(f"{name:<40} {np.median(times[name][1:]):6.1f} ({np.median(times[f'{name}: floor'][1:]):.1f})")
    print(f"musc_v2 on a pool of {asked.good} at its default size: {pool_seconds(asked.good, 320):.0f} s")


if __name__ == "__main__":
    main()
