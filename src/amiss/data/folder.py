"""Pictures in folders: a bare folder of good parts, one category in the MVTec AD layout, or a CSV table.

    parts/**/*.png                                    all good, searched recursively
    part/train/good, part/test/<kind>, part/ground_truth/<kind>/<stem>_mask.png, part/validation/good
    table.csv with the columns path, label and, where wanted, split, kind, mask

`ok` is taken for `good`; masks are optional and are paired by stem, never by order. In a CSV paths are relative to the table;
label is good, ok, normal or 0 for good parts and anything else for the others; without a split column every good row is
`train` and every row is `test`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from amiss.data.dataset import Dataset, Entry, Split, SplitName
from amiss.data.readers import is_picture, printable
from amiss.errors import BadLayout, UnreadableFile

GOOD = frozenset({"good", "ok", "normal"})
_GOOD_LABELS = GOOD | {"0", "false", "n", "no"}
_SUSPICIOUS = frozenset(
    {"bad", "ng", "nok", "ko", "defect", "defects", "defective", "anomaly", "anomalous", "anomalies", "test",
     "ground_truth", "masks"}
)  # fmt: skip
_DEPTH = frozenset({"disp", "depth", "xyz", "z", "pcd"})
_SPLITS: dict[str, SplitName] = {
    "train": "train", "calibration": "calibration", "validation": "calibration", "val": "calibration", "test": "test",
}  # fmt: skip


class Folder(Dataset):
    """A folder or a CSV table as a data set of one category."""

    def __init__(self, root: str | Path) -> None:
        """raises  BadLayout saying what was found and what was wanted"""
        self.root = Path(root)
        self._splits: dict[SplitName, tuple[Entry, ...]]
        if not self.root.exists():
            raise BadLayout(f"{printable(root)}: there is no such file or folder")
        if self.root.is_file():
            self.layout, self._splits = "csv", _from_csv(self.root)
        elif (self.root / "train").is_dir():
            self.layout, self._splits = "mvtec", _from_mvtec(self.root)
        else:
            self.layout, self._splits = "bare", _from_bare(self.root)

    @property
    def categories(self) -> tuple[str, ...]:
        return (self.root.resolve().stem,)

    def split(self, category: str, name: SplitName) -> Split:
        if category not in self.categories:
            raise BadLayout(f"{printable(self.root)} holds {self.categories[0]!r}, not {category!r}")
        return Split(self._splits.get(name, ()))


def pictures(folder: Path) -> list[Path]:
    """All pictures below a folder, sorted; hidden files and folders are passed over."""
    found = (
        path
        for path in folder.rglob("*")
        if is_picture(path) and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    return sorted(path for path in found if path.is_file())


def _from_bare(root: Path) -> dict[SplitName, tuple[Entry, ...]]:
    found = pictures(root)
    if not found:
        raise BadLayout(f"{printable(root)}: no picture in it or below it; wanted PNG, JPEG, TIFF, BMP or WebP files")
    below = {part for path in found for part in path.relative_to(root).parts[:-1]}
    categories = sorted(path.parent.name for path in root.glob("*/train") if path.is_dir())
    if categories:
        raise BadLayout(f"{printable(root)} holds the categories {', '.join(categories)}; give the folder of one")
    if suspects := sorted(name for name in below if name.lower() in _SUSPICIOUS):
        raise BadLayout(
            f"{printable(root)}: a bare folder is taken as good parts only, but it holds {', '.join(suspects)}; give the "
            "folder with the good parts, or arrange train/good, test/<kind>"
        )
    _refuse_depth(root)
    return {"train": tuple(_entry(path, "good") for path in found)}


def _from_mvtec(root: Path) -> dict[SplitName, tuple[Entry, ...]]:
    train = _kind_folders(root / "train")
    strangers = [folder.name for folder in train if folder.name.lower() not in GOOD]
    if strangers or not train:
        found = ", ".join(strangers) or "no folder"
        raise BadLayout(f"{printable(root / 'train')}: wanted one folder named good (or ok), found {found}")
    _refuse_depth(train[0])
    splits: dict[SplitName, tuple[Entry, ...]] = {"train": _entries(train, root)}
    if not splits["train"]:
        raise BadLayout(f"{printable(train[0])}: no picture in it; wanted PNG, JPEG, TIFF, BMP or WebP files")
    splits["test"] = _entries(_kind_folders(root / "test"), root)
    splits["calibration"] = tuple(e for e in _entries(_kind_folders(root / "validation"), root) if not e.defective)
    return splits


def _kind_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))


def _entries(folders: Iterable[Path], root: Path) -> tuple[Entry, ...]:
    return tuple(_entry(path, folder.name, _mask(path, folder, root)) for folder in folders for path in pictures(folder))


def _entry(path: Path, kind: str, mask: Path | None = None) -> Entry:
    good = kind.lower() in GOOD
    return Entry(path, str(path), defective=not good, kind="good" if good else kind, mask=mask)


def _mask(path: Path, folder: Path, root: Path) -> Path | None:
    """The mask whose stem is the picture's, with or without _mask, whatever its suffix."""
    place = root / "ground_truth" / folder.name / path.relative_to(folder).parent
    for stem in (path.stem + "_mask", path.stem):
        for suffix in (".png", path.suffix, ".bmp", ".tif", ".tiff", ".jpg"):
            if (candidate := place / (stem + suffix)).is_file():
                return candidate
    return None


