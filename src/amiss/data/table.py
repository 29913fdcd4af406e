"""A CSV table as a data set: one line a picture or point cloud, below a header that names the columns.

    path    relative to the table             label  good, ok, normal, 0 or false; anything else is a defect
    split   train, calibration (validation, val) or test     kind  name of the defect     mask  relative to the table

Commas, semicolons or tabs; UTF-8 with or without a mark, and file names in any bytes. Only good rows are learned and calibrated
on: defective ones of those splits are left out and noted. Without a split every good row is `train` and every row is `test`.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from amiss.data.dataset import GOOD, Entry, Listing, SplitName
from amiss.data.readers import printable
from amiss.data.views import refuse_mixture
from amiss.errors import BadLayout, UnreadableFile

_GOOD_LABELS = GOOD | {"0", "0.0", "false"}
_BAD_LABELS = frozenset({"1", "1.0", "true"})
_SUFFIXES = frozenset({".csv", ".tsv", ".txt"})
_SPLITS: dict[str, SplitName] = {
    "train": "train", "calibration": "calibration", "validation": "calibration", "val": "calibration", "test": "test",
}  # fmt: skip


def read_table(table: Path) -> Listing:
    """raises  BadLayout naming the line and what is wrong with it, UnreadableFile where the table cannot be opened"""
    splits: dict[SplitName, list[Entry]] = {"train": [], "calibration": [], "test": []}
    left_out = unsplit = 0
    for number, row in rows(table, ("path", "label")):
        where = f"{printable(table)}, line {number}"
        entry, split = _entry(table, row, where), _split(row, where)
        unsplit += split is None
        if split == "test" or split is None:
            splits["test"].append(entry)
        if split != "test" and not entry.defective:
            splits[split or "train"].append(entry)
        left_out += split in ("train", "calibration") and entry.defective
    if not any(splits.values()):
        raise BadLayout(f"{printable(table)}: no rows; wanted one line a picture or point cloud below the header path,label")
    refuse_mixture({entry.path for entries in splits.values() for entry in entries}, table)
    notes = []
    if left_out:
        notes.append(f"{left_out} row(s) of train or calibration are not good and are not used: both are for good parts")
    if unsplit:
        notes.append(
            f"{unsplit} row(s) have no split: the good ones are learned and judged; add a column split to keep them apart"
        )
    return Listing({name: tuple(entries) for name, entries in splits.items()}, notes=tuple(notes))


def rows(table: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and values by column, blank lines left out; raises BadLayout where one of the columns is missing."""
    names: list[str] = []
    for number, values in _lines(table):
        if names and any(values):
            yield number, dict(itertools.zip_longest(names, values[: len(names)], fillvalue=""))
        names = names or _names(table, values, columns)


def cells(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line that is not blank, the header among them."""
    return ((number, values) for number, values in _lines(table) if any(values))


def _lines(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells without space around them; raises BadLayout where it is no CSV."""
    text = _text(table)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for values in reader:
            yield reader.line_num, [value.strip() for value in values]
    except csv.Error as error:
        raise BadLayout(f"{printable(table)}, line {reader.line_num}: not a CSV table ({error})") from error


def _text(table: Path) -> str:
    """Bytes that are not UTF-8 are kept, so that they still name the files they name on disk."""
    if table.suffix.lower() not in _SUFFIXES:
        raise BadLayout(f"{printable(table)}: wanted a folder, or a CSV table with the columns path and label")
    try:
        content = table.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadableFile(f"{printable(table)}: {reason}; give a table that can be opened") from error
    if b"\0" in content:
        raise BadLayout(f"{printable(table)}: it holds zero bytes, as UTF-16 or binary files do; save it as CSV in UTF-8")
    return content.decode("utf-8-sig", "surrogateescape")


def _names(table: Path, cells: Sequence[str], columns: Sequence[str]) -> list[str]:
    names = [cell.lower() for cell in cells]
    if missing := [name for name in columns if name not in names]:
        met = ", ".join(printable(name) for name in names if name) or "empty"
        raise BadLayout(
            f"{printable(table)}: no column {' and '.join(missing)}; its first line is: {met}; wanted " + ",".join(columns)
        )
    return names


def _split(row: Mapping[str, str], where: str) -> SplitName | None:
    name = row.get("split", "").lower()
    if name and name not in _SPLITS:
        raise BadLayout(f"{where}: split {printable(row['split'])!r}; wanted one of {', '.join(_SPLITS)}")
    return _SPLITS.get(name)


def _entry(table: Path, row: Mapping[str, str], where: str) -> Entry:
    label = row["label"].lower()
    for name in ("path", "label"):
        if not row[name]:
            wanted = "wanted good, or what is wrong" if name == "label" else "wanted the path of a picture or point cloud"
            raise BadLayout(f"{where}: the {name} is empty; {wanted}")
    path = named_file(table.parent, row["path"], where)
    mask = named_file(table.parent, row["mask"], where) if row.get("mask") else None
    good = label in _GOOD_LABELS
    kind = "good" if good else row.get("kind") or ("defective" if label in _BAD_LABELS else row["label"])
    return Entry(path, os.path.abspath(path), defective=not good, kind=printable(kind), mask=mask)


def named_file(base: Path, name: str, where: str, counted: str = "the table") -> Path:
    """The file that a table names; raises BadLayout where it is not there."""
    path = base / name
    if not path.is_file():
        raise BadLayout(f"{where}: there is no file {printable(path)}; correct the path, it counts from {counted}")
    return path
