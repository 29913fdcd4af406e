"""Networks as ONNX graphs: written once at the end of a training, checked against torch, run without it ever after."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from amiss.backbones.export import bare, distance, quiet
from amiss.backbones.runtime import session
from amiss.errors import BadBackbone, BadModelFile, MissingExtra, TrainingFailed

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[Any]
PARITY = 1e-4  # largest gap between torch and ONNX Runtime, as a share of an output's largest value

_OPSET = 18


class Graph:
    """An ONNX graph that is part of a model file."""

    def __init__(self, content: bytes, name: str, inputs: Mapping[str, tuple[int, ...]], outputs: Sequence[str]) -> None:
        """name  for messages     inputs, outputs  what it must ask for and give; raises BadModelFile where it does not"""
        self.content = content
        try:
            self._session = session(content, name)
        except BadBackbone as error:
            raise BadModelFile(f"its graph {error}; fit it again") from error
        met = {one.name: tuple(one.shape) for one in self._session.get_inputs()}
        given = [one.name for one in self._session.get_outputs()]
        if met != dict(inputs) or given != list(outputs):
            raise BadModelFile(
                f"its graph {name!r} turns {met} into {given}, wanted {dict(inputs)} and {list(outputs)}; fit it again"
            )

    def __call__(self, **arrays: Array) -> list[Array]:
        """All outputs in the order of the graph; inputs by name, float32."""
        return [np.asarray(found) for found in self._session.run(None, arrays)]


def check_exporter() -> None:
    """Raise MissingExtra where no graph could be written: asked before a training, not after it."""
    if importlib.util.find_spec("onnxscript") is None:
        raise MissingExtra("turning a network into ONNX needs onnxscript: pip install 'amiss[train]'")


def exported(network: torch.nn.Module, examples: Mapping[str, Array], outputs: Sequence[str], name: str) -> Graph:
    """A network in evaluation mode as a graph of fixed shapes, after its outputs were compared with torch's.

    examples  one float32 array an input, in the order of `forward`     outputs  names, in the order it returns them
    raises    MissingExtra without onnxscript, TrainingFailed where the graph differs by more than PARITY
    """
    import torch

    check_exporter()
    inputs = tuple(torch.from_numpy(array) for array in examples.values())
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            network, inputs, dynamo=True, input_names=list(examples), output_names=list(outputs), opset_version=_OPSET,
            verbose=False,
        )  # fmt: skip
        wanted = [value.numpy() for value in network(*inputs)]
    assert program is not None  # torch gives none only where it is told to write a file
    model = program.model_proto  # written anew each time it is asked for
    bare(model)
    graph = Graph(model.SerializeToString(), name, {key: array.shape for key, array in examples.items()}, outputs)
    gap = max(distance(got, expected) for got, expected in zip(graph(**examples), wanted, strict=True))
    if not gap <= PARITY:
        raise TrainingFailed(
            f"the graph of {name} differs from torch by {gap:.1e} of the largest value, allowed is {PARITY:.0e}"
        )
    return graph
