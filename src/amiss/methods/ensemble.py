"""An ensemble: several detectors judge a part, each measured by what good parts it has not seen score with it.

Roth et al., PatchCore, CVPR 2022, https://arxiv.org/abs/2106.08265, reports ensembles of PatchCores over several backbones.

What we follow: the members' scores and maps are averaged. Where we differ: the published code brings each member to 0..1 by the
least and largest value over the test set, so that a part's score hangs on what else is tested. Here a member's scores are
centred and scaled by their mean and spread over good parts held out from it while these constants are learned; the members that
judge are then fitted on all parts. Members may be any methods.

A member is written `method`, `method/preset`, or `method/preset field=value ...` with + between the items of a list, e.g.
`patchcore size=256 layers=8+16`; quotes hold a value with spaces together.
"""

from __future__ import annotations

import logging
import shlex
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from amiss import catalog
from amiss.contract import Detector, Progress, State, build
from amiss.errors import BadField, BadModelFile
from amiss.fields import option, parse
from amiss.kit.patches import regrid
from amiss.kit.subset import Subset, in_sequence
from amiss.types import Result, Sample, Truth

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)

_FEW = 8
CACHED = 1000  # most parts whose features the members share through a temporary folder, about 1.1 MB each


@dataclass(frozen=True)
class _Level:
    """Mean and spread of a member's scores and map values over good parts that it had not seen."""

    score: tuple[float, float]
    place: tuple[float, float]

    @classmethod
    def of(cls, results: Sequence[Result]) -> _Level:
        scores = np.array([result.score for result in results])
        places = np.concatenate([result.map.ravel() for result in results if result.map is not None])
        return cls(_mean_and_spread(scores), _mean_and_spread(places))


