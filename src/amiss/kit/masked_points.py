"""A masked autoencoder of point groups, in torch: imported while an encoder is trained, never to judge.

Pang et al.: Masked Autoencoders for Point Cloud Self-supervised Learning, ECCV 2022, https://arxiv.org/abs/2203.06604.
What we follow: most groups are hidden, the encoder sees the others, a light decoder knows where the hidden ones lie and makes
their points anew, which are compared by Chamfer distance. What is ours: a small encoder, trained on the good clouds of a part;
groups along their own axes and centres turned at random, so that nothing hangs on the pose; new groups in every step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from amiss.backbones.point_mae import Blocks, PointMAE, Sizes, position_embedding
from amiss.backbones.points import Encoding, Groups, framed, laid

Array = npt.NDArray[Any]

HIDDEN = 0.6  # share of the groups
_DECODER_DEPTH = 1


@dataclass(frozen=True, eq=False)
class Surface:
    """A good cloud to draw groups from, as an encoder sees it.

    axes  (P, 3) places in its unit     directions  (P, 3) normals along the same axes     members  (P, M) nearest places
    """

    axes: Array
    directions: Array
    members: Array
    encoding: Encoding

    @classmethod
    def of(cls, places: Array, directions: Array, cell: float, encoding: Encoding) -> Surface:
        from scipy.spatial import cKDTree

        axes, directions = laid(places, directions, cell, encoding)
        _, near = cKDTree(axes).query(axes, k=range(1, encoding.members + 1), workers=-1)
        return cls(axes, directions, near.astype(np.int32), encoding)

    def drawn(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Groups (1, G, M, 3) about random places, and where those lie (1, G, 3)."""
        centres = rng.choice(len(self.axes), min(self.encoding.groups, len(self.axes)), replace=False)
        groups = framed(self.axes, self.directions, Groups(centres, self.members[centres]), self.encoding)
        places = self.axes[centres]
        if self.encoding.frame == "local":
            turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
            places = places @ (turn * np.sign(np.linalg.det(turn)))
        return torch.from_numpy(groups)[None], torch.from_numpy(places.astype(np.float32))[None]


class Masked(nn.Module):
    """The encoder with the decoder that it is trained with."""

    def __init__(self, sizes: Sizes, encoding: Encoding) -> None:
        super().__init__()
        self.members, self.unit = encoding.members, encoding.unit
        self.encoder = PointMAE(sizes, encoding.taps)
        self.mask = nn.Parameter(0.02 * torch.randn(1, 1, sizes.width))
        self.positions = position_embedding(sizes.width)
        self.decoder = Blocks(Sizes(width=sizes.width, depth=_DECODER_DEPTH, heads=sizes.heads))
        self.norm, self.head = nn.LayerNorm(sizes.width), nn.Linear(sizes.width, 3 * encoding.members)

    def forward(self, groups: torch.Tensor, centres: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """(1, G, M, 3), (1, G, 3) and (G,) bool to the points of the hidden groups, (H, M, 3)."""
        seen, positions = ~hidden, self.positions(centres)
        inner = self.encoder.blocks(self.encoder.embedded(groups[:, seen]), self.encoder.pos_embed(centres[:, seen]))[-1]
        known = self.encoder.norm(inner)
        masks = self.mask.expand(1, int(hidden.sum()), -1)
        order = torch.cat([positions[:, seen], positions[:, hidden]], dim=1)
        rebuilt = self.decoder(torch.cat([known, masks], dim=1), order)[-1][:, known.shape[1] :]
        return self.head(self.norm(rebuilt)).reshape(-1, self.members, 3)  # type: ignore[no-any-return]

    def loss(self, surface: Surface, seed: int) -> torch.Tensor:
        """Chamfer distance of the hidden groups of one drawing, in squared cells."""
        rng = np.random.default_rng(seed)
        groups, centres = surface.drawn(rng)
        count = groups.shape[1]
        hidden = torch.zeros(count, dtype=torch.bool)
        hidden[torch.from_numpy(rng.permutation(count)[: min(count - 1, math.ceil(HIDDEN * count))])] = True
        return chamfer(self(groups, centres, hidden), groups[0, hidden]).mean() * self.unit**2


def chamfer(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Mean squared distance to the nearest point of the other set, both ways added: (N, M, 3) twice to (N,)."""
    apart = ((one[:, :, None] - other[:, None]) ** 2).sum(dim=3)
    return apart.amin(dim=2).mean(dim=1) + apart.amin(dim=1).mean(dim=1)
