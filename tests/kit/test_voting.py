"""Convolution by voting: the same as the dense one, and what is empty stays empty."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate

from amiss.errors import BadField
from amiss.kit import voting
from amiss.kit.voting import Backend, Cells, cheaper, convolved, voted
from amiss.kit.voting_net import VotingNet

Array = npt.NDArray[Any]
BACKENDS: tuple[Backend, ...] = ("vote", "dense", "auto")


def scattered(rng: np.random.Generator, shape: tuple[int, ...], share: float, channels: int) -> Cells:
    filled = np.flatnonzero(rng.random(int(np.prod(shape))) < share)
    return Cells(shape, filled, rng.standard_normal((len(filled), channels)).astype(np.float32))


def dense(grid: Array, weight: Array, bias: Array) -> Array:
    """The plain convolution of the whole grid, (X, Y, Z, D), with the bias wherever it is put."""
    channels = range(grid.shape[3])
    columns = [
        sum(correlate(grid[..., one].astype(np.float64), weight[..., one, output], mode="constant") for one in channels)
        for output in range(weight.shape[4])
    ]
    return np.stack(columns, axis=-1) + bias


def reached(cells: Cells, side: int) -> Array:
    """Which cells a vote reaches, (X, Y, Z), one vote after another."""
    found = np.zeros(cells.shape, np.bool_)
    reach = side // 2
    for place in cells.places:
        found[tuple(slice(max(0, at - reach), at + reach + 1) for at in place)] = True
    return found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("side", [1, 3, 5, 7])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shape=st.tuples(*[st.integers(1, 9)] * 3), share=st.sampled_from([0.0, 0.05, 0.4, 1.0]))
def test_voting_equals_dense_convolution_where_votes_arrive(
    side: int, backend: Backend, seed: int, shape: tuple[int, ...], share: float
) -> None:
    rng = np.random.default_rng(seed)
    cells = scattered(rng, shape, share, 3)
    weight, bias = rng.standard_normal((side, side, side, 3, 2)) / side**1.5, -rng.random(2)
    found, whole = convolved(cells, weight, bias, backend), dense(cells.dense(), weight, bias)
    arrived = reached(cells, side)
    np.testing.assert_array_equal(found.keys, np.flatnonzero(arrived))
    np.testing.assert_allclose(found.values, whole[arrived], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(whole[~arrived], np.broadcast_to(bias, whole[~arrived].shape))  # nothing else is left out


def test_one_cell_hands_out_the_turned_kernel() -> None:
    weight = np.arange(27.0).reshape(3, 3, 3, 1, 1)
    found = convolved(Cells.at(np.array([[1, 1, 1]]), np.array([[2.0]]), (3, 3, 3)), weight, np.zeros(1), "vote")
    np.testing.assert_array_equal(found.values[:, 0], 2 * np.arange(27.0)[::-1])  # z(x) sums w(o) h(x + o)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_empty_stays_empty(backend: Backend) -> None:
    nothing = Cells((6, 6, 6), np.empty(0, np.int64), np.empty((0, 2), np.float32))
    found = convolved(nothing, np.ones((5, 5, 5, 2, 3)), -np.ones(3), backend)
    assert len(found.keys) == 0 and found.values.shape == (0, 3) and not found.dense().any()


def test_a_bias_above_zero_is_refused_because_it_would_fill_the_grid() -> None:
    cells = scattered(np.random.default_rng(0), (4, 4, 4), 0.2, 1)
    with pytest.raises(BadField, match="none above zero"):
        convolved(cells, np.ones((3, 3, 3, 1, 2)), np.array([-1.0, 0.1]))


@pytest.mark.parametrize("shape", [(2, 2, 2, 1, 1), (3, 3, 1, 1, 1), (3, 3, 3, 2, 1), (3, 3, 3, 1)])
def test_a_kernel_that_does_not_fit_is_refused_with_its_shape(shape: tuple[int, ...]) -> None:
    cells = scattered(np.random.default_rng(0), (4, 4, 4), 0.2, 1)
    with pytest.raises(BadField, match=str(shape[0])):
        convolved(cells, np.ones(shape), np.zeros(1))


def test_cells_outside_the_grid_are_refused() -> None:
    for place in ([0, 0, 4], [-1, 0, 0]):
        with pytest.raises(BadField, match="outside a grid"):
            Cells.at(np.array([place]), np.ones((1, 1)), (4, 4, 4))


def test_only_cells_above_zero_vote_in_the_next_layer() -> None:
    cells = Cells((1, 1, 3), np.arange(3), np.array([[-1, 2], [-1, -2], [0, 0]], np.float32))
    kept = cells.rectified()
    assert kept.keys.tolist() == [0] and kept.values.tolist() == [[0, 2]]


def test_many_votes_are_held_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    cells, weight = scattered(rng, (8, 8, 8), 0.2, 2), rng.standard_normal((5, 5, 5, 2, 2))
    at_once = convolved(cells, weight, np.zeros(2), "vote")
    monkeypatch.setattr(voting, "_HELD", 1)
    np.testing.assert_allclose(convolved(cells, weight, np.zeros(2), "vote").values, at_once.values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("share", "side", "wanted"), [(0.001, 11, "vote"), (1.0, 11, "dense"), (0.1, 3, "vote"), (0.3, 7, "dense")]
)
def test_sparse_grids_are_voted_for_and_full_ones_transformed(share: float, side: int, wanted: str) -> None:
    cells = scattered(np.random.default_rng(0), (40, 40, 40), share, 8)
    assert cheaper(cells, np.zeros((side, side, side, 8, 1))) == wanted


@pytest.mark.parametrize("backend", ["vote", "dense"])
def test_the_network_in_torch_says_what_voting_says(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    network, cells = VotingNet(8, 4, (3, 5, 7)), scattered(rng, (14, 12, 13), 0.05, 8)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("bias"):
                value -= 0.3 * torch.rand(value.shape)
        answer = network(torch.from_numpy(cells.dense().transpose(3, 0, 1, 2)[None]))
    votes = voted(cells, network.arrays(), backend)
    for head, wanted in zip(votes.heads, answer.heads[0].numpy(), strict=True):
        np.testing.assert_allclose(head.values[:, 0], wanted.reshape(-1)[head.keys], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(votes.members, answer.members[0].numpy().reshape(-1)[cells.keys], rtol=1e-4, atol=1e-5)
    hidden = [int((layer.numpy() > 0).any(axis=(0, 1)).sum()) for layer in answer.hidden]
    assert votes.active == (len(cells.keys), *hidden)


def test_heads_without_a_border_say_the_same_of_what_is_left() -> None:
    torch.manual_seed(0)
    network, grid = VotingNet(2, 3, (1, 3, 7)), torch.rand(2, 2, 9, 10, 11)
    with torch.no_grad():
        whole, inner = network(grid), network(grid, 2)
    for one, other in ((whole.heads, inner.heads), (whole.members, inner.members)):
        torch.testing.assert_close(one[..., 2:-2, 2:-2, 2:-2], other, rtol=1e-4, atol=1e-5)


def test_a_cell_that_no_vote_reaches_has_the_bias_of_its_head() -> None:
    network = VotingNet(1, 2, (3, 3, 3))
    weights = {name: -np.abs(value) for name, value in network.arrays().items()}  # nothing gets past the first layer
    weights["member.bias"] = np.array([-0.7], np.float32)
    votes = voted(Cells.at(np.array([[1, 1, 1]]), np.ones((1, 1)), (4, 4, 4)), weights)
    assert votes.members.tolist() == pytest.approx([-0.7]) and votes.active == (1, 0, 0)
    assert all(len(head.keys) == 0 for head in votes.heads)


def test_biases_are_brought_down_to_zero_and_no_farther() -> None:
    network = VotingNet(1, 2, (3, 3, 3))
    with torch.no_grad():
        network.first.bias.copy_(torch.tensor([0.5, -0.5]))
    network.project()
    assert network.arrays()["first.bias"].tolist() == [0, -0.5]
