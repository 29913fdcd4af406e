"""Judge a test split and say how good the judgement was: every figure on raw scores, or a reason why there is none."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import tee
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from amiss.contract import Progress
from amiss.data.dataset import Entry, Split
from amiss.data.readers import printable
from amiss.errors import BadField, BadLayout, UndefinedMetric
from amiss.metrics import ranking
from amiss.metrics.intervals import PictureCounts
from amiss.metrics.regions import PixelScores, masked
from amiss.model import Model
from amiss.types import Result

Array = npt.NDArray[Any]
Interval = tuple[float, float]
T = TypeVar("T")

FIGURES = ("image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "aupro")


@dataclass(frozen=True)
class Judged:
    """One test picture: its content digest, what is known of it, and what the model said."""

    id: str
    digest: str
    kind: str
    defective: bool
    score: float
    outcome: str | None
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """Figures of one model on one test split; None where undefined, with the reason in `reasons`.

    intervals    95 % of each figure, by a bootstrap over pictures; where good and bad do not overlap, the image AUROC's
                 reaches down to `ranking.separated_bound`     ms_per_part  median, from file to verdict
    seen_in_fit  pictures that were also fitted or calibrated on     pro  rates and overlaps of the PRO curve
    false_alarms, escapes  good parts called NG, defective parts called OK; None without calibration
    """

    image_auroc: float | None
    image_auroc_interval: Interval | None
    image_ap: float | None
    image_f1max: float | None
    pixel_auroc: float | None
    pixel_ap: float | None
    aupro: float | None
    n_normal: int
    n_anomalous: int
    ms_per_part: float
    false_alarms: int | None
    escapes: int | None
    reviewed_good: int | None
    reviewed_defective: int | None
    seen_in_fit: int
    reasons: dict[str, str]
    intervals: dict[str, Interval]
    judged: tuple[Judged, ...]
    pro: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @property
    def scores(self) -> tuple[float, ...]:
        return tuple(one.score for one in self.judged)

    @property
    def labels(self) -> tuple[bool, ...]:
        return tuple(one.defective for one in self.judged)

    def to_json(self) -> dict[str, Any]:
        """Everything but the single pictures and the curve, as JSON values."""
        return {key: value for key, value in asdict(self).items() if key not in ("judged", "pro")}


def evaluate(
    model: Model, split: Split, *, limit: float = 0.3, progress: Progress | None = None, workdir: Path | None = None
) -> Evaluation:
    """Judge every picture of a split and compare with the truth.

    limit    of the false positive rate in AUPRO     workdir  folder of a feature cache; seconds are then those of the cache
    raises   BadLayout where the split is empty
    """
    if not split.entries:
        raise BadLayout("there is no test picture; give a data set with test/good and test/<kind>, or a CSV")
    if not 0 < limit <= 1:
        raise BadField(f"--limit {limit:g}: the largest false positive rate in AUPRO, above 0 and up to 1")
    run = _Run(model, split, progress, workdir)
    found = _Figures()
    counts = _pixel_figures(run, found, limit)
    _image_figures(run, found)
    labels = [one.defective for one in run.judged]
    return Evaluation(
        image_auroc=found.values.get("image_auroc"),
        image_ap=found.values.get("image_ap"),
        image_f1max=found.values.get("image_f1max"),
        pixel_auroc=found.values.get("pixel_auroc"),
        pixel_ap=found.values.get("pixel_ap"),
        aupro=found.values.get("aupro"),
        image_auroc_interval=found.intervals.get("image_auroc"),
        n_normal=labels.count(False),
        n_anomalous=labels.count(True),
        ms_per_part=float(np.median([one.seconds for one in run.judged]) * 1e3),
        seen_in_fit=run.seen_in_fit,
        reasons=found.reasons,
        intervals=found.intervals,
        judged=tuple(run.judged),
        pro=None if counts is None else tuple(tuple(map(float, axis)) for axis in counts.curve()),  # type: ignore[arg-type]
        **run.outcomes(),
    )


class _Figures:
    """Figures with their intervals, or the reasons why they do not exist."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.intervals: dict[str, Interval] = {}
        self.reasons: dict[str, str] = {}

    def add(self, name: str, compute: Callable[[], float], interval: Callable[[], Interval]) -> None:
        try:
            self.values[name] = compute()
            self.intervals[name] = interval()
        except UndefinedMetric as error:
            self.reasons[name] = str(error)