def _refuse_depth(folder: Path) -> None:
    names = {path.name.lower() for path in folder.glob("*") if path.is_dir()}
    if "rgb" in names and names & _DEPTH:
        depth = sorted(names & _DEPTH)[0]
        raise BadLayout(
            f"{printable(folder)} keeps rgb/ beside {depth}/: several pictures of one part, which this reader would take "
            "for separate parts; give the rgb folder, or a CSV with the paths of the pictures to use"
        )


def _from_csv(table: Path) -> dict[SplitName, tuple[Entry, ...]]:
    rows = _rows(table)
    splits: dict[SplitName, list[Entry]] = {"train": [], "calibration": [], "test": []}
    for number, row in rows:
        entry = _csv_entry(table, number, row)
        split = _SPLITS.get(row.get("split", "").lower())
        if row.get("split") and split is None:
            raise BadLayout(f"{printable(table)}, line {number}: split {row['split']!r}; wanted {', '.join(_SPLITS)}")
        if split is None:
            splits["test"].append(entry)
        if split != "test" and not entry.defective:
            splits[split or "train"].append(entry)
        elif split == "test":
            splits["test"].append(entry)
    if not any(splits.values()):
        raise BadLayout(f"{printable(table)}: no rows; wanted one line a picture below the header path,label")
    return {name: tuple(entries) for name, entries in splits.items()}


def _rows(table: Path) -> Sequence[tuple[int, dict[str, str]]]:
    try:
        text = table.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UnreadableFile(f"{printable(table)}: {error.strerror}") from error
    lines = text.splitlines()
    if not lines or "\0" in lines[0] or table.suffix.lower() not in (".csv", ".txt", ".tsv"):
        raise BadLayout(f"{printable(table)}: wanted a folder, or a CSV table with the columns path and label")
    delimiter = max(",;\t", key=lines[0].count)
    reader = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
    names = [name.strip().lower() for name in reader.fieldnames or ()]
    if not {"path", "label"} <= set(names):
        raise BadLayout(f"{printable(table)}: its columns are {', '.join(names)}; wanted at least path and label")
    reader.fieldnames = names
    return [
        (reader.line_num, {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)}) for row in reader
    ]


def _csv_entry(table: Path, number: int, row: dict[str, str]) -> Entry:
    path = table.parent / row["path"]
    mask = table.parent / row["mask"] if row.get("mask") else None
    for wanted in (path, mask):
        if wanted is not None and not wanted.is_file():
            raise BadLayout(f"{printable(table)}, line {number}: there is no file {printable(wanted)}")
    if not row["label"]:
        raise BadLayout(f"{printable(table)}, line {number}: the label is empty; wanted good, or what is wrong")
    good = row["label"].lower() in _GOOD_LABELS
    kind = "good" if good else row.get("kind") or ("defective" if row["label"] in ("1", "true") else row["label"])
    return Entry(path, str(path), defective=not good, kind=kind, mask=mask)
