"""What a data set is: categories, and lazily read splits with samples and truths side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar, overload

from amiss.contract import Progress
from amiss.data.readers import printable, read_mask, read_sample
from amiss.errors import BadLayout, UnreadableFile
from amiss.types import Sample, Truth

SplitName = Literal["train", "calibration", "test"]
T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """One picture of a data set, not yet read.

    kind  name of the defect, "good" without     mask  where its mask lies | None
    """

    path: Path
    id: str
    defective: bool
    kind: str
    mask: Path | None = None
    part: str = ""

    def sample(self) -> Sample:
        """Read the picture."""
        return read_sample(self.path, id=self.id, part=self.part)

    def truth(self) -> Truth:
        """Read the mask, if there is one."""
        mask = read_mask(self.mask) if self.mask is not None and self.defective else None
        return Truth(label=self.defective, kind=self.kind, mask=mask)


class Lazy(Sequence[T], Generic[T]):
    """A sequence whose items are read each time they are asked for."""

    def __init__(self, entries: Sequence[Entry], read: Callable[[Entry], T]) -> None:
        self._entries, self._read = entries, read

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[T]:
        return (self._read(entry) for entry in self._entries)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Lazy[T]: ...
    def __getitem__(self, index: int | slice) -> T | Lazy[T]:
        if isinstance(index, slice):
            return Lazy(self._entries[index], self._read)
        return self._read(self._entries[index])


@dataclass(frozen=True)
class Split:
    """Some entries of a data set; `samples` and `truths` have the same order."""

    entries: tuple[Entry, ...]

    @property
    def samples(self) -> Lazy[Sample]:
        return Lazy(self.entries, Entry.sample)

    @property
    def truths(self) -> Lazy[Truth]:
        return Lazy(self.entries, Entry.truth)

    def readable(self, progress: Progress | None = None) -> tuple[Split, dict[str, str]]:
        """The entries whose picture can be read, and why the others cannot; reads every picture once."""
        kept, failures = [], {}
        for done, entry in enumerate(self.entries, start=1):
            if progress is not None:
                progress("looking for unreadable pictures", done, len(self.entries))
            try:
                entry.sample()
                kept.append(entry)
            except UnreadableFile as error:
                failures[printable(entry.path)] = str(error)
        return Split(tuple(kept)), failures


@dataclass(frozen=True)
class Listing:
    """What looking through a folder or a table came to.

    orphans  mask files that belong to no picture     notes  plain sentences on what was found and is not used
    """

    splits: Mapping[SplitName, tuple[Entry, ...]]
    orphans: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


class Dataset(ABC):
    """Named categories, each with splits; `calibration` is empty unless the data set ships one."""

    root: Path

    @property
    @abstractmethod
    def categories(self) -> tuple[str, ...]:
        """Names of the products in this data set."""

    @abstractmethod
    def split(self, category: str, name: SplitName) -> Split:
        """One split of one category; raises BadLayout for a category that is not there."""

    def orphans(self, category: str) -> tuple[Path, ...]:
        """Mask files that belong to no picture."""
        return ()

    def notes(self, category: str) -> tuple[str, ...]:
        """Plain sentences on what was found and is not used."""
        return ()

    def only(self) -> str:
        """The single category; raises BadLayout where there are several."""
        if len(self.categories) != 1:
            names = ", ".join(self.categories)
            raise BadLayout(f"{printable(self.root)} holds {len(self.categories)} categories; name one of {names}")
        return self.categories[0]
