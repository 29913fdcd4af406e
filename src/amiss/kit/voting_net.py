"""The voting network in torch, with dense convolutions: imported while it is trained, never to judge.

Engelcke et al., ICRA 2017, https://arxiv.org/abs/1609.06666: two hidden layers of 3^3 (their model D), ReLU, biases kept from
rising above zero, hinge loss, an L1 penalty on what the hidden layers let through. Dense here and by voting in `kit/voting.py`
the same weights give the same scores. Ours: one network with a head for each of three sizes on shared layers, which the paper
names as future work, and a head that tells which cells belong to a defect; negatives are mined in every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

Array = npt.NDArray[Any]

_PER_POSITIVE, _MORE = 3, 64  # hard negatives
_EASY = 0.3  # weight of the mean over all negatives: the hardest alone pull every score to zero and hold it there
_MEMBERS = 0.5  # weight of the head that tells members
_SMALL = 0.3  # how much smaller the heads' first weights are than He's


@dataclass(frozen=True)
class Answer:
    """What the network says, heads and members without the border.

    heads  (N, S, X, Y, Z)     members  (N, X, Y, Z)     hidden  what both layers let through, (N, F, X, Y, Z) each
    """

    heads: torch.Tensor
    members: torch.Tensor
    hidden: tuple[torch.Tensor, torch.Tensor]


class Layer(nn.Module):
    """A convolution that leaves the grid as large as it is."""

    def __init__(self, channels: int, outputs: int, kernel: int, deviation: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(deviation * torch.randn(outputs, channels, kernel, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        """(N, C, X, Y, Z) to (N, D, X, Y, Z)."""
        return functional.conv3d(grid, self.weight, self.bias, padding=self.weight.shape[2] // 2)

    def summed(self, grid: torch.Tensor, border: int) -> torch.Tensor:
        """The same for a single output, without so many cells at every side: each slice to K outputs, added up along X.

        torch takes several times as long for a convolution in space that has one output.
        """
        side = self.weight.shape[2]
        count, channels, length, *rest = (grid := functional.pad(grid, (side // 2 - border,) * 6)).shape
        slices = grid.transpose(1, 2).reshape(count * length, channels, *rest)
        parts = functional.conv2d(slices, self.weight[0].transpose(0, 1))
        parts = parts.reshape(count, length, side, *parts.shape[2:])
        moved = [parts[:, step : step + length - side + 1, step] for step in range(side)]
        return torch.stack(moved).sum(dim=0) + self.bias


class VotingNet(nn.Module):
    """Cells with features to scores of cubes about them, and to whether they belong to a defect."""

    def __init__(self, channels: int, filters: int, kernels: Sequence[int]) -> None:
        super().__init__()
        self.first, self.second = (Layer(given, filters, 3, (2 / (27 * given)) ** 0.5) for given in (channels, filters))
        heads = [Layer(filters, 1, kernel, _SMALL / (filters * kernel**3) ** 0.5) for kernel in (3, *kernels)]
        self.member, self.heads = heads[0], nn.ModuleList(heads[1:])
        self._named = {"first": self.first, "second": self.second, "member": self.member}
        self._named |= {f"head{number}": head for number, head in enumerate(heads[1:])}

    def forward(self, grid: torch.Tensor, border: int = 0) -> Answer:
        """grid  (N, C, X, Y, Z)     border  cells at every side of which nobody asks what heads and members say"""
        first = torch.relu(self.first(grid))
        second = torch.relu(self.second(first))
        heads = [layer.summed(second, border) for name, layer in self._named.items() if name.startswith("head")]
        return Answer(torch.stack(heads, dim=1), self.member.summed(second, border), (first, second))

    def project(self) -> None:
        """Biases above zero to zero, as after every step of the paper's training."""
        with torch.no_grad():
            for layer in self._named.values():
                layer.bias.clamp_(max=0)

    def arrays(self) -> dict[str, Array]:
        """Kernels (K, K, K, C, D) and biases (D,) by name, as `kit/voting.py` takes them."""
        found: dict[str, Array] = {}
        for name, layer in self._named.items():
            found[f"{name}.weight"] = layer.weight.detach().permute(2, 3, 4, 1, 0).contiguous().numpy().copy()
            found[f"{name}.bias"] = layer.bias.detach().numpy().copy()
        return found


def loss(answer: Answer, cubes: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """Hinge losses of heads and members.

    cubes  (N, S, X, Y, Z), members  (N, X, Y, Z) of 1, -1, and 0 for cells that do not count
    """
    return hinge(answer.heads, cubes) + _MEMBERS * hinge(answer.members, members)


def let_through(answer: Answer, grid: torch.Tensor) -> torch.Tensor:
    """Sum of all hidden activations for each cell that is not empty: what the L1 penalty weighs.

    grid  (N, C, X, Y, Z), the first channel 1 where a cell is occupied
    """
    first, second = (layer.sum() for layer in answer.hidden)
    return (first + second) / grid[:, 0].sum().clamp(min=1)


def hinge(scores: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """max(0, 1 - y s): mean over positives, over the hardest negatives, and a little over all negatives."""
    losses = functional.relu(1 - wanted * scores)
    right, wrong = losses[wanted > 0], losses[wanted < 0]
    total = torch.zeros((), device=scores.device)
    if len(right):
        total = total + right.mean()
    if len(wrong):
        hardest = wrong.topk(min(len(wrong), _PER_POSITIVE * len(right) + _MORE)).values
        total = total + hardest.mean() + _EASY * wrong.mean()
    return total
