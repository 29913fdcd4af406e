"""ISMP: a point cloud judged by its local form, by where its points lie, and by what it looks like from inside.

Liang, Xie, Hou, Wang, Gao, Wang: Look Inside for More: Internal Spatial Modality Perception for 3D Anomaly Detection, AAAI
2025, https://arxiv.org/abs/2412.13461.

What we follow: a global descriptor of inside views on slices (`kit/slices.py`), local descriptors with a filter, a bank reduced
by greedy k-centre selection, a branch of registered coordinates, the branches joined. Where we differ, since the public code
measures something else than the paper (docs/methods/ismp.md): every branch is measured by what good clouds score that are
judged without themselves (leave one out), never by the least and largest score of a test set; the global descriptor counts for
the cloud alone, for it is the same at all of its points; coordinates are compared along the template's normals, so that the
density of the points plays no role; without weights the local descriptor is FPFH, joined with how it changes around the place.
A scan that cannot be registered is judged by its local form alone, and says so. Ours as well: coordinates are compared both
ways, so that surface that is missing counts (`kit/missing.py`); the local form of a scan from one side is held against views of
whole good clouds too (`kit/sides.py`), and counts less where little is seen around it.
`amiss methods ismp` lists the fields.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from amiss.contract import Detector, Progress, State
from amiss.errors import BadModelFile
from amiss.fields import option
from amiss.kit.clouds import CloudExtractor, CloudFeatures, Gauge
from amiss.kit.coreset import greedy_k_centre, project
from amiss.kit.filter import Filter
from amiss.kit.maps import top_mean
from amiss.kit.memory import MemoryBank
from amiss.kit.missing import COVERED, Piece, gaps, in_sight, missing
from amiss.kit.sides import HELD_AGAINST_VIEWS, Sides, apart, origins
from amiss.kit.slices import summary, views
from amiss.kit.subset import Subset, in_sequence
from amiss.kit.template import Fit, Template
from amiss.types import Result, Sample, Truth

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)

_MIDDLE, _UPPER = 0.5, 0.995  # quantiles of what good clouds score without themselves
_HELD = 100_000  # places of views that are chosen from
_ASKED = 1_000  # of a view, that tell how far good views are apart
_WHOLE = 0.9  # share of the template that a scan covers, from which on it is looked at from inside


@dataclass(frozen=True, eq=False)
class _Seen:
    """Views of whole good clouds: filtered descriptors (N, C), cloud and side of each (N, 2), and what they count (N,)."""

    vectors: Array
    origins: Array
    weights: Array


@dataclass(kw_only=True)
class ISMP(Detector):
    """Local form, registered coordinates, inside views."""

    name: ClassVar[str] = "ismp"
    paper: ClassVar[str] = "Liang et al., AAAI 2025, https://arxiv.org/abs/2412.13461"
    sees: ClassVar[frozenset[str]] = frozenset({"points"})
    quick: ClassVar[dict[str, Any]] = {"bank": 500, "most": 3000}
    least: ClassVar[int] = 2

    cells: float = option(1.0, "edge of a thinning cell, in spacings of the good clouds", above=0)
    most: int = option(20_000, "most points looked at, so that cells may be larger", least=200)
    scales: tuple[float, ...] = option((2.5, 4.0, 6.0), "radii that descriptors look at, in cells", some=True, above=0)
    averaged: float = option(2.2, "radius of the neighbourhood that a descriptor is joined with, in cells", above=0)
    lean: float = option(1.0, "weight of how far the surroundings lean to one side, before the filter; 0 for none", least=0)
    views: int = option(8, "sides from which whole good clouds are looked at, for scans from one side; 0 for none", least=0)
    alike: float = option(0.98, "of two channels that correlate more than this one is left out; 1 keeps all", above=0, most=1)
    bank: int = option(5_000, "most places kept in the bank", least=1)
    projection: int = option(64, "dimensions for the coreset selection only", least=1)
    local: float = option(1.0, "weight of the local descriptors", least=0)
    coordinates: float = option(1.0, "weight of the registered coordinates", least=0)
    missing: float = option(1.0, "weight of missing surface, beside the other coordinates", least=0)
    inside: float = option(0.5, "weight of the inside views in the cloud's score", least=0)
    side: int = option(64, "pixels of an inside view", least=16)
    top: float = option(0.005, "share of places averaged into the cloud's score", above=0, most=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bank_: MemoryBank | None = None
        self.samples_: list[str] = []
        self.spots_: Array = np.empty((0, 3), np.float32)
        self.filter_: Filter | None = None
        self.template_: Template | None = None
        self.gallery_: Array = np.empty((0, 0), np.float32)  # (n, D) inside views of the good clouds
        self.levels_: Array = np.array([[0.0, 1.0]] * 4)  # (4, 2) quantiles: local form, coordinates, gaps, form from one side
        self.sides_: MemoryBank | None = None  # what whole good clouds look like from one side
        self.usual_: float = 1.0  # mean distance of a good cloud's inside views to those of another
        self._extract: CloudExtractor | None = None
        self.whole_ = False  # whether no good cloud is a scan from one side

    @property
    def fitted(self) -> bool:
        return self.bank_ is not None

    def fold(self) -> Self:
        new = self.unfitted()
        if self.whole_:
            new.views = 0
        return new

    # -- fit -----------------------------------------------------------------------------------------------------------

    def _learn(
        self, samples: Iterable[Sample], truths: Sequence[Truth] | None, progress: Progress, workdir: Path | None
    ) -> None:
        rng = self.rng()
        parts = in_sequence(samples)
        self._extract = self._extractor(Gauge.of(parts, self.cells, self.most))
        clouds, ids = [], []
        for done, sample in enumerate(parts, start=1):
            self._check_modality(sample)
            clouds.append(self._extract(sample, cache=workdir))
            ids.append(sample.id)
            progress("reading good parts", done, len(parts))
        joined = [np.concatenate(cloud.layers, axis=1) for cloud in clouds]
        owners = np.repeat(np.arange(len(joined)), [len(each) for each in joined])
        vectors = np.concatenate(joined)
        self.filter_ = Filter.learned(vectors, self.alike)
        vectors = self.filter_(vectors)
        picks = self._choose(vectors, rng)
        rows = np.zeros((len(picks), 3), np.int32)
        rows[:, 0] = owners[picks]
        self.samples_, self.spots_ = ids, np.concatenate([cloud.places for cloud in clouds])[picks]
        self.bank_ = MemoryBank(vectors[picks], rows)
        whole = [index for index, cloud in enumerate(clouds) if not cloud.one_sided]
        self.whole_, self.sides_ = len(whole) == len(clouds), None
        seen = self._seen(whole, parts, rng, progress) if self.views and whole else None
        if seen is not None:
            some = self._choose(seen.vectors, rng)
            self.sides_ = MemoryBank(seen.vectors[some], np.pad(seen.origins[some], ((0, 0), (0, 1))).astype(np.int32))
        self._measure(clouds, vectors, origins(owners), seen, progress)

    def _extractor(self, gauge: Gauge) -> CloudExtractor:
        return CloudExtractor(self.scales, self.averaged, gauge, changes=True, lean=self.lean)

    def _choose(self, vectors: Array, rng: np.random.Generator) -> Array:
        """Indices of what a bank keeps."""
        if len(vectors) <= self.bank:
            return np.arange(len(vectors))
        return greedy_k_centre(project(vectors, self.projection, rng), self.bank, start=int(rng.integers(len(vectors))))[0]

    def _seen(self, whole: list[int], parts: Sequence[Sample], rng: np.random.Generator, progress: Progress) -> _Seen:
        """What whole good clouds look like from one side."""
        assert self._extract is not None and self.filter_ is not None
        sides = Sides(Subset(parts, whole), self.views, self._extract.gauge.cell)
        vectors, owners, weights = [], [], []
        for done, (view, (pick, side)) in enumerate(zip(sides, sides.origins, strict=True), start=1):
            cloud = self._extract(view)
            some = rng.choice(len(cloud.places), min(len(cloud.places), _HELD // len(sides)), replace=False)
            vectors.append(self.filter_(np.concatenate(cloud.layers, axis=1)[some]))
            weights.append(cloud.weights[some])
            owners.append(origins(np.full(len(some), whole[pick]), side))
            progress("looking from the sides", done, len(sides))
        return _Seen(*(np.concatenate(each) for each in (vectors, owners, weights)))

    def _measure(
        self, clouds: list[CloudFeatures], vectors: Array, owners: Array, seen: _Seen | None, progress: Progress
    ) -> None:
        """What good clouds score that are judged without themselves, in every branch."""
        assert self.bank_ is not None and self._extract is not None
        template, fits = Template.built(clouds, self._extract.gauge.cell, self.seed)
        gallery = np.stack([summary(views(fit.points, *template.box, self.side)) for fit in fits])
        coordinates, far = [], []
        for index, fit in enumerate(fits):
            if fit.pose.sound and len(clouds) > 1:
                coordinates.append(template.distances(fit.points, without=index))
                if index:  # the first cloud is the surface itself
                    far.append(gaps(*template.first, fit.points, fit.normals, template.cell))
            progress("measuring good parts without themselves", index + 1, len(clouds))
        holders = origins(self.bank_.rows[:, 0])
        local = side = apart(vectors, owners, np.ones(len(vectors), np.float32), self.bank_, holders)
        if seen is not None and self.sides_ is not None:
            both = self.bank_.joined(self.sides_)
            holders = np.concatenate([holders, self.sides_.rows[:, :2]])
            side = apart(seen.vectors, seen.origins, seen.weights, both, holders, _ASKED)
        self.levels_ = np.stack([_levels(each) for each in ([local], coordinates, far, [side])])
        ways = np.linalg.norm(gallery[:, None] - gallery[None], axis=2) + np.where(np.eye(len(gallery)), np.inf, 0)
        self.usual_ = max(float(ways.min(axis=1).mean()), 1e-12)
        self.template_, self.gallery_ = template, gallery

    # -- predict -------------------------------------------------------------------------------------------------------

    def _judge(self, sample: Sample, workdir: Path | None) -> Result:
        assert self._extract is not None and self.bank_ is not None and self.filter_ is not None and self.template_ is not None
        cloud = self._extract(sample, cache=workdir)
        vectors = self.filter_(np.concatenate(cloud.layers, axis=1))
        distances, nearest = self.bank_.nearest(vectors, 1)
        branches = {"local": self._level(0, distances[:, 0])}
        if cloud.one_sided and self.sides_ is not None:
            log.warning(HELD_AGAINST_VIEWS, sample.id)
            distances = np.minimum(distances, self.sides_.nearest(vectors, 1)[0])
            branches["local"] = self._level(3, distances[:, 0] * cloud.weights)
        fit = self.template_.fit(cloud, self.seed)
        pieces: list[dict[str, Any]] = []
        if fit.pose.sound:
            lack, pieces = self._missing(cloud.one_sided, fit)
            branches["coordinates"] = np.maximum(self._level(1, self.template_.distances(fit.points)), lack)
        else:
            log.warning("%s: not registered (fitness %.2f), so its local form alone counts", sample.id, fit.pose.fitness)
        weights = {name: getattr(self, name) for name in branches}
        total = sum(weights.values()) or 1.0
        scores = sum(weights[name] * values for name, values in branches.items()) / total
        odd = self._inside(fit)
        worst = int(scores.argmax())
        row = int(nearest[worst, 0])
        return Result(
            id=sample.id,
            score=top_mean(scores, self.top) + self.inside * odd,
            map=scores.astype(np.float32),
            spread=cloud.spread,
            evidence={
                "patch": tuple(cloud.places[worst].tolist()),
                "nearest": [{
                    "sample": self.samples_[self.bank_.rows[row, 0]], "point": tuple(self.spots_[row].tolist()),
                    "distance": float(distances[worst, 0]),
                }],
                "registered": fit.pose.sound, "fitness": fit.pose.fitness, "covered": fit.covered, "inside": odd,
                "one_sided": cloud.one_sided and self.sides_ is not None,
                "missing": pieces,
                "branches": {name: float(values.max()) for name, values in branches.items()},
            },
        )  # fmt: skip

    def _level(self, branch: int, values: Array) -> Array:
        """0 at the middle of good places, 1 at their upper quantile."""
        middle, upper = self.levels_[branch]
        return np.asarray((values - middle) / (upper - middle))

    def _missing(self, one_sided: bool, fit: Fit) -> tuple[Array, list[dict[str, Any]]]:
        """The level of missing surface beside each place, (P,), and its pieces as evidence.

        Of a scan from one side of a part that was learned whole, what is in sight counts. Good clouds that are from one side
        themselves say what to expect to scans alone that show as much.
        """
        assert self.template_ is not None
        none = np.full(len(fit.points), -np.inf)
        if not self.missing or not (self.whole_ or fit.covered >= _WHOLE):
            return none, []
        (surface, _), (middle, upper) = self.template_.first, self.levels_[2]
        far = gaps(*self.template_.first, fit.points, fit.normals, self.template_.cell)
        shown = far < COVERED
        if shown.any():  # the points of a scan may lie farther apart than those of the good ones
            far *= min(1.0, middle / max(float(np.median(far[shown])), 1e-12))
        sight = np.ones(len(far), np.bool_)
        if self.whole_ and one_sided:
            sight = in_sight(surface, shown, fit.normals)
        found, pieces = missing(surface, far, upper, sight, fit.points, self.template_.cell)
        return np.where(found > 0, self.missing * self._level(2, found), none), [self._told(piece, fit) for piece in pieces]

    @staticmethod
    def _told(piece: Piece, fit: Fit) -> dict[str, Any]:
        """Missing surface in the scan's own coordinates."""
        middle = (piece.middle - fit.pose.translation) @ fit.pose.rotation
        return {"point": tuple(middle.tolist()), "across": piece.across}

    def _inside(self, fit: Fit) -> float:
        """How much farther the inside views lie from a good cloud's than another good cloud's do; 0 for partial scans."""
        assert self.template_ is not None
        if not fit.pose.sound or fit.covered < _WHOLE:
            return 0.0
        seen = summary(views(fit.points, *self.template_.box, self.side))
        return float(np.linalg.norm(self.gallery_ - seen, axis=1).min()) / self.usual_ - 1

    # -- model file ----------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        assert self.bank_ is not None and self.filter_ is not None and self._extract is not None and self.template_ is not None
        arrays = {
            "bank": self.bank_.vectors, "rows": self.bank_.rows, "spots": self.spots_, "gallery": self.gallery_,
            "levels": self.levels_, **self.filter_.arrays(), **self.template_.arrays(),
        }  # fmt: skip
        if self.sides_ is not None:
            arrays["sides"] = self.sides_.vectors
        facts = {"samples": self.samples_, "gauge": asdict(self._extract.gauge), "usual": self.usual_, "whole": self.whole_}
        return State(arrays, facts)

    def _restore(self, state: State) -> None:
        gauge, usual, whole = Gauge.restored(state.fact("gauge")), state.fact("usual"), state.fact("whole")
        gallery, levels = state.array("gallery", (None, None)), state.array("levels", (4, 2))
        vectors = state.array("bank", (None, None))
        rows, spots = state.array("rows", (len(vectors), 3), kind="i"), state.array("spots", (len(vectors), 3))
        samples, sides = state.names("samples", len(gallery)), None
        if "sides" in state.arrays:
            seen = state.array("sides", (None, vectors.shape[1]))
            sides = MemoryBank(seen, np.zeros((len(seen), 3), np.int32)) if len(seen) else None
        if (
            not isinstance(usual, float)
            or usual <= 0
            or not isinstance(whole, bool)
            or (levels[:, 1] <= levels[:, 0]).any()
            or not len(vectors)
        ):
            raise BadModelFile("its levels do not fit one another; fit it again")
        if not 0 <= rows[:, 0].min() <= rows[:, 0].max() < len(samples):
            raise BadModelFile("its bank names clouds that are not there; fit it again")
        self.filter_, self.template_ = Filter.restored(state), Template.restored(state, gauge.cell)
        self._extract = self._extractor(gauge)
        self.bank_, self.spots_, self.samples_ = MemoryBank(vectors, rows), spots, samples
        self.gallery_, self.levels_, self.usual_, self.sides_, self.whole_ = gallery, levels, usual, sides, whole


def _levels(values: list[Array]) -> Array:
    """The middle and the upper quantile of a branch, (2,)."""
    joined = np.concatenate([np.zeros(0, np.float32), *values])
    if not len(joined):
        return np.array([0.0, 1.0])
    middle, upper = np.quantile(joined, (_MIDDLE, _UPPER))
    return np.array([middle, max(upper, middle + 1e-6 * max(abs(middle), 1e-6))])
