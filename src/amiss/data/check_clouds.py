"""What `amiss data check` looks at in point clouds: how many points, how large, and which of them are odd."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from amiss.types import Sample

ODD_EXTENT = 3.0  # times the median: half a part still passes, another unit does not
ODD_POINTS = 10.0
_FLAT = 1e-6  # of the diagonal


@dataclass(frozen=True)
class CloudFacts:
    """What is kept of a cloud. sides  lengths of its bounding box along x, y, z     grid  (width, height) | None"""

    points: int
    sides: tuple[float, float, float]
    normals: bool
    grid: tuple[int, int] | None

    @property
    def diagonal(self) -> float:
        return float(np.linalg.norm(self.sides))


def cloud_facts(sample: Sample) -> CloudFacts | None:
    """The facts of a sample that has points."""
    points = sample.points
    if points is None:
        return None
    x, y, z = (float(np.float64(points[:, axis].max()) - points[:, axis].min()) for axis in range(3))
    grid = None if sample.shape is None else (sample.shape[1], sample.shape[0])
    return CloudFacts(len(points), (x, y, z), sample.normals is not None, grid)


def cloud_fields(seen: Mapping[str, CloudFacts]) -> dict[str, Any]:
    """The fields of a report that are about clouds, by the printable path of each."""
    if not seen:
        return {"points": {}, "extents": {}, "odd_points": {}, "odd_extents": {}, "flat": (), "normals": 0}
    counts = {path: facts.points for path, facts in seen.items()}
    diagonals = {path: facts.diagonal for path, facts in seen.items()}
    points, extent = median(counts.values()), median(diagonals.values())
    return {
        "points": {"fewest": min(counts.values()), "median": int(points), "most": max(counts.values())},
        "extents": {"smallest": min(diagonals.values()), "median": extent, "largest": max(diagonals.values())},
        "odd_points": {path: f"{count:,} points" for path, count in counts.items() if _is_odd(count, points, ODD_POINTS)},
        "odd_extents": {path: _told(value, extent) for path, value in diagonals.items() if _is_odd(value, extent, ODD_EXTENT)},
        "flat": tuple(path for path, facts in seen.items() if min(facts.sides) <= _FLAT * facts.diagonal),
        "normals": sum(facts.normals for facts in seen.values()),
    }


def cloud_problems(found: Mapping[str, Any], clouds: int) -> Iterator[str]:
    """What is wrong with clouds, the worst first; each with a first example."""
    if files := found["odd_extents"]:
        yield (
            f"{_count(files)} of another size than most, by more than {ODD_EXTENT:g} times, as in another unit; "
            f"first: {_first(files)}"
        )
    if files := found["flat"]:
        yield f"{_count(files)} without extent along x, y or z, as where a coordinate was lost; first: {files[0]}"
    if files := found["odd_points"]:
        yield f"{_count(files)} with over {ODD_POINTS:g} times more or fewer points than most; first: {_first(files)}"
    if 0 < found["normals"] < clouds:
        yield f"{found['normals']} of {clouds} clouds have normals in their file and the others none"


def summary(found: Mapping[str, Any]) -> Iterator[str]:
    """A line on the points and the size of the clouds, where there are some."""
    if points := found["points"]:
        extents = found["extents"]
        yield (
            f"clouds: {points['fewest']:,} to {points['most']:,} points (median {points['median']:,}), "
            f"diagonal {extents['smallest']:.4g} to {extents['largest']:.4g} (median {extents['median']:.4g})"
        )


def _is_odd(value: float, usual: float, times: float) -> bool:
    return not usual / times <= value <= usual * times


def _told(value: float, usual: float) -> str:
    if not value or not usual:
        return f"diagonal {value:.4g}"
    larger = value > usual
    return f"diagonal {value:.4g}, {max(value / usual, usual / value):.4g} times {'larger' if larger else 'smaller'} than most"


def _count(files: Any) -> str:
    return f"{len(files)} cloud" + "s" * (len(files) != 1)


def _first(files: Mapping[str, str]) -> str:
    path, told = next(iter(files.items()))
    return f"{path} ({told})"
