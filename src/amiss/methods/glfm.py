"""GLFM: one model for clouds of many kinds of parts; each goes to the bank of its kind, without being told which that is.

Cheng, Cao, Wang, Shen, Li: Boosting Global-Local Feature Matching via Anomaly Synthesis for Multi-Class Point Cloud Anomaly
Detection, IEEE TASE 22, 2025, https://arxiv.org/abs/2505.07375; code https://github.com/hustCYQ/GLFM-Multi-class-3DAD.

What we follow: the three stages. I: defects are made by stretching good clouds, and features are adapted by telling them apart,
with focal and Dice loss. II: a bank of global descriptors, whose centres divide the good clouds, and a bank of local ones for
each centre, reduced by greedy k-centre selection. III: a cloud goes to the nearest centre, its places score their distance to
the nearest local feature there.
Where we differ: the descriptors are FPFH at several scales and how far the surroundings lean (`kit/clouds.py`), not Point-MAE's
tokens, so that nothing need be learned; stage I is layers on top of them, and off by default (`steps`), because no gain
on made parts was measured (docs/methods/glfm.md). The global descriptor holds sides and distances too. Where the two nearest
centres are about as near both banks answer (`soft`); a cloud that is unlike every good one is routed by its places. The number
of centres is found (`centres`). A cloud's score is the mean of the top share of places; `score = mean` is the paper's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from amiss.contract import Detector, Progress, State
from amiss.errors import BadField, BadModelFile
from amiss.fields import byte_count, option
from amiss.kit.adapted import ROWS, Adapted
from amiss.kit.candidates import Candidates
from amiss.kit.clouds import CloudExtractor, CloudFeatures, Gauge
from amiss.kit.coreset import greedy_k_centre, project
from amiss.kit.graphs import check_exporter, exported
from amiss.kit.lessons import lessons
from amiss.kit.maps import top_mean
from amiss.kit.memory import MemoryBank
from amiss.kit.routing import BINS, Clustering, Route, Router, described
from amiss.kit.subset import in_sequence
from amiss.kit.synthesis import Ranges
from amiss.kit.training import Device, Plan, check_device, checkpoint_file, load_torch, seeded, train
from amiss.types import Result, Sample, Truth

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)

_ASKED = 500  # places that tell which bank a cloud belongs to
_SHARES = Ranges(share=(0.002, 0.02))  # of a cloud's points in a made defect: parts with small ones have to be found too
_NOT_TRAINING = ("steps", "minutes", "device", "threads", "centres", "clustering", "bank", "soft", "score", "top", "adapted")


@dataclass(frozen=True)
class _Gathered:
    """What one pass over the good clouds yields: local features, what each cloud is like as a whole, whether it is a scan
    from one side, ids, digests and places.
    """

    candidates: Candidates
    wholes: list[list[Array]]
    sides: list[bool]
    ids: list[str]
    digests: list[str]
    places: list[Array]


@dataclass(kw_only=True)
class GLFM(Detector):
    """Clouds of many kinds of parts: a global bank that routes to local ones."""

    name: ClassVar[str] = "glfm"
    paper: ClassVar[str] = "Cheng et al., IEEE TASE 2025, https://arxiv.org/abs/2505.07375"
    sees: ClassVar[frozenset[str]] = frozenset({"points"})
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "adapted": {"steps": 400},
        "fast": {"cells": 1.4, "scales": (3.0, 4.5), "bank": 2000},
    }
    quick: ClassVar[dict[str, Any]] = {"bank": 500, "most": 3000}

    cells: float = option(1.0, "edge of a thinning cell, in spacings of the good clouds", above=0)
    most: int = option(20_000, "most points looked at, so that cells may be larger", least=200)
    scales: tuple[float, ...] = option((2.5, 4.0, 6.0), "radii that descriptors look at, in cells", some=True, above=0)
    averaged: float = option(2.2, "radius that descriptors are averaged over, in cells; 0 for none", least=0)
    lean: float = option(1.0, "weight of how far the surroundings lean to one side; 0 for none", least=0)
    centres: int | None = option(None, "centres of the global bank; none for as many as stand apart", least=1)
    clustering: Clustering = option("means", "how centres are found: k-means, or the cloud farthest from all others")
    soft: float = option(0.1, "the second nearest centre counts too where it is farther by less than this share", least=0)
    bank: int | None = option(5_000, "most local features kept for each centre; none for no limit", least=1)
    projection: int | None = option(64, "dimensions for the choice of the banks only; none for all", least=1)
    score: Literal["top", "mean", "max"] = option("top", "rule that turns the places' scores into the cloud's")
    top: float = option(0.01, "share of places averaged by the score rule `top`", above=0, most=1)
    steps: int = option(0, "steps of the training that adapts the descriptors; 0 for the descriptors as they are", least=0)
    minutes: float | None = option(None, "end the training after so many minutes; none for no limit", above=0)
    lessons: int = option(40, "good clouds with made defects to train on", least=1)
    hidden: tuple[int, ...] = option(
        (64, 32), "widths of the trained layers; the last one is joined to the descriptor", least=1
    )
    adapted: float = option(0.5, "weight of what is joined, where 1 lets it count as much as the descriptor", above=0)
    rate: float = option(1e-3, "learning rate of Adam", above=0)
    memory: str = option("1GB", "budget for the local features held while fitting", bytes=True)
    device: Device = option("cpu", "where the network is trained")
    threads: int = option(1, "CPU threads while training; the last digits of a training hang on how many", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.hidden:
            raise BadField("GLFM.hidden = (): wanted one layer or more")
        self.banks_: list[MemoryBank] = []
        self.spots_: Array = np.empty((0, 3), np.float32)  # of all banks' features, one bank after the other
        self.router_: Router | None = None
        self.adapted_: Adapted | None = None
        self.rims_ = False  # whether good clouds have rims, so that those of a scan can be judged
        self.samples_: list[str] = []
        self.trained_: dict[str, Any] = {}
        self._extract: CloudExtractor | None = None

    @property
    def fitted(self) -> bool:
        return self.router_ is not None

    @property
    def trains(self) -> bool:
        return self.steps > 0

    # -- fit -----------------------------------------------------------------------------------------------------------

    def _learn(
        self, samples: Iterable[Sample], truths: Sequence[Truth] | None, progress: Progress, workdir: Path | None
    ) -> None:
        if self.steps:
            check_device(self.device)  # both say what to install before anything is read
            check_exporter()
        rng = self.rng()
        parts = in_sequence(samples)
        self._extract = self._extractor(Gauge.of(parts, self.cells, self.most))
        found = self._gather(parts, rng, progress, workdir)
        aside = np.random.default_rng([self.seed, 1])  # so that how the banks are chosen does not hang on it
        self.router_, member = Router.of(found.wholes, self.centres, aside, self.clustering)
        vectors, rows = found.candidates.vectors(), found.candidates.rows()
        self.adapted_, self.trained_ = None, {"steps": 0, "loss": None}
        checkpoint = None
        if self.steps:
            checkpoint = self._adapt(parts, found, progress, workdir)
        rows[:, 2], self.rims_ = member[rows[:, 0]], any(found.sides)
        self.banks_ = self._banks(vectors, rows, rng, progress)
        self.samples_ = found.ids
        kept = np.concatenate([bank.rows for bank in self.banks_])
        self.spots_ = np.stack([found.places[sample][place] for sample, place, _ in kept])
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)

    def _extractor(self, gauge: Gauge) -> CloudExtractor:
        return CloudExtractor(self.scales, self.averaged, gauge, lean=self.lean)

    def _local(self, features: CloudFeatures) -> Array:
        """All descriptors of every place, (P, C) float32."""
        return np.concatenate(features.layers, axis=1, dtype=np.float32)

    def _whole(self, local: Array, features: CloudFeatures) -> list[Array]:
        assert self._extract is not None
        return described(local, features.places, self._extract.gauge.high)

    def _gather(self, parts: Sequence[Sample], rng: np.random.Generator, progress: Progress, cache: Path | None) -> _Gathered:
        """Each good cloud read once."""
        assert self._extract is not None
        candidates = Candidates(0, rng)
        wholes, sides, ids, digests, places = [], [], [], [], []
        for index, sample in enumerate(parts):
            self._check_modality(sample)
            features = self._extract(sample, cache=cache)
            local = self._local(features)
            if not index:
                candidates = Candidates(self._capacity(local.shape[1]), rng)
            rows = np.zeros((len(local), 3), np.int32)
            rows[:, 0], rows[:, 1] = index, np.arange(len(rows))
            candidates.add(local, rows)
            wholes.append(self._whole(local, features))
            sides.append(features.one_sided)
            ids.append(sample.id)
            digests.append(sample.digest)
            places.append(features.places)
            progress("reading good parts", index + 1, len(parts))
        if candidates.sampled:
            log.warning(
                "memory = %s holds %d of %d places; the banks are chosen from a uniform sample of them",
                self.memory, len(candidates.rows()), candidates.seen,
            )  # fmt: skip
        return _Gathered(candidates, wholes, sides, ids, digests, places)

    def _capacity(self, channels: int) -> int:
        """How many candidates the budget holds: each, what the network adds, its copy and projections, and bookkeeping."""
        joined = channels + (self.hidden[-1] if self.steps else 0)
        return byte_count(self.memory) // (4 * (channels + joined + 2 * min(joined, self.projection or joined)) + 56)

    def _banks(self, vectors: Array, rows: Array, rng: np.random.Generator, progress: Progress) -> list[MemoryBank]:
        """One for each centre, from the good clouds that go there; rows  (N, 3), whose last column is the centre."""
        assert self.router_ is not None
        banks = []
        for centre in range(len(self.router_.centres)):
            mine = np.flatnonzero(rows[:, 2] == centre)
            if not len(mine):
                raise BadField(f"memory = {self.memory} holds no place of some kinds of parts; raise it, or set centres")
            joined = self._joined(vectors[mine] if len(mine) < len(vectors) else vectors)
            picks = self._choose(joined, rng, progress)
            banks.append(MemoryBank(joined[picks], rows[mine[picks]]))
        return banks

    def _choose(self, vectors: Array, rng: np.random.Generator, progress: Progress) -> Array:
        """Indices of what a bank keeps."""
        start, count = int(rng.integers(len(vectors))), min(self.bank or len(vectors), len(vectors))
        if count == len(vectors):
            return np.arange(count)
        reduced = project(vectors, self.projection, rng)
        picks, radius = greedy_k_centre(
            reduced, count, start=start, progress=lambda done, total: progress("choosing the banks", done, total)
        )
        log.info("bank: %d of %d places, covering radius %.4g", len(picks), len(vectors), radius)
        return picks

    # -- stage I -------------------------------------------------------------------------------------------------------

    def _joined(self, local: Array) -> Array:
        """Descriptors, and beside them what the network makes of them where there is one."""
        return local if self.adapted_ is None else self.adapted_(local)

    def _adapt(self, parts: Sequence[Sample], found: _Gathered, progress: Progress, workdir: Path | None) -> Path | None:
        """Train the layers on made defects, and find the weight at which they count as much as the descriptors."""
        vectors, rows, rng = found.candidates.vectors(), found.candidates.rows(), np.random.default_rng([self.seed, 2])
        kept = {name: value for name, value in self.fields().items() if name not in _NOT_TRAINING}
        data = blake2b("".join(found.digests).encode(), digest_size=8).hexdigest()
        checkpoint = None if workdir is None else checkpoint_file(workdir, self.name, data, kept)
        taught = self._taught(parts, rng, progress)
        adapter = self._train(taught, vectors, {**kept, "data": data}, progress, checkpoint)
        graph = exported(adapter, {"descriptor": np.zeros((ROWS, vectors.shape[1]), np.float32)}, ("hidden",), "network")
        some = rng.choice(len(vectors), min(len(vectors), 2 * ROWS), replace=False)
        self.adapted_ = Adapted.weighed(graph, vectors[some], rows[some, 0], self.adapted)
        return checkpoint

    def _taught(self, parts: Sequence[Sample], rng: np.random.Generator, progress: Progress) -> list[tuple[Array, Array]]:
        """Descriptors of good clouds with made defects, and which of their places are marked."""
        assert self._extract is not None
        taught = []
        for made in lessons(parts, self.lessons, self._extract, rng, ranges=_SHARES):
            taught.append((self._local(made.features), made.marked))
            progress("making defects", len(taught), self.lessons)
        return taught

    def _train(
        self,
        taught: list[tuple[Array, Array]],
        vectors: Array,
        told: dict[str, Any],
        progress: Progress,
        checkpoint: Path | None,
    ) -> Any:
        """The layers, trained; vectors  (N, C) descriptors of good clouds     told  what the result hangs on"""
        torch = load_torch()
        from amiss.kit.adaptation import Adapter, Segmenter

        mean, deviation = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
        deviation = np.maximum(deviation, 0.01 * deviation.max() + np.finfo(np.float32).tiny)
        with seeded(self.seed):
            network = Segmenter(Adapter(mean, deviation, self.hidden), self.hidden[-1])
        plan = Plan(
            steps=self.steps, minutes=self.minutes, batch=1, rate=self.rate, seed=self.seed, device=self.device,
            threads=self.threads,
        )  # fmt: skip

        def loss(segmenter: Any, batch: Array, noise: Any) -> Any:
            return segmenter.loss(*(torch.from_numpy(array).to(self.device) for array in taught[int(batch[0])]))

        done = train(network, loss, len(taught), plan, progress=progress, told=told, checkpoint=checkpoint)
        if done.by_clock:
            log.warning(
                "the clock ended the training after %d of %d steps; other machines will get further", done.steps, self.steps
            )
        self.trained_ = {"steps": done.steps, "loss": done.loss}
        return network.adapter

    # -- predict -------------------------------------------------------------------------------------------------------

    def _judge(self, sample: Sample, workdir: Path | None) -> Result:
        assert self._extract is not None
        features = self._extract(sample, cache=workdir)
        local = self._local(features)
        route, by = self._route(sample.id, local, features)
        vectors = self._joined(local)
        found = [self.banks_[centre].nearest(vectors) for centre in route.used]
        distances, nearest = (np.stack([answer[part][:, 0] for answer in found]) for part in (0, 1))  # (banks, P)
        answered = distances.argmin(axis=0)
        scores = self._quiet(distances.min(axis=0), features)
        worst = int(scores.argmax())
        bank = route.used[int(answered[worst])]
        return Result(
            id=sample.id,
            score=self._score(scores),
            map=scores,
            spread=features.spread,
            evidence={
                "patch": tuple(features.places[worst].tolist()),
                "nearest": [self._good(bank, int(nearest[answered[worst], worst]), float(scores[worst]))],
                "route": {
                    "centre": route.centre, "by": by, "distances": route.distances.tolist(), "used": list(route.used),
                    "shares": (np.bincount(answered, minlength=len(found)) / len(answered)).tolist(),
                },
            },
        )  # fmt: skip

    def _route(self, name: str, local: Array, features: CloudFeatures) -> tuple[Route, str]:
        """Which banks answer, by what the cloud is like as a whole, or by its places where it is unlike all good ones."""
        assert self.router_ is not None
        route = self.router_.route(self._whole(local, features), self.soft)
        if not route.far or len(self.banks_) == 1:
            return route, "whole"
        log.warning("%s is unlike every good part as a whole, so some of its places say which bank it goes to", name)
        some = self._joined(local[np.unique(np.linspace(0, len(local) - 1, _ASKED).round().astype(int))])
        return Route.of(np.array([bank.nearest(some)[0].mean() for bank in self.banks_]), self.soft), "places"

    def _quiet(self, scores: Array, features: CloudFeatures) -> Array:
        """Scores near the rim of a scan from one side say nothing to a model of whole parts: the middle one stands there."""
        rim = features.rim
        if self.rims_ or not features.one_sided or rim.all():
            return scores
        return np.where(rim, np.median(scores[~rim]), scores)

    def _score(self, scores: Array) -> float:
        if self.score == "max":
            return float(scores.max())
        return top_mean(scores, self.top if self.score == "top" else 1.0)

    def _good(self, centre: int, row: int, distance: float) -> dict[str, Any]:
        """The good place that answered: its sample, where it lies in it, and how far it is."""
        before = sum(len(bank) for bank in self.banks_[:centre])
        sample = self.samples_[self.banks_[centre].rows[row, 0]]
        return {"sample": sample, "point": tuple(self.spots_[before + row].tolist()), "distance": distance}

    # -- model file ----------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        assert self._extract is not None and self.router_ is not None
        arrays = {
            "bank": np.concatenate([bank.vectors for bank in self.banks_]),
            "rows": np.concatenate([bank.rows for bank in self.banks_]), "spots": self.spots_,
            "centres": self.router_.centres, "scales": self.router_.scales, "reaches": self.router_.reaches,
        }  # fmt: skip
        facts = {
            "samples": self.samples_, "gauge": asdict(self._extract.gauge), "rims": self.rims_, "trained": self.trained_,
            "weight": 0.0 if self.adapted_ is None else self.adapted_.weight,
        }  # fmt: skip
        return State(arrays, facts, {} if self.adapted_ is None else {"network": self.adapted_.graph.content})

    def _restore(self, state: State) -> None:
        extract = self._extractor(Gauge.restored(state.fact("gauge")))
        channels = sum(extract.channels)
        width = channels + (self.hidden[-1] if self.steps else 0)
        bank, rows = state.array("bank", (None, width)), state.array("rows", (None, 3), kind="i")
        spots, centres = state.array("spots", (len(bank), 3)), state.array("centres", (None, 2 * channels + 3 + BINS))
        router = Router(centres, state.array("scales", (4,)), state.array("reaches", (len(centres),)))
        samples, rims, weight, trained = (state.fact(name) for name in ("samples", "rims", "weight", "trained"))
        ids = state.names("samples", len(samples) if isinstance(samples, list) else 0)
        whole = len(rows) == len(bank) > 0 and set(np.unique(rows[:, 2]).tolist()) == set(range(len(centres)))
        if not whole or (np.diff(rows[:, 2]) < 0).any() or not 0 <= rows[:, 0].min() <= rows[:, 0].max() < len(ids):
            raise BadModelFile("its arrays do not fit one another; fit it again")
        if router.scales.min() <= 0 or router.reaches.min() < 0 or not isinstance(rims, bool):
            raise BadModelFile("its routes cannot be; fit it again")
        if not isinstance(weight, float) or not 0 <= weight < np.inf or not isinstance(trained, dict):
            raise BadModelFile("its training cannot be; fit it again")
        if self.steps and "network" not in state.graphs:
            raise BadModelFile("the model file lacks its trained network; fit it again")
        self._extract = extract
        self.adapted_ = Adapted.restored(state.graphs["network"], channels, weight) if self.steps else None
        self.banks_ = [MemoryBank(bank[rows[:, 2] == k], rows[rows[:, 2] == k]) for k in range(len(centres))]
        self.spots_, self.router_, self.samples_ = spots, router, ids
        self.rims_, self.trained_ = rims, trained
