"""What a detector is: fields say how, fit learns, predict reads.

A method subclasses Detector once and fills in four things: `_learn`, `_judge`, `_state` and `_restore`. The rest, which is
the same for all (checks, seconds, fields, errors), is here.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from amiss import fields
from amiss.errors import BadField, BadModelFile, NotFitted, TooFewSamples, WrongModality
from amiss.types import Result, Sample, Truth

Array = npt.NDArray[Any]
Progress = Callable[[str, int, int | None], None]
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class State:
    """What a fitted detector is made of: arrays by name, small facts as JSON values, ONNX graphs by name."""

    arrays: Mapping[str, Array]
    facts: Mapping[str, Any]
    graphs: Mapping[str, bytes] = dataclasses.field(default_factory=dict)

    def array(self, name: str, shape: Sequence[int | None], *, kind: str = "f") -> Array:
        """A stored array of a known shape; None stands for any length.

        kind  "f" for finite floating-point numbers (a mapped array is not read to look), "i" for whole ones
        raises  BadModelFile where it is missing, shaped otherwise, or holds something else
        """
        found = self.arrays.get(name)
        if found is None:
            raise BadModelFile(f"the model file lacks the array {name!r}; fit it again")
        if len(found.shape) != len(shape) or any(want not in (None, met) for want, met in zip(shape, found.shape, strict=True)):
            raise BadModelFile(f"its array {name!r} has shape {found.shape}, wanted {tuple(shape)}; fit it again")
        if found.dtype.kind != kind or (kind == "f" and not isinstance(found, np.memmap) and not np.isfinite(found).all()):
            raise BadModelFile(f"its array {name!r} does not hold the numbers it should; fit it again")
        return found

    def fact(self, name: str) -> Any:
        """A stored fact; raises BadModelFile where it is missing."""
        if name not in self.facts:
            raise BadModelFile(f"the model file lacks the fact {name!r}; fit it again")
        return self.facts[name]

    def names(self, name: str, count: int) -> list[str]:
        """A stored list of texts, e.g. the ids of fitted samples; raises BadModelFile where it is anything else."""
        value = self.fact(name)
        if not isinstance(value, list) or len(value) != count or not all(isinstance(item, str) for item in value):
            raise BadModelFile(f"its fact {name!r} is no list of {count} names; fit it again")
        return list(value)

    def pair(self, name: str) -> tuple[int, int]:
        """A stored pair of whole numbers, such as a size; raises BadModelFile where it is anything else."""
        value = self.fact(name)
        if (
            not isinstance(value, list)
            or [type(item) for item in value] != [int, int]
            or not 0 < min(value) <= max(value) < 65536
        ):
            raise BadModelFile(f"its fact {name!r} is {value!r}, wanted two whole numbers above zero; fit it again")
        return value[0], value[1]


@dataclasses.dataclass(kw_only=True)
class Detector(ABC):
    """The contract of every method. Fields are its hyper-parameters; names that end in _ are learned."""

    name: ClassVar[str]
    paper: ClassVar[str]
    sees: ClassVar[frozenset[str]]
    needs: ClassVar[frozenset[str]] = frozenset({"normal"})
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    quick: ClassVar[Mapping[str, Any]] = {}
    least: ClassVar[int] = 1
    enough: ClassVar[int] = 1  # good parts from which on it is any good; fewer are warned of
    trained: ClassVar[bool] = False  # a fit takes minutes, so nobody wants six of them for a calibration

    seed: int = fields.option(0, "seed of every random draw", least=0)

    def __post_init__(self) -> None:
        fields.check(self)

    def fit(
        self,
        samples: Iterable[Sample],
        truths: Sequence[Truth] | None = None,
        *,
        progress: Progress | None = None,
        workdir: Path | None = None,
    ) -> Self:
        """Learn from samples, read lazily and possibly more than once.

        samples  re-iterable; good parts unless `needs` says otherwise     truths  where the method's paper needs labels
        progress  called with (stage, done, total or None)     workdir  folder for caches that later fits may share
        raises  TooFewSamples, WrongModality
        """
        if isinstance(samples, Sample):
            raise BadField(f"{self.name}.fit takes several samples, met one; put it in a list")
        if iter(samples) is samples:
            raise BadField(f"{self.name}.fit reads its samples more than once, met a generator; give a list")
        first = list(islice(samples, 1 if isinstance(samples, Sequence) else self.least))
        for sample in first[:1]:
            self._check_modality(sample, self.sees)
        count = len(samples) if isinstance(samples, Sequence) else len(first)
        if count < self.least:
            raise TooFewSamples(f"{self.name} needs {self.least} sample(s) or more to fit, met {count}")
        if isinstance(samples, Sequence) and count < self.enough:
            log.warning("%s learns well from %d parts or more, met %d; other methods need fewer", self.name, self.enough, count)
        self._learn(samples, truths, progress or _silent, workdir)
        return self

    def predict(self, samples: Iterable[Sample], *, workdir: Path | None = None) -> Iterator[Result]:
        """Judge samples one after another; checks now, streams later.

        workdir  folder for caches that other fits and judgements of the same samples may share
        raises  NotFitted at once; WrongModality when such a sample comes by
        """
        if not self.fitted:
            raise NotFitted(f"{self.name} has not been fitted; call fit(samples) first, or load a model")
        if isinstance(samples, Sample):
            raise BadField(f"{self.name}.predict takes several samples, met one; put it in a list")
        return self._stream(samples, workdir)

    def _stream(self, samples: Iterable[Sample], workdir: Path | None) -> Iterator[Result]:
        for sample in samples:
            self._check_modality(sample)
            started = time.perf_counter()
            result = self._judge(sample, workdir)
            yield dataclasses.replace(result, seconds=time.perf_counter() - started)

    def _check_modality(self, sample: Sample, taken: frozenset[str] | None = None) -> None:
        """taken  modalities that will do, those of `reads` if not said"""
        taken = self.reads if taken is None else taken
        if not sample.sees & taken:
            since = " since it was fitted" if taken < self.sees else ""
            raise WrongModality(
                f"{self.name} reads {' or '.join(sorted(taken))}{since}, sample {sample.id!r} has only "
                f"{', '.join(sorted(sample.sees))}; see `amiss methods` for one that reads it"
            )

    @property
    def reads(self) -> frozenset[str]:
        """The modalities that this detector takes: all it sees, until a fit has settled on one."""
        return self.sees

    @property
    def trains(self) -> bool:
        """Whether a fit with these fields trains networks."""
        return self.trained

    @property
    @abstractmethod
    def fitted(self) -> bool:
        """Whether fit or restore has been done."""

    @abstractmethod
    def _learn(
        self, samples: Iterable[Sample], truths: Sequence[Truth] | None, progress: Progress, workdir: Path | None
    ) -> None: ...

    @abstractmethod
    def _judge(self, sample: Sample, workdir: Path | None) -> Result: ...

    @abstractmethod
    def _state(self) -> State: ...

    @abstractmethod
    def _restore(self, state: State) -> None: ...

    def state(self) -> State:
        """Everything learned, in the parts a model file is made of."""
        if not self.fitted:
            raise NotFitted(f"{self.name} has not been fitted; there is nothing to save")
        return self._state()

    def restore(self, state: State) -> Self:
        """Take over what another detector with the same fields has learned."""
        self._restore(state)
        return self

    def fields(self) -> dict[str, Any]:
        """The hyper-parameters as JSON values."""
        return {
            field.name: list(value) if isinstance(value := getattr(self, field.name), tuple) else value
            for field in dataclasses.fields(self)
        }

    def unfitted(self) -> Self:
        """A new detector with the same fields and nothing learned."""
        return type(self)(**{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})

    def fold(self) -> Self:
        """A new detector that is to learn from some of the same good parts and to judge the others, which calibrates this one.

        What such parts do not need may be left out of it.
        """
        return self.unfitted()

    def rng(self) -> np.random.Generator:
        """A generator that starts at the seed."""
        return np.random.default_rng(self.seed)


def build(kind: type[Detector], settings: Mapping[str, Any], *, preset: str | None = None) -> Detector:
    """A detector from named settings; the preset comes first, the settings override it.

    raises  BadField for a name that is not a field, a preset that does not exist, or an impossible value
    """
    if preset is not None and preset not in kind.presets:
        raise fields.unknown(preset, kind.presets, f"presets of {kind.name}")
    known = [field.name for field in dataclasses.fields(kind)]
    for name in settings:
        if name not in known:
            raise fields.unknown(name, known, kind.name)
    return kind(**{**(kind.presets[preset] if preset else {}), **settings})


def _silent(stage: str, done: int, total: int | None) -> None:
    """Progress that nobody watches."""