def _image_figures(run: _Run, found: _Figures) -> None:
    scores, labels = np.array([one.score for one in run.judged]), np.array([one.defective for one in run.judged])

    def auroc_interval() -> Interval:
        low, high = ranking.auroc_interval(scores, labels)
        separated = ranking.auroc(scores, labels) == 1
        return (ranking.separated_bound(int((~labels).sum()), int(labels.sum())), 1.0) if separated else (low, high)

    found.add("image_auroc", lambda: ranking.auroc(scores, labels), auroc_interval)
    found.add(
        "image_ap", lambda: ranking.average_precision(scores, labels), _open(ranking.average_precision_interval, scores, labels)
    )
    found.add("image_f1max", lambda: ranking.f1_max(scores, labels), _open(ranking.f1_max_interval, scores, labels))


def _open(interval: Callable[[Array, Array], Interval], scores: Array, labels: Array) -> Callable[[], Interval]:
    """An interval that does not exist where good and defective parts do not overlap: every draw gives the same figure."""

    def bounded() -> Interval:
        if ranking.auroc(scores, labels) == 1:
            raise UndefinedMetric("no interval: good and defective parts do not overlap, so every draw gives the same figure")
        return interval(scores, labels)

    return bounded


def _pixel_figures(run: _Run, found: _Figures, limit: float) -> PictureCounts | None:
    """Judge the split, and take the pixel figures where every defective picture has a mask."""
    names = ("pixel_auroc", "pixel_ap", "aupro")
    entries = run.split.entries
    wanted = sum(entry.defective for entry in entries)
    missing = wanted - sum(entry.defective and entry.mask is not None for entry in entries)
    reason = f"{missing} of {wanted} defective pictures have no mask" if wanted else "no defective picture"
    if missing or not wanted:
        for _ in run.results():
            pass
        found.reasons |= dict.fromkeys(names, reason)
        return None
    shown = [(entry, result) for entry, result in _kept(run) if result.map is not None]
    try:
        pixels = PixelScores.collect(*_unzipped(_pairs(shown)))
        counts = PictureCounts.collect(pixels, masked(*_unzipped(_pairs(shown))))
    except UndefinedMetric as error:
        reason = str(error) if shown else "the method marks no place"
        found.reasons |= dict.fromkeys(names, reason)
        return None
    exact = pixels.auroc(), pixels.average_precision(), pixels.aupro(limit)
    found.values |= zip(names, exact, strict=True)
    found.intervals |= zip(names, counts.intervals(exact, limit), strict=True)
    return counts


def _kept(run: _Run) -> Iterator[tuple[Entry, Result]]:
    return zip(run.split.entries, run.results(), strict=True)


def _pairs(shown: list[tuple[Entry, Result]]) -> Iterator[tuple[Array, Array]]:
    """Maps and masks at full size, one picture at a time: kept are only the maps on the method's own grid."""
    for entry, result in shown:
        full, truth = result.image_map(), entry.truth()
        mask = np.zeros(full.shape, np.bool_) if truth.mask is None else truth.mask
        if mask.shape != full.shape:
            raise BadLayout(
                f"{printable(entry.mask or entry.path)}: the mask is {mask.shape[1]} x {mask.shape[0]}, its picture "
                f"{full.shape[1]} x {full.shape[0]}; correct the mask"
            )
        yield full, mask


def _unzipped(pairs: Iterator[tuple[T, T]]) -> tuple[Iterator[T], Iterator[T]]:
    first, second = tee(pairs)  # whoever reads them in step holds one pair at a time
    return (pair[0] for pair in first), (pair[1] for pair in second)


class _Run:
    """One pass over a split: scores and verdicts gathered, results handed on one by one."""

    def __init__(self, model: Model, split: Split, progress: Progress | None, workdir: Path | None) -> None:
        self.split = split
        self._model, self._progress, self._workdir = model, progress, workdir
        self.judged: list[Judged] = []
        self.seen_in_fit = 0

    def results(self) -> Iterator[Result]:
        calibrated = () if self._model.calibration is None else self._model.calibration.parts
        fitted = {*self._model.origin.get("digests", ()), *calibrated}
        for entry in self.split.entries:
            started = time.perf_counter()
            sample = entry.sample()
            result = next(self._model.predict([sample], workdir=self._workdir))
            seconds = time.perf_counter() - started
            outcome = None if result.verdict is None else result.verdict.outcome
            self.judged.append(Judged(entry.id, sample.digest, entry.kind, entry.defective, result.score, outcome, seconds))
            self.seen_in_fit += sample.digest in fitted
            if self._progress is not None:
                self._progress("judging", len(self.judged), len(self.split.entries))
            yield result

    def outcomes(self) -> dict[str, int | None]:
        verdicts = Counter((one.defective, one.outcome) for one in self.judged if one.outcome is not None)
        names = {
            "false_alarms": (False, "NG"), "escapes": (True, "OK"),
            "reviewed_good": (False, "REVIEW"), "reviewed_defective": (True, "REVIEW"),
        }  # fmt: skip
        return {name: verdicts[key] if verdicts else None for name, key in names.items()}
