"""Clouds in flat folders whose names say what they are, with points and labels of the defective ones in texts.

    <category>/train/<name>.pcd     those with `template` or `prototype` in their names are learned from
    <category>/test/<name>.pcd      good where the name of the file, not its folder, holds one word
    <category>/<labels>/<name>.txt  x, y, z and label in every row: the points of a defective cloud are read from here

Real3D-AD and Anomaly-ShapeNet are laid out so. A PCD in test/ with `temp` in its name is a template that was left there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from amiss.data.dataset import GOOD, Entry, Listing
from amiss.data.readers import printable, read_cloud, read_labelled
from amiss.errors import BadLayout, UnreadableFile
from amiss.types import Sample, Truth

Array = npt.NDArray[Any]

TEMPLATES = ("template", "prototype")
_LEFT = "temp"
_VARIANTS = frozenset({"cut", "copy"})


@dataclass(frozen=True)
class Rules:
    """What tells one such data set from another.

    good  word in the name of a good test cloud     labels  name of the folder of texts, to the letter
    delimiter  of their rows, as amiss.data.readers.read_labelled takes it
    """

    good: str
    labels: str
    delimiter: str

    def is_category(self, folder: Path) -> bool:
        """Whether there are templates to learn from beside the folder of texts."""
        return self.labels in _names(folder) and any(_is_template(path) for path in _clouds(folder / "train"))

    def listing(self, folder: Path) -> Listing:
        """Look through a category by names alone.

        raises  BadLayout where there is no template
        """
        found, test = _clouds(folder / "train"), _clouds(folder / "test")
        train = [path for path in found if _is_template(path)]
        if not train:
            met = ", ".join(printable(path.name) for path in found[:4]) or "no PCD file"
            raise BadLayout(
                f"{printable(folder / 'train')}: wanted <number>_template.pcd or <number>_prototype.pcd, found {met}"
            )
        judged = [path for path in test if _LEFT not in path.name.lower()]
        stems = {path.stem for path in test}
        texts = sorted((folder / self.labels).glob("*.txt"))
        return Listing(
            {
                "train": tuple(self._entry(path, good=True) for path in train),
                "test": tuple(self._entry(path, good=self.good in path.name.lower()) for path in judged),
            },
            orphans=tuple(path for path in texts if path.stem not in stems),
            notes=(*_unused(found, train, "train", "are no templates by their names"),
                   *_unused(test, judged, "test", "are templates by their names")),
        )  # fmt: skip

    def _entry(self, path: Path, *, good: bool) -> Entry:
        own = os.path.abspath(path)
        if good:
            return CloudEntry(path, own, defective=False, kind="good")
        category = path.parent.parent
        text = category / self.labels / f"{path.stem}.txt"
        return LabelledEntry(
            path, own, defective=True, kind=_kind(path.stem, category.resolve().name), mask=text, delimiter=self.delimiter
        )


@dataclass(frozen=True)
class CloudEntry(Entry):
    """A file that is a cloud whatever its name and values look like."""

    def sample(self) -> Sample:
        return read_cloud(self.path, id=self.id, part=self.part, group=self.group)


@dataclass(frozen=True)
class LabelledEntry(Entry):
    """A defective cloud whose points and labels are both read from its text, since the labels count the rows of that.

    delimiter  as amiss.data.readers.read_labelled takes it
    """

    delimiter: str = " "

    def sample(self) -> Sample:
        """raises  UnreadableFile where the text is missing or is not written as it should be"""
        points, _ = self._labelled()
        return Sample(id=self.id, part=self.part, group=self.group, points=points)

    def truth(self) -> Truth:
        """raises  UnreadableFile as sample does"""
        _, marked = self._labelled()
        return Truth(label=True, kind=self.kind, point_mask=marked)

    def _labelled(self) -> tuple[Array, Array]:
        """Points (N, 3), and which of them are marked (N,)."""
        assert self.mask is not None  # Rules._entry names it, there or not
        if not self.mask.is_file():
            raise UnreadableFile(
                f"{printable(self.path)}: it is defective by its name, and the text that its points and labels are read from, "
                f"{printable(self.mask)}, is not there; take it from the data set, or remove the cloud"
            )
        cloud, marked = read_labelled(self.mask, delimiter=self.delimiter)
        return cloud.points, marked


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _clouds(folder: Path) -> list[Path]:
    """The PCD files in a folder, sorted, without hidden ones."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() == ".pcd" and not path.name.startswith("."))


def _is_template(path: Path) -> bool:
    return any(word in path.name.lower() for word in TEMPLATES)


def _kind(stem: str, category: str) -> str:
    """The words of a name that say what is wrong: 12_bulge_cut and ashtray0_bulge3 are both a bulge."""
    words = [re.sub(r"\d+$", "", word) for word in stem.lower().removeprefix(f"{category.lower()}_").split("_")]
    kind = printable("_".join(word for word in words if word and word not in _VARIANTS))
    return "defective" if not kind or kind in GOOD else kind


def _unused(found: Sequence[Path], used: Sequence[Path], name: str, why: str) -> Iterator[str]:
    if left := sorted(set(found) - set(used)):
        yield f"{len(left)} cloud(s) in {name}/ {why} and are left out; first: {printable(left[0])}"
