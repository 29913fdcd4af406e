"""`amiss predict`, `amiss evaluate` and `amiss verify`."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer

import amiss
from amiss.artifact import file_digest
from amiss.cli.console import Console
from amiss.cli.fitting import readable
from amiss.cli.opening import Asked
from amiss.data.readers import printable
from amiss.data.views import WANTED, files_below, views
from amiss.errors import BadLayout, BadModelFile
from amiss.model import TOLERANCE
from amiss.viz.inspection import Options, inspect

if TYPE_CHECKING:
    from amiss.bench.evaluate import Evaluation


def run_predict(model_path: Path, given: Sequence[str], out: Path, options: Options, console: Console) -> None:
    """Judge pictures and write table, overlays and report."""
    model = amiss.load(model_path)
    paths = expand(given, out)
    with console.progress() as progress:
        title = f"{printable(model_path.name)}: {len(paths)} parts"
        run = inspect(model, paths, out, options, title=title, about=_about(model_path), progress=progress)
    for reason in run.skipped.values():
        console.warn(f"skipped {reason}")
    calibration = model.calibration
    console.warn("not calibrated: scores, but no verdicts" if calibration is None else calibration.warning())
    seconds = [result.seconds for result in run.results]
    milliseconds = round(float(np.median(seconds)) * 1e3, 2) if seconds else None
    counts = {name: run.verdicts.get(name, 0) for name in ("OK", "REVIEW", "NG")}
    values = {
        "parts": len(run.results), "verdicts": counts if calibration is not None else None, "ms_per_part": milliseconds,
        "skipped": dict(run.skipped), "files": dict(run.files),
    }  # fmt: skip
    said = ", ".join(f"{count} {name}" for name, count in counts.items()) if calibration is not None else "no verdicts"
    lines = [f"{len(run.results)} parts: {said}; {milliseconds} ms each", *run.files.values()]
    console.result(values, lines)


def _about(model_path: Path) -> dict[str, str]:
    return {
        "model file": printable(model_path.resolve()),
        "model file sha256": file_digest(model_path),
        "judged": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z"),
    }


def expand(given: Sequence[str], out: Path) -> list[Path]:
    """Files as they are, folders searched recursively, globs expanded; each once, in order.

    raises  BadLayout for a path or pattern that names nothing, or a folder without pictures and point clouds
    """
    found: dict[Path, None] = {}
    for item in given:
        path = Path(item)
        if path.is_dir():
            some = views([p for p in files_below(path) if not _inside(p, out)], path)
        elif path.exists() or not glob.has_magic(item):
            some = [path]
        else:
            some = sorted(Path(p) for p in glob.glob(item, recursive=True) if Path(p).is_file())
        if not some:
            raise BadLayout(f"{printable(item)}: no picture or point cloud there; {WANTED}")
        found |= dict.fromkeys(some)
    return list(found)


def _inside(path: Path, out: Path) -> bool:
    """Whether a picture is an output of an earlier run below the folder being judged."""
    return (out / "overlays").resolve() in path.resolve().parents


def run_evaluate(model_path: Path, data: Asked, limit: float, skip_unreadable: bool, console: Console) -> None:
    """Judge a test split and print the figures."""
    from amiss.bench.evaluate import evaluate

    model = amiss.load(model_path)
    dataset, category = data.opened()
    split = dataset.split(category, "test")
    if skip_unreadable:
        split = readable(split, console)
    with console.progress() as progress:
        found = evaluate(model, split, limit=limit, progress=progress)
    if found.seen_in_fit and "normal" in model.detector.needs:
        console.warn(
            f"{found.seen_in_fit} test parts were also fitted or calibrated on, so the figures flatter; see amiss data check"
        )
    console.result(found.to_json(), _figures(found))


def _figures(found: Evaluation) -> list[str]:
    from amiss.bench.figures import names
    from amiss.bench.places import OUTSIDE

    shown = {key: name for key, name in names(found.view).items() if found.reasons.get(key) not in OUTSIDE}
    width = max(map(len, shown.values())) + 1
    lines = [f"{found.n_normal} good and {found.n_anomalous} defective parts, {found.ms_per_part:.1f} ms each (median)"]
    for key, name in shown.items():
        value = getattr(found, key)
        text = f"none: {found.reasons.get(key, 'no map')}" if value is None else f"{value:.4f}"
        if key in found.intervals:
            text += " (95 %: {:.4f} to {:.4f})".format(*found.intervals[key])
        lines.append(f"{name:<{width}}{text}")
    lines += _kinds(found)
    if found.false_alarms is not None:
        lines.append(f"false alarms {found.false_alarms} of {found.n_normal}, and {found.reviewed_good} to review")
        lines.append(f"escapes      {found.escapes} of {found.n_anomalous}, and {found.reviewed_defective} to review")
    return lines


def _kinds(found: Evaluation) -> Iterator[str]:
    """Figures by kind of defect, where there are several."""
    from amiss.bench.figures import names

    if found.au_spro is not None:
        areas = ", ".join(f"{value:.4f} up to {limit}" for limit, value in found.au_spro.items())
        yield f"mean AU-sPRO {areas}"
    known = {kind: one for kind, one in found.kinds.items() if one.image_auroc is not None}
    if len(known) > 1:
        each = (f"{kind} {one.image_auroc:.4f} (n = {one.parts})" for kind, one in known.items())
        yield f"{names(found.view)['image_auroc']} by kind: {', '.join(each)}"


def run_verify(model_path: Path, console: Console) -> None:
    """Replay the golden inputs; exit code 3 where a score differs by more than the tolerance."""
    rows = amiss.load(model_path).verify()
    if not rows:
        raise BadModelFile(f"{printable(model_path)}: it holds no golden inputs; fit it again")
    same = all(row["gap"] <= TOLERANCE for row in rows)
    lines = [f"golden {i}: {row['stored']:.6g} then, {row['now']:.6g} now" for i, row in enumerate(rows)]
    lines.append("the same scores" if same else f"different scores: above the tolerance of {TOLERANCE:g}; do not use it here")
    console.result({"model": os.fspath(model_path), "same": same, "tolerance": TOLERANCE, "goldens": rows}, lines)
    if not same:
        raise typer.Exit(3)
