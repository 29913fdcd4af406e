"""ULSAD's two networks and its losses, in torch: imported while a network is trained, never to judge.

Patra, Ben Taieb: Revisiting Deep Feature Reconstruction for Logical and Structural Industrial Anomaly Detection, TMLR 2024,
https://arxiv.org/abs/2410.16255. The global network has the arrangement of EfficientAD's autoencoder (Batzner, Heckler, König,
WACV 2024), without its dropout, with batch normalisation. Layer sizes as in the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

Final = Literal["relu", "none"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """channels  C of the teacher's features     grid  (h, w) of them     width  channels of the local network's first layer
    last   side of the local network's last kernel, odd     final  what follows it     inner  channels of the global network
    """

    channels: int
    grid: tuple[int, int]
    width: int
    last: int
    final: Final
    inner: int

    @property
    def image(self) -> tuple[int, int]:
        """The (H, W) that the global network sees: eight pixels a cell."""
        return self.grid[0] * 8, self.grid[1] * 8


class Local(nn.Module):
    """Teacher features to themselves and to what the global network will say, through a grid four times as coarse."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels, width = shape.channels, shape.width
        last = nn.ConvTranspose2d(channels, 2 * channels, shape.last, 1, shape.last // 2)
        self.layers = nn.Sequential(
            *_step(nn.Conv2d(channels, width, 3, 2, 1)),
            *_step(nn.Conv2d(width, 2 * width, 3, 2, 1)),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
            nn.BatchNorm2d(2 * width),
            *_step(nn.ConvTranspose2d(2 * width, width, 4, 2, 1)),
            *_step(nn.ConvTranspose2d(width, channels, 4, 2, 1)),
            *(_step(last) if shape.final == "relu" else (last,)),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(layer.weight, nn.init.calculate_gain("leaky_relu"))

    def forward(self, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, C, h, w) to the reconstruction and the prediction of the global network, both (N, C, h, w)."""
        height, width = teacher.shape[2:]
        both = self.layers(teacher)[..., :height, :width]  # grids that four does not divide come back a little larger
        return tuple(both.chunk(2, dim=1))


class Global(nn.Module):
    """The picture through a bottleneck of one cell, to features on the teacher's grid: it cannot keep what is only local."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        height, width = shape.image
        inner, outer = shape.inner, max(1, shape.inner // 2)
        counts = (3, outer, outer, inner, inner, inner)
        down = [layer for source, target in pairwise(counts) for layer in _plain(nn.Conv2d(source, target, 4, 2, 1))]
        sizes = [(max(1, height // step - less), max(1, width // step - less)) for step, less in _GROWTH]
        up = [
            layer for size in sizes for layer in (nn.Upsample(size, mode="bilinear"), *_plain(nn.Conv2d(inner, inner, 4, 1, 2)))
        ]
        self.layers = nn.Sequential(
            *down,
            *_plain(nn.Conv2d(inner, inner, (height // 32, width // 32))),
            *up,
            nn.Upsample(shape.grid, mode="bilinear"),
            *_plain(nn.Conv2d(inner, inner, 3, 1, 1)),
            nn.Conv2d(inner, shape.channels, 3, 1, 1),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(N, 3, 8 h, 8 w) to (N, C, h, w)."""
        return self.layers(image)  # type: ignore[no-any-return]


_GROWTH = ((64, 1), (32, 0), (16, 1), (8, 1), (4, 1))  # the decoder's sides: a part of the picture's, less so many cells


class Both(nn.Module):
    """The two networks side by side, as they are trained and as they judge."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.local_network, self.global_network = Local(shape), Global(shape)

    def forward(self, teacher: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Reconstruction, the local network's guess of the global one, the global one: each (N, C, h, w)."""
        return (*self.local_network(teacher), self.global_network(image))

    def loss(self, teacher: torch.Tensor, image: torch.Tensor, balance: float) -> torch.Tensor:
        """Sum of the three losses over a batch: reconstruction, attention alignment, agreement of the two networks."""
        rebuilt, guessed, told = self(teacher, image)
        return (
            difference(teacher, rebuilt, balance).mean()
            + difference(attended(teacher, teacher), attended(told, teacher), balance).mean()
            + difference(told, guessed, balance).mean()
        )


def difference(first: torch.Tensor, second: torch.Tensor, balance: float) -> torch.Tensor:
    """Mean squared difference plus `balance` times one minus the cosine, at every place: (N, C, h, w) to (N, h, w)."""
    cosine = functional.cosine_similarity(first, second, dim=1, eps=1e-6)
    return ((first - second) ** 2).mean(dim=1) + balance * (1 - cosine)


def attended(queries: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Attention over the places of the teacher's features, which are keys and values, without learned projections.

    queries, teacher  (N, C, h, w)     return  (N, C, h, w): softmax(Q Z' / sqrt C) Z
    """
    tokens, keys = (features.flatten(2).transpose(1, 2) for features in (queries, teacher))  # (N, h w, C)
    return functional.scaled_dot_product_attention(tokens, keys, keys).transpose(1, 2).reshape(queries.shape)


def _step(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
    return layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU()


def _plain(layer: nn.Conv2d) -> tuple[nn.Module, ...]:
    return layer, nn.BatchNorm2d(layer.out_channels, eps=1e-4, affine=False), nn.ReLU()
