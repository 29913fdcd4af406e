"""The published data sets of point clouds in small, each in its exact layout, with made parts: nothing of the real scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.clouds import surface
from tests.data import files
from tests.data.cloud_files import pcd, sheet, stl, text
from tests.data.test_organised import tiff

Array = npt.NDArray[Any]
POINTS = 900
BUMP = 0.35
SIDE = 30
GRID = (32, 40)


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


def mesh(seed: int, *, bump: bool) -> tuple[Array, Array, Array]:
    """Vertices (SIDE * SIDE, 3) of a curved sheet some 4 across, facets (F, 3), and which vertices lie on a bump."""
    rng = np.random.default_rng(seed)
    points, faces = sheet(SIDE)
    points = points * np.float32(4 / SIDE)
    points[:, 2] = 0.1 * points[:, 0] ** 2 + 0.05 * points[:, 0] * points[:, 1] + rng.normal(0, 0.01, len(points))
    away = np.linalg.norm(points[:, :2] - rng.uniform(1, 3, 2), axis=1)
    marked = (away < BUMP) & bump
    points[marked, 2] += (2 * BUMP * (1 - (away[marked] / BUMP) ** 2) + 0.05).astype(np.float32)
    return points, np.array(faces), marked


MULSEN = {
    "good": {"0": 0, "1": 0},
    "crack": {"2": 1, "10": 0, "11": 1},  # of 10 the scan is good; the other labels say otherwise
    "hole": {"0": 1},
}


def mulsen_ad(root: Path, categories: Sequence[str] = ("capsule", "nut")) -> Path:
    """With pictures of the other sensors, which are not read. Places are listed with six decimals."""
    for seed, category in enumerate(categories):
        folder = root / category
        for number in range(4):
            points, faces, _ = mesh(100 * seed + number, bump=False)
            files.written(folder / f"Pointcloud/train/{number}.stl", stl(points[faces]))
            files.written(folder / f"Infrared/train/{number}.png", b"never read")
        for kind, labels in MULSEN.items():
            rows = ["object,label1,label2,label3"]
            for place, (number, label) in enumerate(labels.items(), start=10 * len(kind)):
                points, faces, marked = mesh(100 * seed + place, bump=label == 1)
                files.written(folder / f"Pointcloud/test/{kind}/{number}.stl", stl(points[faces]))
                files.written(folder / f"RGB/test/{kind}/{number}.png", b"never read")
                rows.append(f"{category},{int(kind != 'good')},1,{label}")
                if label:
                    lines = "".join(f"{x:.6f},{y:.6f},{z:.6f}\n" for x, y, z in points[marked].tolist())
                    files.written(folder / f"Pointcloud/GT/{kind}/{number}.txt", lines.encode())
            files.written(folder / f"RGB/GT/{kind}/data.csv", "\n".join([*rows, ""]).encode())
    return root


def scan(seed: int, *, bump: bool) -> tuple[Array, Array]:
    """A grid (H, W, 3) in metres that faces the camera, zero around the part, and the mask (H, W) of a bump on it."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: GRID[0], : GRID[1]]
    x, y = (columns - GRID[1] / 2) / 400, (rows - GRID[0] / 2) / 400
    z = 0.5 + 2 * x**2 + x * y + rng.normal(0, 1e-4, GRID)
    place = np.hypot(rows - rng.integers(14, 18), columns - rng.integers(14, 26))
    marked = (place < 6) & bump
    z = z - 0.01 * np.where(marked, 1 - (place / 6) ** 2, 0)
    grid = np.stack([x, y, z], axis=2).astype(np.float32)
    grid[np.hypot(rows - GRID[0] / 2, (columns - GRID[1] / 2) * 0.75) > 14.5] = 0
    return grid, marked


def mvtec_3d(root: Path, categories: Sequence[str] = ("bagel", "cable_gland")) -> Path:
    """With pictures beside the scans, which are not read; good test scans have masks that mark nothing."""
    for seed, category in enumerate(categories):
        parts = [(f"{split}/good", count) for split, count in (("train", 4), ("validation", 3), ("test", 2))]
        for place, (folder, count) in enumerate([*parts, ("test/combined", 1), ("test/hole", 2)]):
            for number in range(count):
                name = root / category / folder
                grid, marked = scan(1000 * seed + 100 * place + number, bump=place > 2)
                files.written(name / f"xyz/{number:03d}.tiff", tiff(grid))
                files.written(name / f"rgb/{number:03d}.png", b"never read")
                if folder.startswith("test"):
                    files.written(name / f"gt/{number:03d}.png", files.encoded(marked * np.uint8(255), ".png"))
    return root


MAKERS = {"real3d_ad": real3d_ad, "anomaly_shapenet": anomaly_shapenet, "mulsen_ad": mulsen_ad, "mvtec_3d": mvtec_3d}
