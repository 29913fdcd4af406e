"""The encoder of Point-MAE in torch, its weights from a file on this machine, and the ONNX graph made of it.

Pang, Wang, Tay, Liu, Tian, Yuan: Masked Autoencoders for Point Cloud Self-supervised Learning, ECCV 2022,
https://arxiv.org/abs/2203.06604. Imported while an encoder is made; to run one needs `points.py` alone.

What we follow: the architecture of the authors' code, and its use by M3DM, Reg3D-AD, ISMP and GLFM: a small PointNet for each
group, the position embedding of its centre added before every block, blocks with the norm first, the last LayerNorm on every
output that is tapped, no class token. Where we differ: batch normalisation by the statistics of the training unless asked
otherwise (those codes never call `eval`, so theirs are of the cloud seen, and blocks are dropped at random; here never).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from amiss.backbones.export import PARITY, Exported, bare, distance, quiet, tensors_sha256
from amiss.backbones.fetch import file_sha256
from amiss.backbones.points import ENTRY, INPUTS, OUTPUT, Encoding, PointEncoder, Statistics
from amiss.backbones.runtime import session
from amiss.backbones.timm_taps import read_checkpoint
from amiss.errors import BadBackbone, BadField

Array = npt.NDArray[Any]

UNIT = 16.0  # cells; groups of 32 places are then as large as those of 32 points that the published weights were trained on
_POSITION, _FIRST, _HIDDEN = 128, (128, 256), 512  # widths that no size changes
_PREFIXES = ("module.", "base_model.", "MAE_encoder.")
_OPSET = 18
_TRACED, _COMPARED = (5, 9), ((6, 8), (3, 17))  # G, M


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """width  of a token     depth  blocks     heads  of their attention; those of the published encoder by default"""

    width: int = 384
    depth: int = 12
    heads: int = 6

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads) < 1 or self.width % self.heads:
            raise BadField(f"an encoder of {self}: wanted numbers of 1 or more, and a width that the heads divide")


class Normed(nn.BatchNorm1d):
    """Batch normalisation that can go on measuring what it sees after the training."""

    statistics: Statistics = "running"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, M) to itself."""
        if self.training or self.statistics == "running":
            return super().forward(x)
        mean = x.mean(dim=(0, 2), keepdim=True)
        variance = ((x - mean) ** 2).mean(dim=(0, 2), keepdim=True)
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight[:, None] + self.bias[:, None]


class GroupEncoder(nn.Module):
    """A small PointNet: groups (N, M, 3) to (N, width), whatever the order of their members."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner, outer = _FIRST
        self.first_conv = nn.Sequential(nn.Conv1d(3, inner, 1), Normed(inner), nn.ReLU(), nn.Conv1d(inner, outer, 1))
        self.second_conv = nn.Sequential(
            nn.Conv1d(2 * outer, _HIDDEN, 1), Normed(_HIDDEN), nn.ReLU(), nn.Conv1d(_HIDDEN, width, 1)
        )

    def forward(self, groups: torch.Tensor) -> torch.Tensor:
        members = self.first_conv(groups.transpose(1, 2))  # (N, 256, M)
        whole = members.amax(dim=2)  # (N, 256)
        mix: Any = self.second_conv[0]
        shared, own = mix.weight[:, : whole.shape[1], 0], mix.weight[:, whole.shape[1] :]  # the group first, then its members
        joined = functional.conv1d(members, own) + functional.linear(whole, shared, mix.bias)[:, :, None]  # once a group
        return self.second_conv[1:](joined).amax(dim=2)  # type: ignore[no-any-return]


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, count, width = x.shape
        queries, keys, values = self.qkv(x).reshape(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        found = functional.scaled_dot_product_attention(queries, keys, values)  # (B, heads, G, width / heads)
        return self.proj(found.transpose(1, 2).reshape(batch, count, width))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width), Mlp(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class Blocks(nn.Module):
    """Blocks one after another, the positions added before each."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(sizes.width, sizes.heads) for _ in range(sizes.depth))

    def forward(self, x: torch.Tensor, positions: torch.Tensor) -> list[torch.Tensor]:
        """What comes out of every block, each (B, G, width)."""
        found = []
        for block in self.blocks:
            x = block(x + positions)
            found.append(x)
        return found


def position_embedding(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, _POSITION), nn.GELU(), nn.Linear(_POSITION, width))


