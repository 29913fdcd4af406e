"""Vote3Deep: a network over the occupied cells of a cloud that convolves by voting, finds defects and puts boxes about them.

Engelcke, Rao, Wang, Tong, Posner: Vote3Deep: Fast Object Detection in 3D Point Clouds Using Efficient Convolutional Neural
Networks, ICRA 2017, https://arxiv.org/abs/1609.06666. The paper finds cars, pedestrians and cyclists in scans of streets.

What we follow: convolution by feature-centric voting, biases that never rise above zero so that empty cells stay empty, ReLU,
model D of two hidden layers of 3^3 with 8 filters, occupancy, mean and variance of a scalar and shape factors as features,
hinge loss, an L1 penalty on hidden activations, hard negatives, non-maximum suppression in space.
Where we differ: what is found are defects of a part, made on good clouds (`kit/synthesis.py`), or labelled by boxes; the scalar
in the place of reflectance is how odd a place is among good clouds (`kit/oddness.py`); one network has a head for each of three
sizes, which the paper names as future work; a box shrinks about the places in it that belong to the defect (`kit/members.py`);
negatives are mined in every step, not every ten epochs; the optimiser is Adam. The cells lie in the cloud's own frame, so that
no pose has to be tried: the paper turns the cloud.
`amiss methods vote3deep` lists the fields.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from amiss.contract import Detector, Progress, State
from amiss.errors import BadField, BadModelFile, TooFewSamples
from amiss.fields import option
from amiss.kit.anchors import kept, learned
from amiss.kit.clouds import Gauge, points_of
from amiss.kit.finds import Finds, known
from amiss.kit.members import TERMS, Members, span
from amiss.kit.oddness import WAYS, Looker, Oddness, Surface
from amiss.kit.scenes import FEATURES, Cropper, Scene, boxed, defects, highest
from amiss.kit.subset import Subset, in_sequence
from amiss.kit.training import Device, Plan, check_device, checkpoint_file, load_torch, seeded, train
from amiss.kit.voting import Backend, Votes, voted
from amiss.types import Box, Result, Sample, Truth

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)

_HIDDEN = 2  # cells that two layers of 3^3 reach
_MIDDLE, _UPPER = 0.5, 0.995  # quantiles of how odd good places are
_HELD = 4  # of so many defective clouds one is not trained on, to learn the boxes from
_MADE = (6, 10)  # defects on one cloud, fewest and most
# fields that may change when a training is resumed
_NOT_TRAINING = ("steps", "minutes", "device", "threads", "backend", "alarms", "overlap", "boxes")


@dataclass(kw_only=True)
class Vote3Deep(Detector):
    """Defects in boxes, by voting."""

    name: ClassVar[str] = "vote3deep"
    paper: ClassVar[str] = "Engelcke et al., ICRA 2017, https://arxiv.org/abs/1609.06666"
    sees: ClassVar[frozenset[str]] = frozenset({"points"})
    presets: ClassVar[dict[str, dict[str, Any]]] = {"fast": {"made": 16, "steps": 300}}
    quick: ClassVar[dict[str, Any]] = {
        "most": 3000, "bank": 600, "made": 4, "steps": 40, "batch": 2, "side": 22, "kernels": (3, 5, 7),
    }  # fmt: skip
    least: ClassVar[int] = 2
    enough: ClassVar[int] = 4
    trained: ClassVar[bool] = True

    cells: float = option(
        0.62, "edge of a thinning cell, in spacings of the good clouds; a cell of the grid is twice that", above=0
    )
    most: int = option(20_000, "most points looked at, so that cells may be larger", least=200)
    clouds: int = option(12, "most good clouds learned from; of more a sample is taken", least=2)
    bank: int = option(5_000, "good places kept in each bank", least=2)
    made: int = option(32, "clouds with made defects that are trained on", least=0)
    filters: int = option(8, "filters of a hidden layer", least=1)
    kernels: tuple[int, ...] = option(
        (5, 7, 11), "sides of the three heads' kernels, small to large", some=True, least=1, odd=True
    )
    sparse: float = option(0.01, "weight of the L1 penalty on what hidden layers let through", least=0)
    steps: int = option(700, "training steps; 0 leaves the network as it was drawn", least=0)
    minutes: float | None = option(None, "end the training after so many minutes; none for no limit", above=0)
    batch: int = option(4, "pieces of clouds in a training step", least=1)
    side: int = option(28, "cells along an edge of such a piece", least=16)
    rate: float = option(3e-3, "learning rate of Adam", above=0)
    decay: float = option(1e-4, "weight decay", least=0)
    average: float = option(0.98, "decay of the weights' moving average; 0 keeps the last weights", least=0, most=0.9999)
    alarms: float = option(0.1, "boxes on a good cloud that are put up with, which sets the threshold of boxes", least=0)
    overlap: float = option(0.3, "overlap of two boxes from which on the one with the lower score goes", least=0, most=1)
    boxes: int = option(20, "most boxes of a cloud", least=1)
    backend: Backend = option("auto", "how to convolve when judging: by voting, densely, or whichever is faster")
    device: Device = option("cpu", "where the network is trained")
    threads: int = option(1, "CPU threads while training; the last digits of a training hang on how many", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.kernels) != 3 or list(self.kernels) != sorted(self.kernels):
            raise BadField(f"Vote3Deep.kernels = {self.kernels}: wanted three, small to large")
        if self.side <= 2 * self._reach:
            raise BadField(
                f"Vote3Deep.side = {self.side}: kernels of {max(self.kernels)} see {2 * self._reach + 1}; raise side"
            )
        self.oddness_: Oddness | None = None
        self.weights_: dict[str, Array] = {}
        self.anchors_: tuple[float, ...] = ()
        self.members_: Members | None = None
        self.scale_: Array = np.array([[0.0, 1.0]] * len(FEATURES))  # (8, 2) mean and deviation of every feature
        self.levels_: Array = np.array([[0.0, 1.0]] * len(WAYS))  # (3, 2) middle and upper quantile of how odd good places are
        self.threshold_: float = 0.0
        self.trained_: dict[str, Any] = {}
        self._look: Looker | None = None

    @property
    def fitted(self) -> bool:
        return self.members_ is not None

    @property
    def _reach(self) -> int:
        """Cells from which votes reach a cell in the end."""
        return _HIDDEN + max(self.kernels) // 2

    # -- fit -----------------------------------------------------------------------------------------------------------

    def _learn(
        self, samples: Iterable[Sample], truths: Sequence[Truth] | None, progress: Progress, workdir: Path | None
    ) -> None:
        check_device(self.device)  # says what to install before anything is read
        parts = in_sequence(samples)
        good, labelled = self._sorted(parts, truths)
        for sample in (*good, *(sample for sample, _ in labelled)):
            self._check_modality(sample)
        rng = self.rng()
        self._look = Looker(Gauge.of(good, self.cells, self.most))
        surfaces = []
        for number, sample in enumerate(good):
            surfaces.append(self._look(sample, cache=workdir))
            progress("reading good parts", number + 1, len(good))
        self.oddness_ = Oddness.of(surfaces, self.bank)
        odd = [self.oddness_(surface, without=number) for number, surface in enumerate(surfaces)]
        self.levels_ = _levels(np.concatenate(odd))
        clean = [Scene.of(surface, each) for surface, each in zip(surfaces, odd, strict=True)]
        self.scale_ = _moments(np.concatenate([scene.values for scene in clean]))
        spoiled = [self._labelled(sample, truth) for sample, truth in labelled]
        for number in range(self.made):
            spoiled.append(self._made(good, surfaces, number % len(good), rng))
            progress("making defects", number + 1, self.made)
        clean, spoiled = ([scene.scaled(*self.scale_.T) for scene in scenes] for scenes in (clean, spoiled))
        self.anchors_ = _anchors(spoiled)
        few = len(spoiled) < _HELD
        held = spoiled if few else spoiled[::_HELD]
        seen = [scene for number, scene in enumerate(spoiled) if few or number % _HELD]
        told = {name: value for name, value in self.fields().items() if name not in _NOT_TRAINING}
        told["data"] = _digest(parts, truths)
        checkpoint = None if workdir is None or not self.steps else checkpoint_file(workdir, self.name, told["data"], told)
        self.weights_, self.trained_ = self._train([*seen, *clean], told, progress, checkpoint)
        self.members_ = Members.learned(
            [inside for scene in held for inside in known(self._votes(scene), scene, self.anchors_)]
        )
        self.threshold_ = self._threshold(clean)
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)

    def _sorted(
        self, parts: Sequence[Sample], truths: Sequence[Truth] | None
    ) -> tuple[Sequence[Sample], list[tuple[Sample, Truth]]]:
        """Good clouds, no more than asked for, and those whose defects have boxes."""
        if truths is not None and len(truths) != len(parts):
            raise BadField(f"{len(truths)} truths for {len(parts)} samples; give one for each")
        bad = [] if truths is None else [number for number, truth in enumerate(truths) if truth.label]
        good = np.setdiff1d(np.arange(len(parts)), bad)
        if len(good) < self.least:
            raise TooFewSamples(f"{self.name} needs {self.least} good samples or more to fit, met {len(good)}")
        if len(good) > self.clouds:
            log.warning("clouds = %d of %d good clouds are learned from; raise clouds for more", self.clouds, len(good))
            good = np.sort(self.rng().choice(good, self.clouds, replace=False))
        labelled = [(parts[number], truths[number]) for number in bad if truths is not None and truths[number].boxes]
        if len(labelled) < len(bad):
            log.warning("%d defective clouds come without boxes and are left out", len(bad) - len(labelled))
        if not labelled and not self.made:
            raise BadField(
                "made = 0 leaves nothing to train on, since no sample has boxes; raise made, or give truths with boxes"
            )
        return Subset(parts, good), labelled

    def _made(self, good: Sequence[Sample], surfaces: Sequence[Surface], number: int, rng: np.random.Generator) -> Scene:
        """A good cloud with a few made defects, judged without itself."""
        assert self._look is not None and self.oddness_ is not None
        points = np.asarray(points_of(good[number]), np.float64)
        normals = surfaces[number].seen.normals[surfaces[number].went]
        spoilt, marks = defects(points, normals, int(rng.integers(_MADE[0], _MADE[1] + 1)), rng)
        surface = self._look(Sample(id=f"{good[number].id} with made defects", points=spoilt.astype(np.float32)))
        return Scene.of(surface, self.oddness_(surface, without=number), highest(marks, surface.went))

    def _labelled(self, sample: Sample, truth: Truth) -> Scene:
        """A cloud whose defects somebody put boxes about; where its points are marked, only those in a box belong."""
        assert self._look is not None and self.oddness_ is not None
        try:
            marks = boxed(points_of(sample), [(box.low, box.high) for box in truth.boxes], truth.point_mask)
        except BadField as error:
            raise BadField(f"the truth of {sample.id}: {error}") from error
        surface = self._look(sample)
        return Scene.of(surface, self.oddness_(surface), highest(marks, surface.went))

    def _train(
        self, scenes: Sequence[Scene], told: Mapping[str, Any], progress: Progress, checkpoint: Path | None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """The network's weights, and how the training went."""
        torch = load_torch()
        from amiss.kit.voting_net import VotingNet, let_through, loss

        with seeded(self.seed):
            network = VotingNet(len(FEATURES), self.filters, self.kernels)
        reaches = [_HIDDEN + kernel // 2 for kernel in self.kernels]
        crop = Cropper(self.side, self._reach, self.anchors_, reaches)
        plan = Plan(
            steps=self.steps, minutes=self.minutes, batch=self.batch, rate=self.rate, decay=self.decay, average=self.average,
            seed=self.seed, device=self.device, threads=self.threads,
        )  # fmt: skip

        def one(net: Any, batch: Array, noise: Any) -> Any:
            net.project()
            rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=noise, device=self.device)))
            crops = [crop(scenes[number], rng) for number in batch]
            grid, members, cubes = (
                torch.from_numpy(np.stack([getattr(each, part) for each in crops])).to(self.device)
                for part in ("grid", "members", "cubes")
            )
            answer = net(grid, self._reach)
            return loss(answer, cubes, members) + self.sparse * let_through(answer, grid)

        done = train(network, one, len(scenes), plan, progress=progress, told=told, checkpoint=checkpoint)
        network.project()
        if done.by_clock:
            log.warning(
                "the clock ended the training after %d of %d steps; other machines will get further", done.steps, self.steps
            )
        return network.arrays(), {"steps": done.steps, "loss": done.loss if done.steps else None}

    def _threshold(self, clean: Sequence[Scene]) -> float:
        """The lowest score above which good clouds, each judged without itself, have no more boxes than put up with."""
        scores = -np.sort(-np.concatenate([self._finds(scene, self._votes(scene)).scores for scene in clean]))
        allowed = int(self.alarms * len(clean))
        return max(0.0, float(scores[allowed])) if allowed < len(scores) else 0.0

    # -- predict -------------------------------------------------------------------------------------------------------

    def _votes(self, scene: Scene) -> Votes:
        return voted(scene.grid(self._reach), self.weights_, self.backend)

    def _finds(self, scene: Scene, votes: Votes) -> Finds:
        assert self.members_ is not None
        lowest = max(float(self.weights_[f"head{number}.bias"][0]) for number in range(len(self.kernels)))
        return Finds.of(votes, scene, self._reach, self.anchors_, self.members_, most=self.boxes, lowest=lowest)

    def _judge(self, sample: Sample, workdir: Path | None) -> Result:
        assert self._look is not None and self.oddness_ is not None
        points = points_of(sample)
        surface = self._look(sample, cache=workdir)
        scene = Scene.of(surface, self.oddness_(surface)).scaled(*self.scale_.T)
        votes = self._votes(scene)
        finds = self._finds(scene, votes)
        boxes = np.array([span(points[row[surface.went]]) for row in finds.taken], np.float64).reshape(-1, 2, 3)
        chosen = kept(boxes, finds.scores, self.overlap, self.boxes)
        listed = [_box(boxes[number], float(finds.scores[number])) for number in chosen]
        values = self._map(scene, finds)
        return Result(
            id=sample.id,
            score=finds.best,
            map=values,
            spread=surface.seen.spread,
            boxes=tuple(box for box in listed if box.score > self.threshold_),
            evidence={
                "patch": tuple(surface.seen.places[int(values.argmax())].tolist()),
                "best": listed[0] if listed else None, "threshold": self.threshold_, "active": votes.active,
            },
        )  # fmt: skip

    def _map(self, scene: Scene, finds: Finds) -> Array:
        """Half how odd a place is, 1 at the upper quantile of good ones, half how well it lies in a cube with a high score."""
        middle, upper = self.levels_.T
        odd = ((scene.odd - middle) / (upper - middle)).max(axis=1)
        return np.asarray((odd + finds.nearness(scene.positions)) / 2, np.float32)

    # -- model file ----------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        assert self._look is not None and self.oddness_ is not None and self.members_ is not None
        arrays = {
            **self.oddness_.arrays(), **self.weights_, "anchors": np.array(self.anchors_), "members": self.members_.weights,
            "scale": self.scale_, "levels": self.levels_,
        }  # fmt: skip
        facts = {
            "gauge": asdict(self._look.gauge), "cut": self.members_.cut, "threshold": self.threshold_, "trained": self.trained_,
        }  # fmt: skip
        return State(arrays, facts)

    def _restore(self, state: State) -> None:
        gauge, cut, threshold, trained = (state.fact(name) for name in ("gauge", "cut", "threshold", "trained"))
        anchors, members = state.array("anchors", (3,)), state.array("members", (TERMS * (1 + len(WAYS)) + 1,))
        scale, levels = state.array("scale", (len(FEATURES), 2)), state.array("levels", (len(WAYS), 2))
        if (
            not all(isinstance(number, float) and np.isfinite(number) for number in (cut, threshold))
            or not isinstance(trained, dict)
            or anchors.min() <= 0
            or scale[:, 1].min() <= 0
            or (levels[:, 1] <= levels[:, 0]).any()
        ):
            raise BadModelFile("its constants do not fit one another; fit it again")
        weights = {}
        for name, side, given, outputs in self._layers():
            weights[f"{name}.weight"] = state.array(f"{name}.weight", (side, side, side, given, outputs))
            weights[f"{name}.bias"] = state.array(f"{name}.bias", (outputs,))
            if weights[f"{name}.bias"].max() > 0:
                raise BadModelFile(f"the biases of its layer {name!r} rise above zero; fit it again")
        self.oddness_, self._look = Oddness.restored(state), Looker(Gauge.restored(gauge))
        self.weights_, self.anchors_, self.members_ = weights, tuple(anchors.tolist()), Members(members, cut)
        self.scale_, self.levels_, self.threshold_, self.trained_ = scale, levels, threshold, trained

    def _layers(self) -> list[tuple[str, int, int, int]]:
        """Name, side of the kernel, channels in and out."""
        heads = [(f"head{number}", kernel, self.filters, 1) for number, kernel in enumerate(self.kernels)]
        return [
            ("first", 3, len(FEATURES), self.filters), ("second", 3, self.filters, self.filters),
            ("member", 3, self.filters, 1), *heads,
        ]  # fmt: skip


