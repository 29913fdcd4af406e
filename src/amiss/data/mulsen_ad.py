"""MulSen-AD: fifteen products seen by a camera, an infrared camera and a laser scanner; here the scans only.

Li et al., "Multi-Sensor Object Anomaly Detection: Unifying Appearance, Geometry, and Internal Properties", CVPR 2025.
Millimetres.

    <category>/Pointcloud/train/<number>.stl     <category>/Pointcloud/test/<good|kind>/<number>.stl
    <category>/Pointcloud/GT/<kind>/<number>.txt with x, y, z of the marked vertices alone, between commas
    <category>/RGB/GT/<kind>/data.csv: a header, then an object and three labels, 0 or 1, in every row

The third label is the scan's: a part may be cracked where only the infrared camera sees it, so that a folder `crack` holds
scans that are good. Rows go with the files in the order of their numbers. The points are the distinct vertices of the STL,
whatever the size of its facets, in its own coordinates.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.data.dataset import GOOD, Entry, Listing
from amiss.data.readers import printable, read_mesh_vertices, read_places
from amiss.data.table import cells
from amiss.data.tree import CategoryFolders, kinds
from amiss.errors import BadField, BadLayout, UnreadableFile
from amiss.geometry.cloud import spacing
from amiss.types import Sample, Truth

Array = npt.NDArray[Any]
SCANS = "Pointcloud"
TOLERANCE = 2.0  # in spacings of the vertices
_COLUMN = 3  # of the scan's label in data.csv, behind the object and two others
_NUMBER = re.compile(r"\d+$")


class MulsenAd(CategoryFolders):
    """Every folder with scans in Pointcloud/train is a category."""

    name = "mulsen_ad"
    about = "MulSen-AD, laser scans only: fifteen products as STL"
    arrangement = (
        "<category>/Pointcloud/train/<number>.stl, <category>/Pointcloud/test/<kind>/<number>.stl, "
        "<category>/Pointcloud/GT/<kind>/<number>.txt, <category>/RGB/GT/<kind>/data.csv"
    )

    def __init__(self, root: str | os.PathLike[str], *, tolerance: float = TOLERANCE) -> None:
        """tolerance  how far a listed place may lie from its vertex, in spacings of the vertices

        raises  BadLayout saying what was expected and found, BadField for a tolerance that is not above 0
        """
        if not 0 < tolerance < math.inf:
            raise BadField(f"tolerance = {tolerance}: wanted a finite number above 0, in spacings of the vertices")
        super().__init__(root)
        self._tolerance = tolerance

    @staticmethod
    def is_category(folder: Path) -> bool:
        return bool(_scans(folder / SCANS / "train"))

    def _list(self, category: str) -> Listing:
        folder = self._folders[category]
        train = tuple(self._entry(path, "good") for path in _scans(folder / SCANS / "train"))
        test = [entry for kind in kinds(folder / SCANS / "test") for entry in self._of_kind(folder, kind)]
        listed = {(entry.path.parent.name, entry.path.stem) for entry in test}
        texts = sorted((folder / SCANS / "GT").glob("*/*.txt"))
        orphans = tuple(path for path in texts if (path.parent.name, path.stem) not in listed)
        return Listing({"train": train, "test": tuple(test)}, orphans)

    def _of_kind(self, folder: Path, kind: Path) -> Iterator[Entry]:
        """The scans of a folder of test/; those whose label is 0 are good, whatever the folder is called."""
        scans = _scans(kind)
        if kind.name.lower() in GOOD:
            yield from (self._entry(path, "good") for path in scans)
            return
        for path, defective in zip(scans, _labels(folder / "RGB" / "GT" / kind.name / "data.csv", scans, kind), strict=True):
            text = folder / SCANS / "GT" / kind.name / f"{path.stem}.txt"
            yield self._entry(path, kind.name if defective else "good", text if defective and text.is_file() else None)

    def _entry(self, path: Path, kind: str, mask: Path | None = None) -> ScanEntry:
        own = os.path.abspath(path)
        return ScanEntry(path, own, defective=kind != "good", kind=printable(kind), mask=mask, tolerance=self._tolerance)


@dataclass(frozen=True)
class ScanEntry(Entry):
    """A scan as STL, and a text of its marked vertices where it is defective.

    tolerance  how far a listed place may lie from its vertex, in spacings of the vertices
    """

    tolerance: float = TOLERANCE

    def sample(self) -> Sample:
        cloud = read_mesh_vertices(self.path)
        return Sample(id=self.id, part=self.part, group=self.group, points=cloud.points, normals=cloud.normals)

    def truth(self) -> Truth:
        """Mark the vertex nearest to each listed place.

        raises  UnreadableFile for a text that is not written as it should be, or whose places lie off the scan
        """
        if self.mask is None:
            return Truth(label=self.defective, kind=self.kind)
        vertices, places = read_mesh_vertices(self.path).points, read_places(self.mask, delimiter=",")
        limit = self.tolerance * spacing(vertices)
        nearest, away = _nearest(vertices, places)
        if len(off := np.flatnonzero(away > limit)):
            first = int(off[0])
            place = ", ".join(f"{value:g}" for value in places[first])
            raise UnreadableFile(
                f"{printable(self.mask)}: {len(off):,} of its {len(places):,} places have no vertex of {printable(self.path)} "
                f"within {limit:.3g}, {self.tolerance:g} times the spacing of the vertices; the first, ({place}) in row "
                f"{first + 1:,}, is {away[first]:.3g} from the nearest; take both from the data set again, or allow more by "
                "the option tolerance"
            )
        marked = np.zeros(len(vertices), np.bool_)
        marked[nearest] = True
        return Truth(label=True, kind=self.kind, point_mask=marked)


def _nearest(vertices: Array, places: Array) -> tuple[Array, Array]:
    """Which vertex is nearest to each place (M,), and how far it is (M,)."""
    from scipy.spatial import cKDTree

    away, nearest = cKDTree(vertices, balanced_tree=False).query(places, workers=-1)
    return np.asarray(nearest), np.asarray(away)


def _scans(folder: Path) -> list[Path]:
    """The STL files in a folder in the order of the numbers that end their names; others behind, by name."""
    found = [path for path in folder.glob("*") if path.suffix.lower() == ".stl" and not path.name.startswith(".")]
    return sorted(found, key=lambda path: (_number(path), path.name))


def _number(path: Path) -> float:
    number = _NUMBER.search(path.stem)
    return float(number[0]) if number else math.inf


def _labels(table: Path, scans: list[Path], folder: Path) -> list[bool]:
    """Which scans of a folder are defective, by the rows of its table.

    raises  BadLayout where there is no table, a row has no such label, or rows and scans cannot be paired
    """
    if not table.is_file():
        raise BadLayout(
            f"{printable(table)}: there is no such file, which says what scans are defective; take it from the data set"
        )
    if odd := [path for path in scans if _number(path) == math.inf]:
        raise BadLayout(
            f"{printable(odd[0])}: its name ends with no number, which tells its row in {printable(table)}; name it so"
        )
    found = []
    for number, row in list(cells(table))[1:]:
        label = row[_COLUMN] if len(row) > _COLUMN else ""
        if label not in ("0", "1"):
            met = printable(",".join(row))
            raise BadLayout(f"{printable(table)}, line {number}: {met!r}; wanted an object and three labels, each 0 or 1")
        found.append(label == "1")
    if len(found) != len(scans):
        raise BadLayout(
            f"{printable(table)} has {len(found)} rows below its header, and {printable(folder)} has {len(scans)} scans; "
            "wanted a row for every scan, in the order of their numbers; take both from the data set again"
        )
    return found
