"""Fit a detector and learn, from good parts alone, what score a good part may have.

Three roads, chosen by how many good parts there are (n) and by the budget, the accepted share of false alarms:
    held out      the data set ships calibration parts, or a fifth of n is enough for the budget (n // 5 >= 1 / budget - 1):
                  those parts never enter the bank. The false-alarm rate is guaranteed on average over splits.
                  A method that trains networks always goes this road, for it would be trained six times on the next; where n is
                  small it holds out up to a third, so that there are 8 to calibrate on.
    cross-fitted  n is smaller: every part is scored once by a detector fitted without it (5 folds), and
                  the model itself is fitted on all. The fold detectors saw fewer parts, so their scores run a little high,
                  which makes false alarms rarer; this is measured (docs/results.md), not guaranteed.
    none          one part only, asked for, or the method learns from an unlabelled pool.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from amiss.calibration import BUDGET, FEWEST, Calibration, How, needed
from amiss.contract import Detector, Progress
from amiss.errors import BadField, TooFewSamples
from amiss.kit.subset import Subset, folded
from amiss.model import Model
from amiss.types import Sample

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)
Road = Literal["auto", "split", "cross", "none"]
FOLDS = 5
CACHED = 1000  # most parts whose features are kept on disk from fold to fold, about 1.1 MB each
KEEP = 128 * 2**20  # bytes of decoded pictures remembered from fold to fold


def fit_calibrated(
    detector: Detector,
    samples: Sequence[Sample],
    *,
    held_out: Sequence[Sample] = (),
    budget: float = BUDGET,
    road: Road = "auto",
    progress: Progress | None = None,
    workdir: Path | None = None,
) -> Model:
    """Fit on good parts and calibrate on good parts the bank does not hold.

    samples  good parts, read lazily and more than once     held_out  good parts kept for calibration by the data set
    workdir  folder for caches that other fits may share; None for one that lives as long as a cross-fit
    raises  TooFewSamples where the asked road needs more parts
    """
    road = (
        _road(detector, len(samples), len(held_out), budget, road)
        if "normal" in detector.needs
        else _unlabelled(detector, road)
    )
    parts = Recorded(samples, keep=KEEP if road == "cross" else 0)
    if road == "none":
        return _model(detector.fit(parts, progress=progress, workdir=workdir), parts, None)
    if road == "cross":
        calibration = _cross_fitted(detector, parts, budget, progress, workdir)
        return _model(detector, parts, calibration)
    if held_out:
        held = held_out
    else:
        kept, hold = _split(_digests(parts, progress), detector)
        if len(kept) < detector.least:
            raise TooFewSamples(
                f"holding {len(hold)} of {len(parts)} good parts out, copies together, leaves {len(kept)}; {detector.name} "
                f"needs {detector.least}: give more different parts, or --calibration none"
            )
        parts, held = Recorded(Subset(parts, kept)), Subset(parts, hold)
    detector.fit(parts, progress=progress, workdir=workdir)
    return _model(detector, parts, calibrate(detector, held, budget=budget, progress=progress, workdir=workdir))


def calibrate(
    detector: Detector,
    good: Sequence[Sample],
    *,
    budget: float,
    progress: Progress | None = None,
    workdir: Path | None = None,
) -> Calibration:
    """A split calibration of a fitted detector on good parts it has not seen; copies of one picture count once."""
    parts = Recorded(good)
    scores = _scores(detector, parts, progress, "calibrating", workdir)
    return _calibration(scores, parts.in_order(), budget, "split")


def _calibration(scores: Sequence[float], digests: Sequence[str], budget: float, how: How) -> Calibration:
    """One score for each distinct picture."""
    distinct = dict(zip(digests, scores, strict=True))
    return Calibration(tuple(distinct.values()), budget, how, tuple(distinct))


def _road(detector: Detector, n: int, held_out: int, budget: float, road: Road) -> Road:
    if road == "auto":
        enough = n // 5 >= needed(budget) or (detector.trains and n > detector.least)
        return "split" if held_out or enough else "cross"
    if road == "split" and n < 2 and not held_out:
        raise TooFewSamples(f"a held-out split needs 2 good parts or more, met {n}; use --calibration none")
    return road


def _unlabelled(detector: Detector, road: Road) -> Road:
    """No calibration on a pool that may hold defects: nobody knows which of its scores are those of good parts."""
    if road in ("split", "cross"):
        raise BadField(
            f"{detector.name} learns from unlabelled parts, some of which may be defective, so they cannot calibrate it; leave "
            "--calibration out, and give parts known to be good to amiss calibrate --good"
        )
    return "none"


def _digests(parts: Recorded, progress: Progress | None) -> list[str]:
    """Content digests of all parts, from one pass over them."""
    for done, _ in enumerate(parts, start=1):
        if progress is not None:
            progress("looking for copies", done, len(parts))
    return parts.in_order()


def _split(digests: Sequence[str], detector: Detector) -> tuple[Array, Array]:
    """Indices to fit on and to hold out; copies of one picture fall on the same side."""
    names = np.random.default_rng(detector.seed).permutation(sorted(set(digests)))
    least = min(FEWEST, len(names) // 3) if detector.trains else 1
    held = set(names[: max(1, least, len(names) // 5)].tolist())
    out = np.array([digest in held for digest in digests])
    return np.flatnonzero(~out), np.flatnonzero(out)


def _cross_fitted(
    detector: Detector, parts: Recorded, budget: float, progress: Progress | None, shared: Path | None
) -> Calibration:
    """Fit on all, then score every part by a detector that was fitted without it."""
    how: How = "cross-fitted"
    with tempfile.TemporaryDirectory(prefix="amiss-") as folder:
        workdir = shared or (Path(folder) if len(parts) <= CACHED else None)
        detector.fit(parts, progress=progress, workdir=workdir)
        digests = parts.in_order()
        folds = folded(digests, FOLDS, detector.rng())
        scores: dict[int, float] = {}
        if len(folds) < 2:
            if len(parts) > 1:
                log.warning("all %d good pictures are copies of one, so nothing is left to calibrate on", len(parts))
            return Calibration((), budget, how)
        if (left := len(parts) - max(map(len, folds))) < detector.least:
            log.warning(
                "%s needs %d parts to fit; holding some of %d out leaves %d, so nothing is left to calibrate on",
                detector.name, detector.least, len(parts), left,
            )  # fmt: skip
            return Calibration((), budget, how)
        for number, held in enumerate(folds, start=1):
            rest = np.setdiff1d(np.arange(len(parts)), held)
            shown = _named(progress, f"calibration fold {number} of {len(folds)}: ")
            fold = detector.fold().fit(Subset(parts, rest), progress=shown, workdir=workdir)
            scores |= zip(held.tolist(), _scores(fold, Subset(parts, held), shown, "judging", workdir), strict=True)
    return _calibration([scores[index] for index in range(len(parts))], digests, budget, how)


def _scores(
    detector: Detector,
    samples: Sequence[Sample],
    progress: Progress | None,
    stage: str,
    workdir: Path | None = None,
) -> list[float]:
    scores = []
    for done, result in enumerate(detector.predict(samples, workdir=workdir), start=1):
        scores.append(result.score)
        if progress is not None:
            progress(stage, done, len(samples))
    return scores


def _named(progress: Progress | None, prefix: str) -> Progress | None:
    if progress is None:
        return None
    return lambda stage, done, total: progress(prefix + stage, done, total)


def _model(detector: Detector, parts: Recorded, calibration: Calibration | None) -> Model:
    digests = parts.in_order()
    fingerprint = hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
    origin = {"parts": len(parts), "fingerprint": fingerprint, "digests": digests}
    return Model(detector, calibration, origin)


class Recorded(Subset):
    """A sequence that remembers the digest of every sample read from it, and the first samples themselves.

    What is remembered saves decoding the same pictures for every fold; it never exceeds `keep` bytes.
    """

    def __init__(self, samples: Sequence[Sample], *, keep: int = 0) -> None:
        super().__init__(samples, range(len(samples)))
        self._digests: dict[int, str] = {}
        self._kept: dict[int, Sample] = {}
        self._shelf = np.empty(keep, np.uint8)  # one block: many small ones would leave the heap in pieces
        self._used = 0

    def __iter__(self) -> Iterator[Sample]:
        return (self._read(index) for index in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Subset: ...
    def __getitem__(self, index: int | slice) -> Sample | Subset:
        return super().__getitem__(index) if isinstance(index, slice) else self._read(range(len(self))[index])

    def _read(self, index: int) -> Sample:
        if index in self._kept:
            return self._kept[index]
        sample = self._samples[index]
        self._digests[index] = sample.digest
        if sample.image is not None and sample.points is None:
            self._keep(index, sample, sample.image)
        return sample

    def _keep(self, index: int, sample: Sample, image: Array) -> None:
        """Put a copy of the picture on the shelf, while there is room."""
        end = self._used + image.nbytes
        if end > len(self._shelf):
            return
        copy = self._shelf[self._used : end].view(image.dtype).reshape(image.shape)
        copy[...] = image
        self._kept[index] = replace(sample, image=copy)
        self._used = -(-end // 64) * 64

    def in_order(self) -> list[str]:
        """Digests of all samples; those that a fit left out are read for it."""
        return [self._digests.get(index) or self._read(index).digest for index in range(len(self))]
