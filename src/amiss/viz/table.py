"""The table of an inspection: one row a part, as CSV and, where pyarrow is installed, as Parquet."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amiss.data.readers import printable
from amiss.types import Result

COLUMNS = (
    "path", "score", "p_value", "verdict", "threshold", "review_threshold", "seconds", "extrapolated", "overlay",
)  # fmt: skip


def write_table(folder: Path, results: Sequence[Result], overlays: Sequence[str]) -> None:
    """Write results.csv and perhaps results.parquet.

    overlays  the name of each part's overlay, "" where it has none
    """
    rows = [_row(result, name) for result, name in zip(results, overlays, strict=True)]
    with (folder / "results.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    _write_parquet(folder / "results.parquet", rows)


def _row(result: Result, overlay: str) -> dict[str, Any]:
    verdict = result.verdict
    row: dict[str, Any] = {"path": printable(result.id), "score": result.score, "seconds": round(result.seconds, 6)}
    if verdict is not None:
        row |= {
            "p_value": verdict.p_value, "verdict": verdict.outcome, "threshold": verdict.threshold,
            "review_threshold": verdict.review_threshold, "extrapolated": verdict.extrapolated,
        }  # fmt: skip
    return {**dict.fromkeys(COLUMNS), **row, "overlay": overlay or None}


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """The same table as Parquet, where pyarrow is installed."""
    import importlib.util

    if importlib.util.find_spec("pyarrow") is None or not rows:
        return
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), os.fspath(path))
