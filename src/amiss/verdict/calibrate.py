"""Fit a detector and learn, from good parts alone, what score a good part may have.

Three roads, chosen by how many good parts there are (n) and by the budget, the accepted share of false alarms:
    held out      the data set ships calibration parts, or a fifth of n is enough for the budget (n // 5 >= 1 / budget - 1):
                  those parts never enter the bank. The false-alarm rate is guaranteed on average over splits.
    cross-fitted  n is smaller: every part is scored once by a detector fitted without it (5 folds), and
                  the model itself is fitted on all. The fold detectors saw fewer parts, so their scores run a little high,
                  which makes false alarms rarer; this is measured (docs/results.md), not guaranteed.
    none          one part only, or asked for.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from amiss.calibration import Calibration, How, needed
from amiss.contract import Detector, Progress
from amiss.errors import TooFewSamples
from amiss.model import Model
from amiss.types import Sample

Array = npt.NDArray[Any]
Road = Literal["auto", "split", "cross", "none"]
BUDGET = 0.01
FOLDS = 5
KEEP = 128 * 2**20  # bytes of decoded pictures remembered from fold to fold


def fit_calibrated(
    detector: Detector,
    samples: Sequence[Sample],
    *,
    held_out: Sequence[Sample] = (),
    budget: float = BUDGET,
    road: Road = "auto",
    progress: Progress | None = None,
) -> Model:
    """Fit on good parts and calibrate on good parts the bank does not hold.

    samples  good parts, read lazily and more than once     held_out  good parts kept for calibration by the data set
    raises  TooFewSamples where the asked road needs more parts
    """
    road = _road(len(samples), len(held_out), budget, road)
    parts = Recorded(samples, keep=KEEP if road == "cross" else 0)
    if road == "none":
        return _model(detector.fit(parts, progress=progress), parts, None)
    if road == "cross":
        calibration = _cross_fitted(detector, parts, budget, progress)
        return _model(detector, parts, calibration)
    keep, hold = _split(len(parts), detector.seed) if not held_out else (np.arange(len(parts)), None)
    kept = Recorded(Subset(parts, keep))
    detector.fit(kept, progress=progress)
    held: Sequence[Sample] = held_out if hold is None else Subset(parts, hold)
    return _model(detector, kept, calibrate(detector, held, budget=budget, progress=progress))


def calibrate(detector: Detector, good: Sequence[Sample], *, budget: float, progress: Progress | None = None) -> Calibration:
    """A split calibration of a fitted detector on good parts it has not seen."""
    return Calibration(tuple(_scores(detector, good, progress, "calibrating")), budget, "split")


def _road(n: int, held_out: int, budget: float, road: Road) -> Road:
    if road == "auto":
        if n == 1 and not held_out:
            return "cross"
        return "split" if held_out or n // 5 >= needed(budget) else "cross"
    if road == "split" and n < 2 and not held_out:
        raise TooFewSamples(f"a held-out split needs 2 good parts or more, met {n}; use --calibration none")
    return road


def _split(n: int, seed: int) -> tuple[Array, Array]:
    order = np.random.default_rng(seed).permutation(n)
    held = max(1, n // 5)
    return np.sort(order[held:]), np.sort(order[:held])


def _cross_fitted(detector: Detector, parts: Recorded, budget: float, progress: Progress | None) -> Calibration:
    """Fit on all, then score every part by a detector that was fitted without it."""
    how: How = "cross-fitted"
    with tempfile.TemporaryDirectory(prefix="amiss-") as folder:
        workdir = Path(folder)
        detector.fit(parts, progress=progress, workdir=workdir)
        folds = _folds(parts.in_order(), detector.seed)
        scores: list[float] = []
        for number, held in enumerate(folds, start=1):
            if len(folds) < 2:
                break
            rest = np.setdiff1d(np.arange(len(parts)), held)
            shown = _named(progress, f"calibration fold {number} of {len(folds)}: ")
            fold = detector.unfitted().fit(Subset(parts, rest), progress=shown, workdir=workdir)
            scores += _scores(fold, Subset(parts, held), shown, "judging")
    return Calibration(tuple(scores), budget, how)


def _folds(digests: Sequence[str], seed: int) -> list[Array]:
    """Disjoint index sets that cover all parts; copies of one picture share a fold, so that none is judged by its twin."""
    rng = np.random.default_rng(seed)
    names = sorted(set(digests))
    count = min(len(names), FOLDS)
    fold_of = dict(zip(rng.permutation(names).tolist(), np.arange(len(names)) % count, strict=True))
    member = np.array([fold_of[digest] for digest in digests])
    return [np.flatnonzero(member == fold) for fold in range(count)]


def _scores(detector: Detector, samples: Sequence[Sample], progress: Progress | None, stage: str) -> list[float]:
    scores = []
    for done, result in enumerate(detector.predict(samples), start=1):
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
    model = Model(detector, calibration, origin)
    return model


class Subset(Sequence[Sample]):
    """Some samples of a sequence, by index, still read lazily."""

    def __init__(self, samples: Sequence[Sample], indices: Iterable[Any]) -> None:
        self._samples, self._indices = samples, [int(index) for index in indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Sample]:
        return (self._samples[index] for index in self._indices)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Subset: ...
    def __getitem__(self, index: int | slice) -> Sample | Subset:
        if isinstance(index, slice):
            return Subset(self._samples, self._indices[index])
        return self._samples[self._indices[index]]


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
        """Digests of all samples; complete after one full pass."""
        return [self._digests[index] for index in range(len(self))]
