"""A model is a fitted detector with its calibration: what load() returns, and what judges parts everywhere."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss import __version__, artifact, catalog
from amiss.backbones.runtime import EMBEDDED, load_graph
from amiss.calibration import Calibration
from amiss.contract import Detector, State, build
from amiss.errors import AmissError, BadModelFile, BadSample
from amiss.geometry.cloud import reduced
from amiss.types import Result, Sample

Array = npt.NDArray[Any]
Reader = Callable[[Any], Sample]

_GOLDEN_SIDE, _GOLDEN_POINTS = 320, 20_000
TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A fitted detector, its calibration if it has one, and where it comes from.

    origin  facts about the fit: data fingerprint, counts, versions     goldens  inputs and scores that verify replays
    read    turns a path into a Sample; given by the front door
    """

    detector: Detector
    calibration: Calibration | None = None
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    goldens: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    read: Reader | None = None

    def predict(self, samples: Iterable[Sample], *, workdir: Path | None = None) -> Iterator[Result]:
        """Judge samples one after another, each with its verdict where the model is calibrated.

        workdir  folder for caches that other fits and judgements of the same samples may share
        """
        results = self.detector.predict(samples, workdir=workdir)
        return (self._with_verdict(result) for result in results)

    def judge(self, part: Sample | Array | str | os.PathLike[str]) -> Result:
        """Judge one part: a Sample, an (H, W, 3) RGB or (H, W) grey array, or the path of a picture."""
        return next(self.predict([self._sample(part)]))

    def _sample(self, part: Sample | Array | str | os.PathLike[str]) -> Sample:
        if isinstance(part, Sample):
            return part
        if isinstance(part, np.ndarray):
            grey = part.ndim == 2
            return Sample(id="array", image=np.repeat(part[..., None], 3, axis=2) if grey else part)
        if self.read is None:
            raise BadSample(f"this model was made without a reader, so it cannot open {part!r}; load it with amiss.load")
        return self.read(part)

    def _with_verdict(self, result: Result) -> Result:
        if self.calibration is None:
            return result
        return dataclasses.replace(result, verdict=self.calibration.judge(result.score))

    # -- model file ----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model file; the embedded backbone is named by digest, any other travels inside."""
        state = self.detector.state()
        graphs = dict(state.graphs)
        embedded = load_graph(EMBEDDED) if graphs else b""
        named = {key: _digest(graph) for key, graph in graphs.items() if graph == embedded}
        description = {
            "amiss": __version__,
            "method": self.detector.name,
            "fields": self.detector.fields(),
            "facts": dict(state.facts),
            "named_graphs": named,
            "calibration": None if self.calibration is None else self.calibration.to_json(),
            "origin": dict(self.origin),
        }
        carried = {key: graph for key, graph in graphs.items() if key not in named}
        artifact.write(path, artifact.Artifact(description, state.arrays, carried, self.goldens))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, read: Reader | None = None) -> Model:
        """Read a model file.

        raises  BadModelFile saying what is wrong with it
        """
        content = artifact.read(path)
        description = content.description
        try:
            graphs = dict(content.graphs)
            for key, digest in description.get("named_graphs", {}).items():
                graphs[key] = _named_graph(digest)
            detector = build(catalog.resolve("detector", description["method"]), description["fields"])
            detector.restore(State(content.arrays, description["facts"], graphs))
            stored = description.get("calibration")
            calibration = None if stored is None else Calibration.from_json(stored)
        except BadModelFile as error:
            raise BadModelFile(f"{os.fspath(path)}: {error}") from error
        except (AmissError, KeyError, TypeError, ValueError) as error:
            raise BadModelFile(f"{os.fspath(path)}: cannot be used by this amiss ({error}); fit it again") from error
        return cls(detector, calibration, description.get("origin", {}), content.goldens, read)

    # -- golden inputs -------------------------------------------------------------------------------------------------

    def with_goldens(self, parts: Iterable[Sample]) -> Model:
        """This model with golden inputs: these parts made small, and a made pattern where it reads pictures."""
        kind = "image" if "image" in self.detector.reads else "points"
        inputs = [_pattern()] if kind == "image" else []
        inputs += [_reduced(sample) if kind == "image" else _thinned(sample) for sample in parts]
        scores = [self.judge(_golden(kind, content)).score for content in inputs]
        goldens = {f"{kind}_{i}": content for i, content in enumerate(inputs)} | {"scores": np.array(scores)}
        return dataclasses.replace(self, goldens=goldens)

    def verify(self) -> list[dict[str, float]]:
        """Replay the golden inputs: the stored score, the score now, and their gap as a share of the largest stored."""
        rows = []
        scores = np.asarray(self.goldens.get("scores", ()), float)
        scale = float(np.abs(scores).max(initial=1e-12))  # a picture that lies whole in the bank scores zero
        for index, stored in enumerate(scores):
            kind = "image" if f"image_{index}" in self.goldens else "points"
            now = self.judge(_golden(kind, self.goldens[f"{kind}_{index}"])).score
            gap = abs(now - float(stored)) / scale
            rows.append({"stored": float(stored), "now": now, "gap": gap})
        return rows


def _digest(graph: bytes) -> str:
    return hashlib.sha256(graph).hexdigest()


def _named_graph(digest: str) -> bytes:
    graph = load_graph(EMBEDDED)
    if _digest(graph) != digest:
        raise BadModelFile(
            f"it was made with another build of {EMBEDDED} (digest {digest[:12]}); install the amiss version it was made "
            "with, or fit it again"
        )
    return graph


def _pattern() -> Array:
    """A made picture that any build of amiss can produce: gradients with a bright square."""
    rows, columns = np.mgrid[0:160, 0:160]
    image = np.stack([rows, columns, (rows * columns) % 160], axis=2).astype(np.uint8)
    image[60:90, 40:70] = 255
    return image


def _golden(kind: str, content: Array) -> Sample:
    return Sample(id="golden", image=content) if kind == "image" else Sample(id="golden", points=content)


def _thinned(sample: Sample) -> Array:
    assert sample.points is not None
    return reduced(sample.points, _GOLDEN_POINTS).astype(np.float32)


def _reduced(sample: Sample) -> Array:
    import cv2

    assert sample.image is not None
    height, width = sample.image.shape[:2]
    share = min(1.0, _GOLDEN_SIDE / max(height, width))
    size = (max(1, round(width * share)), max(1, round(height * share)))
    small = np.asarray(cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA))
    return np.clip(small, 0, 1) if small.dtype == np.float32 else small  # the mean of ones can exceed one by a rounding
