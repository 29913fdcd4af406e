"""A set of elements as one vector, and how far that vector lies from those of good parts.

Cohen, Tzachor, Hoshen: Set Features for Anomaly Detection, 2023, https://arxiv.org/abs/2302.12245. Elements are anything with C
numbers: the cells of a feature grid, pixels, windows of a time series. Their order plays no role.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from amiss.contract import State
from amiss.errors import BadField, BadModelFile, BadSample
from amiss.kit.threads import one_thread

Array = npt.NDArray[Any]
Whitening = Literal["inverse", "root"]

_HELD = 1 << 23  # projections held at a time
_POWER: dict[Whitening, int] = {"inverse": 2, "root": 1}  # of the covariance's inverse, in the squared distance


@dataclass(frozen=True, eq=False)
class SetFeatures:
    """Cumulative histograms of a set along random directions.

    directions  (r, C) float32     thresholds  (r, K) float32, ascending
    """

    directions: Array
    thresholds: Array

    @classmethod
    def fit(
        cls, sets: Array, rng: np.random.Generator, *, directions: int = 1000, thresholds: int = 5, tail: float = 0.01
    ) -> SetFeatures:
        """Draw directions and place thresholds between the quantiles `tail` and 1 - `tail` of the elements along each.

        sets  (N, C, E): N sets of E elements with C numbers     directions  r     thresholds  K, evenly spaced inside
        raises  BadSample for another shape, BadField for impossible numbers
        """
        if directions < 1 or thresholds < 1 or not 0 <= tail < 0.5:
            raise BadField(
                f"{directions} directions, {thresholds} thresholds, tail {tail}: wanted 1 or more, 1 or more, 0 to 0.5"
            )
        sets = _checked(sets)
        drawn = rng.standard_normal((directions, sets.shape[1])).astype(np.float32)
        return cls(drawn, _along(drawn, sets, thresholds, tail))

    def moved(self, sets: Array, *, tail: float = 0.01) -> SetFeatures:
        """The same directions with as many thresholds, placed by other sets (N, C, E)."""
        return SetFeatures(self.directions, _along(self.directions, _checked(sets), self.thresholds.shape[1], tail))

    def counts(self, sets: Array) -> Array:
        """How many elements lie below each threshold, (N, r, K) int32; sets (N, C, E)."""
        sets = _checked(sets)
        if sets.shape[1] != self.directions.shape[1]:
            raise BadSample(f"elements have {sets.shape[1]} numbers, the directions {self.directions.shape[1]}; give the same")
        sets = sets.astype(np.float32, copy=False)
        pieces = min(len(self.directions), -(-sets[:, 0].size * len(self.directions) // _HELD))
        below = [
            _below(directions @ sets, thresholds)  # (N, r', K)
            for directions, thresholds in zip(
                np.array_split(self.directions, pieces), np.array_split(self.thresholds, pieces), strict=True
            )
        ]
        return np.concatenate(below, axis=1)

    def __call__(self, sets: Array) -> Array:
        """The share of elements below each threshold, (N, r K) float32; sets (N, C, E)."""
        counts = self.counts(sets)
        return np.asarray(counts.reshape(len(counts), -1) / np.float32(np.shape(sets)[2]), np.float32)


def _below(along: Array, thresholds: Array) -> Array:
    """How many of (N, r, E) lie below each of (r, K), (N, r, K) int32."""
    counts = [np.count_nonzero(along < thresholds[:, k, None], axis=2) for k in range(thresholds.shape[1])]
    return np.stack(counts, axis=2).astype(np.int32)


def _along(directions: Array, sets: Array, count: int, tail: float) -> Array:
    """Thresholds evenly spaced strictly between two quantiles of all elements along each direction.

    directions  (r, C)     sets  (N, C, E)     return  (r, count) float32
    """
    flat = np.moveaxis(sets, 1, 0).reshape(sets.shape[1], -1).astype(np.float32, copy=False)  # (C, N E)
    blocks = np.array_split(directions, min(len(directions), -(-directions.shape[0] * flat.shape[1] // _HELD)))
    low, high = np.concatenate([np.quantile(block @ flat, [tail, 1 - tail], axis=1) for block in blocks], axis=1)
    steps = np.arange(1, count + 1) / (count + 1)
    return np.asarray(low[:, None] + (high - low)[:, None] * steps, np.float32)


def _checked(sets: Array) -> Array:
    if np.ndim(sets) != 3 or 0 in np.shape(sets):
        raise BadSample(f"sets have shape {np.shape(sets)}, wanted (N, C, E): N sets of E elements with C numbers each")
    return np.asarray(sets)


@dataclass(eq=False)
class Histograms:
    """How many elements of each good picture lie below each threshold: the descriptions, whole numbers as they are counted.

    features  one SetFeatures a crop     counts  (n, crops, r K) unsigned     elements  in a set
    """

    features: list[SetFeatures]
    counts: Array
    elements: int

    @classmethod
    def empty(cls, features: list[SetFeatures], pictures: int, elements: int) -> Histograms:
        """Room for the histograms of so many pictures."""
        width = features[0].thresholds.size
        return cls(features, np.empty((pictures, len(features), width), np.min_scalar_type(elements)), elements)

    @property
    def grain(self) -> float:
        """What one element adds to a share."""
        return 1 / self.elements

    def counted(self, sets: Array) -> Array:
        """Counts of one picture, (crops, r K); sets (crops, C, E)."""
        found = [features.counts(one[None]).reshape(-1) for features, one in zip(self.features, sets, strict=True)]
        return np.stack(found).astype(self.counts.dtype)

    def shares(self, counts: Array) -> Array:
        """Counts as shares of the set, float32."""
        return np.asarray(counts / np.float32(self.elements), np.float32)

    def arrays(self) -> dict[str, Array]:
        """What a model file keeps; all crops of a depth share their directions."""
        thresholds = np.stack([features.thresholds for features in self.features])
        return {"directions": self.features[0].directions, "thresholds": thresholds, "counts": self.counts}

    @classmethod
    def restored(cls, state: State, name: str, shape: tuple[int, int, int], elements: int) -> Histograms:
        """shape  crops, directions, thresholds"""
        crop_count, r, k = shape
        directions = state.array(f"{name}directions", (r, None))
        thresholds = state.array(f"{name}thresholds", (crop_count, r, k))
        counts = state.array(f"{name}counts", (None, crop_count, r * k), kind="u")
        if not len(counts) or int(counts.max()) > elements or counts.dtype != np.min_scalar_type(elements):
            raise BadModelFile(f"its counts do not fit sets of {elements} elements; fit it again")
        return cls([SetFeatures(directions, row) for row in thresholds], counts, elements)


def placed(references: Sequence[Array], directions: int, thresholds: int, rng: np.random.Generator) -> list[SetFeatures]:
    """Directions drawn once for a depth, and thresholds for every crop from the reference pictures.

    references  one (crops, C, E) a picture
    """
    first = SetFeatures.fit(np.stack([sets[0] for sets in references]), rng, directions=directions, thresholds=thresholds)
    rest = [first.moved(np.stack([sets[crop] for sets in references])) for crop in range(1, len(references[0]))]
    return [first, *rest]


class ShrunkNearest:
    """The nearest of n vectors where lengths are measured by the inverse of their shrunk covariance, exactly and cheaply.

    S = (1 - a) Cov + a mu I with mu the mean variance. Cov has at most n - 1 directions v_k with variance l_k > 0; elsewhere
    S is c = a mu. So the squared length of x is, without ever forming the p x p matrix,
        sum_k (v_k x)^2 (1 / ((1 - a) l_k + c)^q - 1 / c^q) + |x|^2 / c^q
    with q = 2 for |S^-1 x|^2 (`inverse`, what SINBAD's code computes) and q = 1 for x' S^-1 x (`root`, Mahalanobis).
    v_k x follows from products with the n vectors alone, so n x p and n x n numbers are all that is kept.
    """

    def __init__(
        self, vectors: Array, *, shrinkage: float, whiten: Whitening, grain: float = 0.0, basis: Basis | None = None
    ) -> None:
        """vectors  (n, p) floating point     shrinkage  a, above 0, at most 1
        grain  step in which the numbers are counted: mu is never below what one vector that differs by a step everywhere makes,
               so that vectors which all agree do not make the least change endless
        basis  what an earlier instance of the same vectors found, not to find it again
        """
        self._mean = vectors[0] + (vectors - vectors[0]).mean(axis=0)  # exact where all agree: no variance made of rounding
        self._centred = vectors - self._mean
        gram = self._centred @ self._centred.T
        self.basis = Basis.of(gram) if basis is None else basis
        self._lengths = np.einsum("ij,ij->i", self._centred, self._centred)
        self._places = gram @ self.basis.axes  # (n, m) v_k of every vector
        self._weigh(shrinkage, _POWER[whiten], vectors.shape[1], grain**2 / len(vectors))
        self.resolution = vectors.shape[1] * grain**2 * self._base  # squared distance where every number moves by a grain

    def _weigh(self, shrinkage: float, power: int, width: int, least: float) -> None:
        variances = self.basis.variances.astype(np.float64)
        floor = shrinkage * max(variances.sum() / width, least) or 1.0  # without a grain and a covariance: plain lengths
        self._base = floor**-power
        self._weights = (((1 - shrinkage) * variances + floor) ** -power - self._base).astype(self._places.dtype)

    def squared(self, queries: Array) -> Array:
        """Squared distances (m, n) of queries (m, p) to all vectors; float64 sums, never negative."""
        moved = queries - self._mean
        products = moved @ self._centred.T  # (m, n)
        apart = products @ self.basis.axes  # (m, r) v_k of the queries
        lengths = np.einsum("ij,ij->i", moved, moved)[:, None] - 2.0 * products.astype(np.float64) + self._lengths
        along = np.stack([((row - self._places) ** 2) @ self._weights for row in apart]).astype(np.float64)
        return np.asarray(np.maximum(along + np.maximum(lengths, 0) * self._base, 0))

    def nearest(self, queries: Array) -> tuple[Array, Array]:
        """Squared distance to the nearest vector (m,) and its index (m,)."""
        squared = self.squared(queries)
        return squared.min(axis=1), squared.argmin(axis=1)


@dataclass(frozen=True, eq=False)
class Basis:
    """Directions v_k in which n vectors vary: axes (n, n), so that v_k x = sum_i axes_ik (vector_i - mean) x; variances (n,).

    Directions without variance, of which there is at least one, have axes and variances of zero.
    """

    axes: Array
    variances: Array

    @classmethod
    def of(cls, gram: Array) -> Basis:
        """From the products of the centred vectors, (n, n)."""
        with one_thread():  # on a busy machine 0.02 s for 350 x 350, not 2
            values, turned = np.linalg.eigh(gram.astype(np.float64))
        values[values <= max(values[-1], 0) * len(gram) * np.finfo(gram.dtype).eps] = 0
        axes = np.divide(turned, np.sqrt(values), out=np.zeros_like(turned), where=values > 0)
        return cls(axes.astype(gram.dtype), (values / len(gram)).astype(gram.dtype))
