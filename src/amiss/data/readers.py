"""The only place that knows file formats: a path becomes a Sample, a mask file becomes a mask.

Point clouds: PCD, PLY, STL, OBJ; XYZ, ASC, TXT and CSV; organised TIFF, which is three channels of floats that do not keep to
0..1. Which of the two a file is, is told by its name, for TIFF by its content.

Pictures: PNG, JPEG, TIFF, BMP, WebP; 8 or 16 bits, float TIFF in 0..1; grey, colour, palette, with or without alpha (shown
over black); turned upright as their EXIF orientation says. Colour profiles and animations are not followed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.data.cloud import Cloud, cloud_of
from amiss.data.clouds import SUFFIXES as CLOUD_SUFFIXES
from amiss.data.clouds import cloud_kind, file_size, read_cloud_file, read_columns, read_vertices
from amiss.data.headers import Damaged, Header, read_header
from amiss.data.organised import measures, organised
from amiss.data.tiff import over_black, read_tiff, upright
from amiss.data.xyz import Wanted
from amiss.errors import BadSample, UnreadableFile
from amiss.types import Sample

Array = npt.NDArray[Any]

_LONGEST = 400  # letters of a reason
_BETWEEN = {",": b",", " ": None}
_MOST_COLUMNS = 99
_OR_CLOUD = "; or read it as a point cloud, where they are x, y and z"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".bmp", ".dib", ".webp"})


def is_picture(path: Path) -> bool:
    """Whether the name ends like a picture that can be read, and is not a hidden file."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def is_cloud(path: Path) -> bool:
    """Whether the name ends like a point cloud that can be read, and is not a hidden file; TIFF is a picture by its name."""
    return path.suffix.lower() in CLOUD_SUFFIXES and not path.name.startswith(".")


def read_sample(path: str | os.PathLike[str], *, id: str | None = None, part: str = "", group: str | None = None) -> Sample:
    """One picture or point cloud as a Sample whose id is its path.

    raises  UnreadableFile naming the file and the reason
    """
    name = os.fspath(path)
    if is_cloud(Path(path)):
        return _of_cloud(read_cloud_rows(path), id=name if id is None else id, part=part, group=group)
    image, _ = _read(path)
    try:
        if measures(image):
            return _of_cloud(organised(image), id=name if id is None else id, part=part, group=group)
        return Sample(id=name if id is None else id, part=part, group=group, image=_displayed(image))
    except Damaged as error:
        raise _unreadable(path, error) from error
    except BadSample as error:
        raise UnreadableFile(f"{printable(name)}: {error}") from error


def read_cloud(path: str | os.PathLike[str], *, id: str | None = None, part: str = "", group: str | None = None) -> Sample:
    """One point cloud as a Sample whose id is its path, in the file's own unit.

    raises  UnreadableFile as read_cloud_rows does
    """
    return _of_cloud(read_cloud_rows(path), id=os.fspath(path) if id is None else id, part=part, group=group)


def read_cloud_rows(path: str | os.PathLike[str]) -> Cloud:
    """A point cloud file with all that it says of its points, and which of its rows became points.

    raises  UnreadableFile when it is missing, empty, cut off, corrupt, too large or of an unknown format, holds no valid point,
            or lies so far from the origin that float32 would move its points
    """
    try:
        return read_cloud_file(path)
    except Damaged as error:
        raise _unreadable(path, error) from error


