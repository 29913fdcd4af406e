"""Look through a whole data set before learning from it: what is there, what is wrong with it, and what that disables.

Every picture or cloud and every mask is read once, one at a time; only small facts are kept. What is wrong never stops it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from amiss.calibration import BUDGET, FEWEST, needed
from amiss.contract import Progress
from amiss.data.check_clouds import CloudFacts, cloud_facts, cloud_fields, cloud_problems
from amiss.data.dataset import SPLITS, Dataset, Entry, SplitName
from amiss.data.readers import is_cloud, printable
from amiss.errors import InputError
from amiss.types import Sample

Groups = tuple[Mapping[str, tuple[str, ...]], ...]

ODD_ASPECT = 1.1


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What `check` found. Files are named by printable paths, sizes are "width x height".

    counts            split -> kind -> entries     unreadable, unreadable_masks  file -> reason
    duplicates        groups of files with the same decoded content
    leaks             the groups that lie in several splits, as split -> files
    contradictions    the groups labelled good and defective, as label -> files
    sizes             size -> pictures     odd_sizes  file -> size, where it is not the most common one
    odd_shapes        file -> size, where the ratio of its sides differs by more than a tenth from the most common size
    depths, colours   pictures by type of their values, and by grey or colour
    dark              uint16 pictures, where all of them keep to the lowest quarter of the range
    points, extents   fewest, median and most points of the clouds; smallest, median and largest diagonal of their boxes
    odd_points, odd_extents  file -> what is odd, by 10 and 3 times the median     flat  clouds without extent along an axis
    normals           clouds whose file has normals
    masks_missing     defective test pictures without a mask     masks_odd  mask -> its size and its picture's
    masks_empty       masks of defective parts that mark nothing     orphans  mask files that belong to no picture
    disabled, problems  plain sentences, the worst first     fatal  nothing can be fitted
    """

    category: str
    counts: Mapping[str, Mapping[str, int]]
    unreadable: Mapping[str, str]
    unreadable_masks: Mapping[str, str]
    duplicates: tuple[tuple[str, ...], ...]
    leaks: Groups
    contradictions: Groups
    sizes: Mapping[str, int]
    odd_sizes: Mapping[str, str]
    odd_shapes: Mapping[str, str]
    depths: Mapping[str, int]
    colours: Mapping[str, int]
    dark: int
    points: Mapping[str, int]
    extents: Mapping[str, float]
    odd_points: Mapping[str, str]
    odd_extents: Mapping[str, str]
    flat: tuple[str, ...]
    normals: int
    masks_missing: tuple[str, ...]
    masks_odd: Mapping[str, str]
    masks_empty: tuple[str, ...]
    orphans: tuple[str, ...]
    disabled: tuple[str, ...]
    problems: tuple[str, ...]
    fatal: bool

    def to_json(self) -> dict[str, Any]:
        """Every field as JSON values."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


def check(dataset: Dataset, category: str, *, progress: Progress | None = None) -> DataReport:
    """Read every picture or cloud and every mask of a category once, and report.

    progress  called with (stage, done, total or None)
    raises  BadLayout for a category that is not there; nothing else stops it
    """
    listed = [(name, entry) for name in SPLITS for entry in dataset.split(category, name).entries]
    look = _Look(listed)
    look.read_pictures(progress)
    look.read_masks(progress)
    return _report(look, dataset, category)


@dataclass(frozen=True)
class _Facts:
    """What is kept of a picture; size (width, height) is None where it has no image."""

    digest: str
    size: tuple[int, int] | None
    depth: str
    grey: bool
    peak: int
    cloud: CloudFacts | None = None


class _Look:
    """One pass over the pictures and one over the masks, and what they showed."""

    def __init__(self, listed: Sequence[tuple[SplitName, Entry]]) -> None:
        self.listed = listed
        self.facts: dict[Path, _Facts] = {}
        self.unreadable: dict[str, str] = {}
        self.unreadable_masks: dict[str, str] = {}
        self.masks_odd: dict[str, str] = {}
        self.masks_empty: list[str] = []
        self.noun = "cloud" if any(is_cloud(entry.path) for _, entry in listed) else "picture"

    @property
    def place(self) -> str:
        return "pixel" if self.noun == "picture" else "point"

    @property
    def clouds(self) -> dict[str, CloudFacts]:
        return {printable(path): facts.cloud for path, facts in self.facts.items() if facts.cloud is not None}

    def read_pictures(self, progress: Progress | None) -> None:
        entries = {entry.path: entry for _, entry in self.listed}
        for done, (path, entry) in enumerate(entries.items(), start=1):
            try:
                self.facts[path] = _facts(entry.sample())
            except (InputError, MemoryError) as error:
                self.unreadable[printable(path)] = str(error) or "it does not fit into memory"
            if progress is not None:
                progress(f"reading {self.noun}s", done, len(entries))
        if self.clouds:
            self.noun = "cloud"  # TIFF says by its content what it is

    def read_masks(self, progress: Progress | None) -> None:
        masks = {entry.mask: entry for _, entry in self.listed if entry.mask is not None and entry.defective}
        for done, (mask, entry) in enumerate(masks.items(), start=1):
            try:
                self._look_at_mask(mask, entry)
            except (InputError, MemoryError) as error:
                self.unreadable_masks[printable(mask)] = str(error) or "it does not fit into memory"
            if progress is not None:
                progress("reading masks", done, len(masks))

    def _look_at_mask(self, mask: Path, entry: Entry) -> None:
        truth, facts = entry.truth(), self.facts.get(entry.path)
        marked = truth.mask if truth.point_mask is None else truth.point_mask
        if marked is None:
            return
        if facts is not None and truth.mask is not None:
            size = (truth.mask.shape[1], truth.mask.shape[0])
            wanted = facts.size if facts.cloud is None else facts.cloud.grid
            if wanted != size:
                met = "without a grid" if wanted is None else _size(wanted)
                self.masks_odd[printable(mask)] = f"{_size(size)}, its {self.noun} {met}"
        if not marked.any():
            self.masks_empty.append(printable(mask))

    def readable(self, name: SplitName, *, defective: bool) -> int:
        """How many entries of a split with that label can be read."""
        return sum(split == name and entry.defective == defective and entry.path in self.facts for split, entry in self.listed)

    def groups(self) -> Iterator[list[tuple[SplitName, Entry]]]:
        """Entries of the same decoded content, where there are several."""
        same: dict[str, list[tuple[SplitName, Entry]]] = defaultdict(list)
        for split, entry in self.listed:
            if entry.path in self.facts:
                same[self.facts[entry.path].digest].append((split, entry))
        return (group for group in same.values() if len(group) > 1)


def _facts(sample: Sample) -> _Facts:
    image = sample.image
    if image is None:
        return _Facts(sample.digest, None, "", False, 0, cloud_facts(sample))
    grey = all(np.array_equal(image[..., 0], image[..., channel]) for channel in (1, 2))
    peak = int(image.max()) if image.dtype == np.uint16 else 0
    return _Facts(sample.digest, (image.shape[1], image.shape[0]), str(image.dtype), grey, peak)


def _report(look: _Look, dataset: Dataset, category: str) -> DataReport:
    groups = list(look.groups())
    files = [tuple(dict.fromkeys(printable(entry.path) for _, entry in group)) for group in groups]
    leaks = [_by(group, lambda split, entry: split) for group in groups]
    contradictions = [_by(group, lambda split, entry: "defective" if entry.defective else "good") for group in groups]
    found: dict[str, Any] = {
        "category": category,
        "counts": _counts(look.listed),
        "unreadable": look.unreadable,
        "unreadable_masks": look.unreadable_masks,
        "duplicates": tuple(group for group in files if len(group) > 1),
        "leaks": tuple(group for group in leaks if len(group) > 1),
        "contradictions": tuple(group for group in contradictions if len(group) > 1),
        **_sizes(look.facts),
        "depths": _tally(facts.depth for facts in look.facts.values() if facts.size),
        "colours": _tally("grey" if facts.grey else "colour" for facts in look.facts.values() if facts.size),
        "dark": _dark(look.facts.values()),
        **cloud_fields(look.clouds),
        "masks_missing": tuple(
            printable(entry.path) for name, entry in look.listed if name == "test" and entry.defective and not entry.marked
        ),
        "masks_odd": look.masks_odd,
        "masks_empty": tuple(look.masks_empty),
        "orphans": tuple(printable(path) for path in dataset.orphans(category)),
        "fatal": not look.readable("train", defective=False),
    }
    disabled = tuple(_disabled(look, found))
    return DataReport(**found, disabled=disabled, problems=(*_problems(look, found), *dataset.notes(category)))


def _counts(listed: Sequence[tuple[SplitName, Entry]]) -> dict[str, dict[str, int]]:
    """Splits that hold something, and always train; good before the defects."""
    kinds = {name: Counter(entry.kind for split, entry in listed if split == name) for name in SPLITS}
    return {
        name: dict(sorted(kinds[name].items(), key=lambda item: (item[0] != "good", item[0])))
        for name in SPLITS
        if kinds[name] or name == "train"
    }


def _by(group: list[tuple[SplitName, Entry]], name: Callable[[SplitName, Entry], str]) -> dict[str, tuple[str, ...]]:
    named: dict[str, list[str]] = defaultdict(list)
    for split, entry in group:
        named[name(split, entry)].append(printable(entry.path))
    return {key: tuple(dict.fromkeys(paths)) for key, paths in named.items()}


def _sizes(seen: Mapping[Path, _Facts]) -> dict[str, dict[str, Any]]:
    sizes = {path: facts.size for path, facts in seen.items() if facts.size}
    counts = sorted(Counter(sizes.values()).items(), key=lambda item: (-item[1], item[0]))
    if not counts:
        return {"sizes": {}, "odd_sizes": {}, "odd_shapes": {}}
    (width, height), _ = counts[0]
    shapes = {path: size[0] * height / (size[1] * width) for path, size in sizes.items()}
    return {
        "sizes": {_size(size): count for size, count in counts},
        "odd_sizes": {printable(path): _size(size) for path, size in sizes.items() if size != (width, height)},
        "odd_shapes": {
            printable(path): _size(sizes[path]) for path, shape in shapes.items() if max(shape, 1 / shape) > ODD_ASPECT
        },
    }


def _dark(seen: Iterable[_Facts]) -> int:
    """Number of uint16 pictures where none goes beyond 14 bits: the sensor's values were not scaled to the full range."""
    peaks = [facts.peak for facts in seen if facts.depth == "uint16"]
    return len(peaks) if peaks and 0 < max(peaks) < 2**14 else 0


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _disabled(look: _Look, found: Mapping[str, Any]) -> Iterator[str]:
    """What cannot be done with this data set, and why."""
    good, defective = look.readable("test", defective=False), look.readable("test", defective=True)
    calibrating = look.readable("calibration", defective=False) or look.readable("train", defective=False)
    noun = look.noun
    whole, place = "image" if noun == "picture" else "object", look.place
    placed = f"{place} AUROC, {place} AP and AUPRO cannot be computed"
    if found["fatal"]:
        yield f"no readable good {noun} to learn from: nothing can be fitted"
    elif calibrating < FEWEST:
        yield f"only {calibrating} good parts, fewer than {FEWEST}: no verdict is NG, odd parts are REVIEW"
    if not found["fatal"] and calibrating < needed(BUDGET):
        budget = f"a false-alarm budget of 1 in {round(1 / BUDGET)}"
        yield f"fewer than {needed(BUDGET)} good parts ({calibrating}): {budget} is extrapolated"
    if not good + defective:
        yield f"no test {noun}s: nothing can be evaluated"
        return
    if not defective:
        yield f"no defective test {noun}s: {whole} AUROC, {whole} AP and F1 cannot be computed, nor any {place} figure"
        return
    if not good:
        yield f"no good test {noun}s: {whole} AUROC and the false-alarm rate cannot be computed"
    listed, missing = sum(name == "test" and entry.defective for name, entry in look.listed), len(found["masks_missing"])
    if missing == listed:
        yield f"no masks: {placed}"
    elif missing:
        yield f"{missing} of {listed} defective test {noun}s have no mask: {placed}"
    elif found["unreadable_masks"] or found["masks_odd"]:
        yield f"masks that cannot be read or do not fit their {noun}: {placed}"


