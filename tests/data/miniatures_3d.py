"""The published data sets of point clouds in small, each in its exact layout, with made parts: nothing of the real scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.clouds import surface
from tests.data import files
from tests.data.cloud_files import pcd, text

Array = npt.NDArray[Any]
POINTS = 900
BUMP = 0.35


class Scans:
    """Makes clouds that all differ, from one seed, in one pose."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def good(self) -> Array:
        """Points (POINTS, 3)."""
        return surface(self._rng, POINTS)[0].astype(np.float32)

    def bad(self) -> tuple[Array, Array]:
        """Points with a bump, and which lie on it."""
        points, marked = surface(self._rng, POINTS, BUMP)
        return points.astype(np.float32), marked


def _named(folder: Path, seed: int, names: dict[str, list[str]], labels: str, delimiter: str) -> None:
    """Train and test clouds as PCD; the defective ones' text has a few rows more than the PCD, which is not what is read."""
    scans = Scans(seed)
    for name in (*names["train"], *names["good"]):
        files.written(folder / name, pcd(scans.good()))
    for name in names["bad"]:
        points, marked = scans.bad()
        files.written(folder / name, pcd(points[:-5]))
        files.written(folder / labels / f"{Path(name).stem}.txt", text(np.column_stack([points, marked]), delimiter))


def real3d_ad(root: Path, categories: Sequence[str] = ("airplane", "shell")) -> Path:
    """Below a folder with `good` in its name; a template that was left in test/, and cut and copied variants."""
    for seed, name in enumerate(categories):
        word = "prototype" if seed else "template"
        names = {
            "train": [f"train/{number}_{word}.pcd" for number in range(1, 5)],
            "good": ["test/2_good.pcd", "test/10_good_cut.pcd", "test/1_temp.pcd"],
            "bad": ["test/3_bulge.pcd", "test/3_bulge_copy.pcd", "test/11_sink_cut.pcd"],
        }
        _named(root / name, seed, names, "gt", " ")
    return root


def anomaly_shapenet(root: Path, categories: Sequence[str] = ("ashtray0", "bowl3")) -> Path:
    """Beside the meshes, which are not read."""
    for seed, name in enumerate(categories):
        names = {
            "train": [f"train/{name}_template{number}.pcd" for number in range(4)],
            "good": [f"test/{name}_positive{number}.pcd" for number in (2, 10)],
            "bad": [f"test/{name}_{kind}.pcd" for kind in ("bulge0", "concavity11", "hole2")],
        }
        _named(root / "pcd" / name, seed, names, "GT", ",")
        files.written(root / "obj" / name / f"{name}_template0.obj", b"never read")
    return root


MAKERS = {"real3d_ad": real3d_ad, "anomaly_shapenet": anomaly_shapenet}
