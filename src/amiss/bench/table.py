"""Records of a bench folder as tables: one row a cell and category (Parquet, CSV), one line a method in Markdown.

Of several records for one place in the plan (method, data, category, setting, seed), as after a change of the data, the newest
counts. A mean over categories is the mean of their figures, never one over pooled scores; a mean over seeds comes with its
standard deviation.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from amiss.bench.figures import FIGURES, KIND_NAMES, names
from amiss.bench.identity import write_whole
from amiss.bench.papers import Match, published
from amiss.bench.run import read_record

_FIT = ("fit_seconds", "features_cached", "parts", "calibration", "calibration_parts", "threshold", "extrapolated", "peak_mb")
_ROW = ("n_good", "n_defective", "false_alarms", "escapes", "reviewed_good", "reviewed_defective", "seen_in_fit", "ms_per_part",
        "timed", "cache_gap")  # fmt: skip
_MADE = ("budget", "limit", "preset", "fingerprint", "fit_fingerprint", "commit", "started", "finished", "key")
COLUMNS = (
    "label", "method", "data", "layout", "category", "view", "setting", "seed", "status", "reason",
    *(name + end for name in FIGURES for end in ("", "_low", "_high")), *_ROW, *_FIT, *_MADE, "fields", "versions", "notes",
)  # fmt: skip
_NUMBERS = {*FIGURES, "ms_per_part", "cache_gap", "fit_seconds", "features_cached", "threshold", "peak_mb", "budget", "limit"}
_WHOLE = {"seed", "parts", "calibration_parts", *_ROW} - _NUMBERS
_OF_PICTURES = ("pixel_auroc", "aupro")
_WHERE_THERE = ("point_auroc", "point_ap", "point_aupro", "box_ap", "box_recall")


@dataclass(frozen=True)
class Line:
    """One method on one data set in one setting: means over its categories, then over its seeds."""

    label: str
    data: str
    setting: str
    categories: tuple[str, ...]
    seeds: tuple[int, ...]
    figures: Mapping[str, float]
    spread: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    ms: float
    fit_seconds: float
    cached: float
    peak_mb: float
    failed: int
    match: Match | None
    view: str

    @property
    def categories_said(self) -> str:
        return self.categories[0] if len(self.categories) == 1 else f"mean of {len(self.categories)}"


def load(out: Path) -> list[dict[str, Any]]:
    """The records of a bench folder, in reading order; for each place in the plan the newest."""
    newest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for path in sorted((out / "cells").glob("*.json")):
        record = read_record(path)
        if record is None:
            continue
        place = tuple(record[name] for name in ("data", "setting", "category", "label", "seed"))
        if place not in newest or record.get("finished", "") >= newest[place].get("finished", ""):
            newest[place] = record
    return [newest[place] for place in sorted(newest, key=lambda place: (*map(str, place[:-1]), f"{place[-1]:09}"))]


def flat(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a cell and category, with the columns of COLUMNS; a failed cell has one row with its reason."""
    rows = []
    for record in records:
        for row in record["rows"] or [{"category": record["category"]}]:
            made = {
                name: record.get(name) for name in ("label", "method", "data", "layout", "setting", "seed", "status", "reason")
            }
            made |= {name: record.get(name) for name in (*_FIT, *_MADE)} | {name: row.get(name) for name in _ROW}
            made |= {"category": row["category"], "view": row.get("view", "picture" if "n_good" in row else None)}
            for name in FIGURES:
                low, high = row.get("intervals", {}).get(name, (None, None))
                made |= {name: row.get(name), f"{name}_low": low, f"{name}_high": high}
            for name in ("fields", "versions", "notes"):
                made[name] = json.dumps(record.get(name), sort_keys=True)
            rows.append({name: made[name] for name in COLUMNS})
    return rows


