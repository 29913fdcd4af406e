"""Magnetic tile defects (MT): grey surfaces of tiles for motors, with five kinds of defect.

Huang et al., "Surface defect saliency of magnetic tile", The Visual Computer 2020.

    MT_Free/Imgs/*.jpg, MT_{Blowhole,Break,Crack,Fray,Uneven}/Imgs/*.jpg with a mask of the same stem, *.png

There is no official split. Ours: of MT_Free four fifths are train and the rest is test, drawn by seed and content (default
seed 0); all defects are test. Whether two frames show one tile is not known, so train and test may share tiles. Masks are soft:
a pixel is marked above half. A few masks of `uneven` mark nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from amiss.data.dataset import Dataset, Entry, Listing
from amiss.data.draw import shuffled
from amiss.data.layouts import wrong_layout
from amiss.data.readers import printable
from amiss.data.tree import kinds, pictures
from amiss.errors import BadLayout

GOOD_FOLDER, PREFIX = "MT_Free", "MT_"
LEARNED = 0.8


class MagneticTile(Dataset):
    """One category, tile; the kinds are named after the folders."""

    name = "magnetic_tile"
    about = "magnetic tile surface defects (MT), with a split of ours"
    arrangement = "MT_Free/Imgs, MT_Blowhole/Imgs, MT_Break/Imgs, MT_Crack/Imgs, MT_Fray/Imgs, MT_Uneven/Imgs"

    def __init__(self, root: str | os.PathLike[str], *, seed: int = 0) -> None:
        """raises  BadLayout saying what was expected and found"""
        if not self.fits(Path(root)):
            raise wrong_layout(type(self), Path(root))
        super().__init__(root, ("tile",))
        self._seed = seed

    @classmethod
    def fits(cls, root: Path) -> bool:
        return (root / GOOD_FOLDER).is_dir()

    def _list(self, category: str) -> Listing:
        good, _ = _read(self.root / GOOD_FOLDER, "good")
        if not good:
            raise BadLayout(f"{printable(self.root / GOOD_FOLDER)}: no picture in it; wanted JPEG or PNG files")
        drawn = shuffled(good, self._seed)
        learned = max(1, round(LEARNED * len(drawn)))
        defective: list[Entry] = []
        orphans: list[Path] = []
        for folder in kinds(self.root):
            if folder.name.startswith(PREFIX) and folder.name != GOOD_FOLDER:
                entries, left = _read(folder, folder.name.removeprefix(PREFIX).lower())
                defective += entries
                orphans += left
        test = [*drawn[learned:], *defective]
        by_path = {
            name: tuple(sorted(some, key=lambda entry: entry.path))
            for name, some in (("train", drawn[:learned]), ("test", test))
        }
        return Listing({"train": by_path["train"], "test": by_path["test"]}, tuple(orphans))


def _read(folder: Path, kind: str) -> tuple[list[Entry], list[Path]]:
    """Pictures with the masks of their stem, and the masks without a picture: masks are PNG, pictures are not."""
    found = pictures(folder)
    masks = {path.with_suffix(""): path for path in found if path.suffix.lower() == ".png"}
    entries = [
        Entry.of(path, kind, masks.pop(path.with_suffix(""), None), soft=0.5) for path in found if path.suffix.lower() != ".png"
    ]
    return entries, list(masks.values())
