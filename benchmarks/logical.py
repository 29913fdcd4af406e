"""SINBAD's ways of weighing its crops, and ULSAD's two maps apart, on the folders beside the project and on made trays.

    python benchmarks/logical.py sinbad [--data ../shared/data] [--only "juice bottle,screw"] [--workdir build/features]
    python benchmarks/logical.py ulsad [--field steps=800] ...

Fitted on all good parts of train, without calibration; image AUROC on test. Milliseconds: median over parts judged without
a cache, from decoded picture to score. Features are kept in --workdir.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import amiss
from amiss.contract import Detector
from amiss.data import trays
from amiss.data.tray_picture import Nuts
from amiss.fields import parse
from amiss.methods.ulsad import ULSAD
from amiss.metrics.ranking import auroc
from amiss.types import Sample

FOLDERS = {
    "juice bottle": "mvtec_loco_juice_bottle/juice_bottle",
    "hazelnut": "hazelnut_toy/hazelnut",
    "screw": "mvtec_ad_screw/screw",
    "tile": "magnetic_tile/tile",
    "solar cell": "elpv_solar/cell",
}
NUTS: tuple[Nuts, ...] = ("pockets", "loose")
WEIGHINGS: dict[str, dict[str, Any]] = {
    "evidence (default)": {},
    "ratio to the mean (published)": {"weigh": "mean"},
    "published, with pixels": {"weigh": "mean", "pixels": 0.1},
    "evidence, with pixels": {"pixels": 0.1},
    "whole picture, stride 32": {"sizes": (0.99,), "layers": (32,)},
    "stride 32 alone": {"layers": (32,)},
    "Mahalanobis": {"whiten": "root"},
    "1000 directions": {"directions": 1000},
}
Case = tuple[Sequence[Sample], Sequence[Sample], np.ndarray[Any, Any]]


def cases(data: Path, only: Sequence[str]) -> Iterator[tuple[str, Case]]:
    """Good parts to learn from, parts to judge and their labels."""
    for name, folder in FOLDERS.items():
        if not only or name in only:
            dataset = amiss.dataset("folder", data / folder)
            test = dataset.split(dataset.only(), "test")
            labels = np.array([entry.defective for entry in test.entries])
            yield name, (dataset.split(dataset.only(), "train").samples, test.samples, labels)
    for nuts in NUTS:
        if not only or f"trays {nuts}" in only:
            yield from _trays(nuts)


def _trays(nuts: Nuts) -> Iterator[tuple[str, Case]]:
    """200 good trays against 40 more and as many with a surplus nut, then with each of the logical defects."""
    for kinds in (("surplus",), trays.LOGICAL):
        ill = [sample for kind in kinds for sample, _ in trays.defective_samples(2, 40, (kind,), nuts=nuts)]
        labels = np.repeat([False, True], [40, len(ill)])
        judged = [*trays.samples(1, 40, nuts=nuts), *ill]
        yield f"trays {nuts}, {' '.join(kinds)}", (trays.samples(0, 200, nuts=nuts), judged, labels)


def fitted(detector: Detector, case: Case, workdir: Path) -> float:
    """Seconds that a fit takes."""
    started = time.perf_counter()
    detector.fit(case[0], workdir=workdir)
    return time.perf_counter() - started


def ranked(detector: Detector, case: Case, workdir: Path) -> float:
    """Image AUROC."""
    return auroc(np.array([result.score for result in detector.predict(case[1], workdir=workdir)]), case[2])


def milliseconds(detector: Detector, case: Case) -> float:
    """Median time to judge a decoded part without a cache."""
    return float(np.median([result.seconds for result in detector.predict(list(case[1])[:30])]) * 1e3)


def sinbad(name: str, case: Case, workdir: Path) -> None:
    for setting, fields in WEIGHINGS.items():
        detector = amiss.detector("sinbad", **fields)
        seconds = fitted(detector, case, workdir)
        told = f"{ranked(detector, case, workdir):.3f} | {seconds:.0f} | {milliseconds(detector, case):.0f}"
        print(f"| {name} | {setting} | {told} |", flush=True)


def ulsad(name: str, case: Case, workdir: Path, fields: dict[str, Any]) -> None:
    twin = ULSAD(**{**fields, "steps": 0})
    twin.fit(case[0], workdir=workdir)
    detector = ULSAD(**fields)
    seconds = fitted(detector, case, workdir)
    found = []
    for maps in ("both", "local", "global"):
        detector.maps = maps
        found.append(ranked(detector, case, workdir))
    told = " | ".join(f"{value:.3f}" for value in [*found, ranked(twin, case, workdir)])
    print(f"| {name} | {told} | {seconds:.0f} | {milliseconds(detector, case):.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=("sinbad", "ulsad"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", default="", help="folders, separated by commas")
    parser.add_argument("--workdir", type=Path, default=Path("build/features"))
    parser.add_argument("--field", action="append", default=[], help="NAME=VALUE of ULSAD")
    asked = parser.parse_args()
    asked.workdir.mkdir(parents=True, exist_ok=True)
    pairs = (word.partition("=") for word in asked.field)
    fields = {name: parse(ULSAD, name, text) for name, _, text in pairs}
    heads = {
        "sinbad": ("folder", "crops joined by", "image AUROC", "fit s", "ms per part"),
        "ulsad": ("folder", "both maps", "local", "global", "untrained", "fit s", "ms per part"),
    }[asked.method]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for name, case in cases(asked.data, [word.strip() for word in asked.only.split(",") if word.strip()]):
        if asked.method == "sinbad":
            sinbad(name, case, asked.workdir)
        else:
            ulsad(name, case, asked.workdir, fields)


if __name__ == "__main__":
    main()
