"""Judge a test split and say how good the judgement was: every figure on raw scores, or a reason why there is none."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amiss.bench.figures import FIGURES, Figures, Interval, image_figures
from amiss.bench.kinds import Kind, kind_figures, mean_au_spro
from amiss.bench.places import PIXELS, Ground, Shown, box_figures, ground_of, light, place_figures
from amiss.contract import Progress
from amiss.data.dataset import Split
from amiss.errors import BadField, BadLayout
from amiss.model import Model
from amiss.types import Result


@dataclass(frozen=True)
class Judged:
    """One test part: its content digest, what is known of it, and what the model said."""

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

    view         what shows a part: picture or cloud. Of clouds image_auroc, image_ap and image_f1max are what papers call
                 object AUROC and so on
    intervals    95 % of each figure, by a bootstrap over parts; where good and bad do not overlap, the image AUROC's
                 reaches down to `ranking.separated_bound`     ms_per_part  median, from file to verdict
    image_auroc_logical and so on  where the data set is judged by kind of defect and averaged; AU-sPRO up to a rate of 0.05
    kinds        figures of each kind of defect     au_spro  the mean AU-sPRO by limit
    box_ap       at an overlap of 0.25     box_recall  at most 0.1 false boxes on a good part, at the same overlap
    seen_in_fit  parts that were also fitted or calibrated on     pro  rates and overlaps of the PRO curve
    false_alarms, escapes  good parts called NG, defective parts called OK; None without calibration
    """

    view: str
    image_auroc: float | None
    image_auroc_interval: Interval | None
    image_ap: float | None
    image_f1max: float | None
    pixel_auroc: float | None
    pixel_ap: float | None
    aupro: float | None
    point_auroc: float | None
    point_ap: float | None
    point_aupro: float | None
    point_auroc_mean_of_clouds: float | None
    point_ap_mean_of_clouds: float | None
    box_ap: float | None
    box_recall: float | None
    image_auroc_logical: float | None
    image_auroc_structural: float | None
    image_auroc_mean: float | None
    au_spro_logical: float | None
    au_spro_structural: float | None
    au_spro_mean: float | None
    au_spro: dict[str, float] | None
    kinds: dict[str, Kind]
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
        """Everything but the single parts and the curve, as JSON values."""
        return {key: value for key, value in asdict(self).items() if key not in ("judged", "pro")}


def evaluate(
    model: Model, split: Split, *, limit: float = 0.3, progress: Progress | None = None, workdir: Path | None = None
) -> Evaluation:
    """Judge every part of a split and compare with the truth.

    limit    of the false positive rate in AUPRO     workdir  folder of a feature cache; seconds are then those of the cache
    raises   BadLayout where the split is empty
    """
    if not split.entries:
        raise BadLayout("there is no test part; give a data set with test/good and test/<kind>, or a CSV")
    if not 0 < limit <= 1:
        raise BadField(f"--limit {limit:g}: the largest false positive rate in AUPRO, above 0 and up to 1")
    run, found = _Run(model, split, progress, workdir), Figures()
    kept = _kept(run)
    shown = [pair for pair in kept if pair[1].map is not None]
    scores, labels = np.array([one.score for one in run.judged]), np.array([one.defective for one in run.judged])
    image_figures(scores, labels, found)
    counts = place_figures(run.ground, split.entries, shown, found, limit)
    box_figures(kept, found)
    kinds = kind_figures(split.entries, scores, shown, found)
    figures: dict[str, Any] = {name: found.values.get(name) for name in FIGURES}
    return Evaluation(
        **figures,
        view=run.ground.view,
        image_auroc_interval=found.intervals.get("image_auroc"),
        kinds=kinds,
        au_spro=mean_au_spro(kinds, split.entries[0].averaged),
        n_normal=int((~labels).sum()),
        n_anomalous=int(labels.sum()),
        ms_per_part=float(np.median([one.seconds for one in run.judged]) * 1e3),
        seen_in_fit=run.seen_in_fit,
        reasons=found.reasons,
        intervals=found.intervals,
        judged=tuple(run.judged),
        pro=None if counts is None else tuple(tuple(map(float, axis)) for axis in counts.curve()),  # type: ignore[arg-type]
        **run.outcomes(),
    )


def _kept(run: _Run) -> Shown:
    """Judge the split; what a place can be marked by is kept of the results, where a truth says where defects lie."""
    marked = any(entry.marked for entry in run.split.entries)
    pairs = zip(run.split.entries, run.results(), strict=True)
    return [(entry, light(result)) for entry, result in pairs if marked]


class _Run:
    """One pass over a split: scores and verdicts gathered, results handed on one by one."""

    def __init__(self, model: Model, split: Split, progress: Progress | None, workdir: Path | None) -> None:
        self.split = split
        self._model, self._progress, self._workdir = model, progress, workdir
        self.judged: list[Judged] = []
        self.seen_in_fit = 0
        self.ground: Ground = PIXELS

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
            if len(self.judged) == 1:
                self.ground = ground_of(sample, result)
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
