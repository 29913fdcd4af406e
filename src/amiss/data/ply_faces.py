"""Elements of PLY files that hold lists: the faces, as triangles. All of one length are read at once, others one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.data.cloud import AGAIN
from amiss.data.headers import Damaged
from amiss.data.surface import fans, triangles

Array = npt.NDArray[Any]
Take = Callable[[np.dtype[Any], int], Array]

CUT = "it is cut off"
_FACES = ("vertex_indices", "vertex_index")
_SIDES = 64  # corners up to which faces may be alike


@dataclass(frozen=True)
class Property:
    """dtype in the file's byte order     length  type of the count before a list, None for a single value"""

    name: str
    dtype: np.dtype[Any]
    length: np.dtype[Any] | None = None


@dataclass(frozen=True)
class Element:
    """So many rows of values and lists, one property after the other."""

    name: str
    count: int
    properties: tuple[Property, ...]

    @property
    def lists(self) -> list[Property]:
        return [one for one in self.properties if one.length is not None]

    @property
    def faces(self) -> Property | None:
        """The list of the faces' corners."""
        return next((one for one in self.lists if one.name in _FACES and one.dtype.kind in "iu"), None)

    def least(self, *, binary: bool) -> int:
        """Bytes that a row takes where its lists are empty; as text a digit and a space for each value."""
        if not binary:
            return 2 * len(self.properties)
        return sum((one.length or one.dtype).itemsize for one in self.properties)


def binary_faces(element: Element, content: bytes, place: int) -> tuple[Array, int]:
    """Triangles (F, 3) of an element that begins at `place`, none where it holds no faces; and where it ends.

    raises  Damaged where the content ends before it
    """
    form = _row(element, content, place)
    if form is not None and place + element.count * form.itemsize <= len(content):
        table = np.frombuffer(content, form, element.count, place)
        if (table["sides"] == form["corners"].shape[0]).all():
            return triangles(table["corners"].astype(np.int64)), place + table.nbytes

    def take(dtype: np.dtype[Any], count: int) -> Array:
        nonlocal place
        start, place = place, place + count * dtype.itemsize
        if not start <= place <= len(content):
            raise Damaged(f"{CUT} within its {element.name} data", AGAIN)
        return np.frombuffer(content, dtype, count, start)

    faces = fans(_walk(element, take))
    return faces, place


def ascii_faces(element: Element, lines: Sequence[bytes]) -> Array:
    """Triangles (F, 3) of an element's lines, none where it holds no faces.

    raises  Damaged where a line does not hold what its list says
    """
    if len(element.properties) == 1 and element.faces and lines and len(lines[0].split()) > 3:
        alike = _alike(lines)
        if alike is not None:
            return triangles(alike)
    words = [word for line in lines for word in line.split()]
    place = 0

    def take(dtype: np.dtype[Any], count: int) -> Array:
        nonlocal place
        start, place = place, place + count
        if not start <= place <= len(words):
            raise Damaged(f"{CUT} within its {element.name} data", AGAIN)
        try:
            return np.array(words[start:place]).astype(np.int64 if dtype.kind in "iu" else np.float64)
        except ValueError as error:
            raise Damaged(f"its {element.name} data hold something that is no number ({error})", AGAIN) from error

    faces = fans(_walk(element, take))
    if place < len(words):
        raise Damaged(f"its {element.name} data hold more numbers than their lists say", AGAIN)
    return faces


def _row(element: Element, content: bytes, place: int) -> np.dtype[Any] | None:
    """The form of a row if all lists were as long as the first; None where there is not one list of faces."""
    if element.lists != [element.faces] or not element.count:
        return None
    parts: list[Any] = []
    for number, one in enumerate(element.properties):
        if one.length is None:
            parts.append((str(number), one.dtype))
            continue
        start = place + np.dtype(parts).itemsize
        if start + one.length.itemsize > len(content):
            return None
        sides = int(np.frombuffer(content, one.length, 1, start)[0])
        if not 3 <= sides <= _SIDES:
            return None
        parts += [("sides", one.length), ("corners", one.dtype, (sides,))]
    return np.dtype(parts)


def _alike(lines: Sequence[bytes]) -> Array | None:
    """Lists of one length (F, K) without the length before them; None where they are not alike."""
    try:
        values = np.loadtxt(lines, np.int64, comments=None, ndmin=2, encoding="latin1")
    except ValueError:
        return None
    return values[:, 1:] if (values[:, 0] == values.shape[1] - 1).all() else None


def _walk(element: Element, take: Take) -> Iterator[Array]:
    """The faces one by one; what else there is, is passed over."""
    faces = element.faces
    for _ in range(element.count):
        for one in element.properties:
            count = 1 if one.length is None else int(take(one.length, 1)[0])
            values = take(one.dtype, count)
            if one is faces:
                yield values
