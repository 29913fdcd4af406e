"""Run an ONNX backbone that describes itself in its metadata.

The graph carries one metadata entry, `amiss`, a JSON object:
    taps   list of {name, stride, layer}: graph outputs (N, C, h, w), finest or earliest first; `layer` is the number
           users ask for it by, the stride where it is left out (CNNs), the block for transformers
    mean, std   three numbers each, applied to RGB in 0..1 outside the graph
    token  name of a graph output (N, C) that describes the whole picture, or null: then it is the mean of the last tap
    size   [H, W] where the graph wants one size, null where any size goes
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from amiss import catalog
from amiss.backbones import installed
from amiss.errors import BadBackbone, BadField

Array = npt.NDArray[Any]
EMBEDDED = "efficientnet_lite0"


@dataclass(frozen=True)
class Tap:
    """One graph output: its name, how many input pixels lie between two of its cells, and the number it is asked for by."""

    name: str
    stride: int
    layer: int

    def to_json(self) -> dict[str, Any]:
        """The tap as it stands in the metadata; `layer` only where it says more than the stride."""
        return {"name": self.name, "stride": self.stride} | ({} if self.layer == self.stride else {"layer": self.layer})


@dataclass(frozen=True)
class Description:
    """What a backbone graph says of itself."""

    taps: tuple[Tap, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    token: str | None = None
    size: tuple[int, int] | None = None

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "taps": [tap.to_json() for tap in self.taps]}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Description:
        try:
            raw = json.loads(text)
            size = raw.get("size")
            return cls(
                taps=tuple(_tap(tap) for tap in raw["taps"]),
                mean=_three(raw["mean"]),
                std=_positive(_three(raw["std"])),
                token=raw.get("token"),
                size=None if size is None else (int(size[0]), int(size[1])),
            )
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadBackbone(
                f"the backbone's metadata entry 'amiss' is not as documented ({error!r}); see docs/backbones.md"
            ) from error


def _tap(raw: dict[str, Any]) -> Tap:
    stride = int(raw["stride"])
    return Tap(str(raw["name"]), stride, int(raw.get("layer", stride)))


def _three(values: Sequence[float]) -> tuple[float, ...]:
    if len(values) != 3:
        raise ValueError(f"wanted three numbers, met {values!r}")
    numbers = tuple(float(value) for value in values)
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"wanted three finite numbers, met {values!r}")
    return numbers


def _positive(numbers: tuple[float, ...]) -> tuple[float, ...]:
    if min(numbers) <= 0:
        raise ValueError(f"wanted numbers above zero to divide by, met {numbers!r}")
    return numbers


class Outputs(NamedTuple):
    """What a backbone makes of a batch: feature grids (N, C_l, h_l, w_l) in the asked order, global descriptors (N, C)."""

    grids: list[Array]
    token: Array | None


class Backbone:
    """Pictures in, feature grids out; only the part of the graph that the asked taps need is run."""

    def __init__(self, graph: bytes, layers: Sequence[int] | None, *, name: str, token: bool = False) -> None:
        """graph  serialised ONNX    layers  numbers of the taps to return, in this order; None for all of them
        name  for messages     token  whether the picture's global descriptor is wanted too
        """
        self.name = name
        self.digest = hashlib.sha256(graph).hexdigest()
        model = _model(graph, name)
        self.description = _described(model, name)
        self._taps = _tap_names(self.description, layers, name)
        self._token = self.description.token or self.description.taps[-1].name if token else None
        self._outputs = list(dict.fromkeys([*self._taps, *([self._token] if self._token else [])]))
        _prune(model, self._outputs, name)
        pruned = bytes(model.SerializeToString())
        self._session = session(pruned, name)
        self._input = self._session.get_inputs()[0].name
        self._mean = np.asarray(self.description.mean, np.float32)
        self._std = np.asarray(self.description.std, np.float32)

    def __call__(self, images: Array) -> Outputs:
        """Feature grids of a batch, and its global descriptors where they were asked for.

        images  (N, H, W, 3) float32 RGB in 0..1    return  grids (N, C, h, w) float32, one a tap; token (N, C) | None
        """
        x = (images - self._mean) / self._std
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2), dtype=np.float32)
        try:
            found = dict(zip(self._outputs, self._session.run(self._outputs, {self._input: x}), strict=True))
        except Exception as error:  # onnxruntime raises its own, undocumented kinds
            raise BadBackbone(
                f"{self.name}: ONNX Runtime failed on pictures of {x.shape[2]} x {x.shape[3]} ({error}); where the graph wants "
                "one size, its metadata must name it"
            ) from error
        for tap in self._taps:
            if found[tap].ndim != 4:
                raise BadBackbone(f"{self.name}: the tap {tap!r} has shape {found[tap].shape}, wanted (N, C, h, w)")
        return Outputs([found[tap] for tap in self._taps], self._described_by(found))

    def _described_by(self, found: Mapping[str, Array]) -> Array | None:
        """The token (N, C), or the mean over the last tap where the graph has none."""
        if self._token is None:
            return None
        value = found[self._token]
        if value.ndim not in (2, 4):
            raise BadBackbone(f"{self.name}: the token {self._token!r} has shape {value.shape}, wanted (N, C)")
        return value if value.ndim == 2 else value.mean(axis=(2, 3))


def describe(graph: bytes, name: str) -> Description:
    """What a graph says of itself.

    graph  serialised ONNX     name  for messages     raises  BadBackbone where it says nothing, or not as documented
    """
    return _described(_model(graph, name), name)


def _model(graph: bytes, name: str) -> Any:
    import onnx

    try:
        return onnx.load_model_from_string(graph)
    except Exception as error:  # protobuf raises its own, undocumented kinds
        raise BadBackbone(f"{name}: not an ONNX file ({error}); give the path of an ONNX backbone") from error


def _described(model: Any, name: str) -> Description:
    properties = {entry.key: entry.value for entry in model.metadata_props}
    if "amiss.points" in properties:
        raise BadBackbone(f"{name}: an encoder of point clouds, a backbone for pictures is wanted; give it with --encoder")
    if "amiss" not in properties:
        raise BadBackbone(
            f"{name}: the graph does not describe itself (no metadata entry 'amiss' with taps, strides, mean, std); "
            "see docs/backbones.md for how to add it"
        )
    return Description.from_json(properties["amiss"])


def _tap_names(description: Description, layers: Sequence[int] | None, name: str) -> list[str]:
    by_layer = {tap.layer: tap.name for tap in description.taps}
    for layer in layers or ():
        if layer not in by_layer:
            raise BadField(f"{name} has no tap {layer}; choose layers from {', '.join(map(str, by_layer))}")
    return [by_layer[layer] for layer in (by_layer if layers is None else layers)]


def _prune(model: Any, outputs: list[str], name: str) -> None:
    """Drop, in place, every node and constant that the named outputs do not need."""
    graph = model.graph
    produced = {out: node for node in graph.node for out in node.output}
    promised = {value.name for value in graph.output}.intersection(produced)
    for output in outputs:
        if output not in promised:
            raise BadBackbone(f"{name}: the description names the output {output!r}, the graph has no such output")
    wanted, queue = set(outputs), list(outputs)
    while queue:
        node = produced.get(queue.pop())
        for source in node.input if node is not None else ():
            if source not in wanted:
                wanted.add(source)
                queue.append(source)
    for field, keep in (
        (graph.node, [node for node in graph.node if wanted.intersection(node.output)]),
        (graph.initializer, [value for value in graph.initializer if value.name in wanted]),
        (graph.output, [value for value in graph.output if value.name in outputs]),
    ):
        del field[:]
        field.extend(keep)


def session(graph: bytes, name: str) -> Any:
    """A graph ready to run on the CPU; raises BadBackbone where ONNX Runtime cannot."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # the arena keeps the largest batch's buffers for good
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning threads starve the matrix products
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own, undocumented kinds
        raise BadBackbone(f"{name}: ONNX Runtime cannot run this graph ({error})") from error


def load_graph(backbone: str) -> bytes:
    """The ONNX bytes of a backbone: embedded, installed by the user, or a file.

    backbone  a name that `amiss backbones list` shows, or the path of an ONNX file
    raises  BadBackbone when there is no such backbone; it names those there are
    """
    if backbone in catalog.BACKBONES:
        graph: bytes = catalog.resolve("backbone", backbone)()
        return graph
    if backbone in installed.names():
        return installed.read(backbone)
    path = Path(backbone)
    if not path.is_file():
        raise BadBackbone(_nowhere(backbone))
    return path.read_bytes()


def _nowhere(backbone: str) -> str:
    known = [*catalog.BACKBONES, *installed.names()]
    close = difflib.get_close_matches(backbone, known, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)};"
    return (
        f"backbone {backbone!r}: neither embedded, nor installed, nor an ONNX file on this machine; {hint} "
        "others come with amiss backbones get NAME, export NAME or add FILE (docs/backbones.md)"
    )
