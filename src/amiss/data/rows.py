"""Rows of numbers as text: read at the speed of the file, and the first line that is not like the others is named."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from amiss.data.headers import Damaged

Array = npt.NDArray[Any]

_SHOWN = 40  # characters of a line in a message


def read_rows(
    file: BinaryIO, count: int | None, delimiter: bytes | None = None, *, comma: bool = False, width: int | None = None
) -> Array:
    """Rows of numbers from here on, (R, C) float64; blank lines are passed over.

    count   rows to read at most, None for all; the file is then left behind the last of them
    comma   whether numbers have a decimal comma     width  numbers in a row, None where the first row says it
    raises  Damaged naming the line that holds more or fewer numbers, or something else
    """
    start = file.tell()
    lines: Iterator[bytes] = filter(bytes.strip, file)
    first = next(lines, None)
    if first is None or count == 0:
        return np.empty((0, width or 0))
    lines = chain([first], lines)
    if comma:
        lines = (line.replace(b",", b".") for line in lines)
    text = None if delimiter is None else delimiter.decode()
    try:
        values = np.loadtxt(lines, delimiter=text, comments=None, max_rows=count, ndmin=2, encoding="latin1")
    except ValueError as error:
        raise _fault(file, start, delimiter, comma, width) or Damaged(f"its rows are no numbers ({error})") from error
    if width is not None and values.shape[1] != width:
        raise _fault(file, start, delimiter, comma, width) or Damaged(f"its rows hold {values.shape[1]} numbers")
    return values


def cells(line: bytes, delimiter: bytes | None) -> list[bytes]:
    """The cells of a line, without space around them."""
    return [cell.strip() for cell in line.split(delimiter)]


def number(cell: bytes, *, comma: bool = False) -> float | None:
    """The number in a cell, None where it holds none."""
    try:
        return float(cell.replace(b",", b".") if comma else cell)
    except ValueError:
        return None


def more_rows(file: BinaryIO) -> int:
    """How many lines that are not blank follow, up to a thousand."""
    return sum(1 for _, _ in zip(range(1000), filter(bytes.strip, file), strict=False))


def _fault(file: BinaryIO, start: int, delimiter: bytes | None, comma: bool, width: int | None) -> Damaged | None:
    """The first line from `start` on that does not hold as many numbers as the others."""
    file.seek(0)
    before = file.read(start).count(b"\n")
    for place, line in enumerate(file, start=before + 1):
        if not line.strip():
            continue
        found = cells(line, delimiter)
        width = width or len(found)
        shown = line.strip()[:_SHOWN].decode("utf-8", "replace")
        if len(found) != width:
            return Damaged(f"line {place} holds {len(found)} values where others hold {width}: {shown!r}", "mend that line")
        if any(number(cell, comma=comma) is None for cell in found):
            return Damaged(f"line {place} holds something that is no number: {shown!r}", "mend or remove that line")
    return None
