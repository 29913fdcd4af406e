"""`amiss bench` and `amiss compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import typer

import amiss
from amiss.bench.compare import Comparison, Overall, compare, side
from amiss.bench.figures import names
from amiss.bench.identity import commit
from amiss.bench.page import write_page
from amiss.bench.plan import Plan, plan_of_words, read_plan
from amiss.bench.run import Options, Place, pending, places, read_record, run
from amiss.bench.table import Line, by_kind, columns, figure, gap, lines, load, number, paper, view_of, write_tables
from amiss.cli.console import Console
from amiss.data.protocols import task
from amiss.data.readers import printable
from amiss.errors import BadField

_ROUGH = 0.15  # seconds a part, fitting and judging together, where nothing has been measured yet
_LEFT_OUT = ("pixel_auroc", "point_ap", "box_recall")  # of the table on the screen, which has to be narrow
_DEFAULTS = {"methods": "", "data": "", "categories": "", "settings": "full", "seeds": "0"}


def given_plan(path: Path | None, words: Mapping[str, str], *, budget: float, calibration: str) -> Plan:
    """The plan of a file, or of the options; both together would hide one of them."""
    if path is None:
        if not (words["methods"] and words["data"]):
            raise BadField("nothing to compare: give a PLAN.toml, or --methods and --data, e.g. --data folder:parts/screw")
        return plan_of_words(**words, budget=budget, calibration=calibration)
    said = [name for name, text in words.items() if text != _DEFAULTS[name]]
    if said:
        raise BadField(f"--{said[0]} beside a plan: write it into {printable(path)}, or leave the plan out")
    return read_plan(path)


def run_bench(plan: Plan, out: Path, options: Options, console: Console, *, dry: bool) -> None:
    """Run what is left of a plan, then write tables and page; what is finished is written also when it is interrupted."""
    if not dry:
        _check_out(out)
    with console.progress() as progress:
        wanted = places(plan, out, progress)
    todo = pending(wanted, options)
    console.note(f"{len(wanted)} cells, {len(wanted) - len(todo)} of them finished or failed before")
    if dry:
        return _say_cells(wanted, todo, console)

    def told(place: Place, record: Mapping[str, Any]) -> None:
        console.note(f"{place.cell.said}: {_outcome(record)}")

    try:
        with console.progress() as progress:
            run(wanted, out, options, progress=progress, told=told)
    finally:
        files = _write(out, options)
    _say_results(wanted, out, files, console)


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise BadField(f"--out {printable(out)}: that is a file; give a folder")
    out.mkdir(parents=True, exist_ok=True)


def _write(out: Path, options: Options) -> dict[str, str]:
    records = load(out)
    files = write_tables(out, records)
    write_page(out / "results.html", records, pictures=options.pictures)
    return {**files, "page": "results.html"}


def _outcome(record: Mapping[str, Any]) -> str:
    if record.get("status") != "done":
        return f"failed: {record.get('reason')}"
    values = [row["image_auroc"] for row in record["rows"] if row["image_auroc"] is not None]
    called = names(view_of(record["rows"]))["image_auroc"]
    said = f"{called} {sum(values) / len(values):.3f}" if values else f"no {called}"
    speed = median(row["ms_per_part"] for row in record["rows"])
    return f"{said}, fit {record['fit_seconds']:.1f} s, {speed:.0f} ms per part"


def _say_cells(wanted: Sequence[Place], todo: Sequence[Place], console: Console) -> None:
    """The cells, and about how long those that are left will take."""
    left = {place.key for place in todo}
    pace = _pace(wanted)
    rows: list[dict[str, Any]] = []
    for place in wanted:
        cell = place.cell
        given = task(cell.setting, amiss.dataset(cell.source.name, cell.source.root), cell.wanted[0], seed=cell.seed)
        judged = sum(len(given.tests[name].entries) for name in cell.wanted)
        work = len(given.fit.entries) + judged
        rows.append({
            "cell": cell.said, "fit": len(given.fit.entries), "test": judged, "key": place.key,
            "state": "to run" if place.key in left else (place.record() or {}).get("status", "to run"),
            "seconds": round(work * pace.get(cell.method.shown, _ROUGH), 1),
        })  # fmt: skip
    total = sum(float(row["seconds"]) for row in rows if row["state"] == "to run")
    known = "from the cells finished here" if pace else f"a guess of {_ROUGH} s a part; better after the first cell"
    text = [f"{row['state']:<8}{row['cell']}: {row['fit']} to fit, {row['test']} to judge" for row in rows]
    text.append(f"{len(todo)} of {len(wanted)} cells to run, about {total / 60:.1f} min ({known})")
    console.result({"cells": rows, "to_run": len(todo), "seconds": round(total, 1)}, text)


def _pace(wanted: Sequence[Place]) -> dict[str, float]:
    """Seconds a part of each method, from the cells that are finished."""
    found: dict[str, list[float]] = {}
    for place in wanted:
        record = place.record()
        if record is not None and record["status"] == "done":
            judged = sum(row["n_good"] + row["n_defective"] for row in record["rows"])
            seconds = record["fit_seconds"] + sum(one["seconds"] for row in record["rows"] for one in row["judged"])
            found.setdefault(place.cell.method.shown, []).append(seconds / (record["parts"] + judged))
    return {name: sum(values) / len(values) for name, values in found.items()}


def _show(found: Sequence[Line], console: Console) -> None:
    """One row a line, with the figures that there are."""
    shown = {name: called for name, called in columns(found).items() if name not in _LEFT_OUT}
    first = shown.pop("image_auroc")
    shown |= {"image_auroc_mean": "mean of kinds", "au_spro_mean": "AU-sPRO"} if by_kind(found) else {}
    head = ["method", "data", "setting", "categories", first, "paper", "gap", *shown.values(), "ms", "fit s", "MB"]
    rows = [
        [line.label, line.data, line.setting, line.categories_said, figure(line, "image_auroc"), paper(line, "image_auroc"),
         gap(line, "image_auroc"), *(figure(line, name) for name in shown), number(line.ms, ".0f"),
         number(line.fit_seconds, ".1f") + "*" * bool(line.cached), number(line.peak_mb, ".0f")]
        for line in found
    ]  # fmt: skip
    console.table("", head, rows)


def _say_results(wanted: Sequence[Place], out: Path, files: Mapping[str, str], console: Console) -> None:
    records = [record for place in wanted if (record := read_record(place.path)) is not None]
    failed = [record for record in records if record["status"] != "done"]
    for record in failed:
        console.warn(f"failed: {record['label']}, {record['category']}, seed {record['seed']}: {record['reason']}")
    if len({record["commit"] for record in records} | {commit()}) > 1:
        console.warn("some cells ran on another commit of amiss; --same-commit runs them again")
    if "parquet" not in files:
        console.note("no Parquet file: it needs pyarrow (pip install 'amiss[report]')")
    found = lines(load(out))
    if not console.as_json and not console.quiet:
        _show(found, console)
    written = {name: str(out / file) for name, file in files.items()}
    said = [{"method": one.label, "data": one.data, "setting": one.setting, "figures": dict(one.figures)} for one in found]
    counts = {"cells": len(wanted), "done": len(records) - len(failed), "failed": len(failed)}
    console.result({**counts, "files": written, "lines": said}, [f"{name}: {path}" for name, path in written.items()])
    if failed:
        console.warn("failed cells stay as they are until --retry-failed")
        raise typer.Exit(3)


def run_compare(a: str, b: str, console: Console) -> None:
    """Per common category, then over all of them."""
    found, overall = compare(side(a), side(b))
    values = {"categories": [one.to_json() for one in found], "overall": None if overall is None else overall.to_json()}
    console.result(values, _comparison_lines(found, overall))


def _comparison_lines(found: Sequence[Comparison], overall: Overall | None) -> list[str]:
    text = []
    for one in found:
        text.append(
            f"{one.where}: {one.a:.4f} - {one.b:.4f} = {one.difference:+.4f} (95 %: {one.low:+.4f} to {one.high:+.4f}), "
            f"p = {one.p:.3g}" + (f", Holm {one.adjusted:.3g}" if len(found) > 1 else "") + f": {one.sentence}"
        )
    if overall is not None:
        text.append(
            f"overall, mean of {len(found)}: {overall.difference:+.4f} (95 %: {overall.low:+.4f} to {overall.high:+.4f}), "
            f"p = {overall.p:.3g}: {overall.sentence}"
        )
    return text
