"""What a data set is: categories, and lazily read splits with samples and truths side by side."""

from __future__ import annotations

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args, overload

from amiss.contract import Progress
from amiss.data.readers import is_cloud, printable, read_mask, read_point_mask, read_sample
from amiss.errors import BadField, BadLayout, UnreadableFile
from amiss.fields import unknown
from amiss.types import Sample, Truth

SplitName = Literal["train", "calibration", "test"]
T = TypeVar("T")

GOOD = frozenset({"good", "ok", "normal"})
SPLITS: tuple[SplitName, ...] = get_args(SplitName)


@dataclass(frozen=True)
class Entry:
    """One picture or point cloud of a data set, not yet read.

    kind  name of the defect, "good" without     mask  where its mask lies | None; of a cloud also a file of labelled points
    part  the category     group  the physical part, where several pictures show it
    soft  the share of the full range above which a mask marks; 0 for masks of zero and something
    averaged  kinds of defect that figures of the data set are averaged over, () where all are one class
    """

    averaged: ClassVar[tuple[str, ...]] = ()

    path: Path
    id: str
    defective: bool
    kind: str
    mask: Path | None = None
    part: str = ""
    group: str | None = None
    soft: float = 0.0

    @classmethod
    def of(cls, path: Path, kind: str, mask: Path | None = None, *, group: str | None = None, soft: float = 0.0) -> Entry:
        """An entry whose id is its absolute path and whose kind says whether it is good."""
        good = kind.lower() in GOOD
        name = "good" if good else printable(kind)
        return cls(path, os.path.abspath(path), defective=not good, kind=name, mask=mask, group=group, soft=soft)

    @property
    def marked(self) -> bool:
        """Whether its truth says where the defect lies."""
        return self.mask is not None

    def sample(self) -> Sample:
        """Read the picture or cloud."""
        return read_sample(self.path, id=self.id, part=self.part, group=self.group)

    def truth(self) -> Truth:
        """Read the mask, if there is one."""
        if self.mask is None or not self.defective:
            return Truth(label=self.defective, kind=self.kind)
        if is_cloud(self.mask):
            return Truth(label=True, kind=self.kind, point_mask=read_point_mask(self.mask, self.path))
        return Truth(label=True, kind=self.kind, mask=read_mask(self.mask, above=self.soft))


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
        return Lazy(self.entries, lambda entry: entry.sample())

    @property
    def truths(self) -> Lazy[Truth]:
        return Lazy(self.entries, lambda entry: entry.truth())

    def readable(self, progress: Progress | None = None) -> tuple[Split, dict[str, str]]:
        """The entries that can be read, and why the others cannot; reads every file once."""
        kept, failures = [], {}
        for done, entry in enumerate(self.entries, start=1):
            if progress is not None:
                progress("looking for unreadable files", done, len(self.entries))
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
    """Named categories, each with splits; `calibration` is empty unless the data set ships one.

    A data set says what it holds when it is made, by a look at the folders, and lists a category when it is first asked for it.
    """

    name: ClassVar[str]
    about: ClassVar[str]  # one line for `amiss data sets`
    arrangement: ClassVar[str]  # what its root looks like, names of any choice in <>
    brings_data: ClassVar[bool] = False  # whether the root may be left out

    def __init__(self, root: str | os.PathLike[str], categories: Iterable[str]) -> None:
        self.root = Path(root)
        self.categories = tuple(categories)
        self._listings: dict[str, Listing] = {}

    @classmethod
    @abstractmethod
    def fits(cls, root: Path) -> bool:
        """Whether a folder is laid out like this data set, by a look at a few names."""

    @abstractmethod
    def _list(self, category: str) -> Listing:
        """Look through one category; raises BadLayout saying what was found and what was wanted."""

    def split(self, category: str, name: SplitName) -> Split:
        """One split of one category.

        raises  BadLayout for a category that is not there or is not laid out as it should be
        """
        if name not in SPLITS:
            raise BadField(f"split {name!r}: wanted train, calibration or test")
        return Split(self._listing(category).splits.get(name, ()))

    def orphans(self, category: str) -> tuple[Path, ...]:
        """Mask files that belong to no picture or cloud."""
        return self._listing(category).orphans

    def notes(self, category: str) -> tuple[str, ...]:
        """Plain sentences on what was found and is not used."""
        return self._listing(category).notes

    def only(self) -> str:
        """The single category; raises BadLayout where there are several."""
        if len(self.categories) != 1:
            names = ", ".join(self.categories)
            raise BadLayout(
                f"{printable(self.root)} holds {len(self.categories)} categories; name one of {names} (--category NAME)"
            )
        return self.categories[0]

    def _listing(self, category: str) -> Listing:
        if category not in self.categories:
            met = ", ".join(repr(name) for name in self.categories)
            there = (self.root / category).is_dir()
            why = f"; that folder is there, but it is not laid out as {self.arrangement}" if there else ""
            raise BadLayout(f"{printable(self.root)} holds {met}, not {category!r}{why}")
        if category not in self._listings:
            found = self._list(category)
            splits = {name: tuple(replace(e, part=category) for e in entries) for name, entries in found.splits.items()}
            self._listings[category] = replace(found, splits=splits)
        return self._listings[category]


def learned_defects(train: Sequence[Entry], source: Path) -> tuple[str, ...]:
    """The note on a train split that holds defects on purpose, since most methods take all of it for good."""
    count = sum(entry.defective for entry in train)
    return (f"{count} of {len(train)} train pictures are defective, as {printable(source.name)} has it",) if count else ()


def opened(kind: type[Dataset], root: str | os.PathLike[str] | None, options: Mapping[str, Any]) -> Dataset:
    """A data set from its root and its options.

    raises  BadField where the root is missing or an option is unknown, BadLayout where the root is not such a data set
    """
    known = [name for name in inspect.signature(kind).parameters if name != "root"]
    for name in options:
        if name not in known:
            raise unknown(name, known, f"the options of {kind.name}")
    if root is not None:
        return kind(root, **options)
    if not kind.brings_data:
        raise BadField(f"the data set {kind.name} needs a root: {kind.arrangement}")
    return kind(**options)
