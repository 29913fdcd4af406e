"""Point cloud files made by hand, byte by byte, and an LZF packer: nothing here is shared with the readers."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def bowl(count: int = 60, seed: int = 0) -> Array:
    """Points (count, 3) float32 on a bowl without symmetry, a few tens of units wide."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-20, 30, (2, count))
    return np.stack([x, y, x**2 / 50 + y**2 / 90 + x / 5], axis=1).astype(np.float32)


def normals_of(points: Array) -> Array:
    """Some unit vector at each point, (N, 3) float32."""
    longer = points.astype(np.float64) + np.array([60, 70, 80])
    return (longer / np.linalg.norm(longer, axis=1, keepdims=True)).astype(np.float32)


def packed(dtypes: Iterable[str], columns: Iterable[Array]) -> bytes:
    """Rows of columns side by side, each in its own type, without gaps."""
    kinds = list(dtypes)
    cast = [np.asarray(column).astype(kind) for kind, column in zip(kinds, columns, strict=True)]
    return b"".join(b"".join(values[row : row + 1].tobytes() for values in cast) for row in range(len(cast[0])))


def pcd_header(
    fields: str,
    sizes: str,
    types: str,
    counts: str,
    width: int,
    height: int = 1,
    points: int | None = None,
    data: str = "binary",
) -> bytes:
    lines = [
        "# .PCD v0.7 - Point Cloud Data file format", "VERSION 0.7", f"FIELDS {fields}", f"SIZE {sizes}", f"TYPE {types}",
        f"COUNT {counts}", f"WIDTH {width}", f"HEIGHT {height}", "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {width * height if points is None else points}", f"DATA {data}",
    ]  # fmt: skip
    return "\n".join(lines).encode() + b"\n"


def pcd(points: Array, kind: str = "binary", *, said: int | None = None, height: int = 1) -> bytes:
    """A PCD of x, y, z in 4-byte floats; `said` is the number of points its header names."""
    count = len(points) if said is None else said
    head = pcd_header("x y z", "4 4 4", "F F F", "1 1 1", count // height, height, data=kind)
    if kind == "ascii":
        return head + text(points)
    if kind == "binary":
        return head + points.astype("<f4").tobytes()
    return head + compressed(points.astype("<f4").T.tobytes())


def text(values: Array, delimiter: str = " ", end: str = "\n") -> bytes:
    return "".join(delimiter.join(format(value, ".9g") for value in row) + end for row in values.tolist()).encode()


def compressed(raw: bytes, *, said: int | None = None) -> bytes:
    """The two lengths and the packed data of a binary_compressed PCD."""
    data = lzf(raw)
    return struct.pack("<II", len(data), len(raw) if said is None else said) + data


def literals(raw: bytes) -> bytes:
    """LZF without a single reference."""
    runs = (raw[start : start + 32] for start in range(0, len(raw), 32))
    return b"".join(bytes([len(run) - 1]) + run for run in runs)


def lzf(raw: bytes) -> bytes:
    """LZF as its format is described: the last place of every three bytes is remembered and referred to."""
    out, places, start, place = b"", dict[bytes, int](), 0, 0
    while place + 2 < len(raw):
        key = raw[place : place + 3]
        before = places.get(key, -1)
        places[key] = place
        if before < 0 or place - before > 8192:
            place += 1
            continue
        length = 3
        while length < 264 and place + length < len(raw) and raw[before + length] == raw[place + length]:
            length += 1
        out += literals(raw[start:place]) + reference(place - before, length)
        place += length
        start = place
    return out + literals(raw[start:])


def reference(distance: int, length: int) -> bytes:
    """Copy `length` bytes, 3 to 264, from `distance` bytes back, 1 to 8192."""
    high, low = divmod(distance - 1, 256)
    if length < 9:
        return bytes([(length - 2) << 5 | high, low])
    return bytes([7 << 5 | high, length - 9, low])


PLY_TYPES = {
    "f4": "float",
    "f8": "double",
    "u1": "uchar",
    "i1": "char",
    "u2": "ushort",
    "i2": "short",
    "u4": "uint",
    "i4": "int",
}


def ply(elements: str, body: bytes, kind: str = "binary_little_endian", end: str = "\n") -> bytes:
    """A PLY of a ready body; `elements` are the header's lines about elements and properties."""
    lines = ["ply", f"format {kind} 1.0", "comment made by hand", *elements.splitlines(), "end_header"]
    return (end.join(lines) + end).encode() + body


def ply_cloud(points: Array, kind: str = "binary_little_endian", *, said: int | None = None) -> bytes:
    """A PLY of x, y, z as floats; `said` is the number of points its header names."""
    count = len(points) if said is None else said
    order = {"binary_little_endian": "<f4", "binary_big_endian": ">f4"}.get(kind)
    body = text(points) if order is None else points.astype(order).tobytes()
    return ply(f"element vertex {count}\nproperty float x\nproperty float y\nproperty float z", body, kind)


def ply_mesh(points: Array, polygons: list[list[int]], kind: str = "binary_little_endian") -> bytes:
    """A PLY of x, y, z and faces with any number of corners."""
    elements = (
        f"element vertex {len(points)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(polygons)}\nproperty list uchar int vertex_indices"
    )
    if kind == "ascii":
        lines = "".join(f"{len(polygon)} {' '.join(map(str, polygon))}\n" for polygon in polygons)
        return ply(elements, text(points) + lines.encode(), kind)
    order = "<" if kind == "binary_little_endian" else ">"
    faces = b"".join(struct.pack(f"{order}B{len(polygon)}i", len(polygon), *polygon) for polygon in polygons)
    return ply(elements, points.astype(order + "f4").tobytes() + faces, kind)


CUBE = np.array([[x, y, z] for x in (0, 2) for y in (0, 2) for z in (0, 2)], np.float32)
SQUARES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]  # seen from outside