def _problems(look: _Look, found: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong, the worst first; each with a first example."""
    if found["fatal"]:
        yield f"no good {look.noun} can be read, so nothing can be fitted"
    if files := found["contradictions"]:
        first = f"{files[0]['good'][0]} and {files[0]['defective'][0]}"
        yield f"{_count(files, look.noun)} with both labels, good and defective: correct one; first: {first}"
    if files := found["leaks"]:
        names = sorted({name for group in files for name in group}, key=SPLITS.index)
        first = " and ".join(f"{group[0]} ({name})" for name, group in files[0].items())
        yield f"{_count(files, look.noun)} in more than one of {', '.join(names)}: figures flatter, keep one; first: {first}"
    if files := found["unreadable"]:
        listed = len({entry.path for _, entry in look.listed})
        yield f"{len(files)} of {listed} {look.noun}s cannot be read; first: {next(iter(files.values()))}"
    yield from _mask_problems(look, found)
    if repeated := len(look.listed) - len({(name, entry.path) for name, entry in look.listed}):
        yield f"{repeated} lines list a picture a second time in the same split"
    if files := found["duplicates"]:
        copies = [path for group in files for path in group[1:]]
        yield f"{_count(copies, look.noun)} identical to another one; first: {' = '.join(files[0][:2])}"
    yield from cloud_problems(found, len(look.clouds))
    yield from _size_problems(found)
    yield from _mixed("depths of pictures are mixed", found["depths"])
    yield from _mixed("grey and colour pictures are mixed", found["colours"])
    if found["dark"]:
        told = "as unscaled 10- to 14-bit values do: scale them to the full range if so"
        yield f"all {found['dark']} 16-bit pictures keep to the lowest quarter of their range, {told}"


def _mask_problems(look: _Look, found: Mapping[str, Any]) -> Iterator[str]:
    if files := found["unreadable_masks"]:
        yield f"{_count(files, 'mask')} cannot be read; first: {next(iter(files.values()))}"
    if files := found["masks_odd"]:
        yield f"{_count(files, 'mask')} of another size than the {look.noun}; first: {_first(files)}"
    if files := found["masks_empty"]:
        yield f"{_count(files, 'mask')} of defective parts without any marked {look.place}; first: {files[0]}"
    if (files := found["masks_missing"]) and any(entry.mask for _, entry in look.listed if entry.defective):
        yield f"{_count(files, f'defective test {look.noun}')} without a mask while others have one; first: {files[0]}"
    if files := found["orphans"]:
        yield f"{_count(files, 'mask file')} without a {look.noun}; first: {files[0]}"


def _size_problems(found: Mapping[str, Any]) -> Iterator[str]:
    """Single strangers are named; where most pictures differ anyway, that alone is said."""
    sizes, odd, shapes = found["sizes"], found["odd_sizes"], found["odd_shapes"]
    total = sum(sizes.values())
    if 2 * len(odd) > total:
        yield f"sizes vary: {len(sizes)} sizes among {total} pictures"
        if shapes:
            yield "the ratio of the sides varies by more than a tenth"
        return
    if shapes:
        yield f"{_count(shapes, 'picture')} with sides in another ratio than most, by over a tenth; first: {_first(shapes)}"
    if odd:
        yield f"{_count(odd, 'picture')} not of the most common size, {next(iter(sizes))}; first: {_first(odd)}"


def _mixed(text: str, counts: Mapping[str, int]) -> Iterator[str]:
    if len(counts) > 1:
        yield f"{text}: {', '.join(f'{count} {name}' for name, count in counts.items())}"


def _count(files: Sequence[Any] | Mapping[str, Any], noun: str) -> str:
    return f"{len(files)} {noun}" + "s" * (len(files) != 1)


def _first(files: Mapping[str, str]) -> str:
    path, size = next(iter(files.items()))
    return f"{path} ({size})"


def _size(size: tuple[int, int] | None) -> str:
    return "unknown" if size is None else f"{size[0]} x {size[1]}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
