"""Milliseconds per part of SINBAD and ULSAD on made trays, beside the floor that the backbone sets.

    python benchmarks/logical_speed.py [--good 200] [--rounds 30]

ULSAD is not trained for this: its networks cost the same whatever they hold. Rounds are interleaved; medians are printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
from methods_speed import judged as judge
from methods_speed import milliseconds

import amiss
from amiss.data import trays
from amiss.kit.crops import CropExtractor, crops
from amiss.kit.extract import ImageExtractor
from amiss.types import Sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--good", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=30)
    asked = parser.parse_args()
    good, judged = trays.samples(0, asked.good), trays.samples(1, asked.rounds)
    work: dict[str, Callable[[Sample], object]] = {
        "sinbad, 10 crops": partial(judge, amiss.detector("sinbad").fit(good)),
        "floor: 10 crops through the backbone": CropExtractor(
            "efficientnet_lite0", (16, 32), 224, "keep", crops((0.5, 0.99), 0.25)
        ),
        "ulsad, small": partial(judge, amiss.detector("ulsad", steps=0).fit(good)),
        "floor: one picture through the backbone": ImageExtractor("efficientnet_lite0", (8, 16, 32), 256, "keep"),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for sample in judged:
        for name, call in work.items():
            times[name].append(milliseconds(call, sample))
    for name, found in times.items():
        print(f"{name:<42} {np.median(found[1:]):6.1f} ms")


if __name__ == "__main__":
    main()
