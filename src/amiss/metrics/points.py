"""How well scores of points mark defects: point AUROC, point average precision and AUPRO on a radius graph.

Figures are exact, over every point of every cloud, good ones included, and come from the same sums as those over pixels
(`regions`). Published point figures pool all points of a category, so that large clouds count for more; the mean over clouds
(`EachPart`) weighs them alike.

Clouds have no 8-connected regions. Here a region is a set of marked points linked by steps of at most `reach` spacings of the
whole cloud, the spacing being the median distance to the nearest other point. Five, because a stray point that is a region
of its own counts as much as the whole defect: of points that lie at random on a surface, three spacings left one round mark
of 600 in 6 pieces on average, five in one (20 draws). What AUPRO on unordered clouds is to mean has not been agreed on, and
published figures over the pixel grid of an organised scan are near, but not the same.

Memory: 4 bytes a point (8 where scores are float64), 12 more for each marked one, and one cloud with its search tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from amiss.errors import BadSample, UndefinedMetric
from amiss.geometry.cloud import spacing
from amiss.geometry.components import components
from amiss.metrics.ranking import Steps
from amiss.metrics.regions import Part, PlaceScores, check_limit, checked_mask, paired
from amiss.types import Box

Array = npt.NDArray[Any]

REACH = 5.0
LEAST = 10


class PointScores(PlaceScores):
    """Places are points, regions those of a radius graph."""

    place, part = "point", "cloud"

    @classmethod
    def collect(cls, maps: Iterable[Array], truths: Iterable[tuple[Array, Array]], *, reach: float = REACH) -> Self:
        """Gather maps and truths; arguments and errors as `marked` and `gather`."""
        return cls.gather(marked(maps, truths, reach=reach))


def point_aupro(
    maps: Iterable[Array], truths: Iterable[tuple[Array, Array]], *, limit: float = 0.3, reach: float = REACH
) -> float:
    """Area under the per-region overlap curve; arguments and errors as `marked`, `Overlap.gather` and `Overlap.area`."""
    check_limit(limit)
    return PointScores.collect(maps, truths, reach=reach).aupro(limit)


def marked(maps: Iterable[Array], truths: Iterable[tuple[Array, Array]], *, reach: float = REACH) -> Iterator[Part]:
    """Clouds whose regions are the pieces of their marked points.

    maps    each (N,), raw, higher is more anomalous; float32 stays float32
    truths  for each map its mask and its cloud: (N,) bool, true is defective, all false for a good one; (N, 3) points
    reach   longest step within a region, in spacings of the cloud
    raises  BadSample naming the index of a map, mask or cloud that does not fit
    """
    for index, (scores, truth) in enumerate(paired(maps, truths, "truths", ndim=1)):
        raw, points = truth
        mask = checked_mask(np.asarray(raw), scores.shape, f"mask {index}")
        if np.shape(points) != (len(scores), 3):
            raise BadSample(f"cloud {index} has shape {np.shape(points)}, its map {scores.shape}; wanted (N, 3) for (N,)")
        pieces = np.empty(0, np.int64)
        if mask.any():
            pieces = components(np.asarray(points)[mask], reach * spacing(np.asarray(points)))
        areas = np.bincount(pieces)
        yield Part(scores[~mask], scores[mask], 1.0 / areas[pieces], len(areas))


def boxes_around(points: Array, mask: Array, *, reach: float = REACH, least: int = LEAST) -> tuple[Box, ...]:
    """A box around each region of the marked points of one cloud, for truths that have no boxes of their own.

    A point stands for a piece of surface as wide as the spacing, so a box goes half a spacing beyond its points; else one
    around a mark on a flat face would have no volume.
    points, mask  (N, 3) and (N,) bool     reach  as in `marked`
    least  regions of fewer points are crumbs of the labelling and left out, unless the part has no larger one
    """
    if not mask.any():
        return ()
    gap = spacing(points)
    pieces = components(points[mask], reach * gap)
    areas = np.bincount(pieces)
    kept = [points[mask][pieces == number] for number in np.flatnonzero(areas >= min(least, areas.max()))]
    corners = ((some.min(axis=0) - gap / 2, some.max(axis=0) + gap / 2) for some in kept)
    return tuple(Box(low=tuple(low.tolist()), high=tuple(high.tolist())) for low, high in corners)


class EachPart:
    """AUROC and average precision of each part on its own, taken as parts pass by on their way to `gather`.

    aurocs, precisions  of the parts with both fine and defective places, in their order
    """

    def __init__(self) -> None:
        self.aurocs: list[float] = []
        self.precisions: list[float] = []

    def passing(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The same parts."""
        for part in parts:
            if len(part.fine) and len(part.marked):
                steps = Steps.between(np.sort(part.fine), np.sort(part.marked))
                self.aurocs.append(steps.auroc())
                self.precisions.append(steps.average_precision())
            yield part


def mean_of_clouds(maps: Iterable[Array], truths: Iterable[tuple[Array, Array]]) -> tuple[float, float]:
    """Point AUROC and average precision of each cloud with a defect on its own, as means over those clouds.

    Arguments as in `marked`     raises  BadSample as there; UndefinedMetric where no cloud has fine and defective points
    """
    each = EachPart()
    for _ in each.passing(marked(maps, truths)):
        pass
    if not each.aurocs:
        raise UndefinedMetric("no cloud has both fine and defective points, so none has a figure of its own")
    return float(np.mean(each.aurocs)), float(np.mean(each.precisions))
