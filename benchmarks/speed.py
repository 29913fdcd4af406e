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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import amiss
from amiss.data import toys
from amiss.data.readers import read_sample
from amiss.data.tree import pictures
from amiss.kit.coreset import greedy_k_centre
from amiss.kit.extract import ImageExtractor, network_size, resize
from amiss.methods.patchcore import PatchCore
from amiss.verdict.calibrate import fit_calibrated


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What a call returns, and its milliseconds."""
    started = time.perf_counter()
    value = call(*arguments)
    return value, (time.perf_counter() - started) * 1e3


def one(detector: PatchCore, path: Path) -> dict[str, float]:
    """Milliseconds of one picture by station, and of the two floors."""
    extract, bank = detector._extract, detector.bank_
    assert isinstance(extract, ImageExtractor) and bank is not None
    spent = {}
    sample, spent["decode"] = timed(read_sample, path)
    size = network_size(sample.image.shape[:2], detector.size, detector.aspect)
    small, spent["resize"] = timed(resize, sample.image, size)
    _, spent["backbone"] = timed(extract.backbone, small[None])
    ready = np.ascontiguousarray(small[None].transpose(0, 3, 1, 2))
    session, names = extract.backbone._session, extract.backbone._outputs
    _, spent["floor: ONNX Runtime alone"] = timed(session.run, names, {extract.backbone._input: ready})
    (layers, _), spent["patches"] = timed(detector._embed, extract(sample))
    patches = np.concatenate([a * s for a, s in zip(layers, detector.scale_, strict=True)], axis=1)
    _, spent["search"] = timed(bank.nearest, patches)
    _, spent["floor: the bare matrix product"] = timed(np.matmul, patches, bank.vectors.T)
    results, spent["whole predict"] = timed(list, detector.predict([sample]))
    _, spent["map at full size"] = timed(results[0].image_map)
    return spent


def coreset() -> None:
    """4,096 picks from 409,600 x 64, beside as many matrix-vector products over the same data."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((300, 64)) * 3
    clusters = (centres[rng.integers(0, 300, 409_600)] + rng.standard_normal((409_600, 64))).astype(np.float32)
    for name, data in (("normal", rng.standard_normal((409_600, 64)).astype(np.float32)), ("clustered", clusters)):
        (_, radius), spent = timed(partial(greedy_k_centre, start=0), data, 4096)
        floor = statistics.median(timed(np.matmul, data, data[i])[1] for i in range(50)) * 4096
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
        fits = [timed(detector.unfitted().fit, samples)[1] for _ in range(5)]
        whole = [timed(fit_calibrated, detector.unfitted(), lazy)[1] for _ in range(5)]
        print(f"{len(paths)} pictures, preset {arguments.preset or 'default'}")
        print(
            f"fit {statistics.median(fits) / 1e3:.2f} s; from files and with calibration {statistics.median(whole) / 1e3:.2f} s"
        )
        stations = [one(detector, path) for path in paths]
        for name in stations[0]:
            print(f"  {name:<32}{statistics.median(each[name] for each in stations):8.2f} ms")
    coreset()


if __name__ == "__main__":
    main()
