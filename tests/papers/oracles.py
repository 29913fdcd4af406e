"""SPADE, PaDiM, RAD and MuSc-V2 once more: plain float64 loops written from their equations, one cell after another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import numpy_helper
from scipy.ndimage import gaussian_filter

from amiss.types import Sample
from tests.backbones import tiny
from tests.kit.oracles import resampled

Array = npt.NDArray[Any]
SIDE = 32  # pixels: 8 x 8 fine cells, 4 x 4 coarse ones


def picture(seed: int, defect: tuple[int, int] | None = None, shape: tuple[int, int] = (SIDE, SIDE)) -> Sample:
    """A noisy grey part; a defect is a bright square with that corner."""
    image = np.random.default_rng(seed).integers(90, 130, (*shape, 3), np.uint8)
    if defect is not None:
        row, column = defect
        image[row : row + 12, column : column + 12] = (250, 20, 20)
    return Sample(id=f"part {seed}", image=image)


def seen(path: str, sample: Sample) -> tuple[Array, Array]:
    """What the tiny backbone says of a picture that needs no resizing: fine (h, w, 6) and coarse (h / 2, w / 2, 10)."""
    assert sample.image is not None
    image = ((sample.image / 255.0 - np.array(tiny.MEAN)) / np.array(tiny.STD)).astype(np.float32)
    fine, coarse = opened(path).run(["fine", "coarse"], {"image": image.transpose(2, 0, 1)[None]})
    return fine[0].transpose(1, 2, 0).astype(float), coarse[0].transpose(1, 2, 0).astype(float)


@lru_cache(maxsize=4)
def opened(path: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def louder(path: str, folder: Path, factor: float) -> str:
    """The path of the same backbone with all its features that many times as large."""
    model = onnx.load(path)
    for constant in model.graph.initializer:
        if constant.name == "k4":  # no biases: what follows grows alike
            constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant) * np.float32(factor), "k4"))
    out = folder / f"louder{factor:g}.onnx"
    onnx.save(model, out)
    return str(out)


def descriptor(path: str, sample: Sample) -> Array:
    """The picture as one vector: the mean of its deepest layer."""
    return np.asarray(seen(path, sample)[1].mean(axis=(0, 1)))


def distance(a: Array, b: Array) -> float:
    return float(np.sqrt(((a - b) ** 2).sum()))


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / (np.sqrt(a @ a) * np.sqrt(b @ b)))


def cells(h: int, w: int) -> list[tuple[int, int]]:
    return [(row, column) for row in range(h) for column in range(w)]


# -- PaDiM -------------------------------------------------------------------------------------------------------------


def gaussian(vectors: Array, epsilon: float) -> tuple[Array, Array]:
    """Mean (d,) and covariance (d, d) of (N, d): divided by N - 1, epsilon on the diagonal; one sample spreads nowhere."""
    mean = vectors.mean(axis=0)
    total = np.zeros((len(mean), len(mean)))
    for vector in vectors:
        total += np.outer(vector - mean, vector - mean)
    return mean, total / max(len(vectors) - 1, 1) + epsilon * np.eye(len(mean))


def mahalanobis(vector: Array, mean: Array, covariance: Array) -> float:
    off = vector - mean
    return float(np.sqrt(off @ np.linalg.inv(covariance) @ off))


def copied(grid: Array, shape: tuple[int, int]) -> Array:
    """Nearest-neighbour copies: each cell of a grid that grows by a whole factor repeats."""
    h, w = len(grid), len(grid[0])
    return np.array(
        [[grid[row * h // shape[0], column * w // shape[1]] for column in range(shape[1])] for row in range(shape[0])]
    )


# -- SPADE -------------------------------------------------------------------------------------------------------------


def neighbours(z: Array, good: Array, count: int) -> list[int]:
    """The pictures with the smallest ||z - z_j||, nearest first; as many as there are when fewer."""
    return sorted(range(len(good)), key=lambda j: distance(z, good[j]))[:count]


def spade_score(z: Array, good: Array, count: int) -> float:
    return float(np.mean([distance(z, good[j]) for j in neighbours(z, good, count)]))


def spade_map(grid: Array, gallery: Sequence[Array], kappa: int, match: str) -> Array:
    """(h, w): mean of the kappa smallest distances to the neighbours' features, at the same place or anywhere."""
    h, w, _ = grid.shape
    out = np.zeros((h, w))
    for row, column in cells(h, w):
        places = [(row, column)] if match == "same" else cells(h, w)
        found = sorted(distance(grid[row, column], other[place]) for other in gallery for place in places)
        out[row, column] = np.mean(found[:kappa])
    return out


# -- RAD ---------------------------------------------------------------------------------------------------------------


def alike(token: Array, good: Array, count: int) -> list[int]:
    """The pictures whose descriptors have the largest cosine."""
    return sorted(range(len(good)), key=lambda j: -cosine(token, good[j]))[:count]


