"""The figures of a judged split with their intervals, or the reasons why there are none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import tee
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from amiss.data.dataset import Entry
from amiss.data.readers import printable
from amiss.errors import BadLayout, UndefinedMetric
from amiss.metrics import ranking
from amiss.metrics.intervals import PartCounts
from amiss.metrics.regions import PixelScores, masked
from amiss.types import Result, Truth

Array = npt.NDArray[Any]
Interval = tuple[float, float]
Shown = Sequence[tuple[Entry, Result]]  # pictures that have a map, still on the method's own grid
S = TypeVar("S")
T = TypeVar("T")

KIND_NAMES = {
    "image_auroc_logical": "image AUROC, logical", "image_auroc_structural": "image AUROC, structural",
    "image_auroc_mean": "image AUROC, their mean", "au_spro_logical": "AU-sPRO, logical",
    "au_spro_structural": "AU-sPRO, structural", "au_spro_mean": "AU-sPRO, their mean",
}  # fmt: skip
NAMES = {
    "image_auroc": "image AUROC", "image_ap": "image AP", "image_f1max": "image F1-max",
    "pixel_auroc": "pixel AUROC", "pixel_ap": "pixel AP", "aupro": "AUPRO", **KIND_NAMES,
}  # fmt: skip
FIGURES = tuple(NAMES)
SEPARATED = "no interval: good and defective parts do not overlap, so every draw gives the same figure"


class Figures:
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

    def take(self, name: str, other: Figures, theirs: str) -> None:
        """Copy under a name what another one holds under its own."""
        pairs: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
            (self.values, other.values), (self.intervals, other.intervals), (self.reasons, other.reasons),
        )  # fmt: skip
        for mine, some in pairs:
            if theirs in some:
                mine[name] = some[theirs]


def image_figures(scores: Array, labels: Array, found: Figures) -> None:
    """Image AUROC, AP and F1-max over all pictures."""
    add_auroc("image_auroc", scores, labels, found)
    found.add(
        "image_ap", lambda: ranking.average_precision(scores, labels), _open(ranking.average_precision_interval, scores, labels)
    )
    found.add("image_f1max", lambda: ranking.f1_max(scores, labels), _open(ranking.f1_max_interval, scores, labels))


def add_auroc(name: str, scores: Array, labels: Array, found: Figures) -> None:
    """An AUROC whose interval reaches down to what so few pictures leave open, where good and defective do not overlap."""

    def interval() -> Interval:
        separated = ranking.auroc(scores, labels) == 1
        bound = ranking.separated_bound(int((~labels).sum()), int(labels.sum()))
        return (bound, 1.0) if separated else ranking.auroc_interval(scores, labels)

    found.add(name, lambda: ranking.auroc(scores, labels), interval)


def _open(interval: Callable[[Array, Array], Interval], scores: Array, labels: Array) -> Callable[[], Interval]:
    """An interval that does not exist where good and defective parts do not overlap: every draw gives the same figure."""

    def bounded() -> Interval:
        if ranking.auroc(scores, labels) == 1:
            raise UndefinedMetric(SEPARATED)
        return interval(scores, labels)

    return bounded


def pixel_figures(entries: Sequence[Entry], shown: Shown, found: Figures, limit: float) -> PartCounts | None:
    """Pixel AUROC, pixel AP and AUPRO, where every defective picture has a mask."""
    names = ("pixel_auroc", "pixel_ap", "aupro")
    try:
        check_marked([entry for entry in entries if entry.defective], shown, "defective")
        pixels = PixelScores.collect(*unzipped(_masks(shown)))
        counts = PartCounts.collect(pixels, masked(*unzipped(_masks(shown))))
    except UndefinedMetric as error:
        found.reasons |= dict.fromkeys(names, str(error))
        return None
    exact = pixels.auroc(), pixels.average_precision(), pixels.aupro(limit)
    found.values |= zip(names, exact, strict=True)
    found.intervals |= zip(names, counts.intervals(exact, limit), strict=True)
    return counts


def check_marked(entries: Sequence[Entry], shown: Shown, what: str) -> None:
    """raises  UndefinedMetric where there is none of the defective entries, one has no mask, or the method makes no maps"""
    missing = sum(entry.mask is None for entry in entries)
    if not entries:
        raise UndefinedMetric(f"no {what} picture")
    if missing:
        raise UndefinedMetric(f"{missing} of {len(entries)} {what} pictures have no mask")
    if not shown:
        raise UndefinedMetric("the method marks no place")


def spread(entry: Entry, result: Result) -> tuple[Array, Truth]:
    """A map at the size of its picture, and the truth.

    raises  BadLayout naming a mask of another size
    """
    full, truth = result.image_map(), entry.truth()
    if truth.mask is not None and truth.mask.shape != full.shape:
        raise BadLayout(
            f"{printable(entry.mask or entry.path)}: the mask is {truth.mask.shape[1]} x {truth.mask.shape[0]}, its picture "
            f"{full.shape[1]} x {full.shape[0]}; correct the mask"
        )
    return full, truth


def _masks(shown: Shown) -> Iterator[tuple[Array, Array]]:
    """Maps and masks at full size, one picture at a time."""
    for full, truth in (spread(*pair) for pair in shown):
        yield full, np.zeros(full.shape, np.bool_) if truth.mask is None else truth.mask


def unzipped(pairs: Iterable[tuple[S, T]]) -> tuple[Iterator[S], Iterator[T]]:
    """The first and the second of each pair; whoever reads them in step holds one pair at a time."""
    first, second = tee(pairs)
    return (pair[0] for pair in first), (pair[1] for pair in second)