@dataclass(kw_only=True)
class Ensemble(Detector):
    """Several detectors, averaged on a common footing."""

    name: ClassVar[str] = "ensemble"
    paper: ClassVar[str] = "after Roth et al., CVPR 2022, https://arxiv.org/abs/2106.08265"
    sees: ClassVar[frozenset[str]] = frozenset({"image"})
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "patchcore": {"members": ("patchcore", "patchcore size=256 blur=4", "patchcore scale=root")},
        "fast": {"members": ("patchcore/fast", "spade/fast", "padim/fast")},
    }
    quick: ClassVar[dict[str, Any]] = {"members": ("patchcore size=96 bank=200", "padim size=96 grid=8 channels=40")}

    members: tuple[str, ...] = option(
        ("patchcore", "rad", "padim"), "the detectors, as method/preset field=value ...", some=True
    )
    held_out: float = option(0.2, "share of the good parts that a member is measured on", above=0, most=0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        for detector in self.built():
            if "normal" not in detector.needs or detector.name == self.name:
                raise BadField(f"Ensemble.members: {detector.name} cannot be one; wanted methods that learn from good parts")
        self.members_: list[Detector] = []
        self.levels_: Array = np.empty((0, 4))

    def built(self) -> list[Detector]:
        """The members, not yet fitted."""
        return [_member(text, self.seed) for text in self.members]

    @property
    def fitted(self) -> bool:
        return bool(self.members_)

    @property
    def trains(self) -> bool:
        return any(detector.trains for detector in self.built())

    # -- fit -----------------------------------------------------------------------------------------------------------

    def _learn(
        self, samples: Iterable[Sample], truths: Sequence[Truth] | None, progress: Progress, workdir: Path | None
    ) -> None:
        parts = in_sequence(samples)
        rest, held = self._split(len(parts))
        fitted, levels = [], []
        with ExitStack() as stack:
            if workdir is None and len(parts) <= CACHED:
                workdir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="amiss-")))
            for number, detector in enumerate(self.built(), start=1):
                stage = f"member {number} of {len(self.members)}, {detector.name}: "
                told = partial(_told, progress, stage)
                levels.append(self._level(detector, Subset(parts, rest), Subset(parts, held), told, workdir))
                fitted.append(detector.unfitted().fit(parts, progress=told, workdir=workdir))
        self.members_, self.levels_ = fitted, np.array([(*level.score, *level.place) for level in levels])

    def _split(self, count: int) -> tuple[list[int], list[int]]:
        """Indices to fit on and to measure on while the levels are learned."""
        order = self.rng().permutation(count).tolist()
        held = max(1, round(self.held_out * count)) if count > 1 else 0
        return order[held:], order[:held]

    def _level(
        self, detector: Detector, rest: Sequence[Sample], held: Sequence[Sample], progress: Progress, workdir: Path | None
    ) -> _Level:
        if not held:
            log.warning("one good part leaves none to measure the members on; their scores are averaged as they are")
            return _Level((0.0, 1.0), (0.0, 1.0))
        detector.fit(rest, progress=progress, workdir=workdir)
        return _Level.of(list(detector.predict(held, workdir=workdir)))

    # -- predict -------------------------------------------------------------------------------------------------------

    def _judge(self, sample: Sample, workdir: Path | None) -> Result:
        found = [next(member.predict([sample], workdir=workdir)) for member in self.members_]
        scores = [(result.score - mean) / spread for result, (mean, spread, _, _) in zip(found, self.levels_, strict=True)]
        finest = max(found, key=lambda result: 0 if result.map is None else result.map.size)
        worst = found[int(np.argmax(scores))]
        told = [
            {"member": text, "score": result.score, "above_good": score}
            for text, result, score in zip(self.members, found, scores, strict=True)
        ]
        return Result(
            id=sample.id,
            score=float(np.mean(scores)),
            map=None if finest.map is None else self._map(found, finest.map.shape),
            spread=finest.spread,
            evidence={**worst.evidence, "members": told},
        )

    def _map(self, found: Sequence[Result], shape: tuple[int, ...]) -> Array:
        """Mean of the members' maps on the finest grid, each measured against good parts."""
        maps = [
            regrid(((result.map - mean) / spread)[..., None].astype(np.float32), (shape[0], shape[1]))[..., 0]
            for result, (_, _, mean, spread) in zip(found, self.levels_, strict=True)
            if result.map is not None
        ]
        return np.asarray(np.mean(maps, axis=0), np.float32)

    # -- model file ----------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        arrays: dict[str, Array] = {"levels": self.levels_}
        graphs: dict[str, bytes] = {}
        facts = []
        for index, member in enumerate(self.members_):
            state = member.state()
            arrays |= {f"member{index}_{key}": array for key, array in state.arrays.items()}
            graphs |= {f"member{index}_{key}": graph for key, graph in state.graphs.items()}
            facts.append(dict(state.facts))
        return State(arrays, {"members": facts}, graphs)

    def _restore(self, state: State) -> None:
        members = self.built()
        levels, facts = state.array("levels", (len(members), 4)), state.fact("members")
        if not isinstance(facts, list) or len(facts) != len(members):
            raise BadModelFile("its members are not those its fields name; fit it again")
        for index, member in enumerate(members):
            prefix = f"member{index}_"
            arrays = {key[len(prefix) :]: array for key, array in state.arrays.items() if key.startswith(prefix)}
            graphs = {key[len(prefix) :]: graph for key, graph in state.graphs.items() if key.startswith(prefix)}
            member.restore(State(arrays, facts[index], graphs))
        self.members_, self.levels_ = members, levels


def _told(progress: Progress, prefix: str, stage: str, done: int, total: int | None) -> None:
    """Progress of one member, named as such."""
    progress(prefix + stage, done, total)


def _member(text: str, seed: int) -> Detector:
    """The detector that a member's text describes; the ensemble's seed where it names none."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadField(f"Ensemble.members: {text!r}: {error}") from None
    if not words:
        raise BadField("Ensemble.members: met an empty member; wanted method/preset field=value ...")
    method, _, preset = words[0].partition("/")
    kind = catalog.resolve("detector", method)
    settings: dict[str, Any] = {"seed": seed}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if not equals:
            raise BadField(f"Ensemble.members: {word!r} in {text!r}: wanted field=value")
        settings[name.replace("-", "_")] = parse(kind, name, value.replace("+", ","))
    return build(kind, settings, preset=preset or None)


def _mean_and_spread(values: Array) -> tuple[float, float]:
    """Mean and standard deviation; of fewer than eight values never below a tenth of the mean, for they may happen to agree."""
    mean = float(values.mean())
    floor = 0.1 * abs(mean) if len(values) < _FEW else 1e-6 * abs(mean)
    return mean, max(float(values.std()), floor) or 1.0
