"""MVTec LOCO AD: logical and structural anomalies, with one mask for every defect of a picture.

Bergmann et al., "Beyond Dents and Scratches: Logical Constraints in Unsupervised Anomaly Detection and Localization", IJCV
2022.

    <category>/{train,validation}/good, test/{good,logical_anomalies,structural_anomalies}/<stem>.png
    <category>/ground_truth/<kind>/<stem>/000.png, 001.png, ...     <category>/defects_config.json

Each mask is one defect channel: 0 where it is fine, one positive value elsewhere, which names its entry in defects_config.json.
The entry says at how many pixels the defect counts as found, which sPRO needs. validation/good is for calibration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from amiss.data.dataset import Entry, Listing
from amiss.data.readers import printable, read_codes, read_json
from amiss.data.tree import CategoryFolders, learns_from_good, pictures, read_category
from amiss.errors import BadLayout
from amiss.types import Truth

Array = npt.NDArray[Any]
CONFIG = "defects_config.json"
KINDS = ("logical_anomalies", "structural_anomalies")


@dataclass(frozen=True)
class Saturation:
    """How much of a defect has to be found: a number of pixels, or a share of its area."""

    threshold: float
    relative: bool

    def pixels(self, area: int) -> float:
        """Pixels of a defect of that area that count as all of it, at least one."""
        return float(max(1, int(self.threshold * area) if self.relative else min(self.threshold, area)))


class MvtecLoco(CategoryFolders):
    """The truths have a region for every defect, and a mask that joins them."""

    name = "mvtec_loco"
    about = "MVTec LOCO AD: logical and structural anomalies"
    arrangement = (
        "<category>/train/good, <category>/validation/good, <category>/test/logical_anomalies, "
        f"<category>/ground_truth/<kind>/<stem>/<number>.png, <category>/{CONFIG}"
    )

    @staticmethod
    def is_category(folder: Path) -> bool:
        telling = (folder / CONFIG, *(folder / "test" / kind for kind in KINDS))
        return learns_from_good(folder) and any(path.exists() for path in telling)

    def _list(self, category: str) -> Listing:
        folder = self._folders[category]
        defects = read_defects(folder / CONFIG)
        found = read_category(folder, pair=_folders_of_masks)
        splits = {name: tuple(_with(defects, entry) for entry in entries) for name, entries in found.splits.items()}
        return Listing(splits, found.orphans, found.notes)


@dataclass(frozen=True)
class LocoEntry(Entry):
    """A picture whose mask is a folder of defect channels.

    defects  the saturation of each value that a channel may have
    """

    averaged: ClassVar[tuple[str, ...]] = KINDS

    defects: Mapping[int, Saturation] = field(default_factory=dict)

    def truth(self) -> Truth:
        """Read all channels.

        raises  BadLayout for a channel that is empty, of several values, of an unknown one, or of another size than the others
        """
        if self.mask is None or not self.defective:
            return Truth(label=self.defective, kind=self.kind)
        regions = tuple(self._region(path) for path in pictures(self.mask))
        if len(shapes := {region.shape for region, _ in regions}) != 1:
            met = " and ".join(f"{width} x {height}" for height, width in sorted(shapes)) or "no mask"
            raise BadLayout(f"{printable(self.mask)}: {met} in it; wanted masks of one size")
        union = np.logical_or.reduce([region for region, _ in regions])
        return Truth(label=True, kind=self.kind, mask=union, regions=regions)

    def _region(self, path: Path) -> tuple[Array, float]:
        codes = read_codes(path)
        values = [int(value) for value in np.unique(codes) if value]
        if len(values) != 1:
            met = f"the values {', '.join(map(str, values))}" if values else "nothing marked"
            raise BadLayout(f"{printable(path)}: {met}; wanted one positive value, which says what defect it is")
        if values[0] not in self.defects:
            known = ", ".join(map(str, sorted(self.defects)))
            raise BadLayout(f"{printable(path)}: its value {values[0]} is not in {CONFIG}, which has {known}")
        region = codes != 0
        return region, self.defects[values[0]].pixels(int(region.sum()))


def read_defects(path: Path) -> dict[int, Saturation]:
    """The saturation of each pixel value.

    raises  BadLayout where the file is missing or an entry lacks something, UnreadableFile where it is no JSON
    """
    if not path.is_file():
        raise BadLayout(
            f"{printable(path.parent)}: no {CONFIG}, which says what each mask value means; take it from the data set, or "
            "read masks that were joined into one with the data set mvtec_ad (--dataset mvtec_ad)"
        )
    listed = read_json(path)
    try:
        return {
            int(defect["pixel_value"]): Saturation(float(defect["saturation_threshold"]), bool(defect["relative_saturation"]))
            for defect in listed
        }
    except (KeyError, TypeError, ValueError) as error:
        wanted = "pixel_value, saturation_threshold and relative_saturation"
        raise BadLayout(f"{printable(path)}: wanted a list of defects with {wanted} ({error!r})") from error


def _with(defects: Mapping[int, Saturation], entry: Entry) -> LocoEntry:
    return LocoEntry(**{known.name: getattr(entry, known.name) for known in fields(Entry)}, defects=defects)


def _folders_of_masks(found: Sequence[Path], folder: Path, masks: Path) -> dict[Path, Path]:
    """Each picture with the folder that has its stem."""
    joined = {path.stem.removesuffix("_mask") for path in masks.glob("*") if path.is_file()}
    pairs = {}
    for path in found:
        place = masks / path.relative_to(folder).with_suffix("")
        if place.is_dir():
            pairs[path] = place
        elif place.name in joined:
            raise BadLayout(
                f"{printable(masks)}: {printable(place.name)} has a mask file, wanted a folder with one mask a defect; read "
                "masks that were joined into one with the data set mvtec_ad (--dataset mvtec_ad)"
            )
    return pairs
