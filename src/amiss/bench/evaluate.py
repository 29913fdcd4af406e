"""Judge a test split and say how good the judgement was: every figure on raw scores, or a reason why there is none."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.contract import Progress
from amiss.data.dataset import Split
from amiss.data.readers import printable
from amiss.errors import BadField, BadLayout, UndefinedMetric
from amiss.metrics.ranking import auroc, auroc_interval, average_precision, f1_max
from amiss.metrics.regions import PixelScores
from amiss.model import Model

Array = npt.NDArray[Any]
MaskPair = tuple[Array, Array]


@dataclass(frozen=True)
class Evaluation:
    """Figures of one model on one test split; None where undefined, with the reason in `reasons`.

    image_auroc_interval  95 %, bootstrap     ms_per_part  median, from file to verdict
    seen_in_fit  pictures that were also fitted or calibrated on
    false_alarms, escapes  good parts called NG, defective parts called OK; None without calibration
    """

    image_auroc: float | None
    image_auroc_interval: tuple[float, float] | None
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
    scores: tuple[float, ...]
    labels: tuple[bool, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything but the single scores, as JSON values."""
        return {key: value for key, value in asdict(self).items() if key not in ("scores", "labels")}


def evaluate(model: Model, split: Split, *, limit: float = 0.3, progress: Progress | None = None) -> Evaluation:
    """Judge every picture of a split and compare with the truth.

    limit  of the false positive rate in AUPRO
    raises  BadLayout where the split is empty
    """
    if not split.entries:
        raise BadLayout("there is no test picture; give a data set with test/good and test/<kind>, or a CSV")
    if not 0 < limit <= 1:
        raise BadField(f"--limit {limit:g}: the largest false positive rate in AUPRO, above 0 and up to 1")
    run = _Run(model, split, progress)
    wanted = sum(entry.defective for entry in split.entries)
    with_mask = sum(entry.defective and entry.mask is not None for entry in split.entries)
    pixels: PixelScores | None = None
    reasons: dict[str, str] = {}
    if wanted and with_mask == wanted:
        pixels = _collect(run.pairs())
    else:
        reason = f"{wanted - with_mask} of {wanted} defective pictures have no mask" if wanted else "no defective picture"
        reasons |= dict.fromkeys(("pixel_auroc", "pixel_ap", "aupro"), reason)
        for _ in run.pairs():
            pass

    def figure(name: str, compute: Callable[[], Any]) -> Any:
        try:
            return compute()
        except UndefinedMetric as error:
            reasons[name] = str(error)
            return None

    scores, labels = np.array(run.scores), np.array(run.labels)
    return Evaluation(
        image_auroc=figure("image_auroc", lambda: auroc(scores, labels)),
        image_auroc_interval=figure("image_auroc_interval", lambda: auroc_interval(scores, labels)),
        image_ap=figure("image_ap", lambda: average_precision(scores, labels)),
        image_f1max=figure("image_f1max", lambda: f1_max(scores, labels)),
        pixel_auroc=None if pixels is None else figure("pixel_auroc", pixels.auroc),
        pixel_ap=None if pixels is None else figure("pixel_ap", pixels.average_precision),
        aupro=None if pixels is None else figure("aupro", lambda: pixels.aupro(limit)),
        n_normal=int((~labels).sum()),
        n_anomalous=int(labels.sum()),
        ms_per_part=float(np.median(run.seconds) * 1e3),
        seen_in_fit=run.seen_in_fit,
        reasons=reasons,
        scores=tuple(run.scores),
        labels=tuple(run.labels),
        **run.outcomes(),
    )


def _collect(pairs: Iterator[MaskPair]) -> PixelScores:
    from itertools import tee

    maps, masks = tee(pairs)  # collect reads them in step, so that one picture at a time is held
    return PixelScores.collect((pair[0] for pair in maps), (pair[1] for pair in masks))


class _Run:
    """One pass over a split: scores and verdicts gathered, maps and masks handed on one by one."""

    def __init__(self, model: Model, split: Split, progress: Progress | None) -> None:
        self._model, self._split, self._progress = model, split, progress
        self.scores: list[float] = []
        self.labels: list[bool] = []
        self.seconds: list[float] = []
        self.verdicts: Counter[tuple[bool, str]] = Counter()
        self.seen_in_fit = 0

    def pairs(self) -> Iterator[MaskPair]:
        calibrated = () if self._model.calibration is None else self._model.calibration.parts
        fitted = {*self._model.origin.get("digests", ()), *calibrated}
        for done, entry in enumerate(self._split.entries, start=1):
            started = time.perf_counter()
            sample = entry.sample()
            result = self._model.judge(sample)
            self.seconds.append(time.perf_counter() - started)
            self.scores.append(result.score)
            self.labels.append(entry.defective)
            self.seen_in_fit += sample.digest in fitted
            if result.verdict is not None:
                self.verdicts[entry.defective, result.verdict.outcome] += 1
            if self._progress is not None:
                self._progress("judging", done, len(self._split.entries))
            truth = entry.truth()
            if result.map is not None:
                full = result.image_map()
                mask = np.zeros(full.shape, np.bool_) if truth.mask is None else truth.mask
                if mask.shape != full.shape:
                    raise BadLayout(
                        f"{printable(entry.mask or entry.path)}: the mask is {mask.shape[1]} x {mask.shape[0]}, its picture "
                        f"{full.shape[1]} x {full.shape[0]}; correct the mask"
                    )
                yield full, mask

    def outcomes(self) -> dict[str, int | None]:
        names = {
            "false_alarms": (False, "NG"), "escapes": (True, "OK"),
            "reviewed_good": (False, "REVIEW"), "reviewed_defective": (True, "REVIEW"),
        }  # fmt: skip
        return {name: self.verdicts[key] if self.verdicts else None for name, key in names.items()}
