"""PLY files: ascii, binary little and big endian. Vertices with x, y, z and normals; faces, where there are some.

Without faces a file is a cloud of its vertices, with them a mesh: see amiss.data.surface. Other elements are passed over.
Source: Greg Turk, "The PLY Polygon File Format", 1994.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from amiss.data.cloud import AGAIN, Cloud, check_count, cloud_of
from amiss.data.headers import Damaged
from amiss.data.ply_faces import CUT, Element, Property, ascii_faces, binary_faces
from amiss.data.rows import more_rows, read_rows
from amiss.data.surface import NO_FACES, cloud_of_mesh

Array = npt.NDArray[Any]

STARTS = (b"ply\n", b"ply\r")
_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4", "double": "f8",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_LINES, _LINE = 1000, 2**12
_DAMAGED = "its header is damaged"


def read_ply(file: BinaryIO, size: int) -> Cloud:
    """The cloud of a PLY file of `size` bytes.

    raises  Damaged when it is cut off, its header does not fit what follows, or it has no vertices with x, y and z
    """
    order, elements = _read_header(file)
    vertex = next((element for element in elements if element.name == "vertex"), None)
    if vertex is None:
        raise Damaged("it has no element vertex", "export it with its points")
    check_count(vertex.count)
    if vertex.lists:
        raise Damaged(f"its vertices hold a list, {vertex.lists[0].name}, which is not read", "export it without")
    _check_length(elements, size - file.tell(), binary=bool(order))
    columns, faces = (_binary if order else _ascii)(file, elements)
    return cloud_of_mesh(cloud_of(columns), faces)


def _check_length(elements: Sequence[Element], rest: int, *, binary: bool) -> None:
    """Whether the file can hold what its header says, before any of it is read."""
    wanted = sum(element.count * element.least(binary=binary) for element in elements)
    exact = binary and not any(element.lists for element in elements)
    if wanted > rest + (not binary) or (exact and rest >= wanted + max(1, elements[-1].least(binary=True))):
        cut = f"{CUT}: " * (wanted > rest)
        raise Damaged(f"{cut}its header says {_said(elements)}, and {rest:,} bytes follow", AGAIN)


def _said(elements: Sequence[Element]) -> str:
    return ", ".join(f"{element.count:,} of {element.name}" for element in elements)


def _read_header(file: BinaryIO) -> tuple[str, list[Element]]:
    """The byte order, "" for text, and the elements; the file is left behind the header."""
    order, elements = None, list[Element]()
    for number in range(_LINES):
        line = file.readline(_LINE)
        words = line.decode("latin1").split()
        if not line or (words and words[0] == "end_header"):
            break
        if not words or words[0] in ("comment", "obj_info") or not number:
            continue
        if words[0] == "format" and len(words) > 1:
            order = _ORDERS.get(words[1])
        elif words[0] == "element" and len(words) == 3 and words[2].isdecimal() and len(words[2]) < 19:
            elements.append(Element(words[1], int(words[2]), ()))
        elif words[0] == "property" and elements:
            before = elements.pop()
            elements.append(Element(before.name, before.count, (*before.properties, _property(words, order or ""))))
        else:
            raise Damaged(f"{_DAMAGED}: {' '.join(words)[:60]!r}", AGAIN)
    if not line.startswith(b"end_header"):
        raise Damaged("its header has no end", AGAIN)
    if order is None:
        raise Damaged(f"{_DAMAGED}: its format is none of {', '.join(_ORDERS)}", "save it as one of these")
    return order, elements


def _property(words: Sequence[str], order: str) -> Property:
    kinds = words[2:4] if words[1:2] == ["list"] else words[1:2]
    if not kinds or len(words) != len(kinds) + 2 + (len(kinds) == 2) or not all(kind in _TYPES for kind in kinds):
        raise Damaged(f"{_DAMAGED}: {' '.join(words)[:60]!r}", AGAIN)
    types = [np.dtype((order or "=") + _TYPES[kind]) for kind in kinds]
    return Property(words[-1].lower(), types[-1], types[0] if len(types) == 2 else None)


def _binary(file: BinaryIO, elements: Sequence[Element]) -> tuple[dict[str, Array], Array]:
    content, place = file.read(), 0
    columns, faces = dict[str, Array](), NO_FACES
    for element in elements:
        if element.lists:
            found, place = binary_faces(element, content, place)
            faces = found if element.name == "face" else faces
            continue
        length = element.count * element.least(binary=True)
        if place + length > len(content):
            raise Damaged(f"{CUT} within its {element.name} data", AGAIN)
        if element.name == "vertex":
            form = np.dtype([(str(number), one.dtype) for number, one in enumerate(element.properties)])
            table = np.frombuffer(content, form, element.count, place)
            columns = _columns(element, [table[str(number)] for number in range(len(element.properties))])
        place += length
    if len(content) - place >= max(1, elements[-1].least(binary=True)):
        raise Damaged(f"its header says {_said(elements)}, and {len(content) - place:,} bytes more follow", AGAIN)
    return columns, faces


def _ascii(file: BinaryIO, elements: Sequence[Element]) -> tuple[dict[str, Array], Array]:
    columns, faces = dict[str, Array](), NO_FACES
    for element in elements:
        if element.name == "vertex":
            values = read_rows(file, element.count, width=len(element.properties))
            found, columns = len(values), _columns(element, list(values.T))
        else:
            lines = list(itertools.islice(filter(bytes.strip, file), element.count))
            found = len(lines)
            faces = ascii_faces(element, lines) if element.name == "face" and found == element.count else faces
        if found < element.count:
            raise Damaged(f"{CUT}: its header says {_said(elements)}, and {found:,} of {element.name} are there", AGAIN)
    if more := more_rows(file):
        raise Damaged(f"its header says {_said(elements)}, and at least {more:,} lines more follow", AGAIN)
    return columns, faces


def _columns(element: Element, columns: Sequence[Array]) -> dict[str, Array]:
    """Properties by name; of several with one name the first."""
    named: dict[str, Array] = {}
    for one, column in zip(element.properties, columns, strict=True):
        named.setdefault(one.name, column)
    return named
