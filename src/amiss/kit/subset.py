"""Some samples of a sequence, without reading the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from amiss.types import Sample


class Subset(Sequence[Sample]):
    """Some samples of a sequence, by index, still read lazily."""

    def __init__(self, samples: Sequence[Sample], indices: Iterable[Any]) -> None:
        self._samples, self._indices = samples, [int(index) for index in indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Sample]:
        return (self._samples[index] for index in self._indices)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Subset: ...
    def __getitem__(self, index: int | slice) -> Sample | Subset:
        if isinstance(index, slice):
            return Subset(self._samples, self._indices[index])
        return self._samples[self._indices[index]]


def folded(digests: Sequence[str], count: int, rng: np.random.Generator) -> list[npt.NDArray[np.intp]]:
    """Disjoint index sets that cover all parts, at most `count`; copies share one, so that none is judged by its twin.

    digests  one a part, the same for copies     return  one set where all parts are copies
    """
    names = sorted(set(digests))
    count = min(len(names), count)
    fold_of = dict(zip(rng.permutation(names).tolist(), np.arange(len(names)) % count, strict=True))
    member = np.array([fold_of[digest] for digest in digests])
    return [np.flatnonzero(member == fold) for fold in range(count)]


def in_sequence(samples: Iterable[Sample]) -> Sequence[Sample]:
    """Samples that know how many they are; a re-iterable that does not is counted by reading it once more."""
    return samples if isinstance(samples, Sequence) else _Counted(samples)


class _Counted(Sequence[Sample]):
    """A re-iterable as a sequence, one sample in memory at a time; an item is found by reading up to it."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = samples

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in self._samples)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return Subset(self, range(len(self))[index])
        return next(islice(self._samples, range(len(self))[index], None))
