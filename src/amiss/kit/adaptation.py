"""The network that adapts descriptors of clouds to made defects, in torch: imported while it is trained, never to judge.

Stage I of GLFM (https://arxiv.org/abs/2505.07375): a head tells the points of made defects from good ones, and what it looks at
is kept. The losses are those of the authors' code (https://github.com/hustCYQ/GLFM-Multi-class-3DAD): focal and Dice. There a
Point-MAE is adapted; here layers on top of descriptors that are not learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Array = npt.NDArray[Any]

GAMMA = 2.0  # of the focal loss
_SMOOTH = 1.0  # added above and below in Dice, so that clouds without a defect have a loss


class Adapter(nn.Module):
    """Descriptors (P, C) to what the head looks at (P, H); every place for itself."""

    def __init__(self, mean: Array, deviation: Array, hidden: Sequence[int]) -> None:
        """mean, deviation  (C,) of the good clouds' descriptors     hidden  widths of the layers, the last one H"""
        super().__init__()
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float32)))
        self.register_buffer("deviation", torch.from_numpy(deviation.astype(np.float32)))
        sizes = (len(mean), *hidden)
        self.layers = nn.Sequential(*(layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())))

    def forward(self, descriptor: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.layers((descriptor - self.mean) / self.deviation),)  # a tuple, as a graph has outputs


class Segmenter(nn.Module):
    """The adapter with its head, as they are trained."""

    def __init__(self, adapter: Adapter, width: int) -> None:
        super().__init__()
        self.adapter, self.head = adapter, nn.Linear(width, 2)

    def loss(self, descriptor: torch.Tensor, marked: torch.Tensor) -> torch.Tensor:
        """Focal loss and Dice loss of one cloud, added; descriptor (P, C), marked (P,) bool."""
        chances = torch.softmax(self.head(self.adapter(descriptor)[0]), dim=1)  # (P, 2)
        return focal(chances, marked) + dice(chances[:, 1], marked)


def focal(chances: torch.Tensor, marked: torch.Tensor) -> torch.Tensor:
    """Mean of -(1 - p)^gamma log p, p the chance of what each point is; chances (P, 2), marked (P,) bool."""
    right = chances.gather(1, marked.long()[:, None])[:, 0].clamp_min(1e-7)
    return (-((1 - right) ** GAMMA) * right.log()).mean()


def dice(chance: torch.Tensor, marked: torch.Tensor) -> torch.Tensor:
    """1 - (2 sum(p y) + 1) / (sum(p) + sum(y) + 1); chance (P,) of being marked, marked (P,) bool."""
    truth = marked.to(chance.dtype)
    return 1 - (2 * (chance * truth).sum() + _SMOOTH) / (chance.sum() + truth.sum() + _SMOOTH)
