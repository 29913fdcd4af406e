"""Figures of marked places: pixels of pictures, points of clouds, and boxes.

Maps are brought to full size, and truths read, one part at a time; for clouds that means every point of the file. Memory: one
part, and 4 bytes a pixel of the split, or 8 a point: intervals read every part once more, and since bringing a map to a million
points takes seconds, the scores of clouds are held for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import tee
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from amiss.bench.figures import BOX_NAMES, NOT_AVERAGED, Figures, Interval
from amiss.data.dataset import Entry
from amiss.data.readers import printable
from amiss.errors import BadLayout, UndefinedMetric
from amiss.metrics.boxes import Matches
from amiss.metrics.intervals import PartCounts, mean_interval
from amiss.metrics.points import EachPart, PointScores, boxes_around, marked
from amiss.metrics.regions import Part, PixelScores, PlaceScores, masked
from amiss.spread import PointSpread
from amiss.types import Box, Result, Sample, Truth

Array = npt.NDArray[Any]
Shown = Sequence[tuple[Entry, Result]]  # parts that have a map, still where the method made it
S = TypeVar("S")
T = TypeVar("T")

FALSE_BOXES = 0.1  # on a good part, at which box recall is taken
NO_BOXES = "the method makes no boxes"
_NOWHERE = np.empty((0, 3), np.float32)


@dataclass(frozen=True)
class Ground:
    """What the maps of a split lie over.

    view    what shows a part     names  of AUROC, AP and AUPRO over places
    means   names of AUROC and AP as means over parts, () where nobody asks for them
    scores  what parts are gathered to     parts  reads them at full size, one at a time
    """

    view: str
    names: tuple[str, str, str]
    means: tuple[str, ...]
    scores: type[PlaceScores]
    parts: Callable[[Shown], Iterator[Part]]
    held: bool

    def readings(self, shown: Shown) -> tuple[Iterable[Part], Iterable[Part]]:
        """The parts twice."""
        if self.held:
            parts = list(self.parts(shown))
            return parts, parts
        return self.parts(shown), self.parts(shown)

    @property
    def absent(self) -> str:
        """Why another split has none of these figures."""
        return f"the parts are no {self.view}s"


PIXELS = Ground(
    "picture", ("pixel_auroc", "pixel_ap", "aupro"), (), PixelScores, lambda shown: masked(*unzipped(_masks(shown))), False
)
POINTS = Ground(
    "cloud", ("point_auroc", "point_ap", "point_aupro"), ("point_auroc_mean_of_clouds", "point_ap_mean_of_clouds"),
    PointScores, lambda shown: marked(*unzipped(_clouds(shown))), True,
)  # fmt: skip
GROUNDS = (PIXELS, POINTS)
OUTSIDE = frozenset({NOT_AVERAGED, NO_BOXES, *(ground.absent for ground in GROUNDS)})  # reasons that nobody has to be told


def ground_of(sample: Sample, result: Result) -> Ground:
    """What a map lies over; where there is none, what it would have lain over."""
    return POINTS if isinstance(result.spread, PointSpread) or sample.image is None else PIXELS


def light(result: Result) -> Result:
    """A result without the points of its cloud and without evidence, so that those of a whole split can be kept."""
    spread = result.spread.over(_NOWHERE) if isinstance(result.spread, PointSpread) else result.spread
    return replace(result, spread=spread, evidence={})


def place_figures(ground: Ground, entries: Sequence[Entry], shown: Shown, found: Figures, limit: float) -> PartCounts | None:
    """AUROC and AP over places and AUPRO, where every defective part has a mask; reasons for those over other grounds."""
    for other in GROUNDS:
        if other is not ground:
            found.reasons |= dict.fromkeys((*other.names, *other.means), other.absent)
    each = EachPart()
    try:
        check_marked([entry for entry in entries if entry.defective], shown, "defective", view=ground.view)
        first, again = ground.readings(shown)
        scores = ground.scores.gather(each.passing(first) if ground.means else first)
        counts = PartCounts.collect(scores, again)
    except UndefinedMetric as error:
        found.reasons |= dict.fromkeys((*ground.names, *ground.means), str(error))
        return None
    exact = scores.auroc(), scores.average_precision(), scores.aupro(limit)
    found.values |= zip(ground.names, exact, strict=True)
    found.intervals |= zip(ground.names, counts.intervals(exact, limit), strict=True)
    for name, values in zip(ground.means, (each.aurocs, each.precisions), strict=False):
        _add_mean(name, np.array(values), found)
    return counts


def _add_mean(name: str, values: Array, found: Figures) -> None:
    """A mean over the parts that have a figure of their own."""

    def mean() -> float:
        if not len(values):
            raise UndefinedMetric("no part has both fine and defective places, so none has a figure of its own")
        return float(values.mean())

    found.add(name, mean, lambda: varied(mean_interval(values)))


def box_figures(kept: Shown, found: Figures) -> None:
    """Average precision and recall of boxes, where the method makes some and every defective part has true ones.

    kept  all parts with what is left of their results. Truths that mark points have a box around each region of them.
    """
    try:
        matches = Matches.by_overlap((result.boxes for _, result in kept), _true_boxes(kept))
    except UndefinedMetric as error:
        found.reasons |= dict.fromkeys(BOX_NAMES, str(error))
        return
    found.add("box_ap", matches.average_precision, lambda: varied(matches.average_precision_interval()))
    found.add(
        "box_recall",
        lambda: matches.recall_at(FALSE_BOXES),
        lambda: varied(matches.recall_at_interval(FALSE_BOXES)),
    )


def _true_boxes(kept: Shown) -> list[tuple[Box, ...]]:
    if not any(result.boxes for _, result in kept):
        raise UndefinedMetric(NO_BOXES)
    truths = [_boxes(entry) if entry.defective else () for entry, _ in kept]
    defective = sum(entry.defective for entry, _ in kept)
    if missing := defective - sum(map(bool, truths)):
        raise UndefinedMetric(f"{missing} of {defective} defective parts have no box")
    return truths


def _boxes(entry: Entry) -> tuple[Box, ...]:
    truth = entry.truth()
    if truth.boxes or truth.point_mask is None:
        return truth.boxes
    return boxes_around(_points(entry, truth), truth.point_mask)


def check_marked(entries: Sequence[Entry], shown: Shown, what: str, *, view: str = "picture") -> None:
    """raises  UndefinedMetric where there is none of the defective entries, one has no mask, or the method makes no maps"""
    missing = sum(not entry.marked for entry in entries)
    if not entries:
        raise UndefinedMetric(f"no {what} part")
    if missing:
        raise UndefinedMetric(f"{missing} of {len(entries)} {what} {view}s have no mask")
    if not shown:
        raise UndefinedMetric("the method marks no place")


def varied(ends: Interval) -> Interval:
    """raises  UndefinedMetric for an interval without width, as that of a single part: it bounds nothing"""
    if ends[1] - ends[0] < 1e-6:
        raise UndefinedMetric("no interval: every draw gives the same figure")
    return ends


def spread(entry: Entry, result: Result) -> tuple[Array, Truth]:
    """A map at the size of its picture, and the truth.

    raises  BadLayout naming a mask of another size; UndefinedMetric where the truth of a defective part marks no pixels
    """
    full, truth = result.image_map(), entry.truth()
    if truth.mask is None and entry.defective:
        raise UndefinedMetric(f"the truth of {printable(entry.path)} marks no pixels, as its map does")
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


def _clouds(shown: Shown) -> Iterator[tuple[Array, tuple[Array, Array]]]:
    """Maps over all points, and masks with the points, one cloud at a time.

    raises  UndefinedMetric where the truth of a defective part marks no points, as a map does
    """
    for entry, result in shown:
        truth = entry.truth()
        if truth.point_mask is None and entry.defective:
            raise UndefinedMetric(f"the truth of {printable(entry.path)} marks no points, as its map does")
        points = _points(entry, truth)
        if isinstance(result.spread, PointSpread):
            result = replace(result, spread=result.spread.over(points))
        mask = np.zeros(len(points), np.bool_) if truth.point_mask is None else truth.point_mask
        yield result.point_map(), (mask, points)


def _points(entry: Entry, truth: Truth) -> Array:
    """The points of a cloud.

    raises  BadLayout naming a truth of another number of points
    """
    points = entry.sample().points
    assert points is not None  # a map lies over them
    if truth.point_mask is not None and len(truth.point_mask) != len(points):
        raise BadLayout(
            f"{printable(entry.mask or entry.path)}: it labels {len(truth.point_mask)} points, its cloud has {len(points)}; "
            "give one label for each point, in the order of the cloud"
        )
    return points


def unzipped(pairs: Iterable[tuple[S, T]]) -> tuple[Iterator[S], Iterator[T]]:
    """The first and the second of each pair; whoever reads them in step holds one pair at a time."""
    first, second = tee(pairs)
    return (pair[0] for pair in first), (pair[1] for pair in second)
