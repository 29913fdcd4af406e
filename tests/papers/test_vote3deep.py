"""The equations of Vote3Deep (Engelcke et al., ICRA 2017) against small independent oracles."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.kit.anchors import cubes, kept
from amiss.kit.training import Plan, train
from amiss.kit.voting import Cells, convolved, voted
from amiss.kit.voting_net import Answer, VotingNet, hinge, let_through

Array = npt.NDArray[Any]


def ballots(features: dict[tuple[int, ...], Array], weight: Array, bias: Array, shape: tuple[int, ...]) -> dict[Any, Array]:
    """The paper's feature-centric voting, cell by cell: each that is not empty casts votes with the flipped kernel."""
    reach, cast = weight.shape[0] // 2, {}
    for cell, values in features.items():
        for step in product(range(-reach, reach + 1), repeat=3):
            target = tuple(np.add(cell, step))
            if all(0 <= at < length for at, length in zip(target, shape, strict=True)):
                flipped = weight[tuple(reach - np.array(step))]
                cast[target] = cast.get(target, 0) + values @ flipped
    return {cell: votes + bias for cell, votes in cast.items()}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), side=st.sampled_from([1, 3, 5]))
def test_votes_are_cast_with_the_flipped_kernel_and_the_bias_goes_where_one_arrived(seed: int, side: int) -> None:
    rng, shape = np.random.default_rng(seed), (5, 4, 6)
    filled = np.argwhere(rng.random(shape) < 0.15)
    values = rng.standard_normal((len(filled), 2))
    weight, bias = rng.standard_normal((side, side, side, 2, 3)), -rng.random(3)
    wanted = ballots(dict(zip(map(tuple, filled.tolist()), values, strict=True)), weight, bias, shape)
    found = convolved(Cells.at(filled.reshape(-1, 3), values, shape), weight, bias)
    assert sorted(wanted) == list(map(tuple, found.places.tolist()))
    for cell, votes in zip(map(tuple, found.places.tolist()), found.values, strict=True):
        np.testing.assert_allclose(votes, wanted[cell], rtol=1e-4, atol=1e-5)


def test_relu_lets_a_bias_below_zero_keep_the_next_layer_sparse() -> None:
    """Section IV-B of the paper: what is at or below zero after the bias casts no votes."""
    one = Cells.at(np.array([[2, 2, 2]]), np.ones((1, 1)), (5, 5, 5))
    weight = np.zeros((3, 3, 3, 1, 1))
    weight[1, 1, 1], weight[0, 1, 1] = 1.0, 0.25
    assert len(convolved(one, weight, np.array([0.0])).rectified().keys) == 2
    assert len(convolved(one, weight, np.array([-0.5])).rectified().keys) == 1
    assert len(convolved(one, weight, np.array([-1.0])).rectified().keys) == 0


def test_the_hinge_loss_is_that_of_the_paper() -> None:
    scores, wanted = torch.tensor([0.25, 2.0, -2.0, 0.5, 9.0]), torch.tensor([1.0, 1, -1, -1, 0])
    positives = (0.75 + 0) / 2  # max(0, 1 - y s)
    negatives = (0 + 1.5) / 2
    # ours: few negatives, so the hardest are all of them, and three tenths more for their mean; what is 0 does not count
    assert float(hinge(scores, wanted)) == pytest.approx(positives + 1.3 * negatives)
    assert float(hinge(scores, torch.zeros(5))) == 0


def test_the_hardest_negatives_weigh_most() -> None:
    scores = torch.full((1000,), -5.0)
    scores[:67] = 1.0  # loses 2 each
    wanted = -torch.ones(1000)
    wanted[999] = 1  # one positive, so 3 + 64 hard negatives
    scores[999] = 1.0
    assert float(hinge(scores, wanted)) == pytest.approx(2 + 0.3 * 2 * 67 / 999)


def test_the_penalty_is_the_sum_of_all_hidden_activations_for_each_filled_cell() -> None:
    grid = torch.zeros(1, 2, 3, 3, 3)
    grid[0, 0, 0, 0, :2] = 1
    hidden = (torch.full((1, 4, 3, 3, 3), 0.5), torch.full((1, 4, 3, 3, 3), 0.25))
    answer = Answer(torch.zeros(1), torch.zeros(1), hidden)
    assert float(let_through(answer, grid)) == pytest.approx(0.75 * 4 * 27 / 2)


def test_training_with_the_penalty_leaves_fewer_cells_that_vote() -> None:
    """On a task that any network solves: a blob of high cells among low ones."""
    rng = np.random.default_rng(0)
    filled = rng.random((6, 1, 12, 12, 12)) < 0.03
    low = rng.normal(0, 0.3, filled.shape)
    low[:, :, 4:7, 4:7, 4:7] += 3
    filled[:, :, 4:7, 4:7, 4:7] = True
    grids = torch.from_numpy((np.concatenate([np.ones_like(low), low], axis=1) * filled).astype(np.float32))
    wanted = -torch.ones(6, 3, 12, 12, 12)
    wanted[:, :, 5, 5, 5] = 1

    def trained(sparse: float) -> tuple[int, float]:
        torch.manual_seed(0)
        network = VotingNet(2, 4, (3, 3, 3))

        def loss(net: Any, batch: Array, _: Any) -> torch.Tensor:
            net.project()
            answer = net(grids[batch])
            return hinge(answer.heads, wanted[batch]) + sparse * let_through(answer, grids[batch])

        train(network, loss, 6, Plan(steps=40, batch=3, rate=2e-2), progress=lambda *_: None)
        network.project()
        votes = voted(Cells.at(np.argwhere(filled[0, 0]), grids[0].numpy()[:, filled[0, 0]].T, (12, 12, 12)), network.arrays())
        best = votes.heads[0].places[int(votes.heads[0].values.argmax())]
        return sum(votes.active[1:]), float(np.abs(best - 5).max())

    (many, beside), (few, also) = trained(0.0), trained(0.03)
    assert beside <= 1 and also <= 1
    assert few < 0.8 * many


def greedy(boxes: Array, scores: Array, overlap: float) -> list[int]:
    """Non-maximum suppression as it is usually said: take the best, strike out what overlaps with it, go on."""
    left, found = sorted(range(len(boxes)), key=lambda one: -scores[one]), []
    while left:
        best = left.pop(0)
        found.append(best)
        rest = []
        for other in left:
            low, high = np.maximum(boxes[best, 0], boxes[other, 0]), np.minimum(boxes[best, 1], boxes[other, 1])
            shared = np.prod(np.maximum(high - low, 0))
            sizes = [np.prod(boxes[one, 1] - boxes[one, 0]) for one in (best, other)]
            if shared / (sum(sizes) - shared) <= overlap:
                rest.append(other)
        left = rest
    return found


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), overlap=st.sampled_from([0.1, 0.3, 0.7]))
def test_suppression_of_non_maxima_in_space(seed: int, overlap: float) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores = cubes(rng.uniform(0, 3, (15, 3)), rng.uniform(0.5, 2, 15)), rng.random(15)
    assert kept(boxes, scores, overlap, 99).tolist() == greedy(boxes, scores, overlap)