def lines(records: Iterable[Mapping[str, Any]]) -> list[Line]:
    """One line for each method, data set and setting, those of one data set and setting together, the best first."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        groups[record["data"], record["setting"], record["label"]].append(record)
    found = [_line(group) for group in groups.values()]
    return sorted(found, key=lambda line: (line.data, line.setting, -line.figures.get("image_auroc", -1), line.label))


def _line(records: Sequence[Mapping[str, Any]]) -> Line:
    first = records[0]
    done = [record for record in records if record["status"] == "done"]
    by_seed: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for record in done:
        by_seed[record["seed"]].extend(record["rows"])
    rows = [row for some in by_seed.values() for row in some]
    categories = tuple(sorted({row["category"] for row in rows}))
    figures: dict[str, float] = {}
    spread: dict[str, float] = {}
    for name in FIGURES:
        values = [[row[name] for row in some if row.get(name) is not None] for some in by_seed.values()]
        means = [fmean(some) for some in values if len(some) == len(categories) and some]
        if means and len(means) == len(by_seed):
            figures[name] = fmean(means)
            spread |= {name: stdev(means)} if len(means) > 1 else {}
    return Line(
        first["label"], first["data"], first["setting"], categories, tuple(sorted(by_seed)), figures, spread,
        rows[0]["intervals"] if len(rows) == 1 else {},
        fmean(row["ms_per_part"] for row in rows) if rows else float("nan"),
        fmean(record["fit_seconds"] for record in done) if done else float("nan"),
        max((record["features_cached"] for record in done), default=0.0),
        max((record["peak_mb"] or 0.0 for record in done), default=float("nan")),
        len(records) - len(done),
        published(done[0] if done else first, categories, rows),
        view_of(rows),
    )  # fmt: skip


def view_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """What shows the parts of some rows: cloud where all are clouds, picture otherwise and in older records."""
    return "cloud" if {row.get("view") for row in rows} == {"cloud"} else "picture"


def columns(found: Sequence[Line]) -> dict[str, str]:
    """The figures that a table of these lines shows, with what they are called; of points and boxes those that are there."""
    views = {line.view for line in found if line.figures} or {"picture"}
    shown = ["image_auroc", *(_OF_PICTURES if "picture" in views else ())]
    shown += [name for name in _WHERE_THERE if any(name in line.figures for line in found)]
    called = names("cloud" if views == {"cloud"} else "picture")
    return {name: called[name] for name in shown}


def write_tables(out: Path, records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Write results.csv, results.md and, where pyarrow is installed, results.parquet; what was written by name."""
    rows = flat(records)
    files = {"csv": "results.csv", "markdown": "results.md"}
    write_whole(out / files["csv"], as_csv(rows))
    write_whole(out / files["markdown"], markdown(lines(records)))
    if _write_parquet(out / "results.parquet", rows):
        files["parquet"] = "results.parquet"
    return files


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV text; a text that a spreadsheet would take for a formula gets an apostrophe before it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _plain(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


def _write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> bool:
    """False where pyarrow is not installed or there is nothing; then an older table goes, for it would be out of date."""
    import importlib.util
    import os

    if importlib.util.find_spec("pyarrow") is None or not rows:
        path.unlink(missing_ok=True)
        return False
    import pyarrow
    import pyarrow.parquet

    part = path.with_name(path.name + ".part")
    try:
        columns = {name: pyarrow.array([row[name] for row in rows], type=_arrow(name, pyarrow)) for name in COLUMNS}
        pyarrow.parquet.write_table(pyarrow.table(columns), os.fspath(part))
        os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return True


def _arrow(name: str, pyarrow: Any) -> Any:
    """A column's type does not depend on what happens to be in it, so that tables of several benches can be joined."""
    if name in _WHOLE:
        return pyarrow.int64()
    if name == "extrapolated":
        return pyarrow.bool_()
    return pyarrow.float64() if name in _NUMBERS or name.endswith(("_low", "_high")) else pyarrow.string()


def markdown(found: Sequence[Line]) -> str:
    """A Markdown table a data set and setting, with the published figure and the gap beside ours, and why they may differ."""
    text = ["# Results", ""]
    groups: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in found:
        groups[line.data, line.setting].append(line)
    for (data, setting), some in groups.items():
        text += [f"## {escaped(data)}, {escaped(setting)}", "", *_table(some), ""]
        if averaged := by_kind(some):
            text += ["| " + " | ".join(["method", *KIND_NAMES.values()]) + " |", "| --- " * (len(KIND_NAMES) + 1) + "|"]
            text += [_kinds_row(line) for line in averaged]
            text += ["", KIND_FOOT, ""]
        for line in some:
            if line.match is not None:
                text.append(
                    f"- {escaped(line.label)}: {escaped(line.match.source)} ({line.match.tag}). {escaped(line.match.why)}"
                )
        text += [""]
    return "\n".join([*text, _FOOT, ""])


_FOOT = (
    "Ours: mean over categories, then over seeds (± standard deviation over seeds); a single category and seed has its 95 % "
    "interval. ms per part: median, from file to verdict, nothing cached. Fit seconds with * profited from features that other "
    "cells had computed. Gap: ours minus the published figure, in points."
)


KIND_FOOT = (
    "Each kind of defect against all good parts, then the plain mean of the two. AU-sPRO up to a false-positive rate of 0.05; "
    "other limits are in the cells' files."
)


def by_kind(found: Sequence[Line]) -> list[Line]:
    """The lines of data sets that are averaged over kinds of defect."""
    return [line for line in found if any(name in line.figures for name in KIND_NAMES)]


def with_paper(line: Line, name: str) -> str:
    """A figure with the published one and the gap."""
    theirs, said = paper(line, name), figure(line, name)
    return said if theirs == "-" else f"{said}; paper {theirs}, gap {gap(line, name)}"


def _table(some: Sequence[Line]) -> list[str]:
    """Head and rows of a Markdown table with the figures that there are."""
    shown = columns(some)
    called = _beside((called, "paper", "gap") for called in shown.values())
    head = ["method", "categories", "seeds", *called, "ms per part", "fit s", "peak MB"]
    return ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|", *(_markdown_row(line, shown) for line in some)]


def _beside(threes: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Each figure with the published one beside it, and the gap for the first."""
    for place, three in enumerate(threes):
        yield from three[: 2 if place else 3]


def _markdown_row(line: Line, shown: Iterable[str]) -> str:
    beside = ((figure(line, name), paper(line, name), gap(line, name)) for name in shown)
    cells = [
        escaped(line.label) + (f" ({line.failed} failed)" if line.failed else ""), escaped(line.categories_said),
        ", ".join(map(str, line.seeds)), *_beside(beside),
        number(line.ms, ".1f"), number(line.fit_seconds, ".1f") + ("*" if line.cached else ""), number(line.peak_mb, ".0f"),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _kinds_row(line: Line) -> str:
    return "| " + " | ".join([escaped(line.label), *(with_paper(line, name) for name in KIND_NAMES)]) + " |"


def figure(line: Line, name: str) -> str:
    """A figure with what is known of its uncertainty."""
    if name not in line.figures:
        return "-"
    said = f"{line.figures[name]:.3f}"
    if name in line.spread:
        return said + f" ± {line.spread[name]:.3f}"
    return said + (" ({:.3f}-{:.3f})".format(*line.intervals[name]) if name in line.intervals else "")


def paper(line: Line, name: str) -> str:
    value = None if line.match is None else line.match.figures.get(name)
    return "-" if value is None else f"{value:.3f}"


def gap(line: Line, name: str) -> str:
    """Ours minus the paper's in points; none where the categories are not the same."""
    if line.match is None or not line.match.comparable or name not in line.figures or name not in line.match.figures:
        return "-"
    return f"{100 * (line.figures[name] - line.match.figures[name]):+.1f}"


def number(value: float, style: str) -> str:
    return "-" if value != value else f"{value:{style}}"


def escaped(text: object) -> str:
    """A text that stays one Markdown table cell, and text."""
    line = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]<>#|!~&])", r"\\\1", line)
