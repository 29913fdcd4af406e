"""Which files below a folder show parts: pictures or point clouds, never both at once.

TXT and CSV may hold anything, labels and tables included. They count as point clouds only where there is nothing else, and only
those that begin with rows of numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from amiss.data.clouds import begins_with_points
from amiss.data.readers import is_cloud, is_picture, printable, read_sample
from amiss.errors import BadLayout, UnreadableFile

WANTED = "wanted PNG, JPEG, TIFF, BMP or WebP files, or point clouds as PCD, PLY, STL, OBJ, XYZ, ASC, TXT, CSV or TIFF"
_TEXTS = frozenset({".txt", ".csv"})
_TIFFS = frozenset({".tif", ".tiff"})


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, sorted; hidden files and folders are passed over, links that lead nowhere are not."""
    found = (path for path in folder.rglob("*") if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(path for path in found if not path.is_dir())


def shows_part(path: Path) -> bool:
    """Whether a file is a picture or a point cloud by its name alone."""
    return is_picture(path) or (is_cloud(path) and path.suffix.lower() not in _TEXTS)


def views(files: Sequence[Path], root: Path) -> list[Path]:
    """Those of some files that show parts.

    raises  BadLayout where some are pictures and some point clouds, with the number of both
    """
    found = [path for path in files if shows_part(path)]
    refuse_mixture(found, root)
    return found or [path for path in files if is_cloud(path) and begins_with_points(path)]


def refuse_mixture(found: Iterable[Path], where: Path) -> None:
    """raises  BadLayout where some files are pictures and some point clouds"""
    clouds, pictures, tiffs = list[Path](), list[Path](), list[Path]()
    for path in found:
        if is_cloud(path):
            clouds.append(path)
        elif is_picture(path):
            (tiffs if path.suffix.lower() in _TIFFS else pictures).append(path)
    if tiffs and (clouds or pictures):
        (clouds if _is_organised(tiffs[0]) else pictures).extend(tiffs)  # the first speaks for all
    if clouds and pictures:
        raise BadLayout(
            f"{printable(where)} holds {_count(pictures, 'picture')} and {_count(clouds, 'point cloud')}, and a data set is of "
            "one kind; give the folder of one, or a CSV table that names the files to use"
        )


def passed_over(files: Sequence[Path], used: Sequence[Path]) -> Iterator[str]:
    """The note on text files that are no clouds where others are."""
    if not used or used[0].suffix.lower() not in _TEXTS:
        return
    if left := sorted({path for path in files if is_cloud(path)} - set(used)):
        yield f"{len(left)} text file(s) do not begin with rows of numbers and are not used; first: {printable(left[0])}"


def _is_organised(path: Path) -> bool:
    try:
        return read_sample(path).points is not None
    except UnreadableFile:
        return False


def _count(files: Sequence[Path], noun: str) -> str:
    return f"{len(files)} {noun}" + "s" * (len(files) != 1)