class PointMAE(nn.Module):
    """The encoder; its tensors are named as in the authors' checkpoints."""

    def __init__(self, sizes: Sizes, taps: tuple[int, ...], statistics: Statistics = "running") -> None:
        """taps  after how many blocks tokens are taken, rising; BadField where there are not so many"""
        super().__init__()
        if not taps or sorted(set(taps)) != list(taps) or not 1 <= taps[0] <= taps[-1] <= sizes.depth:
            raise BadField(f"taps {taps}: wanted rising numbers of 1 to {sizes.depth}, the blocks that there are")
        self.sizes, self.taps, self.statistics = sizes, taps, statistics
        self.encoder, self.pos_embed = GroupEncoder(sizes.width), position_embedding(sizes.width)
        self.blocks, self.norm = Blocks(sizes), nn.LayerNorm(sizes.width)
        for part in self.modules():
            if isinstance(part, Normed):
                part.statistics = statistics

    def embedded(self, groups: torch.Tensor) -> torch.Tensor:
        """(B, G, M, 3) to one vector a group, (B, G, width), before it knows where it lies."""
        return self.encoder(groups.flatten(0, 1)).reshape(*groups.shape[:2], -1)  # type: ignore[no-any-return]

    def forward(self, groups: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
        """(B, G, M, 3) and (B, G, 3) to the tokens of all taps, (B, G, taps * width)."""
        found = self.blocks(self.embedded(groups), self.pos_embed(centres))
        return torch.cat([self.norm(found[tap - 1]) for tap in self.taps], dim=2)


# -- weights -----------------------------------------------------------------------------------------------------------


def loaded(weights: Path, sizes: Sizes, taps: tuple[int, ...], statistics: Statistics = "running") -> PointMAE:
    """The encoder with every one of its tensors from a checkpoint, in evaluation mode.

    weights  a .pth file of tensors, read with `weights_only`, or .safetensors
    raises   BadBackbone where a tensor is missing or of another shape, or the file holds more than tensors
    """
    network = PointMAE(sizes, taps, statistics)
    found, wanted = of_encoder(read_checkpoint(weights)), network.state_dict()
    if missing := sorted(set(wanted) - set(found) - _counters(wanted)):
        raise BadBackbone(
            f"{weights}: not the weights of a Point-MAE encoder of {sizes}: it lacks {_listed(missing)}; "
            f"it holds {_listed(sorted(found)) or 'no tensor of an encoder'}"
        )
    if others := [
        f"{name} {tuple(found[name].shape)} in place of {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in found and found[name].shape != value.shape
    ]:
        raise BadBackbone(f"{weights}: not the weights of a Point-MAE encoder of {sizes}: it has {_listed(others)}")
    if more := [name for name in found if name.startswith("blocks.blocks.") and name not in wanted]:
        raise BadBackbone(f"{weights}: has more blocks than {sizes}: {_listed(more)}; ask for all of them and tap fewer")
    network.load_state_dict({name: found.get(name, value) for name, value in wanted.items()})
    return network.eval()


def of_encoder(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors by the encoder's own names: wrappers taken off them, what belongs to the decoder left out."""
    found = {}
    for name, value in tensors.items():
        bare_name = name
        while prefix := next((one for one in _PREFIXES if bare_name.startswith(one)), ""):
            bare_name = bare_name.removeprefix(prefix)
        if bare_name.startswith(("encoder.", "pos_embed.", "blocks.", "norm.")):
            if bare_name in found:
                raise BadBackbone(f"the checkpoint has {bare_name!r} twice, under several prefixes; give one encoder alone")
            found[bare_name] = value
    return found


def _counters(names: Mapping[str, Any]) -> set[str]:
    """How many batches were seen, which no output hangs on."""
    return {name for name in names if name.endswith("num_batches_tracked")}


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# -- graph -------------------------------------------------------------------------------------------------------------


def converted(weights: Path, encoding: Encoding, sizes: Sizes = Sizes()) -> Exported:
    """A checkpoint as an ONNX graph that describes itself; its channels are counted here.

    raises  as `loaded` and `exported`
    """
    network = loaded(weights, sizes, encoding.taps, encoding.statistics)
    return exported(network, encoding, {"weights": {"file": weights.name, "sha256": file_sha256(weights)}})


def exported(network: PointMAE, encoding: Encoding, source: Mapping[str, Any]) -> Exported:
    """A network as an ONNX graph for any number of groups and members, after its tokens were compared with torch's.

    source  what it is made of, for the metadata     raises  BadBackbone where the tokens differ by more than PARITY
    """
    from onnx import checker, helper

    network = network.eval()
    free = torch.export.Dim.DYNAMIC
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            network, _noise(*_TRACED), dynamo=True, input_names=list(INPUTS), output_names=[OUTPUT], opset_version=_OPSET,
            dynamic_shapes=({1: free, 2: free}, {1: free}), verbose=False,
        )  # fmt: skip
    assert program is not None  # torch gives none only where it is told to write a file
    model = program.model_proto
    bare(model)
    told = replace(encoding, taps=network.taps, channels=len(network.taps) * network.sizes.width, statistics=network.statistics)
    made = {
        **source,
        "sizes": asdict(network.sizes),
        "tensors_sha256": tensors_sha256(network),
        "torch": str(torch.__version__),
    }
    helper.set_model_props(model, {ENTRY: told.to_json(), "amiss.source": json.dumps(made, sort_keys=True)})
    checker.check_model(model)
    graph = bytes(model.SerializeToString())
    gap = max(_gap(network, graph, shape) for shape in _COMPARED)
    if not gap <= PARITY:
        raise BadBackbone(f"the encoder's graph differs from torch by {gap:.1e} of the largest value, allowed is {PARITY:.0e}")
    return Exported(PointEncoder(graph, name="the encoder").graph, gap, made)


def _noise(groups: int, members: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng([groups, members])
    shapes = (1, groups, members, 3), (1, groups, 3)
    one, other = (torch.from_numpy(rng.standard_normal(shape).astype(np.float32)) for shape in shapes)
    return one, other


def _gap(network: PointMAE, graph: bytes, shape: tuple[int, int]) -> float:
    """The largest difference between graph and torch, as a share of the largest value."""
    given = _noise(*shape)
    with torch.no_grad():
        wanted = network(*given).numpy()
    (found,) = session(graph, "the encoder").run([OUTPUT], {name: one.numpy() for name, one in zip(INPUTS, given, strict=True)})
    return distance(found, wanted)
