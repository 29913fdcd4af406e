"""Judge pictures and leave behind what a person and a script need: a table, overlays, a report."""

from __future__ import annotations

import csv
import dataclasses
import heapq
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss import __version__
from amiss.calibration import Calibration
from amiss.contract import Progress
from amiss.data.readers import printable, read_image, read_sample
from amiss.errors import CannotWrite, UnreadableFile
from amiss.model import Model
from amiss.types import Result, Sample
from amiss.viz.overlay import jpeg, overlay, thumbnail
from amiss.viz.report import Card, crop_with_box, write_report

Array = npt.NDArray[Any]

COLUMNS = (
    "path", "score", "p_value", "verdict", "threshold", "review_threshold", "seconds", "extrapolated", "overlay",
)  # fmt: skip
OUTPUTS = ("results.csv", "results.parquet", "overlays", "report.html")
_SIDE = 320  # pixels of a thumbnail's longer side
_LONGEST = 16_384  # pixels of an overlay's longer side; JPEG ends at 65,500


@dataclass(frozen=True)
class Options:
    """overlays, report  whether to write them     pictures  how many parts, worst first, get pictures in the report"""

    overlays: bool = True
    report: bool = True
    pictures: int = 200
    skip_unreadable: bool = False


@dataclass(frozen=True)
class Inspection:
    """results  in the order of the paths     verdicts  count by outcome     skipped  path and reason"""

    results: tuple[Result, ...]
    verdicts: Mapping[str, int]
    skipped: Mapping[str, str]
    files: Mapping[str, str]


def inspect(
    model: Model,
    paths: Sequence[Path],
    out: Path,
    options: Options,
    *,
    title: str,
    about: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Judge every path in order; everything is written beside `out` first and moved in when all of it is there.

    title  of the report     about  facts to show with the settings, e.g. the model file's digest
    raises  UnreadableFile for the first picture that cannot be read, unless they are skipped; CannotWrite
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".amiss-", dir=out))
    except OSError as error:
        raise CannotWrite(f"{printable(out)}: cannot write there ({error.strerror}); choose another --out") from error
    try:
        run = _Inspector(model, stage, options)
        run.judge_all(paths, progress)
        run.write(title, about or {})
        files = _move_in(stage, out)
    except OSError as error:
        raise CannotWrite(f"{printable(out)}: writing failed ({error.strerror}); free space or choose another --out") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return Inspection(tuple(run.results), run.verdicts(), run.skipped, files)


def _move_in(stage: Path, out: Path) -> dict[str, str]:
    """Replace what an earlier run left under our names, and leave nothing of it beside the new results."""
    files = {}
    for name in OUTPUTS:
        target = out / name
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        if (stage / name).exists():
            (stage / name).replace(target)
            files[name] = printable(target)
    return files


