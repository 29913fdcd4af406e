"""PCD files of the Point Cloud Library: ascii, binary and binary_compressed, fields in any order, type and count.

Read are x, y, z, the normals and further single columns; colours and padding (`_`) are passed over, VIEWPOINT is not applied.
A cloud of several rows (HEIGHT above 1) is organised. Source: the PCL documentation, "The PCD file format", version 0.7.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from amiss.data import lzf
from amiss.data.cloud import AGAIN, Cloud, check_count, cloud_of, read_exactly
from amiss.data.headers import Damaged
from amiss.data.rows import more_rows, read_rows

Array = npt.NDArray[Any]

STARTS = (b"# .PCD", b"VERSION", b"FIELDS")
_TYPES = {("F", 4): "<f4", ("F", 8): "<f8"} | {(k, n): f"<{k.lower()}{n}" for k in "IU" for n in (1, 2, 4, 8)}
_KINDS = ("ascii", "binary", "binary_compressed")
_LINES = 100
_LINE = 2**16
_DAMAGED = "its header is damaged"


@dataclass(frozen=True)
class _Field:
    name: str
    dtype: np.dtype[Any]
    count: int

    @property
    def size(self) -> int:
        return self.dtype.itemsize * self.count


@dataclass(frozen=True)
class _Header:
    fields: tuple[_Field, ...]
    width: int
    height: int
    kind: str

    @property
    def points(self) -> int:
        return self.width * self.height

    @property
    def stride(self) -> int:
        """Bytes of one point."""
        return sum(field.size for field in self.fields)

    @property
    def grid(self) -> tuple[int, int] | None:
        return (self.height, self.width) if self.height > 1 else None


def read_pcd(file: BinaryIO, size: int) -> Cloud:
    """The cloud of a PCD file of `size` bytes.

    raises  Damaged when it is cut off, its header does not fit what follows, or a field that is needed is missing
    """
    header = _read_header(file)
    check_count(header.points)
    rest = size - file.tell()
    if header.kind == "ascii":
        columns = _ascii(file, header, rest)
    elif header.kind == "binary":
        columns = _binary(file, header, rest)
    else:
        columns = _compressed(file, header, rest)
    return cloud_of(columns, header.grid)


def _read_header(file: BinaryIO) -> _Header:
    """Up to the DATA line, behind which the file is left."""
    entries: dict[str, list[str]] = {}
    for _ in range(_LINES):
        line = file.readline(_LINE)
        words = line.decode("latin1").split("#")[0].split()
        if words:
            entries[words[0].upper()] = words[1:]
        if not line or "DATA" in entries:
            break
    if "DATA" not in entries:
        raise Damaged("its header ends without a DATA line", AGAIN)
    kind = " ".join(entries["DATA"]).lower()
    if kind not in _KINDS:
        raise Damaged(f"its data are of the kind {kind[:40]!r}, wanted one of {', '.join(_KINDS)}", "save it as one of these")
    width, height, points = _counts(entries)
    if width * height != points:
        raise Damaged(f"its header says {points:,} points and {width:,} x {height:,}", AGAIN)
    return _Header(_fields(entries), width, height, kind)


def _counts(entries: Mapping[str, list[str]]) -> tuple[int, int, int]:
    """WIDTH, HEIGHT and POINTS; the first or the last may be missing."""
    if "POINTS" not in entries and "WIDTH" not in entries:
        raise Damaged(f"{_DAMAGED}: it has neither POINTS nor WIDTH", AGAIN)
    height = _numbers(entries, "HEIGHT", 1)[0] if "HEIGHT" in entries else 1
    points = _numbers(entries, "POINTS", 1)[0] if "POINTS" in entries else _numbers(entries, "WIDTH", 1)[0] * height
    width = _numbers(entries, "WIDTH", 1)[0] if "WIDTH" in entries else points // max(height, 1)
    return width, height, points


def _fields(entries: Mapping[str, list[str]]) -> tuple[_Field, ...]:
    names = [name.lower() for name in entries.get("FIELDS", entries.get("COLUMNS", []))]
    sizes, types = _numbers(entries, "SIZE", len(names)), entries.get("TYPE", [])
    counts = _numbers(entries, "COUNT", len(names)) if "COUNT" in entries else [1] * len(names)
    if not names or len(types) != len(names):
        raise Damaged(f"{_DAMAGED}: {len(names)} FIELDS and {len(types)} of TYPE", AGAIN)
    fields = []
    for name, size, kind, count in zip(names, sizes, types, counts, strict=True):
        code = _TYPES.get((kind.upper(), size))
        if code is None or not 0 < count < 2**16:
            raise Damaged(f"its field {name} is of type {kind}, size {size} and count {count}, which is not read", AGAIN)
        fields.append(_Field(name, np.dtype(code), count))
    return tuple(fields)


def _numbers(entries: Mapping[str, list[str]], key: str, wanted: int) -> list[int]:
    words = entries.get(key, [])
    if len(words) != wanted or not all(word.isdecimal() and len(word) < 19 for word in words):
        raise Damaged(f"{_DAMAGED}: {key} {' '.join(words)[:60]!r}, wanted {wanted} whole numbers", AGAIN)
    return [int(word) for word in words]


def _ascii(file: BinaryIO, header: _Header, rest: int) -> dict[str, Array]:
    width = sum(field.count for field in header.fields)
    if header.points * (2 * width) > rest + 1:
        raise Damaged(f"it is cut off: its header says {header.points:,} points, and {rest:,} bytes follow", AGAIN)
    values = read_rows(file, header.points, width=width)
    if len(values) < header.points:
        raise Damaged(f"it is cut off: its header says {header.points:,} points, and {len(values):,} are there", AGAIN)
    if more := more_rows(file):
        raise Damaged(f"its header says {header.points:,} points, and at least {more:,} more follow", AGAIN)
    places = np.cumsum([0, *(field.count for field in header.fields)])
    return _named(header, [values[:, place] for place in places[:-1]])


def _binary(file: BinaryIO, header: _Header, rest: int) -> dict[str, Array]:
    wanted = header.points * header.stride
    _check_length(header, wanted, rest)
    form = np.dtype([(str(number), field.dtype, (field.count,)) for number, field in enumerate(header.fields)])
    table = np.frombuffer(read_exactly(file, wanted), form)
    return _named(header, [table[str(number)][:, 0] for number in range(len(header.fields))])


def _compressed(file: BinaryIO, header: _Header, rest: int) -> dict[str, Array]:
    """Field after field, all points of one before the next; the lengths stand before it."""
    packed, unpacked = struct.unpack("<II", read_exactly(file, 8))
    wanted = header.points * header.stride
    if unpacked != wanted or unpacked > packed * lzf.MOST:
        raise Damaged(f"its header says {header.points:,} points of {header.stride} bytes, its data {unpacked:,} bytes", AGAIN)
    if packed > rest - 8:
        raise Damaged(f"it is cut off: {packed:,} compressed bytes wanted, {rest - 8:,} there", AGAIN)
    raw = lzf.decompress(read_exactly(file, packed), unpacked)
    columns, place = [], 0
    for field in header.fields:
        columns.append(np.frombuffer(raw, field.dtype, header.points * field.count, place))
        place += header.points * field.size
    return _named(header, columns)


def _check_length(header: _Header, wanted: int, rest: int) -> None:
    """Less than the header says is a cut-off file; a whole point more is one whose header lies."""
    said = f"its header says {header.points:,} points of {header.stride} bytes, and {rest:,} bytes follow"
    if rest < wanted:
        raise Damaged(f"it is cut off: {said}", AGAIN)
    if rest >= wanted + header.stride:
        raise Damaged(said, AGAIN)


def _named(header: _Header, columns: list[Array]) -> dict[str, Array]:
    """Fields of one value a point, without padding; of several with one name the first."""
    named: dict[str, Array] = {}
    for field, column in zip(header.fields, columns, strict=True):
        if field.count == 1 and field.name != "_":
            named.setdefault(field.name, column)
    return named
