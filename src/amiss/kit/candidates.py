"""Patch vectors gathered under a memory budget: all of them while they fit, a uniform seeded sample once they do not."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadField

Array = npt.NDArray[Any]

_BLOCK = 4096  # vectors moved at once


class Candidates:
    """A growing (N, C) matrix that never exceeds its capacity.

    Every vector draws a uniform key; while the keys below a cutoff fit, the vectors below it are kept. When they do not,
    the cutoff falls and the vectors above it leave. What stays is a uniform sample of all vectors seen, whatever their
    order, and nothing had to be known beforehand about how many there would be.
    """

    SHRINK = 0.75

    def __init__(self, capacity: int, rng: np.random.Generator) -> None:
        """capacity  most vectors held, 1 or more     rng  drawn from once a vector"""
        self.capacity = max(1, capacity)
        self.seen = 0
        self._rng, self._cutoff, self._count = rng, 1.0, 0
        self._vectors: Array | None = None
        self._rows = np.empty((0, 3), np.int32)
        self._keys = np.empty(0)

    @property
    def sampled(self) -> bool:
        """Whether anything had to be left out."""
        return self._cutoff < 1.0

    def add(self, vectors: Array, rows: Array) -> None:
        """vectors  (n, C) float32     rows  (n, 3) int32: sample, place, group"""
        keys = self._rng.random(len(vectors))
        self.seen += len(vectors)
        for start in range(0, len(vectors), self.capacity):  # one picture may hold more than the whole capacity
            part = slice(start, start + self.capacity)
            self._add(vectors[part], rows[part], keys[part])

    def _add(self, vectors: Array, rows: Array, keys: Array) -> None:
        keep = keys < self._cutoff
        while self._count + np.count_nonzero(keep) > self.capacity:
            self._shrink(keys[keep])
            keep = keys < self._cutoff
        self._reserve(vectors.shape[1])
        assert self._vectors is not None
        end = self._count + int(np.count_nonzero(keep))
        self._vectors[self._count : end], self._rows[self._count : end] = vectors[keep], rows[keep]
        self._keys[self._count : end] = keys[keep]
        self._count = end

    def _shrink(self, arriving: Array) -> None:
        keys = np.concatenate([self._keys[: self._count], arriving])
        target = max(1, int(self.capacity * self.SHRINK))
        self._cutoff = float(np.partition(keys, target)[target]) if target < len(keys) else self._cutoff
        assert self._vectors is not None or not self._count
        kept = np.flatnonzero(self._keys[: self._count] < self._cutoff)
        for start in range(0, len(kept), _BLOCK):  # in place and in blocks: a copy would break the budget
            source = kept[start : start + _BLOCK]
            to = slice(start, start + len(source))
            if self._vectors is not None:
                self._vectors[to] = self._vectors[source]
            self._rows[to], self._keys[to] = self._rows[source], self._keys[source]
        self._count = len(kept)

    def _reserve(self, channels: int) -> None:
        """Make room; the full capacity is reserved at once where memory is only committed when it is written to."""
        if self._vectors is None:
            steady_heap()
            try:
                self._vectors = np.empty((self.capacity, channels), np.float32)
                self._rows = np.empty((self.capacity, 3), np.int32)
                self._keys = np.empty(self.capacity)
            except (MemoryError, ValueError) as error:
                size = self.capacity * channels * 4 / 2**30
                raise BadField(f"this machine does not give {size:.1f} GB for candidate patches; lower memory") from error

    def vectors(self) -> Array:
        """What was kept, (N, C) float32, a view that may be written to."""
        if self._vectors is None:
            return np.empty((0, 0), np.float32)
        return self._vectors[: self._count]

    def rows(self) -> Array:
        """Where each kept vector came from, (N, 3) int32."""
        return self._rows[: self._count]


@lru_cache(maxsize=1)
def steady_heap() -> None:
    """Have glibc hand blocks of 8 MB and more back to the system as soon as they are freed, for the rest of the process.

    Left to itself it raises that size to 32 MB, and the pictures and features passing through a fit leave the heap in pieces:
    a fit of 320 pictures then held 3.4 GB for 0.9 GB of arrays (measured). Other systems and C libraries are left alone.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(-3, 8 << 20)  # M_MMAP_THRESHOLD; setting it also ends its growth
