"""Laying a scan onto a template: the same seed and the same cloud give the same pose, and a failure is said to be one.

Each point of the scan is matched to the point of the template whose descriptor (Rusu et al., ICRA 2009) is nearest; most
matches are wrong. Of all pairs of matches those are kept that are as far apart, and lie as their normals say, on both sides.
Triples of such pairs are drawn at once (Fischler, Bolles: RANSAC, 1981), and those best supported by others give poses. These
are judged on a few points; the best that differ are refined, first roughly, then fully, and judged on all points. The four ways
to lay the principal axes of the one cloud onto those of the other always stand among them: where descriptors say nothing, they
are all there is. Where too little of the scan comes to lie on the template, all is done again with its other side out.

Lengths are cells of the template, so the unit plays no role. Points of the scan are compared to the template, never the other
way round: a scan from one side is as good as its visible part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.geometry.cloud import Neighbours, averaged, normals, own_frame, thinned
from amiss.geometry.fpfh import fpfh, other_side
from amiss.geometry.icp import Poses, Source, Target, fitness, kabsch, refined

Array = npt.NDArray[Any]

SOUND = 0.8  # share of the scan that must lie on the template

_AROUND, _DESCRIBED = 20, 60  # neighbours for a normal, and for a descriptor
_ASKED, _MATCHES = 2_000, 1_000  # points of the scan that look for a match; matches that are used
_BLOCK = 1 << 22  # pairs of descriptors compared at once
_APART, _LENGTHS, _ANGLES = 6.0, 0.9, 0.35  # of a pair: least length in cells; ratio of lengths; difference of cosines
_PAIRS, _TRIPLES = 4_000, 1_000  # drawn; the best supported of them
_STIFF = 5.0  # cells: arm at which a normal turns a pose as much as a point does
_FEW, _SOME, _MANY = 60, 300, 1_500  # points that poses are judged on, refined roughly with, and fully
_ROUGH, _FINE = 32, 6  # poses that are
_AT_FIRST = 2.0  # how much farther from the surface points may be before anything is refined
_ROUGHLY, _FULLY = (6.0, 5.0, 4.0, 4.0, 3.0, 3.0, 2.0, 2.0), (2.0,) * 4 + (1.5,) * 6  # cells that a step looks away
_SAME = 3.0  # cells that points move between poses that count as one
_EQUAL = 0.02  # of fitness


@dataclass(frozen=True, eq=False)
class Surface:
    """A thinned cloud as registration sees it.

    points  (N, 3) float64     normals  (N, 3)     descriptors  (N, 33)     cell  edge of a thinning cell
    """

    points: Array
    normals: Array
    descriptors: Array
    cell: float

    @classmethod
    def of(cls, points: Array, cell: float) -> Surface:
        """A cloud of any density, thinned in its own frame; points and normals come back as the cloud lies.

        raises  BadSample for a cloud of too few points, or without a surface
        """
        _, groups = thinned(own_frame(points), cell)
        thin = averaged(np.asarray(points, np.float64), groups)
        near = Neighbours.of(thin, _DESCRIBED)
        outer = normals(thin, near.first(_AROUND))
        return cls(thin, outer, fpfh(thin, outer, near), cell)

    @cached_property
    def middle(self) -> Array:
        return np.asarray(self.points.mean(axis=0))

    @cached_property
    def target(self) -> Target:
        """What scans are laid on: the points about their middle, in cells."""
        from scipy.spatial import cKDTree

        return Target(cKDTree((self.points - self.middle) / self.cell), self.normals)


@dataclass(frozen=True, eq=False)
class Pose:
    """How a scan lies on the template.

    rotation   (3, 3)     translation  (3,)
    fitness    share of the scan's points that lie on the template
    sound      whether it can be trusted: that share is large
    ambiguous  whether another pose, which lays the points elsewhere, fits as well: the part is symmetric, or too little is seen
    """

    rotation: Array
    translation: Array
    fitness: float
    sound: bool
    ambiguous: bool

    def __call__(self, points: Array) -> Array:
        """Points (N, 3) of the scan as they lie on the template."""
        return np.asarray(points @ self.rotation.T + self.translation)


def register(scan: Surface, template: Surface, rng: np.random.Generator) -> Pose:
    """The pose that lays most of the scan onto the template; `sound` says whether that is enough.

    Both are thinned with the same cell, which is better several times the noise of the points.
    """
    pose = _registered(scan, template, rng)
    if pose.sound:
        return pose
    inside_out = replace(scan, normals=-scan.normals, descriptors=other_side(scan.descriptors))
    return max(pose, _registered(inside_out, template, rng), key=lambda found: found.fitness)


def _registered(scan: Surface, template: Surface, rng: np.random.Generator) -> Pose:
    order = rng.permutation(len(scan.points))
    source, target = Source(((scan.points - scan.middle) / template.cell)[order], scan.normals[order]), template.target
    poses = _candidates(source, scan.descriptors[order], template, rng)
    poses, _ = _ranked(poses, source.first(_FEW), target, _AT_FIRST)
    poses = refined(_distinct(poses, source, _ROUGH), source.first(_SOME), target, _ROUGHLY)
    poses, _ = _ranked(poses, source.first(_MANY), target)
    poses = refined(_distinct(poses, source, _FINE), source.first(_MANY), target, _FULLY)
    poses, fits = _ranked(poses, source, target)
    rotation, fit = poses.rotations[0], float(fits[0])
    rivals = _moved(poses, 0, source) > _SAME
    return Pose(
        rotation=rotation,
        translation=template.middle + template.cell * poses.shifts[0] - rotation @ scan.middle,
        fitness=fit,
        sound=fit >= SOUND,
        ambiguous=bool((fits[rivals] >= fit - _EQUAL).any()),
    )


def _ranked(poses: Poses, source: Source, target: Target, slack: float = 1.0) -> tuple[Poses, Array]:
    """Poses from the fittest on, and how fit they are."""
    fits = fitness(poses, source, target, slack)
    order = np.argsort(-fits, kind="stable")
    return poses[order], fits[order]


def _distinct(poses: Poses, source: Source, most: int) -> Poses:
    """The first few poses that lay points elsewhere than those before them."""
    left = np.ones(len(poses), bool)
    kept: list[int] = []
    while left.any() and len(kept) < most:
        kept.append(int(left.argmax()))
        left &= _moved(poses, kept[-1], source) > _SAME
    return poses[kept]


def _moved(poses: Poses, own: int, source: Source) -> Array:
    """How far points lie in the mean from where one of the poses lays them, (H,)."""
    points = source.points[:_FEW]
    return np.asarray(np.linalg.norm(poses(points) - poses[[own]](points), axis=2).mean(axis=1))


def _candidates(source: Source, descriptors: Array, template: Surface, rng: np.random.Generator) -> Poses:
    asked, found = _matches(descriptors[:_ASKED], template.descriptors)
    ours = Source(source.points[asked], source.normals[asked])
    theirs = Source(template.target.tree.data[found], template.normals[found])
    triples = _triples(_alike(ours, theirs), rng)
    a, b = ours.points[triples], theirs.points[triples]  # (H, 3, 3)
    ends = a.mean(axis=1), b.mean(axis=1)
    products = (a - ends[0][:, None]).transpose(0, 2, 1) @ (b - ends[1][:, None])
    products += _STIFF**2 * ours.normals[triples].transpose(0, 2, 1) @ theirs.normals[triples]
    axes, by_axes = _by_axes(source.points, template.target.tree.data)
    rotations = np.concatenate([by_axes, kabsch(products)])
    middles = [np.concatenate([np.tile(end, (len(by_axes), 1)), mean]) for end, mean in zip(axes, ends, strict=True)]
    return Poses(rotations, middles[1] - np.einsum("hij,hj->hi", rotations, middles[0]))


def _by_axes(points: Array, template: Array) -> tuple[tuple[Array, Array], Array]:
    """The middles of both clouds, (3,), and the four rotations (4, 3, 3) that take own axes to own axes."""
    middles = points.mean(axis=0), template.mean(axis=0)
    ours, theirs = (
        kabsch(((cloud - middle).T @ own_frame(cloud))[None])[0]
        for cloud, middle in zip((points, template), middles, strict=True)
    )
    signs = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    return middles, theirs.T @ (signs[:, :, None] * ours)


def _matches(ours: Array, theirs: Array) -> tuple[Array, Array]:
    """Of both sides which descriptors are nearest, by the Hellinger distance: the mutually nearest first, then the others."""
    ours, theirs = np.sqrt(ours), np.sqrt(theirs)
    back, forth = np.empty(len(ours), np.int64), np.zeros(len(theirs), np.int64)
    best = np.full(len(theirs), -np.inf, np.float32)
    step = max(1, _BLOCK // len(theirs))
    for start in range(0, len(ours), step):
        likeness = ours[start : start + step] @ theirs.T
        back[start : start + step] = likeness.argmax(axis=1)
        nearest = likeness.argmax(axis=0)
        value = likeness[nearest, np.arange(len(theirs))]
        better = value > best
        best[better], forth[better] = value[better], nearest[better] + start
    mutual = forth[back] == np.arange(len(ours))
    order = np.argsort(~mutual, kind="stable")[:_MATCHES]
    return order, back[order]


def _alike(ours: Source, theirs: Source) -> Array:
    """Which pairs of matches may both be right, (M, M) bool: they are as far apart, and stand alike to their normals."""
    (length, ahead, between), (other_length, other_ahead, other_between) = _form(ours), _form(theirs)
    alike = np.minimum(length, other_length) >= np.float32(_LENGTHS) * np.maximum(length, other_length)
    turned = np.abs(ahead - other_ahead) <= _ANGLES
    alike &= (length >= _APART) & turned & turned.T & (np.abs(between - other_between) <= _ANGLES)
    return np.asarray(alike)


def _form(source: Source) -> tuple[Array, Array, Array]:
    """Of all pairs of points, each (M, M) float32: distance, cosine of the normal at the first and the way to the second, and
    cosine of both normals.
    """
    points, outer = source.points.astype(np.float32), source.normals.astype(np.float32)
    squares = np.einsum("mi,mi->m", points, points)
    length = np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, np.float32(1e-6)))
    return length, (outer @ points.T - np.einsum("mi,mi->m", outer, points)[:, None]) / length, outer @ outer.T


def _triples(alike: Array, rng: np.random.Generator) -> Array:
    """Triples of matches all three of which go together, (H, 3), those first whose first two have most others in common."""
    one, other = np.nonzero(np.triu(alike))
    drawn = rng.permutation(len(one))[:_PAIRS]
    one, other = one[drawn], other[drawn]
    common = alike[one] & alike[other]  # (pairs, M)
    third = (common * rng.random(common.shape, np.float32)).argmax(axis=1)
    support = common.sum(axis=1)
    best = np.argsort(-support, kind="stable")[: min(_TRIPLES, int((support > 0).sum()))]
    return np.stack([one, other, third], axis=1)[best]
