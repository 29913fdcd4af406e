"""Good clouds laid onto one another: what a scan is registered to, and how far its points lie from their surface."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.contract import State
from amiss.errors import BadModelFile
from amiss.geometry.fpfh import WIDTH
from amiss.geometry.register import Pose, Surface, register
from amiss.kit.clouds import CloudFeatures

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)

_NEAR = 3  # planes that a distance is the mean of
_REACH = 2.0  # cells within which a place of the template counts as covered
_ROOM = 0.05  # of the box's sides, left free around the template


@dataclass(frozen=True, eq=False)
class Fit:
    """A scan on the template.

    points, normals  (P, 3) its places as they lie there     covered  share of the first cloud that has a point nearby
    """

    points: Array
    normals: Array
    pose: Pose
    covered: float


@dataclass(frozen=True, eq=False)
class Template:
    """The places of all good clouds that could be laid onto the first one.

    points, normals  (T, 3)     owners  (T,) int32, the good cloud each place is of; the first come first
    descriptors  (F, 33) of the first cloud's     cell  edge of a thinning cell
    """

    points: Array
    normals: Array
    owners: Array
    descriptors: Array
    cell: float

    @classmethod
    def built(cls, clouds: Sequence[CloudFeatures], cell: float, seed: int) -> tuple[Template, list[Fit]]:
        """The first cloud with all others laid onto it, and how they lie there."""
        first = clouds[0]
        alone = cls(first.places, first.normals, np.zeros(len(first.places), np.int32), _described(first), cell)
        fits = [alone.fit(cloud, seed) for cloud in clouds]
        laid = [index for index, fit in enumerate(fits) if index == 0 or fit.pose.sound]
        if len(laid) < len(clouds):
            log.warning("%d of %d good clouds cannot be laid onto the first one", len(clouds) - len(laid), len(clouds))
        owners = np.repeat(np.array(laid, np.int32), [len(clouds[index].places) for index in laid])
        points = np.concatenate([fits[index].points for index in laid]).astype(np.float32)
        return cls(
            points, np.concatenate([fits[index].normals for index in laid]).astype(np.float32), owners, alone.descriptors, cell
        ), fits

    @cached_property
    def _surface(self) -> Surface:
        first = slice(len(self.descriptors))
        points, normals = (array[first].astype(np.float64) for array in (self.points, self.normals))
        return Surface(points, normals, self.descriptors, self.cell)

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self.points)

    @property
    def first(self) -> tuple[Array, Array]:
        """Places and normals of the first cloud, both (F, 3) float64."""
        return self._surface.points, self._surface.normals

    @property
    def box(self) -> tuple[Array, Array]:
        """Lowest and highest corner, with some room around."""
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        return low - _ROOM * (high - low), high + _ROOM * (high - low)

    def fit(self, cloud: CloudFeatures, seed: int) -> Fit:
        """Lay a cloud onto the first one."""
        from scipy.spatial import cKDTree

        places, normals = cloud.places.astype(np.float64), cloud.normals.astype(np.float64)
        pose = register(Surface(places, normals, _described(cloud), self.cell), self._surface, np.random.default_rng(seed))
        laid = pose(places)
        gaps, _ = cKDTree(laid).query(self.points[: len(self.descriptors)], distance_upper_bound=_REACH * self.cell)
        return Fit(laid, normals @ pose.rotation.T, pose, float(np.isfinite(gaps).mean()))

    def distances(self, points: Array, *, without: int | None = None) -> Array:
        """How far places lie from the surface along its normals, in cells, (P,); the mean over its nearest places.

        points  (P, 3) laid onto the template     without  a good cloud whose own places do not count
        """
        tree, points_of, normals = self._tree, self.points, self.normals
        if without is not None:
            from scipy.spatial import cKDTree

            others = self.owners != without
            if not others.any():
                return np.zeros(len(points))
            points_of, normals = points_of[others], normals[others]
            tree = cKDTree(points_of)
        _, near = tree.query(points, k=range(1, min(_NEAR, len(points_of)) + 1))
        heights = np.einsum("pki,pki->pk", points[:, None] - points_of[near], normals[near])
        return np.asarray(np.abs(heights.mean(axis=1)) / self.cell)

    def arrays(self) -> dict[str, Array]:
        return {
            "template": self.points, "template_normals": self.normals, "template_owners": self.owners,
            "template_descriptors": self.descriptors,
        }  # fmt: skip

    @classmethod
    def restored(cls, state: State, cell: float) -> Template:
        points = state.array("template", (None, 3))
        normals, owners = (
            state.array("template_normals", points.shape),
            state.array("template_owners", (len(points),), kind="i"),
        )
        descriptors = state.array("template_descriptors", (None, WIDTH))
        if not 0 < len(descriptors) <= len(points):
            raise BadModelFile("its template does not fit its descriptors; fit it again")
        return cls(points, normals, owners, descriptors, cell)


def _described(cloud: CloudFeatures) -> Array:
    """Descriptors of the largest scale, (P, 33)."""
    largest = next(layer for layer in reversed(cloud.layers) if layer.shape[1] >= WIDTH)
    return np.ascontiguousarray(largest[:, :WIDTH])
