"""Good clouds as a scanner beside them sees them: what scans from one side are held against by a model of whole parts.

A whole part has no rim, a scan from one side ends somewhere, and no place near that rim looks like any good one. So every whole
good cloud is looked at from a few sides, with its hidden points removed (`geometry/visible.py`). The sides are those of the
cloud's own frame, so that its pose plays no role.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from amiss.errors import BadSample
from amiss.geometry.cloud import middlemost, own_frame, thinned
from amiss.geometry.visible import visible
from amiss.kit.clouds import points_of
from amiss.kit.memory import MemoryBank
from amiss.types import Sample

Array = npt.NDArray[Any]

HELD_AGAINST_VIEWS = "%s is a scan from one side, the good ones are whole: it is held against views of them too"  # for the log

_CLOUDS = 8  # that are looked at: more are alike
_EACH = 4  # points of a cell that views have: of a million points all are of no use
WHOLE = -1  # the side of what is not seen from one
FAR = 3.0  # diagonals from the middle of a cloud to the eye


class Sides(Sequence[Sample]):
    """Views of clouds from so many sides each, made when they are asked for; a view has the id of its cloud."""

    def __init__(self, clouds: Sequence[Sample], count: int, cell: float) -> None:
        """clouds  of many some are taken, from first to last     count  sides of each     cell  edge of a thinning cell"""
        picks = np.unique(np.linspace(0, len(clouds) - 1, min(_CLOUDS, len(clouds))).round().astype(int))
        self._clouds, self._picks, self._count, self._cell = clouds, picks.tolist(), count, cell

    def __len__(self) -> int:
        return len(self._picks) * self._count

    @property
    def origins(self) -> list[tuple[int, int]]:
        """Of which of the clouds each view is, and from which side."""
        return [(pick, side) for pick in self._picks for side in range(self._count)]

    def __iter__(self) -> Iterator[Sample]:
        for pick in self._picks:
            yield from _views(self._clouds[pick], directions(self._count), self._cell)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        pick, side = divmod(range(len(self))[index], self._count)
        return next(_views(self._clouds[self._picks[pick]], directions(self._count)[[side]], self._cell))


def apart(vectors: Array, origins: Array, weights: Array, bank: MemoryBank, holders: Array, most: int | None = None) -> Array:
    """How far places are from the nearest one of another cloud, seen from no side or from another, times their weights.

    So good clouds, and views of them, are measured as one that was not seen before. Empty where there is but one cloud.

    vectors  (N, C)     origins  (N, 2) cloud and side of each, WHOLE for none     weights  (N,)
    bank     of M that answer     holders  (M, 2) their origins     most  places asked of each cloud or view; none for all
    """
    found = []
    for cloud, side in np.unique(origins, axis=0):
        own = np.flatnonzero((origins == (cloud, side)).all(axis=1))
        if most is not None:
            own = own[np.unique(np.linspace(0, len(own) - 1, min(most, len(own))).round().astype(int))]
        others = (holders[:, 0] != cloud) & ((holders[:, 1] != side) | (holders[:, 1] == WHOLE))
        if others.any():
            found.append(bank.nearest(vectors[own], allowed=others)[0][:, 0] * weights[own])
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def origins(owners: Array, side: int = WHOLE) -> Array:
    """Cloud and side, (N, 2), of places whose clouds are known (N,)."""
    return np.column_stack([owners, np.full(len(owners), side)])


def directions(count: int) -> Array:
    """Unit vectors that are spread evenly, along a spiral from pole to pole, (count, 3)."""
    heights = 1 - (2 * np.arange(count) + 1) / count
    turns = np.pi * (1 + np.sqrt(5)) * np.arange(count)
    return np.stack([np.cos(turns) * np.sqrt(1 - heights**2), np.sin(turns) * np.sqrt(1 - heights**2), heights], axis=1)


def _views(cloud: Sample, ways: Array, cell: float) -> Iterator[Sample]:
    """What is seen is found out on the thinned cloud: of a million points it would take minutes."""
    points = points_of(cloud)
    try:
        frame = own_frame(points)
        places, went = thinned(frame, cell)
        some = middlemost(frame, went, _EACH)
        points, went = points[some], went[some]
        middle, far = (places.min(axis=0) + places.max(axis=0)) / 2, FAR * np.linalg.norm(np.ptp(places, axis=0))
        for way in ways:
            seen = np.zeros(len(places), np.bool_)
            seen[visible(places, middle + far * way)] = True
            yield Sample(id=cloud.id, part=cloud.part, points=points[seen[went]])
    except BadSample as error:
        raise BadSample(f"{cloud.id}: {error}") from error
