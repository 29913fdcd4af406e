"""Categories in folders, as MVTec AD arranged them and most others after it: train, validation, test, ground_truth.

    <category>/train/good/*    validation/good/*    test/<kind>/*    ground_truth/<kind>/<stem>_mask.png

`ok` is taken for `good`; masks are optional and are paired by stem, with or without `_mask`, never by order.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amiss.data.dataset import GOOD, Dataset, Entry, Listing, SplitName
from amiss.data.layouts import wrong_layout
from amiss.data.readers import is_cloud, is_picture, printable
from amiss.data.views import WANTED, files_below, passed_over, shows_part, views
from amiss.errors import BadLayout

_CLOUDS_OF_BOTH = "; the point clouds of MVTec 3D-AD are read by the data set mvtec_3d (--dataset mvtec_3d)"
_DEPTH = frozenset({"depth", "disp", "pcd", "xyz", "z"})


class CategoryFolders(Dataset):
    """A folder of categories, or the folder of one: what the data sets after MVTec AD share."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """raises  BadLayout saying what was expected, what was found, and what it may be instead"""
        self._folders = category_folders(Path(root), self.is_category)
        if not self._folders:
            raise wrong_layout(type(self), Path(root))
        super().__init__(root, self._folders)

    @staticmethod
    @abstractmethod
    def is_category(folder: Path) -> bool:
        """Whether a folder is one category, by a look at a few names."""

    @classmethod
    def fits(cls, root: Path) -> bool:
        return bool(category_folders(root, cls.is_category))

    def _list(self, category: str) -> Listing:
        return read_category(self._folders[category])


def category_folders(root: Path, is_category: Callable[[Path], bool]) -> dict[str, Path]:
    """The categories of a root by name: itself where it is one, else the folders in it."""
    folders = [root] if is_category(root.resolve()) else [folder for folder in kinds(root) if is_category(folder)]
    return {printable(folder.resolve().name if folder is root else folder.name): folder for folder in folders}


def learns_from_good(folder: Path) -> bool:
    """Whether there is train/good, or one of its other names."""
    return any(place.name.lower() in GOOD for place in kinds(folder / "train"))


@dataclass(frozen=True)
class Tree:
    """Where a category keeps its files.

    inner   folder of the pictures within a kind, "" where they lie in it directly
    masks   folder of a test kind's masks, counted from the category; {kind} stands for the name
    """

    inner: str = ""
    masks: str = "ground_truth/{kind}"

    def masks_of(self, root: Path, kind: str) -> Path:
        return root / self.masks.replace("{kind}", kind)


# pictures, their folder, the folder of their masks -> the mask of each picture that has one
Pair = Callable[[Sequence[Path], Path, Path], Mapping[Path, Path]]


def read_category(root: Path, tree: Tree | None = None, pair: Pair | None = None) -> Listing:
    """Look through one category.

    pair    finds the masks; by stem where None
    raises  BadLayout saying what was found and what was wanted
    """
    tree, pair, places = tree or Tree(), pair or paired, _places(root)
    listed = {folder: files_below(folder / tree.inner) for folders in places.values() for folder in folders}
    files = [path for paths in listed.values() for path in paths]
    if not tree.inner:
        refuse_depth(filter(shows_part, files), root)
    used = set(views(files, root))
    found = {folder: [path for path in paths if path in used] for folder, paths in listed.items()}
    if not any(found[folder] for folder in places["train"]):
        raise BadLayout(f"{printable(places['train'][0] / tree.inner)}: no picture or point cloud in it; {WANTED}")
    masks: dict[Path, Path] = {}
    for folder in places["test"]:
        masks |= pair(found[folder], folder / tree.inner, tree.masks_of(root, folder.name))
    splits: dict[SplitName, tuple[Entry, ...]] = {
        name: tuple(Entry.of(path, folder.name, masks.get(path)) for folder in folders for path in found[folder])
        for name, folders in places.items()
    }
    notes = [*_loose(root), *_bad_calibration(splits["calibration"]), *passed_over(files, sorted(used))]
    splits["calibration"] = tuple(entry for entry in splits["calibration"] if not entry.defective)
    orphans = _orphans(root, tree, set(masks.values()), files=sorted(used))
    return Listing(splits, orphans, tuple(notes))


def _places(root: Path) -> dict[SplitName, list[Path]]:
    """The folders of each split; train holds nothing but good."""
    train = kinds(root / "train")
    if not train or any(folder.name.lower() not in GOOD for folder in train):
        met = ", ".join(printable(folder.name) for folder in train) or "no folder"
        raise BadLayout(f"{printable(root / 'train')}: wanted nothing but one folder named good (or ok), found {met}")
    return {"train": train, "calibration": kinds(root / "validation"), "test": kinds(root / "test")}


def pictures(folder: Path) -> list[Path]:
    """All pictures below a folder, sorted; hidden files and folders are passed over, links that lead nowhere are not."""
    return [path for path in files_below(folder) if is_picture(path)]


def kinds(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones."""
    return sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))


