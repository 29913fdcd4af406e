"""timm networks as ONNX graphs that describe themselves. Needs the extra `timm`; judging never does.

The graph is traced by torch's own exporter (torch.export; it needs onnxscript), since the older one, TorchScript, is
deprecated. TensorFlow's SAME padding is handed over as ONNX knows it: traced as arithmetic on unknown sides it takes minutes.
Before a graph is handed out it is run beside the torch network; where they differ by more than 1e-4 there is no graph.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from amiss.backbones.fetch import by_hand, file_sha256, offline
from amiss.backbones.published import PUBLISHED, Published, architecture
from amiss.backbones.runtime import Backbone, Description
from amiss.backbones.timm_taps import Norm, Tapped, Wish, tapped
from amiss.errors import AmissError, BadBackbone
from amiss.fields import unknown

PARITY = 1e-4  # largest gap between torch and ONNX Runtime, as a share of an output's largest value

_OPSET = 18
_LARGEST = 2**31 - 2**24  # bytes of weights; one protobuf file cannot hold 2 GB
_TRACED, _COMPARED = (2, 96, 128), ((1, 64, 96), (2, 65, 97))  # (N, H, W) for networks of free size


@dataclass(frozen=True)
class Exported:
    """graph  ONNX bytes     gap  largest difference from torch, a share of the largest value     source  what it is made of"""

    graph: bytes
    gap: float
    source: dict[str, Any]


def export(
    name: str,
    *,
    weights: Path | None = None,
    layers: tuple[int, ...] | None = None,
    size: int | None = None,
    norm: Norm = "final",
) -> Exported:
    """A timm network with taps, as an ONNX graph.

    name    of the published table, or any timm name     weights  a .safetensors or .pth file; None for timm's own download
    layers  strides (convolutional) or block numbers from 0 (transformers); None for 4, 8, 16, 32 or for blocks at a quarter,
            a half, three quarters and the end     size  side of the picture, transformers only; None for timm's
    norm    whether a transformer's taps pass its final LayerNorm
    raises  BadBackbone where weights do not fit, timm is missing or the graph differs from torch; BadField for what cannot be
    """
    if missing():
        raise BadBackbone(
            f"{missing()} (several GB). Nothing else needs them: export on another machine with --out FILE, bring the file "
            "here, and amiss backbones add FILE"
        )
    if norm not in get_args(Norm):
        raise unknown(norm, get_args(Norm), "--norm")
    wish = Wish(architecture=_architecture(name), weights=weights, layers=layers, size=size, norm=norm)
    with quiet():
        network = _network(name, wish)
        source = _source(network, weights)
        graph = _described(_traced(name, network), network, source)
        gap = _gap(name, network, graph)
    if not gap <= PARITY:
        raise BadBackbone(f"{name}: the graph differs from torch by {gap:.1e} of the largest value, allowed is {PARITY:.0e}")
    return Exported(graph, gap, source)


def missing() -> str:
    """What to install before anything can be exported; empty where nothing is missing."""
    absent = [name for name in ("torch", "torchvision", "timm", "onnxscript") if importlib.util.find_spec(name) is None]
    return f"exporting needs {', '.join(absent)}: pip install 'amiss[timm]'" if absent else ""


def _architecture(name: str) -> str:
    import timm

    if not timm.is_model(architecture(name)):
        raise unknown(name, [*PUBLISHED, *timm.list_models(), *timm.list_pretrained()], "timm")
    return architecture(name)


def _network(name: str, wish: Wish) -> Tapped:
    """The network with its weights; where they cannot be had from the net, the error says which file to bring."""
    if wish.weights is None and offline():
        raise BadBackbone(f"AMISS_OFFLINE forbids the network, so timm fetches nothing. {_bring(name)}")
    try:
        return tapped(wish)
    except AmissError:
        raise
    except Exception as error:  # timm's download raises what its libraries raise
        if wish.weights is not None:
            raise
        raise BadBackbone(f"timm cannot fetch the weights of {name} ({error}). {_bring(name)}") from error


def _bring(name: str) -> str:
    import timm

    if name in PUBLISHED:
        return by_hand(PUBLISHED[name])
    told = timm.get_pretrained_cfg(name)
    if told is None or not (told.hf_hub_id or told.url):
        return f"timm knows no weights for {name}; bring your own with --weights FILE"
    hub = f"https://huggingface.co/{told.hf_hub_id}/resolve/main/model.safetensors"
    return by_hand(Published(name, name, hub if told.hf_hub_id else told.url, told.license or "unknown"))


# -- tracing -----------------------------------------------------------------------------------------------------------


def _traced(name: str, network: Tapped) -> Any:
    """The ONNX model as torch's exporter writes it."""
    import torch

    held = sum(value.numel() * value.element_size() for value in network.model.state_dict().values())
    if held > _LARGEST:
        raise BadBackbone(
            f"{name}: {held / 2**30:.1f} GB of weights do not fit into one ONNX file (2 GB); choose a smaller one"
        )
    batch, height, width = (2, *network.size) if network.size else _TRACED
    free = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        _with_onnx_padding(network.module),
        (torch.zeros(batch, 3, height, width),),
        dynamo=True,
        dynamic_shapes={"image": {0: free} if network.size else {0: free, 2: free, 3: free}},
        input_names=["image"],
        output_names=network.outputs,
        opset_version=_OPSET,
        verbose=False,
    )
    assert program is not None  # torch gives none only where it is told to write a file
    return program.model_proto


