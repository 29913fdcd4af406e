"""Run one cell in a process of its own: fit, time, evaluate, write one JSON file. `python -m amiss.bench.cell REQUEST`.

A process of its own makes peak memory the cell's, and a crash its own too. It ends when its standard input does, so it
never outlives the run that started it.

Times are honest by these rules. `ms_per_part` is the median over up to 20 test parts spread over the split, each
judged from file to verdict without the feature cache, after one that is not counted; their scores must equal the
cached ones to 1e-4, or the cell fails. Where a method fits the very parts it judges (zero-shot), judging looks up what the
fit has computed, so every part bears its share of the fit's time too. `fit_seconds` is as it ran; `features_cached` is the
share of fitted parts that other cells had put into the cache before (at most: an entry may be of another backbone), 0 with
--exact-times. A fit that finds nothing cached also bears the writing of it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

import amiss
from amiss.bench.evaluate import Evaluation, Judged, evaluate
from amiss.bench.figures import FIGURES
from amiss.bench.identity import FORMAT, commit, versions, write_whole
from amiss.bench.misses import misses
from amiss.bench.plan import Cell, Method, Source
from amiss.data.dataset import Split
from amiss.data.protocols import task
from amiss.data.readers import printable
from amiss.errors import AmissError
from amiss.model import Model
from amiss.verdict.calibrate import fit_calibrated

TIMED = 20
SAME = 1e-4


def request(cell: Cell, **rest: Any) -> str:
    """A cell as the JSON that its process reads."""
    return json.dumps(
        {"cell": {**asdict(cell), "source": {**asdict(cell.source), "root": os.fspath(cell.source.root)}}, **rest}
    )


def main(path: str) -> None:
    """Run the cell that a request file describes and write its record."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asked = json.loads(Path(path).read_text("utf-8"))
    cell = _cell(asked["cell"])
    notes: list[str] = []
    logging.getLogger("amiss").addHandler(_Notes(notes))
    record = head(cell, asked["key"], asked["fingerprint"])
    try:
        record |= run(cell, cache=asked["cache"] and Path(asked["cache"]), pictures=asked["pictures"], exact=asked["exact"])
        record["status"] = "done"
    except Exception as error:  # a bug in one method must not stop the others; the record says what it was
        record |= {"status": "failed", "reason": reason(error)}
    record |= {"notes": notes, "cell_peak_mb": peak_mb(), "finished": now()}
    write_whole(Path(asked["out"]), json.dumps(record, allow_nan=False))


def head(cell: Cell, key: str, fingerprint: str) -> dict[str, Any]:
    """What a record says of a cell however it ended."""
    return {
        "format": FORMAT, "key": key, "status": "failed", "reason": "", "method": cell.method.name,
        "label": cell.method.shown, "preset": cell.method.preset, "fields": cell.detector().fields(),
        "data": cell.source.shown, "layout": cell.source.name, "category": cell.category, "setting": cell.setting,
        "seed": cell.seed, "budget": cell.budget, "calibration_asked": cell.calibration, "limit": cell.limit,
        "fingerprint": fingerprint,
        "commit": commit(), "versions": versions(), "started": now(), "rows": [],
    }  # fmt: skip


