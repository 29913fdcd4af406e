"""Points as lines of text: XYZ, TXT, CSV and ASC, in the many ways that scanners and spreadsheets write them.

    x y z                 spaces, tabs, commas or semicolons; decimal commas where the comma does not delimit
    x y z nx ny nz        normals by the header, or where columns 4 to 6 are vectors of unit length
    x y z label           further columns are kept under the names of the header, else under their number from 1

A header is one line of words above the numbers that names x, y and z, in any order and with or without units ("X [mm]"), as
such or among the lines behind `#` or `//`. A first line with one whole number is the number of points. Without a header the
first three columns are x, y, z.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from amiss.data.cloud import AGAIN, MAX_POINTS, Cloud, check_count, cloud_of
from amiss.data.headers import Damaged
from amiss.data.rows import Form, number, read_rows

Array = npt.NDArray[Any]

HEAD = 2**16
_BOM = b"\xef\xbb\xbf"
_COMMENTS = (b"#", b"//")
_DELIMITERS = {None: "spaces", b",": "commas", b";": "semicolons"}
_FORMS = (
    Form(b","), Form(b";"), Form(), Form(b";", comma=True), Form(comma=True),
    Form(b",", trailing=True), Form(b";", trailing=True), Form(b";", comma=True, trailing=True),
)  # fmt: skip
_UNIT = re.compile(r"\s*[\[(].*[\])]$|[_ ](mm|cm|m|um|in|inch)$")
_PARAVIEW = {f"points:{place}": axis for place, axis in enumerate("xyz")} | {
    f"normals:{place}": f"n{axis}" for place, axis in enumerate("xyz")
}
_UNIT_LENGTH = 0.01  # what the length of a normal may differ from 1 by
_MARGIN = 1.2  # of an estimate


@dataclass(frozen=True)
class Head:
    """What stands above the numbers, and how the first line of them is written.

    names  of the columns, none without a header     said  number of points by the first line, None where it says none
    """

    names: Sequence[str]
    said: int | None
    start: int
    form: Form
    width: int


@dataclass(frozen=True)
class Wanted:
    """How a data set writes its rows. delimiter  None for spaces     least, most  numbers in a row"""

    delimiter: bytes | None
    least: int
    most: int

    def check(self, head: Head) -> None:
        """raises  Damaged where the rows have another delimiter, decimal commas, or another number of columns"""
        met, wanted = _DELIMITERS[head.form.delimiter], _DELIMITERS[self.delimiter]
        if head.form.comma:
            raise Damaged("its numbers have decimal commas", f"write them with points, and {wanted} between them")
        if met != wanted:
            raise Damaged(f"its numbers stand between {met}, wanted {wanted}", f"write it with {wanted}, as its data set does")
        if not self.least <= head.width <= self.most:
            numbers = f"{self.least}" if self.least == self.most else f"{self.least} or more"
            raise Damaged(f"its rows hold {head.width} numbers, wanted {numbers}", "take it from the data set again")


def read_text(file: BinaryIO, size: int) -> Cloud:
    """The cloud in a text file of `size` bytes.

    raises  Damaged naming the line that does not hold as many numbers as the others, or what is missing
    """
    return cloud_of(read_columns(file, size))


def read_columns(file: BinaryIO, size: int, wanted: Wanted | None = None) -> dict[str, Array]:
    """The columns (R,) float64 of a text file by lower-case name, else by number from 1; the first three are x, y, z.

    wanted  how the rows must be written, where a data set says so
    raises  Damaged as read_text does, and where the rows are written otherwise
    """
    content = file.read(HEAD)
    head = read_head(content)
    if wanted is not None:
        wanted.check(head)
    _check_size(content[head.start :], size - head.start)
    file.seek(head.start)
    values = read_rows(file, MAX_POINTS + 1, head.form, width=head.width)
    check_count(len(values))
    if head.said not in (None, len(values)):
        raise Damaged(f"its first line says {head.said:,} points, and {len(values):,} are there", AGAIN)
    return _columns(head, values)


def read_head(content: bytes) -> Head:
    """What the first bytes of a file say; raises Damaged where they are no points."""
    if b"\0" in content:
        raise Damaged("it holds zero bytes, as UTF-16 or binary files do", "save it as text in UTF-8")
    stream = io.BytesIO(content)
    stream.seek(len(_BOM) * content.startswith(_BOM))
    names, said, above = list[str](), None, 0
    while line := stream.readline():
        text = line.strip()
        form = next((form for form in _FORMS if _fits(form, text)), None)
        if form is not None:
            width = len(form.cells(text))
            if above and len(names) != width:
                raise Damaged(f"its header names {len(names)} columns, its first row holds {width} numbers", "mend the header")
            return Head(names if len(names) == width else [], said, stream.tell() - len(line), form, width)
        if text.isdigit() and said is None and not names:
            said = int(text)
        elif text.startswith(_COMMENTS) or not text:
            names = names or _names(text.lstrip(b"#/ "))
        elif above or not (names := _names(text)):
            shown = text[:40].decode("utf-8", "replace")
            raise Damaged(f"{shown!r} are no three numbers and name no x, y and z", "give rows of numbers below x,y,z")
        else:
            above += 1
    raise Damaged("it holds no points: no line with three numbers or more", AGAIN)


def _fits(form: Form, line: bytes) -> bool:
    found = form.cells(line)
    return len(found) >= 3 and all(number(cell) is not None for cell in found)


def _names(line: bytes) -> list[str]:
    """The columns that a header names, lower-case and without units; none where x, y and z are not among them."""
    text = line.decode("utf-8", "replace").lower()
    for delimiter in (",", ";", "\t", None):
        cells = [cell.strip().strip("\"'") for cell in text.split(delimiter)]
        names = [_PARAVIEW.get(cell, _UNIT.sub("", cell)) for cell in cells]
        names = [name for name in names if name] if delimiter is None else names
        if {"x", "y", "z"} <= set(names):
            return names
    return []


def _check_size(rows: bytes, size: int) -> None:
    """Refuse by the length of the first rows what would take long to read and then be refused."""
    lines = rows.splitlines(keepends=True)
    estimate = size / len(rows) * len(lines)
    if estimate > MAX_POINTS * _MARGIN:
        check_count(int(round(estimate, -3)), "points or so, by its size")


def _columns(head: Head, values: Array) -> dict[str, Array]:
    """Columns (R,) by name; those without one, and second ones of a name, by their number from 1."""
    names = list(head.names)
    if not names:
        names = ["x", "y", "z"]
        if head.width > 5 and (np.abs(np.linalg.norm(values[:, 3:6], axis=1) - 1) < _UNIT_LENGTH).all():
            names += ["nx", "ny", "nz"]
    found: dict[str, Array] = {}
    for place, column in enumerate(values.T):
        name = names[place] if place < len(names) else ""
        found[str(place + 1) if not name or name in found else name] = column
    return found
