"""How well maps mark defects: pixel AUROC, pixel average precision and AUPRO, exact over all pixels of all pictures.

AUPRO is the area under the per-region overlap curve of Bergmann et al., "The MVTec Anomaly Detection Dataset" (IJCV 2021):
x is the false-positive rate over the fine pixels of all pictures, good ones included; y is the overlap of prediction
and region, averaged over all 8-connected regions of all pictures. One threshold serves all pictures, and the area up
to a limit (linear interpolation there) is divided by the limit. We differ in the road only: no mask is made at any
threshold, since between two scores of defective pixels only x moves, and the score of each defective pixel raises y by
1 / (area of its region x number of regions).

`Overlap` and `PlaceScores` do not know what a place is: here it is a pixel of a picture, in `points` a point of a cloud.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from amiss.errors import BadField, BadSample, UndefinedMetric
from amiss.metrics.ranking import Steps

Array = npt.NDArray[Any]
T = TypeVar("T")

_SHAPES = {1: "(N,)", 2: "(H, W)"}


class Part(NamedTuple):
    """What one part adds to a curve of region overlap.

    fine    (n,) scores of its fine places     marked  (m,) scores of places in its regions, those of two regions twice
    shares  (m,) what each marked place adds to the overlap of its region     regions  how many there are
    """

    fine: Array
    marked: Array
    shares: Array
    regions: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Overlap:
    """All that the area under a mean region overlap needs; made by `gather`.

    fine     (N,) scores of fine places, ascending     defective  (M,) scores of places in regions, ascending
    weights  (M,) what each of those adds to the mean overlap: its share of its region / number of regions
    place, part  what errors call a place, and what it lies in
    """

    place: ClassVar[str] = "pixel"
    part: ClassVar[str] = "picture"

    fine: Array
    defective: Array
    weights: Array

    @classmethod
    def gather(cls, parts: Iterable[Part]) -> Self:
        """Read parts one at a time; beyond the scores themselves one more part is held.

        raises  UndefinedMetric without fine or defective places
        """
        fine, defective, weights = _Growing(np.float32), _Growing(np.float32), _Growing(np.float64)
        count = regions = 0
        for part in parts:
            count += 1
            fine.add(part.fine)
            defective.add(part.marked)
            weights.add(part.shares)
            regions += part.regions
        ascending, marked = fine.array(), defective.array()
        if not len(ascending) or not regions:
            missing = "fine" if regions else "defective"
            raise UndefinedMetric(
                f"no {missing} {cls.place} in {count} {cls.part}s; {cls.place} metrics need fine and defective ones"
            )
        dtype = np.result_type(ascending, marked)
        ascending, marked = ascending.astype(dtype, copy=False), marked.astype(dtype, copy=False)
        ascending.sort()
        order = np.argsort(marked)
        return cls(fine=ascending, defective=marked[order], weights=weights.array()[order] / regions)

    @cached_property
    def steps(self) -> Steps:
        """The counts of fine and defective places at every distinct score of a defective one."""
        return Steps.between(self.fine, self.defective)

    def area(self, limit: float) -> float:
        """Area under the mean region overlap up to a false-positive rate, divided by that rate.

        limit   false-positive rate at which the area ends, 0 < limit <= 1
        raises  BadField for another limit
        """
        check_limit(limit)
        steps = self.steps
        used = slice(int(np.searchsorted(steps.above, limit * steps.good, side="right")))  # the rest lies beyond the limit
        overlap = self.weights[::-1].cumsum()
        overlap /= overlap[-1]  # at the lowest score all regions are whole; the long sum may miss 1 by its rounding
        overlap = overlap[steps.caught[used] - 1]  # (K,) descending thresholds
        # From one defective score to the next only the rate grows; at the score itself both may, along one slope.
        rate, height = np.zeros(2 * len(overlap) + 2), np.zeros(2 * len(overlap) + 2)
        np.divide(steps.above[used], steps.good, out=rate[1:-1:2])
        np.divide(steps.reached[used], steps.good, out=rate[2:-1:2])
        rate[-1] = 1.0
        height[2::2], height[3::2] = overlap, overlap
        return _area(rate, height, limit) / limit


class PlaceScores(Overlap):
    """An overlap in which every defective place stands once, so that places can be ranked as well."""

    def auroc(self) -> float:
        """Share of (fine, defective) pairs of places ranked rightly, ties one half."""
        return self.steps.auroc()

    def average_precision(self) -> float:
        """Average precision over places."""
        return self.steps.average_precision()

    def f1_max(self) -> float:
        """The best F1 over places that one threshold reaches."""
        return self.steps.f1_max()

    def aupro(self, limit: float = 0.3) -> float:
        """Area under the mean overlap of the regions; limit and errors as `area`."""
        return self.area(limit)


class PixelScores(PlaceScores):
    """Places are pixels, regions the 8-connected ones of masks."""

    @classmethod
    def collect(cls, maps: Iterable[Array], masks: Iterable[Array]) -> Self:
        """Gather maps and masks; arguments and errors as `masked` and `gather`."""
        return cls.gather(masked(maps, masks))


def pixel_auroc(maps: Iterable[Array], masks: Iterable[Array]) -> float:
    """AUROC over all pixels of all pictures; arguments and errors as PixelScores.collect."""
    return PixelScores.collect(maps, masks).auroc()


def pixel_average_precision(maps: Iterable[Array], masks: Iterable[Array]) -> float:
    """Average precision over all pixels of all pictures; arguments and errors as PixelScores.collect."""
    return PixelScores.collect(maps, masks).average_precision()


def pixel_f1_max(maps: Iterable[Array], masks: Iterable[Array]) -> float:
    """Best F1 over all pixels of all pictures; arguments and errors as PixelScores.collect."""
    return PixelScores.collect(maps, masks).f1_max()


def aupro(maps: Iterable[Array], masks: Iterable[Array], *, limit: float = 0.3) -> float:
    """Area under the per-region overlap curve; arguments and errors as PixelScores.collect and Overlap.area."""
    check_limit(limit)
    return PixelScores.collect(maps, masks).aupro(limit)


def check_limit(limit: float) -> None:
    """raises  BadField for a limit that is no false-positive rate above 0"""
    if not 0 < limit <= 1:
        raise BadField(f"limit = {limit}: the false-positive rate at which the area ends, above 0 and at most 1, e.g. 0.3")


def _area(x: Array, y: Array, limit: float) -> float:
    """Area below a polyline from x = 0 to the limit; x ascends and reaches the limit."""
    corners = int(np.searchsorted(x, limit, side="right"))  # those within the limit
    widths, heights = np.diff(x[:corners]), y[1:corners] + y[: corners - 1]
    area = 0.5 * float(widths @ heights)
    if corners < len(x):
        width = limit - x[corners - 1]
        slope = (y[corners] - y[corners - 1]) / (x[corners] - x[corners - 1])
        area += float(width * (y[corners - 1] + 0.5 * slope * width))
    return area


def masked(maps: Iterable[Array], masks: Iterable[Array]) -> Iterator[Part]:
    """Pictures whose regions are the 8-connected ones of their masks.

    maps   each (H, W), raw, higher is more anomalous; sizes may differ, float32 stays float32
    masks  each (H, W) bool of its map's shape, true is defective, all false for a good picture
    raises  BadSample naming the index of a pair that does not fit
    """
    for index, (scores, raw) in enumerate(paired(maps, masks, "masks")):
        mask = checked_mask(np.asarray(raw), scores.shape, f"mask {index}")
        shares, regions = region_shares(mask) if mask.any() else (np.empty(0), 0)
        yield Part(scores[~mask], scores[mask], shares, regions)


def paired(maps: Iterable[Array], truths: Iterable[T], name: str, *, ndim: int = 2) -> Iterator[tuple[Array, T]]:
    """Each checked map, float32 or float64 of this machine, with its truth.

    name    of the truths     ndim  of a map: 2 over pixels, 1 over points
    raises  BadSample for a map that cannot be ranked, and for more of one than of the other
    """
    missing: Any = object()
    for index, (scores, truth) in enumerate(zip_longest(maps, truths, fillvalue=missing)):
        if scores is missing or truth is missing:
            longer, shorter = (name, "maps") if scores is missing else ("maps", name)
            raise BadSample(f"more {longer} than {shorter}: there are only {index} {shorter}; give each map one of the {name}")
        yield _checked_map(np.asarray(scores), index, ndim), truth


def _checked_map(scores: Array, index: int, ndim: int) -> Array:
    if scores.ndim != ndim or scores.dtype.kind not in "fiu":
        raise BadSample(f"map {index} has shape {scores.shape} and type {scores.dtype}; wanted {_SHAPES[ndim]} numbers")
    if not np.isfinite(scores).all():
        raise BadSample(f"map {index} holds NaN or infinity; a place without a score cannot be ranked, give it one")
    single = scores.dtype.kind == "f" and scores.dtype.itemsize <= 4
    return np.asarray(scores, np.float32 if single else np.float64)


def checked_mask(mask: Array, shape: tuple[int, ...], name: str) -> Array:
    """raises  BadSample naming a mask that is not bool, or not of the shape of its map"""
    if mask.dtype != np.bool_:
        raise BadSample(f"{name} is {mask.dtype}; wanted bool, true where the part is defective, e.g. mask > 0")
    if mask.shape != shape:
        raise BadSample(f"{name} has shape {mask.shape}, its map {shape}; bring the map to the size of the mask")
    return mask


def region_shares(mask: Array) -> tuple[Array, int]:
    """For each defective pixel, in reading order, 1 / area of its 8-connected region; and the number of regions."""
    import cv2

    count, regions = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    members = regions[mask]
    return 1.0 / np.bincount(members)[members], count - 1


class _Growing:
    """A flat array that grows in place, so that collecting takes little more memory than what is collected."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        """dtype  the narrowest one; wider values widen it"""
        self._buffer, self._count = np.empty(0, dtype), 0

    def add(self, values: Array) -> None:
        """values  (n,)"""
        end = self._count + len(values)
        self._buffer = self._buffer.astype(np.result_type(self._buffer, values), copy=False)
        if end > len(self._buffer):
            self._buffer.resize(max(end, len(self._buffer) * 5 // 4), refcheck=False)
        self._buffer[self._count : end] = values
        self._count = end

    def array(self) -> Array:
        """All values, cut to size."""
        self._buffer.resize(self._count, refcheck=False)
        return self._buffer
