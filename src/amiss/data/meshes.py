"""STL (ascii and binary) and OBJ. Facets make a mesh, see amiss.data.surface; an OBJ without faces is a cloud of its vertices.

STL repeats a vertex in every facet around it; corners equal to the last bit are one vertex. The normals written into STL are
not used: many programs leave them zero, and the order of the corners says the same. Of OBJ `v` and `f` are read, and `vn` where
there are no faces but as many normals as vertices. Sources: the StereoLithography interface specification (3D Systems, 1988);
the description of object files in the manual of Wavefront's Advanced Visualizer.
"""

from __future__ import annotations

import dataclasses
import io
import re
import struct
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from amiss.data.cloud import AGAIN, MAX_POINTS, Cloud, check_count, check_precision, cloud_of, read_exactly, within_reach
from amiss.data.headers import Damaged
from amiss.data.surface import NO_FACES, cloud_of_mesh, distinct, fans, triangles, with_normals

Array = npt.NDArray[Any]

_MAX_FACETS = MAX_POINTS // 2
_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_HEAD = 84
_TAIL = 1024


def read_stl(file: BinaryIO, size: int) -> Cloud:
    """Points on the surface of an STL file of `size` bytes.

    raises  Damaged when it is cut off, holds no facets, or says another number of them than it has
    """
    return dataclasses.replace(cloud_of_mesh(*_stl_mesh(file, size)), kept=None)


def read_stl_vertices(file: BinaryIO, size: int) -> Cloud:
    """The distinct vertices of an STL file, which are its points however large the facets are.

    raises  Damaged as read_stl does
    """
    return dataclasses.replace(with_normals(*_stl_mesh(file, size)), kept=None)


def _stl_mesh(file: BinaryIO, size: int) -> tuple[Cloud, Array]:
    """Distinct vertices and facets (F, 3) that name them."""
    head = file.read(_HEAD)
    facets = struct.unpack_from("<I", head, 80)[0] if len(head) == _HEAD else -1
    if head.lstrip()[:5].lower() == b"solid" and b"\0" not in head:  # as in the number of facets that binary files have there
        corners = _ascii_corners(file, size)
    else:
        corners = _binary_corners(file, facets, size - _HEAD)
    points, which = distinct(corners)
    vertices = cloud_of(dict(zip("xyz", points.T, strict=True)))
    return vertices, which.reshape(-1, 3)


def read_obj(file: BinaryIO, size: int) -> Cloud:
    """Vertices of an OBJ file, or points on its surface where it has faces.

    raises  Damaged when it has no vertices, or a line that cannot be read
    """
    if b"\0" in file.read(_HEAD):
        raise Damaged("it holds zero bytes: it is no OBJ of a mesh, which is text", AGAIN)
    points = _numbers(_marked(file, b"v"), MAX_POINTS + 1)
    check_count(len(points), "vertices")
    columns = dict(zip("xyz", points.T, strict=True))
    faces = _obj_faces(file)
    if not len(faces):
        normals = _numbers(_marked(file, b"vn"), len(points) + 1)
        columns |= dict(zip(("nx", "ny", "nz"), normals.T, strict=True)) if len(normals) == len(points) else {}
    return cloud_of_mesh(cloud_of(columns), faces)


def _binary_corners(file: BinaryIO, facets: int, rest: int) -> Array:
    if facets < 0:
        raise Damaged("it is cut off within its header", AGAIN)
    if rest != 50 * facets:
        cut = "it is cut off: " * (rest < 50 * facets)
        raise Damaged(f"{cut}its header says {facets:,} facets of 50 bytes, and {rest:,} bytes follow", AGAIN)
    _check_facets(facets)
    table = np.frombuffer(read_exactly(file, 50 * facets), _FACET)
    return np.ascontiguousarray(table["corners"], np.float32).reshape(-1, 3)


def _ascii_corners(file: BinaryIO, size: int) -> Array:
    file.seek(max(0, size - _TAIL))
    if b"endsolid" not in file.read().lower():
        raise Damaged("it is cut off: it has no endsolid", AGAIN)
    file.seek(0)
    lines = (line for line in file if line.lstrip()[:6].lower() == b"vertex")
    corners = _numbers(lines, 3 * _MAX_FACETS + 3)
    _check_facets(len(corners) // 3)
    if len(corners) % 3:
        raise Damaged(f"it holds {len(corners):,} corners, which make no whole facets", AGAIN)
    with np.errstate(over="ignore"):
        points = corners.astype(np.float32)
    check_precision(list(corners.T), points, within_reach(points))
    return points


def _check_facets(facets: int) -> None:
    check_count(facets, "facets")
    if facets > _MAX_FACETS:
        most = f"more than the {_MAX_FACETS // 10**6} million that are read"
        raise Damaged(f"it holds {facets:,} facets or more, {most}", "reduce the mesh")


def _marked(file: BinaryIO, mark: bytes) -> Iterator[bytes]:
    """The lines that begin with a word."""
    file.seek(0)
    starts = (mark + b" ", mark + b"\t")
    return (line for line in file if line.startswith(starts))


def _numbers(lines: Iterator[bytes], most: int) -> Array:
    """Three numbers behind the first word of each line, (R, 3) float64, of `most` lines."""
    first = next(lines, None)
    if first is None:
        return np.empty((0, 3))
    rows = chain([first], islice(lines, most - 1))
    try:
        return np.loadtxt(rows, usecols=(1, 2, 3), comments=None, ndmin=2, encoding="latin1")
    except ValueError as error:
        raise Damaged(f"one of its lines {first.split()[0].decode()!r} holds no three numbers ({error})", AGAIN) from error


def _obj_faces(file: BinaryIO) -> Array:
    """Triangles (F, 3) counted from 0; what follows a slash are places of textures and normals."""
    text = re.sub(rb"/\S*", b"", b"".join(_marked(file, b"f"))).replace(b"f", b" ")
    if not text.strip():
        return NO_FACES
    before = _vertices_before(file) if b"-" in text else None
    try:
        polygons = np.loadtxt(io.BytesIO(text), np.int64, comments="#", ndmin=2, encoding="latin1")
        return triangles(_from_zero(polygons, before)) if polygons.shape[1] > 2 else NO_FACES
    except ValueError:
        return fans(_one_by_one(text, before))


def _one_by_one(text: bytes, before: Array | None) -> Iterator[Array]:
    """Faces with unlike numbers of corners."""
    for place, line in enumerate(text.split(b"\n")):
        words = line.split(b"#")[0].split()
        if not words:
            continue
        try:
            corners = np.array(words).astype(np.int64)
        except ValueError as error:
            raise Damaged(f"one of its faces holds something that is no number ({error})", AGAIN) from error
        yield _from_zero(corners, None if before is None else before[place])


def _from_zero(corners: Array, before: Array | None) -> Array:
    """OBJ counts vertices from 1; below 0 it counts back from the last one before the face."""
    if before is None:
        return corners - 1
    return np.where(corners < 0, corners + before[..., None], corners - 1)


def _vertices_before(file: BinaryIO) -> Array:
    """How many vertices stand before each face, (F,)."""
    file.seek(0)
    vertices, counts = 0, []
    for line in file:
        if line.startswith((b"v ", b"v\t")):
            vertices += 1
        elif line.startswith((b"f ", b"f\t")):
            counts.append(vertices)
    return np.array(counts)