def read_point_mask(path: str | os.PathLike[str], of: str | os.PathLike[str]) -> Array:
    """Which points of a cloud are marked, (N,) bool, from a file that labels each row of the cloud's file.

    path  a cloud with a column `label`, or one more column than x, y and z; a point is marked where it is not zero
    of    the file of the cloud; rows that are no points there are dropped here too
    raises  UnreadableFile as read_cloud_rows does, without such a column, and where the two have unlike numbers of rows
    """
    labelled, kept = read_cloud_rows(path), read_cloud_rows(of).kept
    names = list(labelled.extra)
    column = "label" if "label" in names else names[0] if len(names) == 1 else None
    if column is None or labelled.kept is None:
        met = f"its columns besides x, y and z are: {', '.join(names) or 'none'}"
        raise _unreadable(path, Damaged(met, "give rows of x, y, z and label"))
    if kept is None or len(kept) != len(labelled.kept):
        rows = "points that are no rows of the file" if kept is None else f"{len(kept):,} rows"
        met = f"it labels {len(labelled.kept):,} rows, and {printable(of)} has {rows}"
        raise _unreadable(path, Damaged(met, "give one label for each row, in the order of the cloud"))
    marked = np.zeros(len(kept), bool)
    marked[labelled.kept] = labelled.extra[column] != 0
    return marked[kept]


def read_labelled(path: str | os.PathLike[str], *, delimiter: str) -> tuple[Cloud, Array]:
    """A text with a point and its label in every row: the cloud, and which of its points are marked, (N,) bool.

    delimiter  "," or " ", which stands for any white space; rows are x, y, z and a label, 0 or 1
    raises     UnreadableFile as read_cloud_rows does, and where it is written otherwise
    """
    try:
        cloud = cloud_of(read_columns(path, Wanted(_BETWEEN[delimiter], 4, 4)))
        labels = next(iter(cloud.extra.values()), None)
        if labels is None or not np.isin(labels, (0, 1)).all():
            met = "no label" if labels is None else f"labels from {labels.min():g} to {labels.max():g}"
            raise Damaged(f"it has {met} behind x, y and z, wanted 0 and 1", "take it from the data set again")
    except Damaged as error:
        raise _unreadable(path, error) from error
    return cloud, labels != 0


def read_places(path: str | os.PathLike[str], *, delimiter: str) -> Array:
    """The places that a text lists, (M, 3) float64 as they are written; further columns are passed over.

    delimiter  as in read_labelled
    raises     UnreadableFile as read_labelled does, and where a place is NaN or infinite
    """
    try:
        columns = read_columns(path, Wanted(_BETWEEN[delimiter], 3, _MOST_COLUMNS))
        places = np.stack([columns[axis] for axis in "xyz"], axis=1)
        if not np.isfinite(places).all():
            raise Damaged("it lists a place that is NaN or infinite", "take it from the data set again")
    except Damaged as error:
        raise _unreadable(path, error) from error
    return places


def read_mesh_vertices(path: str | os.PathLike[str]) -> Cloud:
    """The distinct vertices of an STL file in its own coordinates, however large its facets are.

    raises  UnreadableFile as read_cloud_rows does
    """
    try:
        return read_vertices(path)
    except Damaged as error:
        raise _unreadable(path, error) from error


def read_image(path: str | os.PathLike[str]) -> Array:
    """A picture file as (H, W, 3) RGB, uint8, uint16 or float32 in 0..1, upright.

    raises  UnreadableFile when it is missing, empty, truncated, corrupt, too large or of an unknown format
    """
    image, _ = _read(path)
    try:
        return _displayed(image)
    except Damaged as error:
        raise _unreadable(path, error) from error


def read_mask(path: str | os.PathLike[str], *, above: float = 0.0) -> Array:
    """A mask file as (H, W) bool: True where any channel is not zero; in lossy formats, where one is above half.

    above   share of the full range that a pixel must exceed to be marked, for masks with soft borders
    raises  UnreadableFile as read_image does
    """
    image, header = _read(path)
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise _unreadable(path, Damaged("the mask holds NaN or infinity", "save it as 0 and 255"))
    full = 1 if image.dtype.kind in "fb" else np.iinfo(image.dtype).max
    limit = max(above, 0.5 if header.lossy else 0.0) * full
    marked = image > limit if limit else image != 0
    return np.asarray(marked.any(axis=2) if image.ndim == 3 else marked)


def read_codes(path: str | os.PathLike[str]) -> Array:
    """A mask file whose values are codes, as (H, W) integers just as they are stored.

    raises  UnreadableFile as read_image does, and for colours or a lossy format, which cannot hold codes
    """
    image, header = _read(path)
    planes = image if image.ndim == 3 else image[..., None]
    if header.lossy or image.dtype.kind not in "ui" or not (planes == planes[..., :1]).all():
        raise _unreadable(path, Damaged("its values cannot be codes", "save it as a grey PNG"))
    return np.asarray(planes[..., 0])


