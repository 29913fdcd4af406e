"""Good clouds with made defects, as a method sees them: what a network learns from where no real defects are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.kit.clouds import CloudFeatures, points_of
from amiss.kit.synthesis import FLAWS, Flaw, Ranges, Spoiled, spoiled
from amiss.types import Sample

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Lesson:
    """Features of a cloud with one made defect, and which of its places belong to it, (P,) bool."""

    features: CloudFeatures
    marked: Array


def lessons(
    parts: Sequence[Sample],
    count: int,
    extract: Callable[[Sample], CloudFeatures],
    rng: np.random.Generator,
    *,
    kinds: Sequence[Flaw] = FLAWS,
    ranges: Ranges | None = None,
) -> Iterator[Lesson]:
    """Good clouds with one defect each, read the way every cloud is; all parts serve alike where there are not more of them.

    count  how many     the rest  as in `spoiled`
    """
    for pick, group in groupby(int(number) for number in np.arange(count) * len(parts) // count):
        good = extract(parts[pick])
        for _ in group:
            yield _lesson(parts[pick], good, extract, lambda points, normals: spoiled(points, normals, rng, kinds, ranges))


def _lesson(
    part: Sample, good: CloudFeatures, extract: Callable[[Sample], CloudFeatures], spoil: Callable[[Array, Array], Spoiled]
) -> Lesson:
    """The defect is put into the whole cloud, before it is thinned; a point's normal is that of the place next to it, and a
    place is marked where the point next to it is.
    """
    from scipy.spatial import cKDTree

    points = points_of(part)
    _, nearest = cKDTree(good.places).query(points, workers=-1)
    made = spoil(points, good.normals[nearest])
    features = extract(Sample(id=f"{part.id}, spoiled", points=made.points.astype(np.float32)))
    _, nearest = cKDTree(made.points).query(features.places, workers=-1)
    return Lesson(features, made.marked[nearest])