class _Inspector:
    """One run over the pictures: rows for the table, cards for the report, overlays on disk."""

    def __init__(self, model: Model, stage: Path, options: Options) -> None:
        self._model, self._stage, self._options = model, stage, options
        self._range = display_range(model.calibration)
        self._cards: dict[int, Card] = {}
        self._worst: list[tuple[float, int]] = []
        self._overlay_names: list[str] = []
        self._good: dict[str, Array | None] = {}
        self.results: list[Result] = []
        self.skipped: dict[str, str] = {}
        if options.overlays:
            (stage / "overlays").mkdir()

    def judge_all(self, paths: Sequence[Path], progress: Progress | None) -> None:
        for done, path in enumerate(paths, start=1):
            started = time.perf_counter()
            try:
                sample = read_sample(path)
            except UnreadableFile as error:
                if not self._options.skip_unreadable:
                    raise
                self.skipped[printable(path)] = str(error)
                continue
            result = self._model.judge(sample)
            result = dataclasses.replace(result, seconds=time.perf_counter() - started)
            self._keep(sample, result)
            if progress is not None:
                progress("judging", done, len(paths))

    def verdicts(self) -> dict[str, int]:
        return dict(Counter(result.verdict.outcome for result in self.results if result.verdict is not None))

    def write(self, title: str, about: Mapping[str, Any]) -> None:
        rows = list(self._rows())
        with (self._stage / "results.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        _write_parquet(self._stage / "results.parquet", rows)
        if self._options.report:
            write_report(
                self._stage / "report.html", list(self._cards.values()), title=title,
                settings={**about, **describe(self._model)}, summary=self._summary(), warnings=self._warnings(),
            )  # fmt: skip

    def _keep(self, sample: Sample, result: Result) -> None:
        """Store a result; its map and pictures go to disk or into a card, and only the worst parts keep theirs."""
        assert sample.image is not None
        index, name = len(self.results), ""
        full = result.image_map() if result.map is not None else None
        low, high = self._range or _own_range(full)
        drawn = None if full is None else overlay(sample.image, full, low=low, high=high)
        if self._options.overlays and drawn is not None:
            name = f"overlays/{index:05d}_{_plain(Path(sample.id).stem)}.jpg"
            (self._stage / name).write_bytes(jpeg(thumbnail(drawn, _LONGEST), quality=90))
        self._overlay_names.append(name)
        light = dataclasses.replace(result, map=None, spread=None)
        self.results.append(light)
        if not self._options.report:
            return
        self._cards[index] = self._card(sample.image, light, drawn, name)
        heapq.heappush(self._worst, (result.score, index))
        if len(self._worst) > self._options.pictures:
            _, dropped = heapq.heappop(self._worst)
            self._cards[dropped] = dataclasses.replace(self._cards[dropped], picture=None, heat=None, evidence=None, worst=None)

    def _card(self, image: Array, result: Result, drawn: Array | None, name: str) -> Card:
        card = Card(
            result=result, name=printable(result.id), overlay_file=name or None,
            picture=None, heat=None, evidence=None, worst=None,
        )  # fmt: skip
        if len(self._worst) >= self._options.pictures and (not self._worst or result.score <= self._worst[0][0]):
            return card
        heat = None if drawn is None else jpeg(thumbnail(drawn, _SIDE))
        box = result.evidence.get("patch")
        return dataclasses.replace(
            card, picture=jpeg(thumbnail(image, _SIDE)), heat=heat,
            worst=None if box is None else jpeg(crop_with_box(image, box)),
            evidence=self._nearest_good(result),
        )  # fmt: skip

    def _nearest_good(self, result: Result) -> bytes | None:
        """The nearest good patch in its surroundings, where the fitted picture still lies where it was."""
        nearest = result.evidence.get("nearest")
        if not nearest:
            return None
        image = self._fitted_picture(nearest[0]["sample"])
        return None if image is None else jpeg(crop_with_box(image, nearest[0]["box"]))

    def _fitted_picture(self, path: str) -> Array | None:
        if path not in self._good:
            if len(self._good) >= 4:
                self._good.pop(next(iter(self._good)))
            self._good[path] = self._read_fitted(path)
        return self._good[path]

    def _read_fitted(self, path: str) -> Array | None:
        try:
            image = read_image(path)
        except UnreadableFile:
            return None
        known = self._model.origin.get("digests", ())
        return image if Sample(id=path, image=image).digest in known else None

    def _rows(self) -> Iterator[dict[str, Any]]:
        for result, name in zip(self.results, self._overlay_names, strict=True):
            verdict = result.verdict
            row: dict[str, Any] = {"path": printable(result.id), "score": result.score, "seconds": round(result.seconds, 6)}
            if verdict is not None:
                row |= {
                    "p_value": verdict.p_value, "verdict": verdict.outcome, "threshold": verdict.threshold,
                    "review_threshold": verdict.review_threshold, "extrapolated": verdict.extrapolated,
                }  # fmt: skip
            yield {**dict.fromkeys(COLUMNS), **row, "overlay": name or None}

    def _summary(self) -> dict[str, Any]:
        seconds = [result.seconds for result in self.results]
        return {
            "parts": len(self.results),
            **{name: self.verdicts().get(name, 0) for name in ("OK", "REVIEW", "NG")},
            "milliseconds per part (median)": round(float(np.median(seconds)) * 1e3, 1) if seconds else None,
            "skipped": len(self.skipped),
        }

    def _warnings(self) -> list[str]:
        calibration = self._model.calibration
        first = "this model is not calibrated, so there are scores but no verdicts; run amiss calibrate with good parts"
        warning = first if calibration is None else calibration.warning()
        return [text for text in (warning, *(f"skipped: {reason}" for reason in self.skipped.values())) if text]


def display_range(calibration: Calibration | None) -> tuple[float, float] | None:
    """Map values shown as nothing and as the strongest colour, the same for every part of a model."""
    if calibration is None or len(calibration.scores) < 2:
        return None
    typical = float(np.median(calibration.scores))
    largest = calibration.threshold if calibration.threshold is not None else calibration.scores[-1]
    step = max(largest - typical, 1e-3 * abs(typical), 1e-12)
    return typical, largest + step


def describe(model: Model) -> dict[str, Any]:
    """The settings that made a model, for the report's last table."""
    calibration = model.calibration
    return {
        "amiss": __version__,
        "method": model.detector.name,
        "fields": model.detector.fields(),
        "good parts fitted on": model.origin.get("parts"),
        "data fingerprint": model.origin.get("fingerprint"),
        "false-alarm budget": None if calibration is None else calibration.budget,
        "calibration": "none" if calibration is None else calibration.guarantee(),
    }


def _own_range(full: Array | None) -> tuple[float, float]:
    return (0.0, 1.0) if full is None else (float(np.median(full)), float(full.max()))


def _plain(stem: str) -> str:
    """A stem that any file system takes; the index before it keeps equal ones apart."""
    return re.sub(r"[^\w.-]+", "_", printable(stem))[:80]


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """The same table as Parquet, where pyarrow is installed."""
    import importlib.util

    if importlib.util.find_spec("pyarrow") is None or not rows:
        return
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), os.fspath(path))