def read_json(path: str | os.PathLike[str]) -> Any:
    """What a JSON file says.

    raises  UnreadableFile when it cannot be opened or is no JSON
    """
    try:
        return json.loads(_content(path).decode("utf-8-sig"))
    except Damaged as error:
        raise _unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, Damaged(f"it is no JSON ({error})", "take it from the data set again")) from error


def printable(path: str | os.PathLike[str]) -> str:
    """A path as text that can always be printed: bytes that are not UTF-8 stand as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _read(path: str | os.PathLike[str]) -> tuple[Array, Header]:
    """The picture as (H, W) or (H, W, 1 or 3) in its own type, upright; and what its header says."""
    try:
        content = _content(path)
        if kind := cloud_kind(content):
            raise Damaged(f"it is a {kind} point cloud, not a picture", f"give it a name that ends in .{kind.lower()}")
        header = read_header(content)
        image = read_tiff(content) if header.format == "tiff" else _decoded(content, header)
    except Damaged as error:
        raise _unreadable(path, error) from error
    return image, header


def _of_cloud(cloud: Cloud, *, id: str, part: str, group: str | None) -> Sample:
    return Sample(
        id=id, part=part, group=group,
        points=cloud.points, normals=cloud.normals, pixels=cloud.pixels, shape=cloud.shape,
    )  # fmt: skip


def _unreadable(path: str | os.PathLike[str], error: Damaged) -> UnreadableFile:
    """The text may quote what a damaged file holds: what cannot be printed is left out, and it is kept short."""
    reason = "".join(letter if letter.isprintable() else "?" for letter in str(error))
    reason = reason if len(reason) <= _LONGEST else reason[:_LONGEST] + "..."
    return UnreadableFile(f"{printable(path)}: {reason}; {error.remedy}")


def _content(path: str | os.PathLike[str]) -> bytes:
    try:
        file_size(path, "picture", "reduce or crop the picture")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise Damaged(getattr(error, "strerror", None) or str(error), "give a file that is there and can be opened") from error


def _decoded(content: bytes, header: Header) -> Array:
    """OpenCV's decoder; channels in RGB order, alpha laid over black, turned upright here since OpenCV's versions differ."""
    import cv2

    flags = cv2.IMREAD_UNCHANGED if header.alpha else cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise Damaged(f"it cannot be decoded ({error.err})") from error
    if image is None:
        raise Damaged("it cannot be decoded")
    if image.ndim == 3:
        alpha = image[..., 3:]
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGB)
        image = over_black(image, alpha) if alpha.shape[2] else image
    return upright(np.asarray(image), header.orientation)


def _displayed(image: Array) -> Array:
    return np.ascontiguousarray(_colour(image))


def _colour(image: Array) -> Array:
    """Three channels of a depth that a Sample takes."""
    if image.dtype.kind == "f":
        image = _unit_range(image)
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        raise Damaged(f"it holds {image.dtype} values", "save it as 8 or 16 bits without sign, or as float in 0 to 1")
    if image.ndim == 2:
        image = image[..., None]
    return np.broadcast_to(image, (*image.shape[:2], 3)) if image.shape[2] == 1 else image


def _unit_range(image: Array) -> Array:
    """Float pictures as float32, refused outside 0 to 1: their scale is the camera's, and no file says it."""
    with np.errstate(over="ignore"):
        image = image.astype(np.float32)
    low, high = float(image.min()), float(image.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise Damaged("it holds NaN or infinity", "replace or mask those pixels first")
    if low < 0 or high > 1:
        remedy = "scale all pictures by the same factor, then save them again" + _OR_CLOUD * (image.shape[2:] == (3,))
        raise Damaged(f"its float values run from {low:g} to {high:g}, wanted 0 to 1", remedy)
    return image