def run(cell: Cell, *, cache: Path | None, pictures: bool, exact: bool) -> dict[str, Any]:
    """Fit and judge; no truth goes into the fit, and the figures are on raw scores."""
    dataset = amiss.dataset(cell.source.name, cell.source.root)
    given = task(cell.setting, dataset, cell.wanted[0], seed=cell.seed)
    before = _entries(cache)
    started = time.perf_counter()
    model = fit_calibrated(
        cell.detector(), given.fit.samples, held_out=given.calibration.samples, budget=cell.budget,
        road=cell.calibration, workdir=None if exact else cache,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    tests = {name: given.tests[name] for name in cell.wanted}
    shared = seconds * 1e3 / model.origin["parts"] if "normal" not in model.detector.needs else 0.0
    timed = {name: _timed(model, split) for name, split in tests.items()}
    found: dict[str, Any] = {
        "fit_seconds": seconds, "features_cached": 0.0 if exact else _share(model, before, cache),
        "parts": model.origin["parts"], "fit_fingerprint": model.origin["fingerprint"], **_calibration(model),
        "peak_mb": peak_mb(), "rows": [],
    }  # fmt: skip
    for name, split in tests.items():
        result = evaluate(model, split, limit=cell.limit, workdir=cache)
        gap = _gap(timed[name], result.judged)
        shown = misses(model, split, result, workdir=cache) if pictures else []
        speed = [one.seconds * 1e3 + shared for one in timed[name]]
        found["rows"].append(_row(name, result, speed, gap, dataset.root) | {"misses": _named(shown, dataset.root)})
    return found


def _timed(model: Model, split: Split) -> list[Judged]:
    """Some parts judged from file to verdict, nothing cached; the first judgement warms up and is not counted."""
    picks = np.unique(np.linspace(0, len(split.entries) - 1, min(TIMED, len(split.entries))).round().astype(int))
    some = tuple(split.entries[pick] for pick in picks)
    if not some:
        return []
    model.judge(some[0].sample())
    found = []
    for entry in some:
        started = time.perf_counter()
        sample = entry.sample()
        result = model.judge(sample)
        seconds = time.perf_counter() - started
        found.append(Judged(entry.id, sample.digest, entry.kind, entry.defective, result.score, None, seconds))
    return found


def _gap(timed: Sequence[Judged], judged: Sequence[Judged]) -> float:
    """Largest relative difference between uncached and cached scores.

    raises  RuntimeError where it is more than rounding
    """
    cached = {one.id: one.score for one in judged}
    gap = max((abs(one.score - cached[one.id]) / max(abs(one.score), abs(cached[one.id]), 1e-12) for one in timed), default=0.0)
    if not gap <= SAME:
        raise RuntimeError(f"scores with and without the feature cache differ by {gap:.2g} relative; report this")
    return gap


def _row(name: str, found: Evaluation, speed: Sequence[float], gap: float, root: Path) -> dict[str, Any]:
    judged = [{**asdict(one), "id": _below(one.id, root), "seconds": round(one.seconds, 5)} for one in found.judged]
    return {
        "category": name, "view": found.view,
        **{figure: getattr(found, figure) for figure in FIGURES},
        "au_spro": found.au_spro, "kinds": {kind: asdict(one) for kind, one in found.kinds.items()},
        "intervals": found.intervals, "reasons": found.reasons, "n_good": found.n_normal, "n_defective": found.n_anomalous,
        "false_alarms": found.false_alarms, "escapes": found.escapes, "reviewed_good": found.reviewed_good,
        "reviewed_defective": found.reviewed_defective, "seen_in_fit": found.seen_in_fit,
        "ms_per_part": float(np.median(speed)), "ms_spread": [float(edge) for edge in np.quantile(speed, [0.25, 0.75])],
        "timed": len(speed), "cache_gap": gap, "pro": found.pro, "judged": judged,
    }  # fmt: skip


def _calibration(model: Model) -> dict[str, Any]:
    known = model.calibration
    if known is None:
        return {"calibration": "none", "calibration_parts": 0, "threshold": None, "extrapolated": None}
    return {
        "calibration": known.how, "calibration_parts": len(known.scores), "threshold": known.threshold,
        "extrapolated": known.extrapolated,
    }  # fmt: skip


def _entries(cache: Path | None) -> set[str]:
    return set() if cache is None else {path.name for path in cache.glob("*.npz")}


def _share(model: Model, before: set[str], cache: Path | None) -> float:
    """Share of fitted parts with an entry in the cache and none that this fit had to make."""
    entries = _entries(cache)
    held, made = ({name.partition("-")[0] for name in names} for names in (entries, entries - before))
    calibrated = () if model.calibration is None else model.calibration.parts
    fitted = {*model.origin["digests"], *calibrated}
    return len((fitted & held) - made) / len(fitted)


def _named(shown: Sequence[Mapping[str, Any]], root: Path) -> list[dict[str, Any]]:
    return [{**one, "id": _below(one["id"], root)} for one in shown]


def _below(name: str, root: Path) -> str:
    """A part's path below the data's root, so that records do not tell where the data lie."""
    base = os.path.abspath(root if root.is_dir() else root.parent)
    inside = os.path.isabs(name) and name.startswith(base + os.sep)
    return printable(os.path.relpath(name, base).replace(os.sep, "/") if inside else name)


def reason(error: BaseException) -> str:
    """Why a cell failed, with the place in the code where nobody meant it to."""
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, AmissError | MemoryError):
        return said
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return said + "".join(f" ({Path(frame.filename).name}:{frame.lineno}, in {frame.name})" for frame in last)


def peak_mb() -> float | None:
    """The largest resident set of this process so far in MB; a parent's memory, which a fork inherits, does not count."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(float(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _cell(raw: Mapping[str, Any]) -> Cell:
    source = {**raw["source"], "root": Path(raw["source"]["root"]), "categories": tuple(raw["source"]["categories"])}
    return Cell(**{**raw, "method": Method(**raw["method"]), "source": Source(**source), "wanted": tuple(raw["wanted"])})


class _Notes(logging.Handler):
    """Keeps what the library warns of, e.g. that a bank was chosen from a sample."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        self._notes.append(record.getMessage())


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin: its lock would be held while the interpreter ends
        pass
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