def paired(found: Sequence[Path], folder: Path, masks: Path) -> dict[Path, Path]:
    """Each picture with the mask whose stem is the picture's, with or without _mask; of several suffixes PNG wins. A mask of a
    point cloud may be a file of points with labels too.

    raises  BadLayout where a picture has a folder of masks instead
    """
    ranked = sorted(_masks(masks, found) if masks.is_dir() else (), key=lambda path: path.suffix.lower() == ".png")
    stems = {path.relative_to(masks).with_suffix(""): path for path in ranked}
    pairs = {}
    for path in found:
        stem = path.relative_to(folder).with_suffix("")
        mask = stems.get(stem.with_name(stem.name + "_mask")) or stems.get(stem)
        if mask is not None:
            pairs[path] = mask
        elif (masks / stem).is_dir() and pictures(masks / stem):
            raise BadLayout(
                f"{printable(masks / stem)} is a folder: several masks of one picture, as MVTec LOCO AD has them; "
                "use the data set mvtec_loco (--dataset mvtec_loco)"
            )
    return pairs


def _masks(folder: Path, found: Sequence[Path]) -> list[Path]:
    """Files that may be masks of what was found."""
    labelled = any(is_cloud(path) for path in found)
    return [path for path in files_below(folder) if is_picture(path) or (labelled and is_cloud(path))]


def _orphans(root: Path, tree: Tree, used: set[Path], *, files: Sequence[Path]) -> tuple[Path, ...]:
    """Masks that no picture took, by themselves or with their folder."""
    above, _, below = tree.masks.partition("{kind}")
    folders = [root / above] if not below else [folder / below.strip("/") for folder in kinds(root / above)]
    found = (path for folder in folders if folder.is_dir() for path in _masks(folder, files))
    return tuple(path for path in found if not {path, path.parent} & used)


def _bad_calibration(entries: Iterable[Entry]) -> Iterator[str]:
    if bad := sum(entry.defective for entry in entries):
        yield f"{bad} file(s) in validation/ are not in a folder named good and are not used: calibration is for good parts"


def _loose(root: Path) -> Iterator[str]:
    for name in ("train", "validation", "test"):
        if count := sum(shows_part(path) and path.is_file() for path in (root / name).glob("*")):
            yield f"{count} file(s) lie directly in {name}/ and are not used: put them into a folder named after their kind"


def refuse_depth(found: Iterable[Path], root: Path) -> None:
    """Pictures of several sensors side by side are one part, not many."""
    for place in sorted({path.parent for path in found}):
        for folder in (place, *place.parents):
            if folder == root or root not in folder.parents:
                break
            beside = {path.name.lower() for path in folder.parent.iterdir()} if folder.name.lower() == "rgb" else set()
            if beside & _DEPTH:
                raise BadLayout(
                    f"{printable(folder.parent)} keeps rgb/ beside {min(beside & _DEPTH)}/: several pictures of one part, "
                    "which this reader would take for separate parts; give the rgb folder or the other, or a CSV of the files"
                    f"{_CLOUDS_OF_BOTH * ('xyz' in beside)}"
                )
