"""Rows of numbers as text: read at the speed of the file, and the first line that is not like the others is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from amiss.data.headers import Damaged

Array = npt.NDArray[Any]

_SHOWN = 40  # characters of a line in a message


@dataclass(frozen=True)
class Form:
    """How a line holds its numbers.

    delimiter  None for any white space     comma  numbers have a decimal comma     trailing  a delimiter ends the line too
    """

    delimiter: bytes | None = None
    comma: bool = False
    trailing: bool = False

    def cells(self, line: bytes) -> list[bytes]:
        """The cells of a line, without space around them."""
        found = [cell.strip() for cell in self.plain(line).split(self.delimiter)]
        return found if self.delimiter is None or any(found) else []

    def plain(self, line: bytes) -> bytes:
        """The line with decimal points, and nothing behind its last cell."""
        line = line.replace(b",", b".") if self.comma else line
        return line.rstrip().removesuffix(self.delimiter or b"") if self.trailing else line


SPACES = Form()


def read_rows(file: BinaryIO, count: int, form: Form = SPACES, *, width: int | None = None) -> Array:
    """Up to `count` rows of numbers from here on, (R, C) float64; blank lines are passed over, the file is left behind them.

    width   numbers in a row, None where the first row says it
    raises  Damaged naming the line that holds more or fewer numbers, or something else
    """
    start = file.tell()
    lines: Iterator[bytes] = filter(bytes.strip, file)
    first = next(lines, None) if count else None
    if first is None:
        return np.empty((0, width or 0))
    lines = chain([first], lines)
    if form.comma or form.trailing:
        lines = map(form.plain, lines)
    delimiter = None if form.delimiter is None else form.delimiter.decode()
    try:
        values = np.loadtxt(lines, delimiter=delimiter, comments=None, max_rows=count, ndmin=2, encoding="latin1")
    except ValueError as error:
        raise _fault(file, start, form, width) or Damaged(f"its rows are no numbers ({error})") from error
    if width not in (None, values.shape[1]):
        raise _fault(file, start, form, width) or Damaged(f"its rows hold {values.shape[1]} numbers")
    return values


def number(cell: bytes) -> float | None:
    """The number in a cell, None where it holds none."""
    try:
        return float(cell)
    except ValueError:
        return None


def more_rows(file: BinaryIO) -> int:
    """How many lines that are not blank follow, up to a thousand."""
    return sum(1 for _, _ in zip(range(1000), filter(bytes.strip, file), strict=False))


def _fault(file: BinaryIO, start: int, form: Form, width: int | None) -> Damaged | None:
    """The first line from `start` on that does not hold as many numbers as the others."""
    file.seek(0)
    before = file.read(start).count(b"\n")
    for place, line in enumerate(file, start=before + 1):
        if not line.strip():
            continue
        found = form.cells(line)
        width = width or len(found)
        shown = line.strip()[:_SHOWN].decode("utf-8", "replace")
        if len(found) != width:
            return Damaged(f"line {place} holds {len(found)} values where others hold {width}: {shown!r}", "mend that line")
        if any(number(cell) is None for cell in found):
            return Damaged(f"line {place} holds something that is no number: {shown!r}", "mend or remove that line")
    return None
