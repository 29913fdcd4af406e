"""Where the time goes, beside the floor: ONNX Runtime alone, and the bare matrix product of the search.

    python benchmarks/speed.py [FOLDER with train/good] [--preset fast]

Prints medians over all pictures of the folder, one after another in one process; without a folder it makes its own.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import amiss
from amiss.data import toys
from amiss.data.folder import pictures
from amiss.data.readers import read_sample
from amiss.kit.coreset import greedy_k_centre
from amiss.kit.extract import network_size, resize
from amiss.methods.patchcore import PatchCore
from amiss.verdict.calibrate import fit_calibrated


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    value = call()
    return value, (time.perf_counter() - started) * 1e3


def breakdown(detector: PatchCore, paths: list[Path]) -> dict[str, float]:
    """Milliseconds per picture by station, medians."""
    extract, bank = detector._extract, detector.bank_
    assert extract is not None and bank is not None
    stations: dict[str, list[float]] = {}

    def note(name: str, milliseconds: float) -> None:
        stations.setdefault(name, []).append(milliseconds)

    for path in paths:
        sample, spent = timed(lambda path=path: read_sample(path))
        note("decode", spent)
        assert sample.image is not None
        size = network_size(sample.image.shape[:2], detector.size, detector.aspect)
        small, spent = timed(lambda image=sample.image, size=size: resize(image, size))
        note("resize", spent)
        _, spent = timed(lambda small=small: extract.backbone(small[None]))
        note("backbone", spent)
        ready = np.ascontiguousarray(small[None].transpose(0, 3, 1, 2))
        session = extract.backbone._session
        _, spent = timed(lambda ready=ready: session.run(extract.backbone._outputs, {extract.backbone._input: ready}))
        note("floor: ONNX Runtime alone", spent)
        features = extract(sample)
        (layers, _), spent = timed(lambda features=features: detector._embed(features))
        note("patches", spent)
        patches = np.concatenate([a * s for a, s in zip(layers, detector.scale_, strict=True)], axis=1)
        _, spent = timed(lambda patches=patches: bank.nearest(patches, 1))
        note("search", spent)
        _, spent = timed(lambda patches=patches: patches @ bank.vectors.T)
        note("floor: the bare matrix product", spent)
        result, spent = timed(lambda sample=sample: next(detector.predict([sample])))
        note("whole predict", spent)
        _, spent = timed(result.image_map)
        note("map at full size", spent)
    return {name: statistics.median(values) for name, values in stations.items()}


def coreset() -> None:
    """4,096 picks from 409,600 x 64, beside as many matrix-vector products over the same data."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((300, 64)) * 3
    clusters = (centres[rng.integers(0, 300, 409_600)] + rng.standard_normal((409_600, 64))).astype(np.float32)
    for name, data in (("normal", rng.standard_normal((409_600, 64)).astype(np.float32)), ("clustered", clusters)):
        (_, radius), spent = timed(lambda data=data: greedy_k_centre(data, 4096, start=0))
        floor = statistics.median(timed(lambda data=data, i=i: data @ data[i])[1] for i in range(50)) * 4096
        print(f"coreset of 4096 from 409600 x 64, {name}: {spent / 1e3:.1f} s, radius {radius:.3f}; "
              f"the plain loop's matrix-vector products alone: {floor / 1e3:.1f} s")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--preset", default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        root = arguments.folder or toys.make_folder(Path(made) / "disc", kind="object", train=28, size=(512, 512))
        paths = pictures(root / "train" / "good")
        dataset = amiss.dataset("folder", root)
        lazy = dataset.split(dataset.only(), "train").samples
        samples = list(lazy)
        detector = amiss.detector("patchcore", preset=arguments.preset)
        assert isinstance(detector, PatchCore)
        detector.fit(samples)
        fits = [timed(lambda: detector.unfitted().fit(samples))[1] for _ in range(5)]
        whole = [timed(lambda: fit_calibrated(detector.unfitted(), lazy))[1] for _ in range(3)]
        print(f"{len(paths)} pictures, preset {arguments.preset or 'default'}")
        print(f"fit {statistics.median(fits) / 1e3:.2f} s; from files and with calibration {statistics.median(whole) / 1e3:.2f} s")
        for name, milliseconds in breakdown(detector, paths).items():
            print(f"  {name:<32}{milliseconds:8.2f} ms")
    coreset()


if __name__ == "__main__":
    main()