def halves(squares: list[list[int]]) -> list[list[int]]:
    return [half for a, b, c, d in squares for half in ([a, b, c], [a, c, d])]


def sheet(side: int = 60) -> tuple[Array, list[list[int]]]:
    """A scan as a mesh: a wavy sheet of side x side vertices, facing up, two facets a cell."""
    rows, columns = np.mgrid[:side, :side]
    points = np.stack([columns, rows, 2 * np.sin(columns / 9) * np.cos(rows / 7)], axis=2).reshape(-1, 3).astype(np.float32)
    at = (rows * side + columns)[:-1, :-1].ravel()
    return points, [[int(i), int(i) + 1, int(i) + side] for i in at] + [
        [int(i) + 1, int(i) + side + 1, int(i) + side] for i in at
    ]


def stl(corners: Array, *, head: bytes = b"made by hand", said: int | None = None) -> bytes:
    """A binary STL of facets (F, 3, 3), with normals left zero as many programs do."""
    facets = b"".join(struct.pack("<12fH", 0, 0, 0, *facet.ravel(), 0) for facet in corners)
    return head.ljust(80) + struct.pack("<I", len(corners) if said is None else said) + facets


def stl_text(corners: Array, indent: str = "  ") -> bytes:
    facets = "".join(
        "facet normal 0 0 0\n outer loop\n"
        + "".join(f"{indent}vertex {x:.9g} {y:.9e} {z:.9g}\n" for x, y, z in facet.tolist())
        + " endloop\nendfacet\n"
        for facet in corners
    )
    return f"solid part\n{facets}endsolid part\n".encode()


def obj(points: Array, polygons: Iterable[Iterable[object]] = (), *, before: str = "# by hand\no part\n") -> bytes:
    """An OBJ whose faces are given as they stand in the file: counted from 1, with slashes or without."""
    vertices = "".join("v " + " ".join(format(value, ".9g") for value in row) + "\n" for row in points.tolist())
    faces = "".join("f " + " ".join(map(str, polygon)) + "\n" for polygon in polygons)
    return (before + vertices + "s off\n" + faces).encode()
