"""VisA: twelve products, split by tables; as it was published, or re-organised into the layout of MVTec AD.

Zou et al., "SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and Segmentation", ECCV 2022.

    split_csv/1cls.csv with object,split,label,image,mask; the paths count from the root, the mask of a good picture is empty
    <object>/Data/Images/{Normal,Anomaly}/*.JPG, <object>/Data/Masks/Anomaly/*.png
    <object>/{train/good,test/{good,bad},ground_truth/bad}      re-organised; several kinds of defect may stand for bad

Mask pixels hold the numbers of kinds of defect: whatever is not zero is marked.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from amiss.data.dataset import Dataset, Entry, Listing, SplitName, learned_defects
from amiss.data.layouts import wrong_layout
from amiss.data.readers import printable
from amiss.data.table import named_file, rows
from amiss.data.tree import category_folders, learns_from_good, pictures, read_category
from amiss.errors import BadField, BadLayout

CATEGORIES = frozenset(
    {"candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2", "pcb1", "pcb2", "pcb3", "pcb4",
     "pipe_fryum"}
)  # fmt: skip
SPLIT_FILES = ("1cls", "2cls_fewshot", "2cls_highshot")
_SPLITS: Mapping[str, SplitName] = {"train": "train", "test": "test"}
_LABELS = {"normal": "good", "anomaly": "anomaly"}


class Visa(Dataset):
    """By a table where there is split_csv/, else by the folders of the re-organised tree."""

    name = "visa"
    about = "VisA by its split tables, or re-organised"
    arrangement = "split_csv/1cls.csv beside <object>/Data/Images; or <object>/train/good and <object>/test/bad"

    def __init__(self, root: str | os.PathLike[str], *, split_file: str = "1cls") -> None:
        """split_file  1cls, 2cls_fewshot or 2cls_highshot; the last two learn from defects too

        raises  BadLayout saying what was expected and found, BadField for another split file
        """
        if split_file not in SPLIT_FILES:
            raise BadField(f"split_file {split_file!r}: wanted one of {', '.join(SPLIT_FILES)}")
        base = Path(root)
        self._table = base / "split_csv" / f"{split_file}.csv"
        self._folders = _tree(base)
        if not self._folders and not self._table.parent.is_dir():
            raise wrong_layout(type(self), base)
        self._rows: dict[str, list[tuple[int, dict[str, str]]]] = defaultdict(list)
        if self._table.parent.is_dir():
            self._folders = self._objects(base)
        elif split_file != "1cls":
            raise BadLayout(f"{printable(base)}: a re-organised tree has one split, so it cannot be read by {split_file}")
        super().__init__(root, self._folders)

    @classmethod
    def fits(cls, root: Path) -> bool:
        return (root / "split_csv").is_dir() or bool(_tree(root))

    def _objects(self, base: Path) -> dict[str, Path]:
        """The objects of the table that have a folder, with their rows."""
        if not self._table.is_file():
            there = ", ".join(sorted(printable(path.name) for path in self._table.parent.iterdir())) or "nothing"
            raise BadLayout(f"{printable(self._table)}: there is no such table; split_csv/ holds {there}")
        for number, row in rows(self._table, ("object", "split", "label", "image", "mask")):
            self._rows[row["object"]].append((number, row))
        found = {name: base / name for name in self._rows if name and (base / name).is_dir()}
        if not found:
            named = ", ".join(map(printable, self._rows)) or "nothing"
            raise BadLayout(f"{printable(self._table)} names {named}; none of it is a folder in {printable(base)}")
        return found

    def _list(self, category: str) -> Listing:
        if not self._rows:
            return read_category(self._folders[category])
        splits: dict[SplitName, list[Entry]] = {"train": [], "test": []}
        for number, row in self._rows[category]:
            where = f"{printable(self._table)}, line {number}"
            for column, wanted in (("split", _SPLITS), ("label", _LABELS)):
                if row[column] not in wanted:
                    raise BadLayout(f"{where}: {column} {printable(row[column])!r}; wanted one of {', '.join(wanted)}")
            path = named_file(self.root, row["image"], where, "the root")
            mask = named_file(self.root, row["mask"], where, "the root") if row["mask"] else None
            splits[_SPLITS[row["split"]]].append(Entry.of(path, _LABELS[row["label"]], mask))
        used = {entry.mask for entries in splits.values() for entry in entries}
        masks = self._folders[category] / "Data" / "Masks"
        orphans = tuple(path for path in (pictures(masks) if masks.is_dir() else ()) if path not in used)
        notes = learned_defects(splits["train"], self._table)
        return Listing({name: tuple(entries) for name, entries in splits.items()}, orphans, notes)


def _tree(root: Path) -> dict[str, Path]:
    """Categories of a re-organised tree."""
    return category_folders(root, lambda folder: folder.name in CATEGORIES and learns_from_good(folder))