def _with_onnx_padding(module: Any) -> Any:
    """A copy in which every convolution with TensorFlow's SAME padding is ONNX's own node for it."""
    import torch
    from timm.layers import Conv2dSame

    class Same(torch.nn.Module):  # type: ignore[misc,unused-ignore]
        def __init__(self, found: Any) -> None:
            super().__init__()
            self.found = found

        def forward(self, x: Any) -> Any:
            (down, across), weight = self.found.stride, self.found.weight
            return torch.onnx.ops.symbolic(
                "Conv",
                (x, weight) if self.found.bias is None else (x, weight, self.found.bias),
                {
                    "auto_pad": "SAME_UPPER", "strides": [down, across], "group": self.found.groups,
                    "kernel_shape": list(weight.shape[2:]), "dilations": list(self.found.dilation),
                },
                dtype=x.dtype,
                shape=(x.shape[0], weight.shape[0], -(-x.shape[2] // down), -(-x.shape[3] // across)),
                version=_OPSET,
            )  # fmt: skip

    if not any(type(part) is Conv2dSame for part in module.modules()):
        return module
    exported = copy.deepcopy(module)
    for parent in list(exported.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is Conv2dSame:
                setattr(parent, name, Same(child))
    return exported


def _described(model: Any, network: Tapped, source: dict[str, Any]) -> bytes:
    """The serialised graph with its description."""
    from onnx import TensorProto, checker, helper

    bare(model)
    graph = model.graph
    for field in (graph.input, graph.output):
        del field[:]
    graph.name = source["timm"]
    height, width = network.size or ("h", "w")
    shapes: list[tuple[str, list[int | str | None]]] = [
        (tap.name, ["n", channels, None, None]) for tap, channels in zip(network.taps, network.channels, strict=True)
    ]
    if network.token:
        shapes.append((network.token, ["n", network.channels[-1]]))
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, height, width]))
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes)
    told = network.model.pretrained_cfg
    description = Description(network.taps, tuple(told["mean"]), tuple(told["std"]), network.token, network.size)
    helper.set_model_props(model, {"amiss": description.to_json(), "amiss.source": json.dumps(source, sort_keys=True)})
    checker.check_model(model)
    return bytes(model.SerializeToString())


def bare(model: Any) -> None:
    """Take out, in place, what the tracer notes on every node: paths of this machine, and the shapes it saw."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for field in (model.graph.value_info, model.graph.metadata_props, model.metadata_props):
        del field[:]


def _source(network: Tapped, weights: Path | None) -> dict[str, Any]:
    """What a graph is made of: architecture, weights file with its digest, digest over all tensors, versions, licence."""
    import timm
    import torch

    told = network.model.pretrained_cfg
    file = None if weights is None else {"file": weights.name, "sha256": file_sha256(weights)}
    return {
        "timm": ".".join(filter(None, (told["architecture"], told.get("tag")))),
        "weights": file or {"downloaded_by_timm": told.get("hf_hub_id") or told.get("url")},
        "tensors_sha256": tensors_sha256(network.model),
        "licence": told.get("license"),
        "torch": str(torch.__version__),
        "timm_version": timm.__version__,
    }


def tensors_sha256(model: Any) -> str:
    """One digest over the names, shapes and values of all tensors, whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


# -- parity ------------------------------------------------------------------------------------------------------------


def _gap(name: str, network: Tapped, graph: bytes) -> float:
    """Largest difference between torch and the graph over noise of several sizes, as a share of each output's largest value."""
    import torch

    backbone = Backbone(graph, None, name=name, token=True)
    rng = np.random.default_rng(0)
    worst = 0.0
    for shape in [(1, *network.size), (3, *network.size)] if network.size else _COMPARED:
        images = rng.random((*shape, 3), np.float32)
        mean, std = (np.asarray(values, np.float32) for values in (backbone.description.mean, backbone.description.std))
        with torch.no_grad():
            wanted = network.module(torch.from_numpy((((images - mean) / std).transpose(0, 3, 1, 2)).copy()))
        found = backbone(images)
        outputs = [*found.grids, found.token] if network.token else found.grids
        for got, expected in zip(outputs, wanted, strict=True):
            worst = max(worst, distance(got, expected.numpy()))
    return worst


def distance(got: Any, expected: Any) -> float:
    """Infinite where shapes differ or a value is not finite."""
    if got.shape != expected.shape or not np.isfinite(expected).all():
        return float("inf")
    return float(np.nan_to_num(np.abs(got - expected), nan=np.inf).max() / max(float(np.abs(expected).max()), 1e-12))


@contextmanager
def quiet() -> Iterator[None]:
    """The tracer warns of its own inner workings, which no user can mend."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
