"""Networks as ONNX graphs: as torch says, the same bytes each time, nothing of this machine, and refused where damaged."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from torch import nn

import amiss
from amiss.errors import BadModelFile, MissingExtra, TrainingFailed
from amiss.kit import graphs
from amiss.kit.graphs import PARITY, Graph, exported
from amiss.kit.training import seeded

Array = npt.NDArray[Any]
SHAPES = {"grid": (1, 3, 5, 4), "number": (1, 2)}
OUTPUTS = ("twice", "mixed")


class Small(nn.Module):
    """Two inputs and two outputs; the second ones are not symmetric in the first."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Upsample((7, 9), mode="bilinear"))
        self.scale = 1.0

    def forward(self, grid: torch.Tensor, number: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return 2 * number, self.scale * self.layers(grid) + number[:, :, None, None]


def network() -> Small:
    with seeded(0):
        return Small().eval()


def inputs(seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


@pytest.fixture(scope="module")
def graph() -> Graph:
    return exported(network(), inputs(), OUTPUTS, "small")


def test_a_graph_says_what_torch_says_of_inputs_it_never_saw(graph: Graph) -> None:
    with torch.no_grad():
        wanted = network()(**{name: torch.from_numpy(array) for name, array in inputs(1).items()})
    found = graph(**inputs(1))
    assert [each.shape for each in found] == [(1, 2), (1, 2, 7, 9)]
    for got, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, expected.numpy(), rtol=1e-5, atol=1e-5)


def test_inputs_go_by_name_and_outputs_by_order(graph: Graph) -> None:
    given = inputs(2)
    np.testing.assert_allclose(graph(number=given["number"], grid=given["grid"])[0], 2 * given["number"], rtol=1e-6)


def test_the_same_network_gives_the_same_bytes_and_another_one_others(graph: Graph) -> None:
    assert exported(network(), inputs(3), OUTPUTS, "small").content == graph.content
    other = network()
    with torch.no_grad():
        other.layers[0].weight += 0.1  # type: ignore[operator, arg-type]
    assert exported(other, inputs(), OUTPUTS, "small").content != graph.content


def test_a_graph_holds_no_paths_of_this_machine(graph: Graph) -> None:
    strange = [Path.cwd(), Path.home(), Path(torch.__file__).parents[1], Path(amiss.__file__).parents[1], Path(__file__).parent]
    for word in (*map(str, strange), "site-packages", ".py", "test_graphs", "Traceback"):
        assert word.encode() not in graph.content, word
    model = onnx.load_from_string(graph.content)
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node) and not model.metadata_props


def test_a_graph_can_be_opened_again(graph: Graph) -> None:
    again = Graph(graph.content, "small", SHAPES, OUTPUTS)
    for one, other in zip(again(**inputs()), graph(**inputs()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_exporting_leaves_torchs_random_state_and_the_network_alone() -> None:
    torch.manual_seed(2)
    before, net = torch.get_rng_state(), network()
    exported(net, inputs(), OUTPUTS, "small")
    assert torch.equal(torch.get_rng_state(), before) and not net.training
    untouched = network().state_dict()
    assert all(torch.equal(value, untouched[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(("gap", "refused"), [(0.5 * PARITY, False), (2 * PARITY, True), (float("nan"), True)])
@pytest.mark.parametrize("which", [0, 1])
def test_a_graph_that_says_something_else_is_refused(
    graph: Graph, gap: float, refused: bool, which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Graph.__call__

    def off(self: Graph, **arrays: Array) -> list[Array]:
        found = honest(self, **arrays)
        found[which] = found[which] + gap * np.abs(found[which]).max()
        return found

    monkeypatch.setattr(Graph, "__call__", off)
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: Program(graph.content))
    if not refused:
        exported(network(), inputs(), OUTPUTS, "small")
        return
    with pytest.raises(TrainingFailed, match=r"small differs from torch.*1e-04"):
        exported(network(), inputs(), OUTPUTS, "small")


class Program:
    """What torch's exporter returns, without its seconds."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def model_proto(self) -> Any:
        return onnx.load_from_string(self._content)


def test_a_network_that_says_no_numbers_is_refused(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: Program(graph.content))
    spoilt = network()
    spoilt.scale = float("nan")
    with pytest.raises(TrainingFailed, match="small differs"):
        exported(spoilt, inputs(), OUTPUTS, "small")


def test_a_missing_exporter_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "onnxscript" else object())
    with pytest.raises(MissingExtra, match=r"pip install 'amiss\[train\]'"):
        exported(network(), inputs(), OUTPUTS, "small")
    with pytest.raises(MissingExtra, match="onnxscript"):
        graphs.check_exporter()


@pytest.mark.parametrize("content", [b"", b"no graph", None], ids=["empty", "text", "truncated"])
def test_a_damaged_graph_is_refused(graph: Graph, content: bytes | None) -> None:
    with pytest.raises(BadModelFile, match=r"(?s)small.*fit it again"):
        Graph(graph.content[:-50] if content is None else content, "small", SHAPES, OUTPUTS)


@pytest.mark.parametrize(
    ("shapes", "outputs"),
    [
        ({**SHAPES, "grid": (1, 3, 4, 5)}, OUTPUTS), ({"grid": SHAPES["grid"]}, OUTPUTS), ({**SHAPES, "more": (1,)}, OUTPUTS),
        ({"cells": SHAPES["grid"], "number": SHAPES["number"]}, OUTPUTS), (SHAPES, OUTPUTS[::-1]), (SHAPES, OUTPUTS[:1]),
    ],
    ids=str,
)  # fmt: skip
def test_a_graph_of_another_network_is_refused(graph: Graph, shapes: dict[str, Any], outputs: tuple[str, ...]) -> None:
    with pytest.raises(BadModelFile, match=r"(?s)small.*wanted.*fit it again"):
        Graph(graph.content, "small", shapes, outputs)
