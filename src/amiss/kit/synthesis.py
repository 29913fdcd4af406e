"""Made defects on clouds of good parts, for methods that learn what odd looks like.

The stretch is that of GLFM (https://github.com/hustCYQ/GLFM-Multi-class-3DAD): the nearest k points of a place, in a space
drawn out along the axes, are pushed along its normal, most in the middle. Where we differ: distances are measured about the
place, not about the scanner as in the published code, and the height is a share of the defect's own reach, so that neither the
unit nor the density of the points plays a role. Hole, crack and roughness are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from amiss.errors import BadField

Array = npt.NDArray[Any]
Flaw = Literal["stretch", "hole", "crack", "rough"]
FLAWS: tuple[Flaw, ...] = get_args(Flaw)

_RIM = 0.35  # of a hole's reach: how far around it points are marked
_NARROW = (0.1, 0.25)  # width of a crack as a share of its length


@dataclass(frozen=True, eq=False)
class Spoiled:
    """A cloud with one made defect.

    points  (M, 3)     marked  (M,) bool, what belongs to the defect     kept  (M,) which of the good cloud's points they were
    """

    points: Array
    marked: Array
    kept: Array

    @property
    def box(self) -> tuple[Array, Array]:
        """Lowest and highest corner of what is marked."""
        inside = self.points[self.marked]
        return inside.min(axis=0), inside.max(axis=0)


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """What a defect is drawn from.

    share   of the cloud's points that it takes in     height  of a stretch, as a share of its reach
    axes    how much space is drawn out along each axis     rough  deviation of rough points, as a share of the reach
    """

    share: tuple[float, float] = (0.01, 0.02)
    height: tuple[float, float] = (0.1, 0.6)
    axes: tuple[float, float] = (0.8, 1.2)
    rough: tuple[float, float] = (0.03, 0.1)


def spoiled(
    points: Array, normals: Array, rng: np.random.Generator, kinds: Sequence[Flaw] = FLAWS, ranges: Ranges | None = None
) -> Spoiled:
    """One defect of a kind drawn from `kinds`, at a place drawn from the points.

    points  (N, 3), in any unit     normals  (N, 3), unit length
    raises  BadField for no kind, or an unknown one
    """
    if not kinds or not set(kinds) <= set(FLAWS):
        raise BadField(f"kinds of made defects {list(kinds)}: wanted some of {', '.join(FLAWS)}")
    kind = kinds[int(rng.integers(len(kinds)))]
    return _MADE[kind](np.asarray(points, np.float64), np.asarray(normals, np.float64), rng, ranges or Ranges())


def _place(points: Array, rng: np.random.Generator, ranges: Ranges) -> tuple[int, Array, Array, float]:
    """A place; the points around it, nearest first in the drawn-out space; their distances there, and the last of these."""
    count = max(3, round(float(rng.uniform(*ranges.share)) * len(points)))
    centre = int(rng.integers(len(points)))
    offsets = (points - points[centre]) * rng.uniform(*ranges.axes, 3)
    lengths = np.linalg.norm(offsets, axis=1)
    near = np.argpartition(lengths, min(count, len(points) - 1))[:count]
    near = near[np.argsort(lengths[near], kind="stable")]
    return centre, near, lengths[near], max(float(lengths[near[-1]]), np.finfo(float).tiny)


def _stretch(points: Array, normals: Array, rng: np.random.Generator, ranges: Ranges) -> Spoiled:
    """A bulge or a sink: h0 (1 - (r / R)^2)^q along the normal of its middle, q 1 or 2."""
    centre, near, lengths, reach = _place(points, rng, ranges)
    height = rng.uniform(*ranges.height) * reach * rng.choice((-1.0, 1.0))
    profile = (1 - (lengths / reach) ** 2) ** int(rng.integers(1, 3))
    return _moved(points, near, height * profile[:, None] * normals[centre])


def _rough(points: Array, normals: Array, rng: np.random.Generator, ranges: Ranges) -> Spoiled:
    """Every point moved along its own normal, each for itself."""
    _, near, _, reach = _place(points, rng, ranges)
    deviation = rng.uniform(*ranges.rough) * reach
    return _moved(points, near, rng.normal(0, deviation, len(near))[:, None] * normals[near])


def _crack(points: Array, normals: Array, rng: np.random.Generator, ranges: Ranges) -> Spoiled:
    """A thin ellipse sunk into the surface, as deep as it is wide."""
    centre, near, _, reach = _place(points, rng, ranges)
    along = np.cross(normals[centre], rng.standard_normal(3))
    along /= max(float(np.linalg.norm(along)), np.finfo(float).tiny)
    offsets = points[near] - points[centre]
    length = 1.5 * reach
    width = rng.uniform(*_NARROW) * length
    across = np.cross(normals[centre], along)
    inside = ((offsets @ along) / length) ** 2 + ((offsets @ across) / width) ** 2
    chosen = inside < 1
    depth = -width * (1 - inside[chosen])
    return _moved(points, near[chosen], depth[:, None] * normals[centre])


def _hole(points: Array, normals: Array, rng: np.random.Generator, ranges: Ranges) -> Spoiled:
    """The points are gone; those around the hole are marked, or its rim would be nowhere."""
    centre, near, _, reach = _place(points, rng, ranges)
    kept = np.setdiff1d(np.arange(len(points)), near)
    distances = np.linalg.norm(points[kept] - points[centre], axis=1)
    marked = distances <= max((1 + _RIM) * reach, float(distances.min()))
    return Spoiled(points[kept], marked, kept)


def _moved(points: Array, which: Array, by: Array) -> Spoiled:
    out, marked = points.copy(), np.zeros(len(points), np.bool_)
    out[which] += by
    marked[which] = True
    return Spoiled(out, marked, np.arange(len(points)))


_Make = Callable[[Array, Array, np.random.Generator, Ranges], Spoiled]
_MADE: dict[Flaw, _Make] = {"stretch": _stretch, "hole": _hole, "crack": _crack, "rough": _rough}
