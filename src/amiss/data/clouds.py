"""Which kind of point cloud a file is, and the reader for it. Errors are Damaged; amiss.data.readers names the file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy.typing as npt

from amiss.data import meshes, organised, pcd, ply, xyz
from amiss.data.cloud import Cloud
from amiss.data.headers import Damaged, kind_of

Array = npt.NDArray[Any]
T = TypeVar("T")

MAX_BYTES = 2**31
_HEAD = 512
_READERS: Mapping[str, Callable[[BinaryIO, int], Cloud]] = {
    "PCD": pcd.read_pcd, "PLY": ply.read_ply, "STL": meshes.read_stl, "OBJ": meshes.read_obj, "text": xyz.read_text,
    "TIFF": organised.read_organised,
}  # fmt: skip
_MARKS = {"PCD": pcd.STARTS, "PLY": ply.STARTS}  # the others do not say what they are
_BY_SUFFIX = {
    ".pcd": "PCD", ".ply": "PLY", ".stl": "STL", ".obj": "OBJ", ".xyz": "text", ".asc": "text", ".txt": "text", ".csv": "text",
}  # fmt: skip
SUFFIXES = frozenset(_BY_SUFFIX)
_WANTED = "give a PCD, PLY, STL, OBJ, XYZ, ASC, TXT or CSV file, or a TIFF of x, y and z"


def read_cloud_file(path: str | os.PathLike[str]) -> Cloud:
    """The cloud in a file; what its content says goes before what its name says.

    raises  Damaged when it is missing, empty, cut off, too large, or no point cloud that is read
    """

    def read(file: BinaryIO, size: int) -> Cloud:
        kind = _kind(file.read(_HEAD), Path(path).suffix.lower())
        file.seek(0)
        return _READERS[kind](file, size)

    return _opened(path, read)


def read_columns(path: str | os.PathLike[str], wanted: xyz.Wanted) -> dict[str, Array]:
    """The columns (R,) float64 of a text of points that is written in one way.

    raises  Damaged as read_cloud_file does, and where it is written otherwise
    """
    return _opened(path, lambda file, size: xyz.read_columns(file, size, wanted))


def read_vertices(path: str | os.PathLike[str]) -> Cloud:
    """The distinct vertices of an STL file, however large its facets are.

    raises  Damaged as read_cloud_file does
    """
    return _opened(path, meshes.read_stl_vertices)


def _opened(path: str | os.PathLike[str], read: Callable[[BinaryIO, int], T]) -> T:
    """What a reader makes of a file; raises Damaged where it cannot be opened, is empty or too large."""
    try:
        size = file_size(path, "point cloud", "thin it, or cut out the part that is wanted")
        if not size:
            raise Damaged("the file is empty")
        with open(path, "rb") as file:
            return read(file, size)
    except (OSError, ValueError) as error:
        raise Damaged(getattr(error, "strerror", None) or str(error), "give a file that is there and can be opened") from error


def cloud_kind(head: bytes) -> str:
    """The kind of point cloud that the first bytes of a file announce, "" where they announce none."""
    return next((kind for kind, marks in _MARKS.items() if head.startswith(marks)), "")


def begins_with_points(path: str | os.PathLike[str]) -> bool:
    """Whether a text file begins with a row of points, below a header or not; true where it cannot be opened."""
    try:
        with open(path, "rb") as file:
            xyz.read_head(file.read(xyz.HEAD))
    except Damaged:
        return False
    except OSError:
        pass
    return True


def file_size(path: str | os.PathLike[str], what: str, remedy: str) -> int:
    """Bytes of an ordinary file.

    raises  Damaged for a folder and the like, and above MAX_BYTES; OSError or ValueError where there is none
    """
    facts = os.stat(path)
    if not stat.S_ISREG(facts.st_mode):
        kind = "a folder" if stat.S_ISDIR(facts.st_mode) else "no ordinary file"
        raise Damaged(f"it is {kind}", f"give the path of a {what}")
    if facts.st_size > MAX_BYTES:
        raise Damaged(f"{facts.st_size / 2**30:.1f} GB; the largest file read is 2 GB", remedy)
    return facts.st_size


def _kind(head: bytes, suffix: str) -> str:
    """The name of a reader; a suffix counts where that kind has no mark of its own."""
    if told := cloud_kind(head):
        return told
    picture = kind_of(head)
    if picture == "TIFF":
        return picture
    if picture:
        raise Damaged(f"it is a {picture} picture, not a point cloud", _WANTED)
    by_name = _BY_SUFFIX.get(suffix)
    if by_name is None:
        raise Damaged("it is no point cloud that is read", _WANTED)
    if by_name in _MARKS:
        raise Damaged(f"it does not begin as a {by_name} file does, whatever its name says", _WANTED)
    return by_name
