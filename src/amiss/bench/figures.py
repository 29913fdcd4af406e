"""The figures of a judged split with their intervals, or the reasons why there are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt

from amiss.errors import UndefinedMetric
from amiss.metrics import ranking

Array = npt.NDArray[Any]
Interval = tuple[float, float]

KIND_NAMES = {
    "image_auroc_logical": "image AUROC, logical", "image_auroc_structural": "image AUROC, structural",
    "image_auroc_mean": "image AUROC, their mean", "au_spro_logical": "AU-sPRO, logical",
    "au_spro_structural": "AU-sPRO, structural", "au_spro_mean": "AU-sPRO, their mean",
}  # fmt: skip
BOX_NAMES = {"box_ap": "box AP", "box_recall": "box recall"}
NAMES = {
    "image_auroc": "image AUROC", "image_ap": "image AP", "image_f1max": "image F1-max",
    "pixel_auroc": "pixel AUROC", "pixel_ap": "pixel AP", "aupro": "AUPRO",
    "point_auroc": "point AUROC", "point_ap": "point AP", "point_aupro": "point AUPRO",
    "point_auroc_mean_of_clouds": "point AUROC, mean of clouds", "point_ap_mean_of_clouds": "point AP, mean of clouds",
    **BOX_NAMES, **KIND_NAMES,
}  # fmt: skip
CLOUD_NAMES = NAMES | {"image_auroc": "object AUROC", "image_ap": "object AP", "image_f1max": "object F1-max"}
FIGURES = tuple(NAMES)
NOT_AVERAGED = "the data set does not average over kinds of defect"
SEPARATED = "no interval: good and defective parts do not overlap, so every draw gives the same figure"


def names(view: str) -> Mapping[str, str]:
    """What figures are called; of a cloud, what is called image AUROC of a picture is the papers' object AUROC."""
    return CLOUD_NAMES if view == "cloud" else NAMES


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
    """Image AUROC, AP and F1-max over all parts; a cloud's go by the same names."""
    add_auroc("image_auroc", scores, labels, found)
    found.add(
        "image_ap", lambda: ranking.average_precision(scores, labels), _open(ranking.average_precision_interval, scores, labels)
    )
    found.add("image_f1max", lambda: ranking.f1_max(scores, labels), _open(ranking.f1_max_interval, scores, labels))


def add_auroc(name: str, scores: Array, labels: Array, found: Figures) -> None:
    """An AUROC whose interval reaches down to what so few parts leave open, where good and defective do not overlap."""

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
