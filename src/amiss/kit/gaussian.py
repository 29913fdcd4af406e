"""One Gaussian a place, learned in a single pass, and the Mahalanobis distance to it.

Source: Defard et al., PaDiM (2020), section 3.2; Chan, Golub, LeVeque (1979) for merging means and scatters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.kit.threads import one_thread

Array = npt.NDArray[Any]

_BATCH = 16  # samples gathered before one matrix product per place


class Gaussians:
    """Streaming mean and covariance of a vector at every place.

    What is held does not grow with the number of samples: P x d x d for the scatter, and a batch of vectors.
    """

    def __init__(self, places: int, channels: int) -> None:
        self.count = 0
        self._mean = np.zeros((places, channels))
        self._scatter = np.zeros((places, channels, channels), np.float32)
        self._batch: list[Array] = []

    @staticmethod
    def bytes(places: int, channels: int) -> int:
        """Bytes held while learning, at most: the scatter, its update, the batch."""
        return 4 * places * channels * (2 * channels + 2 * _BATCH)

    def add(self, vectors: Array) -> None:
        """vectors  (P, d): one sample's vector at every place"""
        self._batch.append(np.asarray(vectors, np.float32))
        if len(self._batch) == _BATCH:
            self._merge()

    def _merge(self) -> None:
        """Fold the batch into mean and scatter; both stay centred, so that float32 products lose nothing that counts."""
        if not self._batch:
            return
        batch = np.stack(self._batch, axis=1)  # (P, B, d)
        self._batch.clear()
        more = batch.shape[1]
        total = self.count + more
        mean = batch.mean(axis=1, dtype=np.float64)  # (P, d)
        batch -= mean[:, None].astype(np.float32)
        shift = (mean - self._mean) * np.sqrt(self.count * more / total)
        pulled = np.concatenate([batch, shift[:, None].astype(np.float32)], axis=1)
        with one_thread():
            self._scatter += np.matmul(pulled.transpose(0, 2, 1), pulled)
        self._mean += (mean - self._mean) * (more / total)
        self.count = total

    def mean(self) -> Array:
        """(P, d) float32"""
        self._merge()
        return self._mean.astype(np.float32)

    def covariance(self) -> Array:
        """(P, d, d) float32, divided by count - 1; zero after one sample. Ends the learning: the scatter is handed over."""
        self._merge()
        self._scatter /= np.float32(max(1, self.count - 1))
        return self._scatter


def whitening(covariance: Array, progress: Callable[[int, int], None]) -> Array:
    """The inverse Cholesky factor W of every covariance S: |W x|^2 = x^T S^-1 x.

    covariance  (P, d, d) positive definite, overwritten     progress  called with (done, P)
    return  (P, d, d) float32, lower triangular, in the place of the covariances
    raises  numpy.linalg.LinAlgError where one is not positive definite
    """
    with one_thread():
        for place, matrix in enumerate(covariance):
            factor = np.linalg.cholesky(matrix.astype(np.float64))
            covariance[place] = np.tril(np.linalg.inv(factor))
            progress(place + 1, len(covariance))
    return covariance


def mahalanobis(vectors: Array, mean: Array, whiten: Array) -> Array:
    """Distance of every place's vector to its Gaussian.

    vectors, mean  (P, d)     whiten  (P, d, d)     return  (P,) float32
    """
    white = np.einsum("pij,pj->pi", whiten, vectors - mean)
    return np.asarray(np.sqrt(np.einsum("pi,pi->p", white, white)))
