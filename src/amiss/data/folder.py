"""Pictures in folders: a bare folder of good parts, one category in the MVTec AD layout, or a CSV table.

    parts/**/*.png                                    all good, searched recursively
    part/train/good, part/test/<kind>, part/ground_truth/<kind>/<stem>_mask.png, part/validation/good
    table.csv with the columns path, label and, where wanted, split, kind, mask

`ok` is taken for `good`; masks are optional and are paired by stem, never by order. See amiss.data.table for tables.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from amiss.data.dataset import Dataset, Entry, Listing, Split, SplitName
from amiss.data.readers import is_picture, printable
from amiss.data.table import GOOD, read_table
from amiss.errors import BadField, BadLayout

_SUSPICIOUS = frozenset(
    {"abnormal", "anomalies", "anomalous", "anomaly", "bad", "defect", "defective", "defects", "fail", "failed", "faulty",
     "ground_truth", "groundtruth", "gt", "ko", "mask", "masks", "ng", "nio", "nok", "not_good", "not_ok", "reject",
     "rejected", "rejects", "scrap", "test"}
)  # fmt: skip
_DEPTH = frozenset({"depth", "disp", "pcd", "xyz", "z"})
_WANTED = "wanted PNG, JPEG, TIFF, BMP or WebP files"


class Folder(Dataset):
    """A folder or a CSV table as a data set of one category."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """raises  BadLayout saying what was found and what was wanted"""
        self.root = Path(root)
        if not self.root.exists():
            raise BadLayout(f"{printable(root)}: there is no such file or folder")
        if not self.root.is_dir():
            self.layout, self._listing = "csv", read_table(self.root)
        elif (self.root / "train").is_dir():
            self.layout, self._listing = "mvtec", _mvtec(self.root)
        else:
            self.layout, self._listing = "bare", _bare(self.root)

    @property
    def categories(self) -> tuple[str, ...]:
        resolved = self.root.resolve()
        return (printable((resolved.stem if self.layout == "csv" else resolved.name) or "root"),)

    def split(self, category: str, name: SplitName) -> Split:
        self._check(category)
        if name not in ("train", "calibration", "test"):
            raise BadField(f"split {name!r}: wanted train, calibration or test")
        return Split(self._listing.splits.get(name, ()))

    def orphans(self, category: str) -> tuple[Path, ...]:
        self._check(category)
        return self._listing.orphans

    def notes(self, category: str) -> tuple[str, ...]:
        self._check(category)
        return self._listing.notes

    def _check(self, category: str) -> None:
        if category not in self.categories:
            raise BadLayout(f"{printable(self.root)} holds {self.categories[0]!r}, not {category!r}")


def pictures(folder: Path) -> list[Path]:
    """All pictures below a folder, sorted; hidden files and folders are passed over, links that lead nowhere are not."""
    found = (
        path
        for path in folder.rglob("*")
        if is_picture(path) and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    return sorted(path for path in found if not path.is_dir())


def _bare(root: Path) -> Listing:
    categories = sorted(printable(path.parent.name) for path in root.glob("*/train") if path.is_dir())
    if categories:
        raise BadLayout(f"{printable(root)} holds the categories {', '.join(categories)}; give the folder of one")
    found = pictures(root)
    if not found:
        raise BadLayout(f"{printable(root)}: no picture in it or below it; {_WANTED}")
    if suspects := sorted(_suspects(found, root)):
        raise BadLayout(
            f"{printable(root)}: a bare folder is taken as good parts only, but it holds {', '.join(suspects)}; give the "
            "folder with the good parts, or arrange train/good, test/<kind> and ground_truth/<kind>"
        )
    _refuse_depth(found, root)
    return Listing({"train": tuple(_entry(path, "good") for path in found)})


def _suspects(found: Sequence[Path], root: Path) -> Iterator[str]:
    """Names of folders and files that are hardly good parts: telling names, neighbours of `good`, masks beside pictures."""
    children: dict[Path, set[str]] = defaultdict(set)
    for path in found:
        for parent in path.relative_to(root).parents:
            children[parent.parent].add(parent.name)
    for names in children.values():
        spoken_for = {name for name in names if name.lower() in GOOD}
        for name in names - spoken_for - {""}:
            if name.lower() in _SUSPICIOUS or spoken_for:
                yield printable(name)
    stems = {path.with_suffix("") for path in found}
    masks = (stem.name for stem in stems if stem.name.endswith("_mask") and stem.with_name(stem.name[:-5]) in stems)
    if first := min(masks, default=None):
        yield f"masks beside their pictures ({printable(first)})"


def _mvtec(root: Path) -> Listing:
    train = _kinds(root / "train")
    if not train or any(folder.name.lower() not in GOOD for folder in train):
        met = ", ".join(printable(folder.name) for folder in train) or "no folder"
        raise BadLayout(f"{printable(root / 'train')}: wanted nothing but one folder named good (or ok), found {met}")
    places: dict[SplitName, list[Path]] = {
        "train": train,
        "calibration": _kinds(root / "validation"),
        "test": _kinds(root / "test"),
    }
    found = {folder: pictures(folder) for folders in places.values() for folder in folders}
    _refuse_depth([path for paths in found.values() for path in paths], root)
    if not any(found[folder] for folder in train):
        raise BadLayout(f"{printable(train[0])}: no picture in it; {_WANTED}")
    masks = {path: mask for folder in places["test"] for path, mask in _paired(found[folder], folder, root)}
    splits: dict[SplitName, tuple[Entry, ...]] = {
        name: tuple(_entry(path, folder.name, masks.get(path)) for folder in folders for path in found[folder])
        for name, folders in places.items()
    }
    truth, used = root / "ground_truth", set(masks.values())
    orphans = tuple(path for path in pictures(truth) if path not in used) if truth.is_dir() else ()
    notes = list(_loose(root))
    if bad := sum(entry.defective for entry in splits["calibration"]):
        notes.append(
            f"{bad} picture(s) in validation/ are not in a folder named good and are not used: calibration is for good parts"
        )
        splits["calibration"] = tuple(entry for entry in splits["calibration"] if not entry.defective)
    return Listing(splits, orphans, tuple(notes))


def _kinds(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))


def _entry(path: Path, kind: str, mask: Path | None = None) -> Entry:
    good = kind.lower() in GOOD
    return Entry(path, os.path.abspath(path), defective=not good, kind="good" if good else printable(kind), mask=mask)


def _paired(found: Sequence[Path], folder: Path, root: Path) -> Iterator[tuple[Path, Path]]:
    """Each picture with the mask whose stem is the picture's, with or without _mask; of several suffixes PNG wins."""
    place = root / "ground_truth" / folder.name
    ranked = sorted(pictures(place) if place.is_dir() else (), key=lambda path: path.suffix.lower() == ".png")
    stems = {path.relative_to(place).with_suffix(""): path for path in ranked}
    for path in found:
        stem = path.relative_to(folder).with_suffix("")
        mask = stems.get(stem.with_name(stem.name + "_mask")) or stems.get(stem)
        if mask is not None:
            yield path, mask


def _loose(root: Path) -> Iterator[str]:
    for name in ("train", "validation", "test"):
        if count := sum(is_picture(path) and path.is_file() for path in (root / name).glob("*")):
            yield f"{count} picture(s) lie directly in {name}/ and are not used: put them into a folder named after their kind"


def _refuse_depth(found: Iterable[Path], root: Path) -> None:
    """Pictures of several sensors side by side are one part, not many."""
    for place in sorted({path.parent for path in found}):
        for folder in (place, *place.parents):
            if folder == root or root not in folder.parents:
                break
            beside = {path.name.lower() for path in folder.parent.iterdir()} if folder.name.lower() == "rgb" else set()
            if beside & _DEPTH:
                raise BadLayout(
                    f"{printable(folder.parent)} keeps rgb/ beside {min(beside & _DEPTH)}/: several pictures of one part, "
                    "which this reader would take for separate parts; give the rgb folder, or a CSV with the pictures to use"
                )
