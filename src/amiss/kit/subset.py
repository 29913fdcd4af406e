"""Some samples of a sequence, without reading the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

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
