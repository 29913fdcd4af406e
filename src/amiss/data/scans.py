"""A made benchmark of point clouds: scans of the shapes, good and defective, with the truth of every point.

A scan has freshly drawn points, even by area, in no order; noise of the sensor, the same in all directions; and a random
pose: any rotation, and a translation of up to one diagonal along each axis. A whole scan has the surface from all sides. A
partial one has what is seen from a viewpoint two diagonals from the middle of the part, in a random direction: points that
no other part of the surface hides, on a surface that is inclined by less than 80 degrees. It has as many points as a whole
one, on about a third of the surface, so they lie closer.

Lengths are shares of the diagonal of the part's bounding box; `diagonal` says how long that is in the unit of the points,
100 by default: a part as large as a hand, in millimetres. Defects: see `flaws`. They lie anywhere on the surface with equal
probability; in partial scans on what is seen, where it is inclined by less than 60 degrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amiss import fields
from amiss.data.flaws import KINDS, RIM, Body, Kind, flaw_at
from amiss.data.shapes import Array, Shape, gradient, shape, unit
from amiss.errors import BadField
from amiss.fields import option
from amiss.types import Box, Sample, Truth

POINTS, NOISE, SIZE, DIAGONAL = 20_000, 0.0005, 0.05, 100.0
_EYE = 2.0  # diagonals from the middle of the part
_GRAZING, _FACING = np.cos(np.deg2rad((80, 60)))
_OUT = 0.6  # from the middle of a part nothing is left of it
_TOUCH = 0.005  # in sizes of a flaw: how deep a ray may dip into it, since its field is a distance only nearly
_PILOT = 1000  # points that show how much of a part is measured
_TRIES = 10


@dataclass(frozen=True, eq=False, kw_only=True)
class Scan:
    """What a scanner measures of one part, and what is known of it.

    points   (N, 3) float32     normals  (N, 3) outward, of the surface without noise     marked  (N,) bool, the defect
    rotation (3, 3), translation (3,)   points = diagonal * part @ rotation.T + translation, the part about the origin
    eye      (3,) where it was seen from | None for all sides
    """

    points: Array
    normals: Array
    marked: Array
    rotation: Array
    translation: Array
    eye: Array | None


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """How parts are scanned.

    raises  BadField for impossible values
    """

    points: int = option(POINTS, "how many a scan has", least=100)
    noise: float = option(NOISE, "standard deviation along each axis, in diagonals", least=0.0, most=0.05)
    partial: bool = option(False, "from one side only")
    diagonal: float = option(DIAGONAL, "of the part's bounding box, in the unit of the points", above=0.0)

    def __post_init__(self) -> None:
        fields.check(self)

    def good(self, rng: np.random.Generator, name: str) -> Scan:
        """A scan of a good part of the shape of that name."""
        part = shape(name)
        return self._scan(rng, Body(part), self._view(rng, part))

    def defective(self, rng: np.random.Generator, name: str, kind: Kind, size: float = SIZE) -> Scan:
        """A scan of a part with one defect, of which at least one point is marked.

        size    extent of the defect, in diagonals
        raises  BadField for an impossible kind or size, or where no point of the defect was seen in ten tries
        """
        wanted, part = _Defects(kinds=(kind,), size=size), shape(name)
        for _ in range(_TRIES):
            view = self._view(rng, part)
            spacing = float(np.sqrt(view.areas.sum() * view.share / self.points))
            place = rng.integers(len(view.places))
            flaw = flaw_at(rng, kind, view.places[place], view.normals[place], wanted.size, RIM * spacing)
            scan = self._scan(rng, Body(part, flaw), view)
            if scan.marked.any():
                return scan
        raise BadField(f"a {kind} of size = {size:g} has none of {self.points} points; give more points or a larger size")

    def _view(self, rng: np.random.Generator, part: Shape) -> _View:
        """From where a part is seen, and what of it."""
        eye = _EYE * unit(rng.standard_normal((1, 3)))[0] if self.partial else None
        areas = part.areas if eye is None else part.facing(eye, _GRAZING - 0.05)
        places = part.draw(rng, 1 if eye is None else _PILOT, areas)
        normals = unit(gradient(part.field, places))
        if eye is None:
            return _View(eye, areas, 1.0, places, normals)
        seen = _seen(Body(part), places, normals, eye)
        facing = seen & (np.einsum("nd,nd->n", normals, unit(eye - places)) > _FACING)
        return _View(eye, areas, float(seen.mean()), places[facing], normals[facing])

    def _scan(self, rng: np.random.Generator, body: Body, view: _View) -> Scan:
        points, normals, marked = self._measured(rng, body, view)
        rotation, translation = _rotation(rng), rng.uniform(-1, 1, 3) * self.diagonal
        noisy = points + rng.normal(0, self.noise, points.shape)
        return Scan(
            points=(self.diagonal * noisy @ rotation.T + translation).astype(np.float32),
            normals=normals @ rotation.T,
            marked=marked,
            rotation=rotation,
            translation=translation,
            eye=None if view.eye is None else self.diagonal * rotation @ view.eye + translation,
        )

    def _measured(self, rng: np.random.Generator, body: Body, view: _View) -> tuple[Array, Array, Array]:
        """As many points as wanted in the part's own frame, their normals, and which are marked."""
        flaw, areas = body.flaw, view.areas
        if flaw is not None:  # its walls may be seen where the surface is turned away
            areas = np.where(flaw.near(body.shape.middles), body.shape.areas, areas)
        all_kept = view.eye is None and (flaw is None or flaw.kind != "hole")
        count = self.points if all_kept else round(1.05 * self.points / view.share)
        while True:
            points = body.shape.draw(rng, count, areas)
            if flaw is not None:
                points[0] = flaw.at  # so that the smallest flaw has a point
            points, marked, gone = body.put(points)
            normals = unit(gradient(body.field, points))
            kept = np.flatnonzero(~gone if view.eye is None else ~gone & _seen(body, points, normals, view.eye))
            if len(kept) >= self.points:
                kept = rng.permutation(kept[: self.points])
                return points[kept], normals[kept], marked[kept]
            count = round(1.1 * count)


