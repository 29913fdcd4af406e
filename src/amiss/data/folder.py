"""Pictures or point clouds in folders: a bare folder of good parts, one category in the MVTec AD layout, or a CSV table.

    parts/**/*.png                                    all good, searched recursively
    part/train/good, part/test/<kind>, part/ground_truth/<kind>/<stem>_mask.png, part/validation/good
    table.csv with the columns path, label and, where wanted, split, kind, mask

`ok` is taken for `good`; masks are optional and are paired by stem, never by order. See amiss.data.table for tables.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from amiss.data.dataset import GOOD, Dataset, Entry, Listing
from amiss.data.layouts import looks_like
from amiss.data.readers import printable
from amiss.data.table import read_table
from amiss.data.tree import learns_from_good, read_category, refuse_depth
from amiss.data.views import WANTED, files_below, passed_over, views
from amiss.errors import BadLayout

_SUSPICIOUS = frozenset(
    {"abnormal", "anomalies", "anomalous", "anomaly", "bad", "defect", "defective", "defects", "fail", "failed", "faulty",
     "ground_truth", "groundtruth", "gt", "ko", "mask", "masks", "ng", "nio", "nok", "not_good", "not_ok", "reject",
     "rejected", "rejects", "scrap", "test"}
)  # fmt: skip
_MASKS = frozenset({"ground_truth", "groundtruth", "gt", "mask", "masks"})


class Folder(Dataset):
    """A folder or a CSV table as a data set of one category."""

    name = "folder"
    about = "pictures or point clouds of good parts, one category with train/ and test/, or a CSV table"
    arrangement = "a folder of good pictures or clouds; train/good, test/<kind>, ground_truth/<kind>; or a CSV with path,label"

    def __init__(self, root: str | os.PathLike[str], unlabelled: bool = False) -> None:
        """unlabelled  a bare folder holds good and defective parts alike, for methods that need no labels: no name of a
        folder below it is suspicious then, and all pictures come as `train`
        raises  BadLayout saying what was found and what was wanted
        """
        path = Path(root)
        if not path.exists():
            raise BadLayout(f"{printable(root)}: there is no such file or folder")
        if not path.is_dir():
            self.layout, self._found = "csv", read_table(path)
        elif (path / "train").is_dir():
            self.layout, self._found = "mvtec", _category(path)
        else:
            self.layout, self._found = "bare", _unlabelled(path) if unlabelled else _bare(path)
        resolved = path.resolve()
        super().__init__(root, (printable((resolved.stem if self.layout == "csv" else resolved.name) or "root"),))

    @classmethod
    def fits(cls, root: Path) -> bool:
        return root.suffix.lower() == ".csv" if root.is_file() else (root / "train").is_dir()

    def _list(self, category: str) -> Listing:
        return self._found


def _category(root: Path) -> Listing:
    if not learns_from_good(root) and (hint := looks_like(root, Folder)):
        raise BadLayout(f"{printable(root / 'train')}: it holds no folder named good (or ok){hint}")
    return read_category(root)


def _bare(root: Path) -> Listing:
    categories = sorted(printable(path.parent.name) for path in root.glob("*/train") if path.is_dir())
    if categories:
        raise BadLayout(
            f"{printable(root)} holds the categories {', '.join(categories)}; give the folder of one{looks_like(root, Folder)}"
        )
    if hint := looks_like(root, Folder):
        raise BadLayout(f"{printable(root)}: a bare folder is taken as good parts only, but this is none{hint}")
    files = files_below(root)
    found = views(files, root)
    if not found:
        raise BadLayout(f"{printable(root)}: no picture or point cloud in it or below it; {WANTED}")
    if suspects := sorted(_suspects(found, root)):
        raise BadLayout(
            f"{printable(root)}: a bare folder is taken as good parts only, but it holds {', '.join(suspects)}; give the "
            "folder with the good parts, or arrange train/good, test/<kind> and ground_truth/<kind>"
        )
    refuse_depth(found, root)
    return Listing({"train": tuple(Entry.of(path, "good") for path in found)}, notes=tuple(passed_over(files, found)))


def _unlabelled(root: Path) -> Listing:
    files = files_below(root)
    files = [path for path in files if not _MASKS & {parent.name.lower() for parent in path.relative_to(root).parents}]
    found = views(files, root)
    if not found:
        raise BadLayout(f"{printable(root)}: no picture or point cloud in it or below it; {WANTED}")
    refuse_depth(found, root)
    return Listing({"train": tuple(Entry.of(path, "good") for path in found)}, notes=tuple(passed_over(files, found)))


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
