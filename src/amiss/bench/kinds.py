"""Figures of single kinds of defect, each against all good parts.

MVTec LOCO AD is judged this way: logical and structural defects apart, then the plain mean of the two, so that the kind with
more parts does not count for more. Maps are measured by sPRO, since it says of each defect how much has to be found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.bench.figures import KIND_NAMES, NOT_AVERAGED, SEPARATED, Figures, Interval, add_auroc
from amiss.bench.places import Shown, check_marked, spread, unzipped, varied
from amiss.data.dataset import Entry
from amiss.errors import UndefinedMetric
from amiss.metrics import ranking
from amiss.metrics.intervals import PartCounts, averaged_intervals
from amiss.metrics.regions import Overlap
from amiss.metrics.spro import HEADLINE, LIMITS, Regions, saturated

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Kind:
    """One kind of defect against all good parts; None where undefined.

    au_spro  by limit of the false-positive rate, where the truths say how much of each defect has to be found
    """

    parts: int
    image_auroc: float | None
    image_auroc_interval: Interval | None
    au_spro: dict[str, float] | None = None


def kind_figures(entries: Sequence[Entry], scores: Array, shown: Shown, found: Figures) -> dict[str, Kind]:
    """Figures of every kind of defect; those of the kinds that the data set averages, and their means, go to `found` as well.

    entries  of the split     scores  (N,) of its parts     shown  those that have a map
    """
    averaged = entries[0].averaged
    parts = Counter(entry.kind for entry in entries if entry.defective)
    kinds = list(dict.fromkeys([*averaged, *sorted(parts)]))
    ranked = _ranked(entries, scores, kinds)
    areas: dict[str, dict[str, float]] = {}
    if averaged:
        _average("image_auroc", averaged, ranked, found, lambda: _mean_auroc_interval(entries, scores, averaged, ranked))
        areas = _spro_figures(entries, shown, averaged, found)
    else:
        found.reasons |= dict.fromkeys(KIND_NAMES, NOT_AVERAGED)
    return {kind: Kind(parts[kind], ranked.values.get(kind), ranked.intervals.get(kind), areas.get(kind)) for kind in kinds}


def mean_au_spro(kinds: Mapping[str, Kind], averaged: Sequence[str]) -> dict[str, float] | None:
    """The mean over the averaged kinds at each limit; None where one of them has none."""
    each = [areas for kind in averaged if (areas := kinds[kind].au_spro) is not None]
    if not averaged or len(each) < len(averaged):
        return None
    return {limit: fmean(areas[limit] for areas in each) for limit in each[0]}


def _ranked(entries: Sequence[Entry], scores: Array, kinds: Sequence[str]) -> Figures:
    """Image AUROC by kind."""
    own = Figures()
    for kind in kinds:
        number = _numbers(entries, [kind])
        if (number == 1).any():
            add_auroc(kind, scores[number >= 0], number[number >= 0] == 1, own)
        else:
            own.reasons[kind] = f"no {kind} part"
    return own


def _numbers(entries: Sequence[Entry], kinds: Sequence[str]) -> Array:
    """(N,) 0 for a good part, 1, 2, ... for the kinds in their order, -1 for another defect."""
    known = {kind: number for number, kind in enumerate(kinds, start=1)}
    return np.array([known.get(entry.kind, -1) if entry.defective else 0 for entry in entries])


def _average(figure: str, averaged: Sequence[str], own: Figures, found: Figures, interval: Callable[[], Interval]) -> None:
    """Add what is known by kind under the figure's name, and the mean where every kind has the figure."""
    for kind in averaged:
        found.take(f"{figure}_{kind.removesuffix('_anomalies')}", own, kind)
    missing = [kind for kind in averaged if kind not in own.values]
    if missing:
        found.reasons[f"{figure}_mean"] = own.reasons[missing[0]]
    else:
        found.add(f"{figure}_mean", lambda: fmean(own.values[kind] for kind in averaged), interval)


def _mean_auroc_interval(entries: Sequence[Entry], scores: Array, averaged: Sequence[str], ranked: Figures) -> Interval:
    if all(ranked.values[kind] == 1 for kind in averaged):
        raise UndefinedMetric(SEPARATED)
    numbers = _numbers(entries, averaged)
    return ranking.mean_auroc_interval(scores[numbers >= 0], numbers[numbers >= 0])


def _spro_figures(
    entries: Sequence[Entry], shown: Shown, averaged: Sequence[str], found: Figures
) -> dict[str, dict[str, float]]:
    """AU-sPRO by kind and limit; the headline, its intervals and the mean go to `found`."""
    own, areas, counts = Figures(), {}, []
    for kind in averaged:
        try:
            check_marked([entry for entry in entries if entry.defective and entry.kind == kind], shown, kind)
            areas[kind], counted = _areas([pair for pair in shown if not pair[0].defective or pair[0].kind == kind])
            counts.append(counted)
        except UndefinedMetric as error:
            own.reasons[kind] = str(error)
    numbers = _numbers([entry for entry, _ in shown], list(areas))
    exact = [by_limit[f"{HEADLINE:g}"] for by_limit in areas.values()]
    ends = averaged_intervals(counts, numbers[numbers >= 0], exact, HEADLINE) if counts else []
    for kind, value, some in zip(areas, exact, ends, strict=False):  # the last of the ends is the mean's
        own.add(kind, partial(float, value), partial(varied, some))
    _average("au_spro", averaged, own, found, lambda: varied(ends[-1]))
    return areas


def _areas(shown: Shown) -> tuple[dict[str, float], PartCounts]:
    """AU-sPRO by limit, and the counts for its interval; the scores of all pixels are held no longer than that."""
    overlap = Overlap.gather(saturated(*unzipped(_channels(shown))))
    areas = {f"{limit:g}": overlap.area(limit) for limit in LIMITS}
    return areas, PartCounts.collect(overlap, saturated(*unzipped(_channels(shown))))


def _channels(shown: Shown) -> Iterator[tuple[Array, Regions]]:
    """Maps and defect channels at full size, one picture at a time."""
    for full, truth in (spread(*pair) for pair in shown):
        yield full, truth.regions or ()
