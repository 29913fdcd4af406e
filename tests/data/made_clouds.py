"""A made data set of point clouds: a curved, lopsided plate, with a bump on it where it is defective. One file a cloud."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.data.dataset import Dataset, Entry, Listing
from amiss.types import Sample, Truth

Array = npt.NDArray[Any]


def plate(rng: np.random.Generator, *, bump: bool = False, count: int = 1500) -> tuple[Array, Array]:
    """Points (count, 3) of a plate in some pose, and which lie on its bump."""
    flat = rng.random((count, 2)) * [3.0, 2.0]
    height = 0.15 * flat[:, 0] ** 2 + 0.1 * np.sin(3 * flat[:, 1])
    marked = np.zeros(count, bool)
    if bump:
        away = np.linalg.norm(flat - rng.uniform([0.6, 0.6], [2.4, 1.4]), axis=1)
        marked = away < 0.35
        height = height + 0.35 * np.where(marked, 1 - (away / 0.35) ** 2, 0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    return (np.column_stack([flat, height]) @ turn).astype(np.float32), marked


def make(root: Path, *, train: int = 4, good: int = 3, bad: int = 3, seed: int = 0) -> Path:
    """Write a category."""
    rng = np.random.default_rng(seed)
    for folder, count in (("train/good", train), ("test/good", good), ("test/bump", bad)):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            points, marked = plate(rng, bump=folder.endswith("bump"))
            np.save(root / folder / f"{number:03d}.npy", points)
            if marked.any():
                with (root / folder / f"{number:03d}.marks").open("wb") as file:
                    np.save(file, marked)
    return root


class CloudEntry(Entry):
    """A cloud whose marks, if it has some, lie beside it."""

    def sample(self) -> Sample:
        return Sample(id=self.id, part=self.part, points=np.load(self.path))

    def truth(self) -> Truth:
        marks = None if self.mask is None else np.load(self.mask)
        return Truth(label=self.defective, kind=self.kind, point_mask=marks)


class MadeClouds(Dataset):
    """One category, its files named after what they are."""

    name, about, arrangement = "made_clouds", "made clouds", "train/good, test/<kind>"

    def __init__(self, root: str | os.PathLike[str]) -> None:
        super().__init__(root, ("plate",))

    @classmethod
    def fits(cls, root: Path) -> bool:
        return False

    def _list(self, category: str) -> Listing:
        found = {name: tuple(self._entries(self.root / name)) for name in ("train", "test")}
        return Listing(found)  # type: ignore[arg-type]

    def _entries(self, folder: Path) -> Any:
        for path in sorted(folder.rglob("*.npy")):
            marks = path.with_suffix(".marks")
            yield CloudEntry.of(path, path.parent.name, marks if marks.exists() else None)
