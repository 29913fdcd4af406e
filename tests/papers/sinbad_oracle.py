"""SINBAD once more, in plain float64 loops from its equations: crops, sets, thresholds, shares, shrunk distances, weighing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from amiss.kit.extract import resize
from tests.backbones import tiny
from tests.papers.oracles import opened

Array = npt.NDArray[Any]
Window = tuple[float, float, float, int]  # top, left, side in shares of the picture's sides; which of the sizes
EPSILON = 1e-5


# -- sets --------------------------------------------------------------------------------------------------------------


def thresholds(sets: Sequence[Array], directions: Array, count: int, tail: float = 0.01) -> Array:
    """(r, K): lo + (hi - lo) q / (K + 1), lo and hi the quantiles of all elements of all sets along each direction."""
    out = []
    for direction in directions.astype(float):
        along = sorted(float(direction @ element) for elements in sets for element in elements.T.astype(float))
        lo, hi = quantile(along, tail), quantile(along, 1 - tail)
        out.append([lo + (hi - lo) * q / (count + 1) for q in range(1, count + 1)])
    return np.array(out)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between the order statistics, the first at 0 and the last at 1."""
    place = share * (len(ordered) - 1)
    below = min(math.floor(place), len(ordered) - 1)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def shares(elements: Array, directions: Array, marks: Array) -> Array:
    """(r * K,): for each direction, for each of its thresholds, the share of the elements (C, E) strictly below."""
    out = []
    for direction, row in zip(directions.astype(float), marks.astype(float), strict=True):
        along = [float(direction @ element) for element in elements.T.astype(float)]
        out.extend(sum(a < mark for a in along) / len(along) for mark in row)
    return np.array(out)


# -- distances ---------------------------------------------------------------------------------------------------------


def shrunk(vectors: Array, shrinkage: float) -> Array:
    """S = (1 - a) Cov + a mu I, Cov divided by n, mu the mean of its diagonal."""
    mean = vectors.mean(axis=0)
    covariance = np.zeros((len(mean), len(mean)))
    for vector in vectors:
        covariance += np.outer(vector - mean, vector - mean) / len(vectors)
    mu = np.trace(covariance) / len(mean)
    return (1 - shrinkage) * covariance + shrinkage * mu * np.eye(len(mean))


def squared(queries: Array, vectors: Array, shrinkage: float, whiten: str) -> Array:
    """(m, n): |S^-1 (h - h_j)|^2 for "inverse", (h - h_j)' S^-1 (h - h_j) for "root"; the inverse in full."""
    inverse = np.linalg.inv(shrunk(vectors, shrinkage))
    out = np.zeros((len(queries), len(vectors)))
    for i, query in enumerate(queries):
        for j, vector in enumerate(vectors):
            off = query - vector
            white = inverse @ off
            out[i, j] = white @ white if whiten == "inverse" else off @ white
    return out


def euclidean(query: Array, vectors: Array) -> float:
    """The smallest plain squared distance."""
    return min(float((query - vector) @ (query - vector)) for vector in vectors)


# -- crops -------------------------------------------------------------------------------------------------------------


def windows(sizes: Sequence[float], step: float) -> list[Window]:
    """Size by size, row by row: every multiple of the step from which a window of that side still fits."""
    out = []
    for index, side in enumerate(sizes):
        starts = [k * step for k in range(1000) if k * step + side <= 1 + 1e-9]
        out += [(top, left, side, index) for top in starts for left in starts]
    return out


def cut(image: Array, window: Window) -> Array:
    """The pixels of a window."""
    top, left, side, _ = window
    height, width = image.shape[:2]
    rows = slice(math.floor(top * height), math.floor((top + side) * height))
    return image[rows, math.floor(left * width) : math.floor((left + side) * width)]


def seen(path: str, image: Array, size: int) -> list[Array]:
    """The sets [(6, E), (10, E / 4)] that the tiny backbone makes of some pixels, brought to size x size."""
    small = resize(np.ascontiguousarray(image), (size, size))
    normal = ((small - np.array(tiny.MEAN)) / np.array(tiny.STD)).astype(np.float32)
    fine, coarse = opened(path).run(["fine", "coarse"], {"image": normal.transpose(2, 0, 1)[None]})
    return [fine[0].reshape(6, -1).astype(float), coarse[0].reshape(10, -1).astype(float)]


# -- the method --------------------------------------------------------------------------------------------------------


