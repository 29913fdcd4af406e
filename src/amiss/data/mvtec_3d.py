"""MVTec 3D-AD as point clouds: ten products before a structured-light sensor, each scan a grid of x, y and z in metres.

Bergmann et al., "The MVTec 3D-AD Dataset for Unsupervised 3D Anomaly Detection and Localization", VISAPP 2022.

    <category>/{train,validation}/good/xyz/<number>.tiff
    <category>/test/<good|kind>/xyz/<number>.tiff     <category>/test/<kind>/gt/<number>.png     rgb/ beside xyz/ is not read

Pixels that are zero in all three channels were not measured and are dropped. A mask covers the grid and marks the points of its
pixels. validation/good is for calibration. What lies under and around a part is kept: most published figures are for scans
whose ground plane was removed before.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from amiss.data.dataset import Entry, Listing
from amiss.data.named_clouds import CloudEntry
from amiss.data.readers import printable, read_mask
from amiss.data.tree import CategoryFolders, Tree, kinds, learns_from_good, read_category
from amiss.errors import BadLayout
from amiss.types import Truth

CATEGORIES = frozenset(
    {"bagel", "cable_gland", "carrot", "cookie", "dowel", "foam", "peach", "potato", "rope", "tire"}
)  # fmt: skip
SCANS = Tree(inner="xyz", masks="test/{kind}/gt")


class Mvtec3d(CategoryFolders):
    """Known by xyz/ in train/good with its published names, or with masks in gt/ of a test kind; 3D-ADAM has other masks."""

    name = "mvtec_3d"
    about = "MVTec 3D-AD, point clouds only"
    arrangement = (
        "<category>/train/good/xyz, <category>/validation/good/xyz, <category>/test/<kind>/xyz, <category>/test/<kind>/gt"
    )

    @staticmethod
    def is_category(folder: Path) -> bool:
        scanned = learns_from_good(folder) and any((good / "xyz").is_dir() for good in kinds(folder / "train"))
        return scanned and (folder.name in CATEGORIES or any((kind / "gt").is_dir() for kind in kinds(folder / "test")))

    def _list(self, category: str) -> Listing:
        found = read_category(self._folders[category], SCANS)
        splits = {name: tuple(_over_grid(entry) for entry in entries) for name, entries in found.splits.items()}
        return Listing(splits, found.orphans, found.notes)


class GridEntry(CloudEntry):
    """A scan as a grid, whose mask is a picture of the same size."""

    def truth(self) -> Truth:
        """The mask, and which points of the scan lie under it.

        raises  BadLayout for a mask of another size than the grid
        """
        if self.mask is None or not self.defective:
            return Truth(label=self.defective, kind=self.kind)
        mask, scan = read_mask(self.mask), self.sample()
        if scan.pixels is None or mask.shape != scan.shape:
            met = "no grid" if scan.shape is None else f"a grid of {scan.shape[1]} x {scan.shape[0]}"
            raise BadLayout(
                f"{printable(self.mask)}: the mask is {mask.shape[1]} x {mask.shape[0]}, and {printable(self.path)} has {met}; "
                "take both from the data set again"
            )
        return Truth(label=True, kind=self.kind, mask=mask, point_mask=mask[tuple(scan.pixels.T)])


def _over_grid(entry: Entry) -> GridEntry:
    return GridEntry(**{known.name: getattr(entry, known.name) for known in fields(Entry)})
