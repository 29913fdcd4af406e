"""Judge parts and leave behind what a person and a script need: a table, overlays, a report."""

from __future__ import annotations

import dataclasses
import heapq
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amiss import __version__
from amiss.calibration import Calibration
from amiss.contract import Progress
from amiss.data.readers import printable, read_sample
from amiss.errors import BadSample, CannotWrite, UnreadableFile
from amiss.model import Model
from amiss.types import Result, Sample
from amiss.viz.depiction import Depiction, depict
from amiss.viz.report import Card, write_report
from amiss.viz.table import write_table

OVERLAYS = "overlays"
_STEP = 0.25  # of a usual score: how far the strongest colour is at least beyond what good parts reach
OUTPUTS = ("results.csv", "results.parquet", OVERLAYS, "report.html")


@dataclass(frozen=True)
class Options:
    """overlays, report  whether to write them     pictures  how many parts, worst first, get pictures in the report
    viewers  how many clouds, worst first, get a page that turns them, among the overlays
    """

    overlays: bool = True
    report: bool = True
    pictures: int = 200
    viewers: int = 20
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
    raises  UnreadableFile, BadSample for the first part that cannot be read or judged, unless they are skipped; CannotWrite
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
    """One run over the parts: rows for the table, cards for the report, overlays on disk."""

    def __init__(self, model: Model, stage: Path, options: Options) -> None:
        self._model, self._stage, self._options = model, stage, options
        self._range = display_range(model.calibration)
        self._cards: dict[int, Card] = {}
        self._pictured, self._turned = _Worst(options.pictures), _Worst(options.viewers)
        self._overlays: list[str] = []
        self._pages: dict[int, str] = {}
        self._good: dict[str, Sample | None] = {}
        self.results: list[Result] = []
        self.skipped: dict[str, str] = {}
        if options.overlays:
            (stage / OVERLAYS).mkdir()

    def judge_all(self, paths: Sequence[Path], progress: Progress | None) -> None:
        for done, path in enumerate(paths, start=1):
            started = time.perf_counter()
            try:
                sample = read_sample(path)
                result = self._model.judge(sample)
            except (UnreadableFile, BadSample) as error:  # a scan may be read well and have no surface
                if not self._options.skip_unreadable:
                    raise
                self.skipped[printable(path)] = str(error)
                continue
            result = dataclasses.replace(result, seconds=time.perf_counter() - started)
            self._keep(sample, result)
            if progress is not None:
                progress("judging", done, len(paths))

    def verdicts(self) -> dict[str, int]:
        return dict(Counter(result.verdict.outcome for result in self.results if result.verdict is not None))

    def write(self, title: str, about: Mapping[str, Any]) -> None:
        write_table(self._stage, self.results, self._overlays)
        if self._options.report:
            links = {index: (("turn it in 3D", page),) for index, page in self._pages.items()}
            cards = [dataclasses.replace(card, links=links.get(index, ())) for index, card in self._cards.items()]
            write_report(
                self._stage / "report.html", cards, title=title,
                settings={**about, **describe(self._model)}, summary=self._summary(), warnings=self._warnings(),
            )  # fmt: skip

    def _keep(self, sample: Sample, result: Result) -> None:
        """Store a result; its map and pictures go to disk or into a card, and only the worst parts keep theirs."""
        index = len(self.results)
        shown = depict(sample, result, self._range)
        stem = f"{index:05d}_{_plain(Path(sample.id).stem)}"
        name = shown.leave(self._stage / OVERLAYS, stem) if self._options.overlays else ""
        self._overlays.append(f"{OVERLAYS}/{name}" if name else "")
        self.results.append(dataclasses.replace(result, map=None, spread=None))
        if self._options.report:
            self._cards[index] = self._card(index, shown)
        if self._options.overlays:
            self._turn(index, shown, stem)

    def _card(self, index: int, shown: Depiction) -> Card:
        result = self.results[index]
        card = Card(result=result, name=printable(result.id), overlay_file=self._overlays[index] or None)
        taken, dropped = self._pictured.take(result.score, index)
        if dropped is not None:
            self._cards[dropped] = dataclasses.replace(self._cards[dropped], picture=None, heat=None, evidence=None, worst=None)
        if not taken:
            return card
        return dataclasses.replace(
            card, **shown.frames()._asdict(), evidence=self._nearest_good(result, shown), words=shown.words
        )

    def _turn(self, index: int, shown: Depiction, stem: str) -> None:
        """Leave a page that shows the part from all sides, and take back that of a part that is no more among the worst."""
        taken, dropped = self._turned.take(self.results[index].score, index)
        if dropped in self._pages:
            (self._stage / self._pages.pop(dropped)).unlink()
        if taken and (name := shown.leave_viewer(self._stage / OVERLAYS, stem)):
            self._pages[index] = f"{OVERLAYS}/{name}"

    def _nearest_good(self, result: Result, shown: Depiction) -> bytes | None:
        """The nearest good patch in its surroundings, where the fitted sample still lies where it was."""
        nearest = result.evidence.get("nearest")
        if not nearest:
            return None
        good = self._fitted(nearest[0]["sample"])
        return None if good is None else shown.beside(good, nearest[0])

    def _fitted(self, path: str) -> Sample | None:
        if path not in self._good:
            if len(self._good) >= 4:
                self._good.pop(next(iter(self._good)))
            self._good[path] = self._read_fitted(path)
        return self._good[path]

    def _read_fitted(self, path: str) -> Sample | None:
        try:
            sample = read_sample(path)
        except UnreadableFile:
            return None
        return sample if sample.digest in self._model.origin.get("digests", ()) else None

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
        sides = sum(bool(result.evidence.get("one_sided")) for result in self.results)
        partial = (
            f"{sides} of the scans are from one side and the good ones were whole: they were held against views of the good "
            "ones, and what they do not show is not judged; verdicts are surer after a fit on good scans taken as these were"
        )
        notes = (warning, partial if sides else None, *(f"skipped: {reason}" for reason in self.skipped.values()))
        return [text for text in notes if text]


class _Worst:
    """Which parts have the highest scores so far, at most so many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, int]] = []

    def take(self, score: float, index: int) -> tuple[bool, int | None]:
        """Whether this part is one of them, and which one is no more; of equal ones the first stay."""
        if len(self._heap) >= self._most and (not self._heap or score <= self._heap[0][0]):
            return False, None
        heapq.heappush(self._heap, (score, index))
        return True, heapq.heappop(self._heap)[1] if len(self._heap) > self._most else None


def display_range(calibration: Calibration | None) -> tuple[float, float] | None:
    """Map values shown as nothing and as the strongest colour, the same for every part of a model."""
    if calibration is None or len(calibration.scores) < 2:
        return None
    typical = float(np.median(calibration.scores))
    largest = calibration.threshold if calibration.threshold is not None else calibration.scores[-1]
    step = max(largest - typical, _STEP * abs(typical), 1e-12)
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


def _plain(stem: str) -> str:
    """A stem that any file system takes; the index before it keeps equal ones apart."""
    return re.sub(r"[^\w.-]+", "_", printable(stem))[:80]