def described(
    sets: Sequence[Sequence[Array]], query: Sequence[Array], directions: Array, count: int
) -> tuple[list[Array], list[Array]]:
    """Per crop the descriptors (n, p) of the good sets and (p,) of the query; thresholds from the good sets, per crop.

    sets  one sequence a picture, of one (C, E) a crop     query  one (C, E) a crop
    """
    good, judged = [], []
    for crop in range(len(query)):
        marks = thresholds([picture[crop] for picture in sets], directions, count)
        good.append(np.array([shares(picture[crop], directions, marks) for picture in sets]))
        judged.append(shares(query[crop], directions, marks))
    return good, judged


def crop_scores(queries: Sequence[Array], good: Sequence[Array], shrinkage: float, whiten: str) -> Array:
    """(crops,): the smallest squared distance of a picture to the good ones, crop by crop.

    queries  one (p,) a crop     good  one (n, p) a crop
    """
    return np.array([squared(own[None], each, shrinkage, whiten).min() for own, each in zip(queries, good, strict=True)])


def left_out(good: Sequence[Array], folds: Sequence[Sequence[int]], shrinkage: float, whiten: str) -> Array:
    """(n, crops): each good picture judged by those outside its fold, by their covariance; thresholds stay where they are."""
    out = np.zeros((len(good[0]), len(good)))
    for fold in folds:
        others = [np.delete(each, list(fold), axis=0) for each in good]
        for i in fold:
            out[i] = crop_scores([each[i] for each in good], others, shrinkage, whiten)
    return out


def by_size(scores: Array, cut_into: Sequence[Window]) -> Array:
    """(sizes,): the mean over the positions of each size."""
    sizes = sorted({window[3] for window in cut_into})
    return np.array(
        [np.mean([score for score, window in zip(scores, cut_into, strict=True) if window[3] == size]) for size in sizes]
    )


def layer_mean(scores: Array, held_out: Array, cut_into: Sequence[Window]) -> float:
    """The paper's: per size the mean over positions over its held-out mean; then over the sizes."""
    usual = np.mean([by_size(row, cut_into) for row in held_out], axis=0)
    return float(np.mean(by_size(scores, cut_into) / (usual + EPSILON)))


def resolution(vectors: Array, elements: int, shrinkage: float, whiten: str) -> float:
    """Ours: the squared distance that one element at every threshold makes, along directions without variance."""
    mu = max(float(vectors.var(axis=0).mean()), 1 / elements**2 / len(vectors))
    return float(vectors.shape[1] / elements**2 / (shrinkage * mu) ** (2 if whiten == "inverse" else 1))


def told(score: float, held_out: Array, step: float) -> float:
    """Ours: -log of the chance of a score as large, under Student's law of the logarithms of held-out scores."""
    logs, n = np.log(held_out + step), len(held_out)
    z = (math.log(score + step) - logs.mean()) / (max(0.05, logs.std(ddof=1)) * math.sqrt(1 + 1 / n))
    return float(-student.logsf(z, min(n - 1, 30)))


def evidence(scores: Array, held_out: Array, steps: Array) -> Array:
    """(crops,)"""
    return np.array([told(score, held_out[:, crop], steps[crop]) for crop, score in enumerate(scores)])


def layer_evidence(scores: Array, held_out: Array, cut_into: Sequence[Window], steps: Array) -> float:
    return float(np.mean(by_size(evidence(scores, held_out, steps), cut_into)))


def pixel_repeats(sets: Sequence[Array], query: Array, directions: Array, count: int) -> tuple[Array, Array]:
    """The smallest plain squared distance of raw pixels' descriptors: of the query (R,), of each good picture left out (n, R).

    sets  one (3, E) a good picture     directions  (R, r, 3), a description each
    """
    judged, held_out = [], []
    for own in directions:
        (good,), (description,) = described([[elements] for elements in sets], [query], own, count)
        judged.append(euclidean(description, good))
        held_out.append([euclidean(each, np.delete(good, i, axis=0)) for i, each in enumerate(good)])
    return np.array(judged), np.array(held_out).T


def pixel_median(repeats: Array, held_out: Array) -> float:
    """Each repeat over its held-out mean, then their median.   repeats  (R,)     held_out  (n, R)"""
    return float(np.median(repeats / (held_out.mean(axis=0) + EPSILON)))


def padded(image: Array) -> Array:
    """The picture at the top left of a black square."""
    side = max(image.shape[:2])
    out = np.zeros((side, side, 3), image.dtype)
    out[: image.shape[0], : image.shape[1]] = image
    return out
