"""Points on their way from a file to a Sample: counts bounded, invalid rows dropped, precision watched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from amiss.data.headers import Damaged

Array = npt.NDArray[Any]

MAX_POINTS = 20_000_000
AGAIN = "export it again or remove it"
_LOSS = 1e-5  # of the diagonal: what rounding to float32 may move a coordinate by
_FARTHEST = 1e18  # squares of what is farther overflow float32; some scanners write 3.4e38 where they measured nothing
_AXES = ("x", "y", "z")
_NORMALS = (("normal_x", "normal_y", "normal_z"), ("nx", "ny", "nz"))
_COLOURS = frozenset(
    {"rgb", "rgba", "red", "green", "blue", "alpha", "r", "g", "b", "a", "diffuse_red", "diffuse_green", "diffuse_blue"}
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Cloud:
    """What a file of points holds, in the file's own unit and order. Exact duplicates are kept.

    points   (N, 3) float32, finite, N > 0
    normals  (N, 3) float32, unit length | None where the file has none, or not one for every point
    kept     (R,) bool, which rows of the file became points; None where the points are not rows of it (a mesh)
    pixels   (N, 2) int32, row and column in an organised cloud     shape  (H, W) of its grid
    extra    further columns by lower-case name, in the file's order, (N,) each in its own type; colours are passed over
    """

    points: Array
    normals: Array | None = None
    kept: Array | None = None
    pixels: Array | None = None
    shape: tuple[int, int] | None = None
    extra: Mapping[str, Array] = field(default_factory=lambda: MappingProxyType({}))


def cloud_of(columns: Mapping[str, Array], grid: tuple[int, int] | None = None) -> Cloud:
    """A cloud from a file's columns.

    columns  (R,) each, by lower-case name; rows whose x, y or z is NaN, infinite or above 1e18 are dropped
    grid     (H, W) where the rows are the pixels of an organised cloud, which marks missing points by zeros too
    raises   Damaged where x, y or z is missing, no point is left, or float32 cannot hold the coordinates
    """
    _check_names(columns)
    points, valid = _points([columns[axis] for axis in _AXES], organised=grid is not None)
    if not valid.any():
        kinds = "NaN or infinite" if grid is None else "NaN, infinite or zero"
        raise Damaged(f"all of its {len(valid):,} points are {kinds}", AGAIN)
    check_precision([columns[axis] for axis in _AXES], points, valid)
    rows: slice | Array = slice(None) if valid.all() else valid
    names = next((names for names in _NORMALS if all(name in columns for name in names)), ())
    normals = unit_normals(np.stack([columns[name][rows] for name in names], axis=1)) if names else None
    passed = {*_AXES, *names, *_COLOURS}
    extra = {name: np.array(values[rows]) for name, values in columns.items() if name not in passed}
    pixels = None
    if grid is not None:
        pixels = np.stack(np.divmod(np.flatnonzero(valid), grid[1]), axis=1).astype(np.int32)
    return Cloud(points=points[rows], normals=normals, kept=valid, pixels=pixels, shape=grid, extra=MappingProxyType(extra))


def check_count(count: int, what: str = "points") -> None:
    """raises  Damaged when a file holds nothing, or more than is read"""
    if count < 1:
        raise Damaged(f"it holds no {what}", AGAIN)
    if count > MAX_POINTS:
        most = f"more than the {MAX_POINTS // 10**6} million that are read"
        raise Damaged(f"it holds {count:,} {what}, {most}", "thin it, or cut out the part that is wanted")


def within_reach(points: Array) -> Array:
    """Which points (R, 3) have finite coordinates that are no farther than any part is, (R,) bool."""
    return np.asarray((np.abs(points) < _FARTHEST).all(axis=1))


def check_precision(columns: list[Array], points: Array, valid: Array) -> None:
    """Far from the origin float32 is coarse: georeferenced metres lose the millimetres. Nothing is shifted silently.

    columns  three of (R,) as the file has them     points  (R, 3), the same as float32     valid  (R,) bool
    raises   Damaged where a valid point was moved by more than a hundred thousandth of the diagonal
    """
    wide = [np.issubdtype(column.dtype, np.integer) or column.dtype.itemsize > 4 for column in columns]
    if not any(wide):
        return
    lost, corners = 0.0, []
    with np.errstate(over="ignore", invalid="ignore"):
        for axis, column in enumerate(columns):
            stored = points[:, axis]
            lost = max(lost, float(np.max(np.abs(column - stored.astype(np.float64)), where=valid, initial=0)))
            corners.append((np.min(stored, where=valid, initial=np.inf), np.max(stored, where=valid, initial=-np.inf)))
    diagonal = float(np.linalg.norm([high - low for low, high in corners]))
    if lost > _LOSS * diagonal > 0:
        reach = float(np.abs(corners).max())
        met = f"its coordinates reach {reach:.6g} with an extent of {diagonal:.4g}: float32 would move points by {lost:.2g}"
        raise Damaged(met, "subtract the same offset from all files of the set, so that the part lies near the origin")


def read_exactly(file: BinaryIO, count: int) -> bytes:
    """raises  Damaged where fewer bytes are left, as in a file that is still being written"""
    content = file.read(count)
    if len(content) < count:
        raise Damaged(f"it is cut off: {count:,} bytes wanted, {len(content):,} there", AGAIN)
    return content


def unit_normals(normals: Array) -> Array | None:
    """Normals (N, 3) as float32 of unit length; None where one of them is zero or not finite."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        wide = normals.astype(np.float32)
        unit = wide / np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    return np.asarray(unit, np.float32) if np.isfinite(unit).all() else None


def _check_names(columns: Mapping[str, Array]) -> None:
    if missing := [axis for axis in _AXES if axis not in columns]:
        met = ", ".join(columns) or "none"
        raise Damaged(f"it has no field {' or '.join(missing)}; its fields are: {met}", "save it with the fields x, y and z")
    check_count(len(columns["x"]))


def _points(columns: list[Array], *, organised: bool) -> tuple[Array, Array]:
    """Columns as points (R, 3) float32, and which of them are valid (R,)."""
    points = np.empty((len(columns[0]), 3), np.float32)
    valid, nonzero = np.ones(len(points), bool), np.full(len(points), not organised)
    with np.errstate(over="ignore", invalid="ignore"):
        for axis, column in enumerate(columns):
            points[:, axis] = column
            valid &= np.abs(points[:, axis]) < _FARTHEST  # false for NaN
            if organised:
                nonzero |= points[:, axis] != 0
    return points, valid & nonzero