def window(row: int, column: int, shape: tuple[int, int], radius: int | None) -> list[tuple[int, int]]:
    """Cells within that Chebyshev distance, clipped at the border; all of them without a radius."""
    return [
        (r, c) for r, c in cells(*shape) if radius is None or max(abs(r - row), abs(c - column)) <= radius
    ]  # fmt: skip


def rad_map(grid: Array, gallery: Sequence[Array], radius: int | None) -> Array:
    """(h, w) of 1 - the largest cosine over the pictures and the window."""
    h, w, _ = grid.shape
    out = np.zeros((h, w))
    for row, column in cells(h, w):
        places = window(row, column, (h, w), radius)
        out[row, column] = 1 - max(cosine(grid[row, column], other[place]) for other in gallery for place in places)
    return out


# -- MuSc --------------------------------------------------------------------------------------------------------------


def unit(vector: Array) -> Array:
    return np.asarray(vector / np.sqrt(vector @ vector))


def block(grid: Array, row: int, column: int, degree: int) -> list[Array]:
    """The degree x degree features around a cell, zeros beyond the border."""
    h, w, channels = grid.shape
    reach = range(-(degree // 2), degree // 2 + 1)
    return [
        grid[row + i, column + j] if 0 <= row + i < h and 0 <= column + j < w else np.zeros(channels)
        for i in reach for j in reach
    ]  # fmt: skip


def snamd(grid: Array, degrees: Sequence[int]) -> Array:
    """(h, w, C) unit vectors: per degree the mean weighed by exp(-||f_u - f||), the mean over degrees, L2."""
    h, w, channels = grid.shape
    out = np.zeros((h, w, channels))
    for row, column in cells(h, w):
        means = []
        for degree in degrees:
            around = block(grid, row, column, degree)
            weights = [np.exp(-distance(other, grid[row, column])) for other in around]
            means.append(sum(a * f for a, f in zip(weights, around, strict=True)) / sum(weights))
        out[row, column] = unit(np.mean(means, axis=0))
    return out


def lnamd(grid: Array, degree: int, epsilon: float = 1e-5) -> Array:
    """(h, w, C) unit vectors of MuSc's first version: LayerNorm over (C, h, w), plain mean of a block, L2."""
    normal = (grid - grid.mean()) / np.sqrt(grid.var() + epsilon)
    h, w, _ = grid.shape
    return np.array([[unit(np.mean(block(normal, r, c, degree), axis=0)) for c in range(w)] for r in range(h)])


def mutual(pool: Sequence[Array]) -> list[Array]:
    """Per sample (L_i, N - 1): distance of each patch to the nearest patch of each other sample, in their order."""
    return [against(own, [other for j, other in enumerate(pool) if j != i]) for i, own in enumerate(pool)]


def against(own: Array, others: Sequence[Array]) -> Array:
    """(L, N) the distance of each patch to the nearest patch of each of the others."""
    return np.array([[min(distance(p, q) for q in other) for other in others] for p in own])


def lowest(distances: Array, share: float = 0.3) -> Array:
    """(L,): the mean of the lowest floor(share R) of (L, R), at least one."""
    kept = max(1, int(np.floor(share * distances.shape[1] + 1e-9)))
    return np.array([np.mean(sorted(row)[:kept]) for row in distances])


def ranged(scores: Array) -> Array:
    """Scores from 0 to 1 over their own range; zeros where they are all equal."""
    span = scores.max() - scores.min()
    return (scores - scores.min()) / span if span > 0 else np.zeros(len(scores))


def rscon(ranged_scores: Array, descriptors: Array, windows: Sequence[int]) -> Array:
    """Scores averaged over each sample's k most alike by inner product, itself included, and over the windows."""
    likeness = descriptors @ descriptors.T
    out = np.zeros(len(ranged_scores))
    for k in windows:
        for i, row in enumerate(likeness):
            near = sorted(range(len(row)), key=lambda j: -row[j])[: min(k, len(row))]
            out[i] += sum(row[j] * ranged_scores[j] for j in near) / sum(row[j] for j in near) / len(windows)
    return out


# -- the picture's map -------------------------------------------------------------------------------------------------


def bilinear(grid: Array, shape: tuple[int, int]) -> Array:
    """(h, w) stretched between cell centres, constant beyond the outer ones."""
    return np.asarray(resampled(grid[..., None], shape)[..., 0])


def smoothed(grid: Array, shape: tuple[int, int], sigma: float) -> Array:
    """The map at that size, blurred with a Gaussian cut at 4 sigma over mirrored borders."""
    full = bilinear(grid, shape)
    return np.asarray(gaussian_filter(full, sigma, truncate=4, mode="reflect")) if sigma else full


def highest(scores: Array, share: float) -> float:
    """Mean of the largest share of the values, one at least; the largest for a share of 0."""
    ranked = sorted(scores.ravel())
    return float(np.mean(ranked[-max(1, round(share * len(ranked))) :]))
