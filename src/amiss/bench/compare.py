"""Whether two runs differ beyond noise: the difference of their image AUROC, by a paired bootstrap over the test parts.

Both runs judged the same parts, so a draw takes the same ones for both (Efron and Tibshirani, 1993, chapter 16): what
makes the test set easy or hard makes it so for both and drops out. Good and defective parts are drawn each from
their own kind. With several common seeds a draw takes the mean difference over them. The interval is the 95 % percentile
interval, p is twice the smaller share of draws on either side of zero. With several categories every p is also adjusted
by Holm (1979), and a category differs where its adjusted p is below 0.05; overall is the mean of the categories' differences,
each category resampled on its own.

What it does not say: whether another choice of few shots, or of training parts, would turn the result round.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.bench.run import read_record
from amiss.bench.table import load
from amiss.data.readers import printable
from amiss.errors import BadField, BadLayout

Array = npt.NDArray[Any]
Place = tuple[str, str, str]  # data, category, setting

DRAWS = 5000
LEVEL = 0.05
_CHUNK = 250  # draws at once


@dataclass(frozen=True)
class Side:
    """One of the two runs: rows by data, category, setting, then by seed."""

    name: str
    rows: Mapping[Place, Mapping[int, Mapping[str, Any]]]


@dataclass(frozen=True)
class Comparison:
    """Two runs on one category; difference = a - b. adjusted: p after Holm over all categories compared."""

    where: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    adjusted: float
    pictures: int
    seeds: tuple[int, ...]

    @property
    def differs(self) -> bool:
        return self.adjusted < LEVEL

    @property
    def sentence(self) -> str:
        return "differ beyond noise" if self.differs else "no difference shown"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "differs": self.differs, "sentence": self.sentence}


@dataclass(frozen=True)
class Overall:
    """The mean difference over categories."""

    difference: float
    low: float
    high: float
    p: float

    @property
    def sentence(self) -> str:
        return "differ beyond noise" if self.p < LEVEL else "no difference shown"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "differs": self.p < LEVEL, "sentence": self.sentence}


def side(text: str) -> Side:
    """A run from a bench folder, a method of one as FOLDER:METHOD, or a cell's file.

    raises  BadLayout where there is nothing to read; BadField where several methods are there and none is named
    """
    path, label = Path(text), ""
    while not path.exists() and ":" in str(path):
        head, _, tail = str(path).rpartition(":")
        path, label = Path(head), f"{tail}:{label}" if label else tail
    if path.is_file():
        record = read_record(path)
        records = [] if record is None else [record]
    else:
        records = load(path)
    records = [record for record in records if record["status"] == "done"]
    if not records:
        raise BadLayout(f"{printable(text)}: no finished cell there; give a folder of amiss bench, or a file of its cells")
    labels = sorted({record["label"] for record in records})
    if label and label not in labels:
        raise BadField(f"{printable(path)} has no finished method {label!r}; choose from {', '.join(labels)}")
    if not label and len(labels) > 1:
        raise BadField(f"{printable(path)} holds the methods {', '.join(labels)}; name one, e.g. {printable(path)}:{labels[0]}")
    rows: dict[Place, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for record in records:
        if record["label"] == (label or labels[0]):
            for row in record["rows"]:
                rows[record["data"], row["category"], record["setting"]][record["seed"]] = row
    return Side(f"{printable(path)}:{label or labels[0]}", rows)


def compare(a: Side, b: Side, *, draws: int = DRAWS, seed: int = 0) -> tuple[list[Comparison], Overall | None]:
    """Every category that both judged, and the mean over them where there are several.

    raises  BadLayout where they have nothing in common, or judged other parts
    """
    common = [place for place in a.rows if place in b.rows]
    if not common:
        raise BadLayout(f"{a.name} and {b.name} have no category and setting in common: {_names(a)} against {_names(b)}")
    rng = np.random.default_rng(seed)
    found, resampled = [], []
    for place in sorted(common):
        seeds = tuple(sorted(set(a.rows[place]) & set(b.rows[place])))
        if not seeds:
            raise BadLayout(f"{' '.join(place)}: {a.name} and {b.name} have no seed in common")
        matched = [_matched(a.rows[place][one], b.rows[place][one], " ".join(place)) for one in seeds]
        if any(_by_content(a.rows[place][one]).keys() != _by_content(a.rows[place][seeds[0]]).keys() for one in seeds):
            raise BadLayout(
                f"{' '.join(place)}: the test parts differ from seed to seed, so their scores cannot be averaged; "
                "compare runs of one seed"
            )
        wins = [(_wins(first, labels), _wins(second, labels)) for first, second, labels in matched]
        first, second = (float(np.mean([pair[which].mean() for pair in wins])) for which in (0, 1))
        gains = np.stack([pair[0] - pair[1] for pair in wins]).mean(axis=0, dtype=np.float64)  # (bad, good)
        drawn = _drawn(gains, draws, rng)
        low, high, p = _judged(drawn)
        where = " ".join(place)
        found.append(Comparison(where, first, second, float(gains.mean()), low, high, p, p, sum(gains.shape), seeds))
        resampled.append(drawn)
    found = _adjusted(found)
    if len(found) == 1:
        return found, None
    low, high, p = _judged(np.mean(resampled, axis=0))
    return found, Overall(float(np.mean([one.difference for one in found])), low, high, p)


def _names(one: Side) -> str:
    return ", ".join(sorted(" ".join(place) for place in one.rows))


def _matched(a: Mapping[str, Any], b: Mapping[str, Any], where: str) -> tuple[Array, Array, Array]:
    """Scores of both runs part by part, and the labels; copies of a part are matched in order.

    raises  BadLayout naming parts that only one of them judged, or that they label differently
    """
    first, second = _by_content(a), _by_content(b)
    if only := [f"only in {name}: {_some(one[key]['id'] for key in one if key not in other)}"
                for name, one, other in (("A", first, second), ("B", second, first)) if one.keys() - other.keys()]:  # fmt: skip
        raise BadLayout(f"{where}: the test parts differ, so scores cannot be paired; {'; '.join(only)}")
    if odd := [first[key]["id"] for key in first if first[key]["defective"] != second[key]["defective"]]:
        raise BadLayout(f"{where}: labelled good by one and defective by the other: {_some(odd)}")
    scores = (np.array([one[key]["score"] for key in first]) for one in (first, second))
    labels = np.array([first[key]["defective"] for key in first])
    if labels.all() or not labels.any():
        raise BadLayout(f"{where}: the test parts are all good or all defective, so there is no AUROC to compare")
    return (*scores, labels)  # type: ignore[return-value]


def _by_content(row: Mapping[str, Any]) -> dict[tuple[str, int], Mapping[str, Any]]:
    seen: Counter[str] = Counter()
    found = {}
    for one in row["judged"]:
        found[one["digest"], seen[one["digest"]]] = one
        seen[one["digest"]] += 1
    return found


def _some(names: Any) -> str:
    every = [str(name) for name in names]
    return ", ".join(every[:3]) + (f" and {len(every) - 3} more" if len(every) > 3 else "")


def _wins(scores: Array, labels: Array) -> Array:
    """(bad, good) whether the bad part scores higher: 1, 0, or one half where they tie."""
    good, bad = scores[~labels], scores[labels]
    above, level = bad[:, None] > good[None], bad[:, None] == good[None]
    return np.asarray(above + np.float32(0.5) * level, np.float32)


def _drawn(gains: Array, draws: int, rng: np.random.Generator) -> Array:
    """(draws,) differences of the AUROC on resampled parts."""
    bad, good = gains.shape
    found = []
    for first in range(0, draws, _CHUNK):
        count = min(_CHUNK, draws - first)
        bads, goods = (rng.multinomial(n, np.full(n, 1 / n), count).astype(np.float64) for n in (bad, good))
        found.append(np.einsum("ij,ij->i", bads @ gains, goods) / (bad * good))
    return np.concatenate(found)


def _judged(drawn: Array) -> tuple[float, float, float]:
    """Ends of the 95 % interval, and the two-sided p-value of no difference."""
    low, high = np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2])
    edge = 1e-12  # sums in another order must not count as a difference
    sides = min(int((drawn <= edge).sum()), int((drawn >= -edge).sum()))
    return float(low), float(high), min(1.0, 2 * (1 + sides) / (1 + len(drawn)))


def _adjusted(found: Sequence[Comparison]) -> list[Comparison]:
    """Holm's adjustment: the k-th smallest of m p-values times (m - k + 1), none below the one before."""
    from dataclasses import replace

    order = sorted(range(len(found)), key=lambda index: found[index].p)
    adjusted, largest = list(found), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, found[index].p * (len(found) - rank)))
        adjusted[index] = replace(found[index], adjusted=largest)
    return adjusted