def _box(corners: Array, score: float) -> Box:
    low, high = corners.tolist()
    return Box(low=tuple(low), high=tuple(high), score=score)


def _levels(odd: Array) -> Array:
    middle, upper = np.quantile(odd, (_MIDDLE, _UPPER), axis=0)
    return np.stack([middle, np.maximum(upper, middle + 1e-3)], axis=1)


def _anchors(scenes: Sequence[Scene]) -> tuple[float, ...]:
    edges = np.concatenate([scene.boxes[2] for scene in scenes]).tolist()
    if not edges:
        raise BadField("no box or made defect has enough points in it to learn from; look at the boxes, or raise made or most")
    return learned(edges)


def _moments(values: Array) -> Array:
    """Mean and deviation of every feature, (C, 2); what never varies is left as it is."""
    deviation = values.std(axis=0, dtype=np.float64)
    return np.stack([values.mean(axis=0, dtype=np.float64), np.where(deviation > 1e-6, deviation, 1)], axis=1)


def _digest(parts: Sequence[Sample], truths: Sequence[Truth] | None) -> str:
    """Of everything that is learned from."""
    state = blake2b(digest_size=8)
    for number, sample in enumerate(parts):
        state.update(sample.digest.encode())
        if truths is not None:
            truth = truths[number]
            state.update(repr((truth.label, truth.boxes)).encode())
            state.update(b"" if truth.point_mask is None else truth.point_mask.tobytes())
    return state.hexdigest()