def samples(
    seed: int,
    count: int,
    name: str,
    *,
    points: int = POINTS,
    partial: bool = False,
    noise: float = NOISE,
    diagonal: float = DIAGONAL,
) -> list[Sample]:
    """Scans of good parts; the first ones stay the same when more are asked for.

    name    one of shapes.SHAPES     points, partial, noise, diagonal  see Scanner
    raises  BadField for impossible values
    """
    scanner = Scanner(points=points, partial=partial, noise=noise, diagonal=diagonal)
    scans = [scanner.good(_rng(seed, number, 0), name) for number in range(_checked(seed, count))]
    return [Sample(id=f"{name}-{seed}-{number}", part=name, points=scan.points) for number, scan in enumerate(scans)]


def defective_samples(
    seed: int,
    count: int,
    name: str,
    kinds: Sequence[Kind] = KINDS,
    *,
    size: float = SIZE,
    points: int = POINTS,
    partial: bool = False,
    noise: float = NOISE,
    diagonal: float = DIAGONAL,
) -> list[tuple[Sample, Truth]]:
    """Scans of parts with one defect each, the kinds in turn; none is a scan of `samples` with a defect.

    size    extent of the defects, in diagonals     the rest  as in `samples`
    return  truths have a point_mask and its box
    raises  BadField for impossible values
    """
    scanner = Scanner(points=points, partial=partial, noise=noise, diagonal=diagonal)
    wanted, made = _Defects(kinds=tuple(kinds), size=size), []
    for number in range(_checked(seed, count)):
        kind = wanted.kinds[number % len(wanted.kinds)]
        scan = scanner.defective(_rng(seed, number, 1), name, kind, wanted.size)
        sample = Sample(id=f"{name}-{kind}-{seed}-{number}", part=name, points=scan.points)
        made.append((sample, Truth(label=True, kind=kind, point_mask=scan.marked, boxes=(_box(scan.points[scan.marked]),))))
    return made


@dataclass(frozen=True, kw_only=True)
class _Defects:
    """What is wrong with parts: kinds of defects in turn, and their extent."""

    kinds: tuple[Kind, ...] = option(KINDS, "kinds of defects", some=True)
    size: float = option(SIZE, "extent, in diagonals", least=0.005, most=0.2)

    def __post_init__(self) -> None:
        fields.check(self)


@dataclass(frozen=True, eq=False)
class _View:
    """What is to be measured of a part.

    eye     where it is seen from | None for all sides     areas  (T,) of the patches that can be seen
    share   of these areas that is     places, normals  (N, 3) some of it, where a defect may lie
    """

    eye: Array | None
    areas: Array
    share: float
    places: Array
    normals: Array


def _checked(seed: int, count: int) -> int:
    fields.Limits(least=0).check("seed", seed)
    fields.Limits(least=0).check("count", count)
    return count


def _rng(seed: int, number: int, split: int) -> np.random.Generator:
    return np.random.default_rng([seed, number, split])


def _rotation(rng: np.random.Generator) -> Array:
    """Any rotation, each with the same probability, (3, 3): from a quaternion in a random direction."""
    w, x, y, z = unit(rng.standard_normal((1, 4)))[0]
    cross = np.array(((0, -z, y), (z, 0, -x), (-y, x, 0)))
    return np.asarray(np.eye(3) + 2 * (w * cross + cross @ cross))


def _box(points: Array) -> Box:
    low, high = points.min(axis=0), points.max(axis=0)
    return Box(low=tuple(low.tolist()), high=tuple(high.tolist()))


def _seen(body: Body, points: Array, normals: Array, eye: Array) -> Array:
    """Which points of a surface are seen from `eye`, (N,) bool: none is at a grazing angle, or behind another."""
    rays = unit(eye - points)
    seen = np.einsum("nd,nd->n", normals, rays) > _GRAZING
    seen[seen] = ~_hidden(body, points[seen], rays[seen])
    return np.asarray(seen)


def _hidden(body: Body, points: Array, rays: Array) -> Array:
    """From which points of a surface rays meet it again, (N,) bool; each goes by strides that the field allows."""
    hidden, under_way = np.zeros(len(points), bool), np.arange(len(points))
    floor = 0.0 if body.flaw is None else -_TOUCH * body.flaw.size
    points = points + body.strides(points, body.field(points))[:, None] * rays
    while len(under_way):
        values = body.field(points)
        hidden[under_way] = values < floor
        on = (values >= floor) & (np.einsum("nd,nd->n", points, points) < _OUT**2)
        under_way, rays = under_way[on], rays[on]
        points = points[on] + body.strides(points[on], values[on])[:, None] * rays
    return hidden
