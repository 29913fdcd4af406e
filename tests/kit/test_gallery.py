"""The gallery against brute force over pictures and places, in float64."""

from __future__ import annotations

import logging
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.contract import State
from amiss.errors import BadField
from amiss.kit import gallery as module
from amiss.kit.gallery import Gallery, Shelves
from tests.papers.oracles import window

Array = npt.NDArray[Any]
BLOCKS = (1, 10, 40, 1 << 20)


def shelved(pictures: Array, grid: tuple[int, int], **settings: Any) -> Gallery:
    """A gallery of one layer; pictures  (N, P, C)"""
    shelves = Shelves(len(pictures), **{"precision": "single", "memory": 1 << 30, **settings})
    for picture in pictures:
        shelves.add([picture], picture.mean(axis=0))
    return shelves.gallery([grid])


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def lengths(
    query: Array, pictures: Array, images: Array, place: int, grid: tuple[int, int], radius: int | None
) -> dict[Any, float]:
    """Distance from one query to every vector it may be compared with, by (picture, place)."""
    cells = [row * grid[1] + column for row, column in window(*divmod(place, grid[1]), grid, radius)]
    vectors = pictures.astype(float)
    return {
        (int(image), cell): float(np.sqrt(((query.astype(float) - vectors[image, cell]) ** 2).sum()))
        for image in images for cell in cells
    }  # fmt: skip


def agree(gallery: Gallery, pictures: Array, queries: Array, images: Array, *, radius: int | None, k: int) -> None:
    """The smallest distances there are, ascending; every source lies at its distance, none twice."""
    grid = gallery.grids[0]
    distances, sources = gallery.nearest(0, queries, images, radius=radius, k=k)
    for place, query in enumerate(queries):
        truth = lengths(query, pictures, images, place, grid, radius)
        expected = sorted(truth.values())[: distances.shape[1]]
        np.testing.assert_allclose(distances[place], expected, rtol=1e-5, atol=1e-6)
        found = [(int(picture), int(cell)) for picture, cell in sources[place]]
        assert len(set(found)) == len(found)
        np.testing.assert_allclose([truth[source] for source in found], distances[place], rtol=1e-5, atol=1e-6)


@settings(max_examples=120, deadline=None)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5)), st.integers(1, 6), st.integers(1, 3), st.integers(1, 4),
    st.one_of(st.none(), st.integers(0, 6)), st.sampled_from(BLOCKS), st.booleans(), st.integers(0, 999),
)  # fmt: skip
def test_the_nearest_are_those_of_brute_force(
    grid: tuple[int, int], count: int, channels: int, k: int, radius: int | None, block: int, whole: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-4, 5, (count + 1, grid[0] * grid[1], channels)).astype(np.float32)
    if not whole:
        values = rng.standard_normal(values.shape).astype(np.float32)
    pictures, queries = values[1:], values[0]
    images = rng.permutation(count)[: rng.integers(1, count + 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        agree(shelved(pictures, grid), pictures, queries, images, radius=radius, k=min(k, len(images)))


def test_the_number_of_answers_is_cut_to_what_there_is_to_compare_with() -> None:
    gallery, queries = shelved(normal(3, 4, 2), (2, 2)), normal(4, 2, seed=1)
    assert gallery.nearest(0, queries, np.arange(3), radius=None, k=99)[0].shape == (4, 12)
    assert gallery.nearest(0, queries, np.arange(3), radius=0, k=99)[0].shape == (4, 3)
    assert gallery.nearest(0, queries, np.array([1]), radius=0, k=99)[0].shape == (4, 1)


def test_a_window_ends_at_the_border_and_does_not_go_on_in_the_next_row() -> None:
    pictures = np.full((1, 9, 1), 5, np.float32)
    pictures[0, 3] = 0  # first cell of the second row
    distances, _ = shelved(pictures, (3, 3)).nearest(0, np.zeros((9, 1), np.float32), np.array([0]), radius=1)
    assert distances.reshape(3, 3).tolist() == [[0, 0, 5], [0, 0, 5], [0, 0, 5]]


@pytest.mark.parametrize(("count", "places"), [(103, 1), (1, 703), (101, 8), (100, 1), (99, 2)])
@pytest.mark.parametrize("radius", [0, None])
@pytest.mark.parametrize("block", [2500, 1 << 20])
def test_no_vector_is_left_out_whatever_their_number(
    count: int, places: int, radius: int | None, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    pictures = normal(count, places, 4)
    gallery = shelved(pictures, (1, places))
    for picture in {0, count // 2, count - 1}:
        distances, sources = gallery.nearest(0, pictures[picture], np.arange(count), radius=radius)
        assert (distances == 0).all() and (sources[:, 0, 0] == picture).all()


@pytest.mark.parametrize("offset", [30, 300])
def test_far_from_the_origin_the_distances_lose_no_accuracy(offset: int) -> None:
    pictures, queries = offset + normal(4, 9, 8), offset + normal(9, 8, seed=1)
    for radius in (0, 1, None):
        agree(shelved(pictures, (3, 3)), pictures, queries, np.arange(4), radius=radius, k=1)


def test_most_alike_are_the_descriptors_at_the_smallest_distances() -> None:
    tokens = np.array([[0, 9], [3, 4], [0, 1], [0, 0]], np.float32)
    gallery = Gallery((np.zeros((1, 4, 1), np.float32),), tokens, ((1, 1),))
    distances, images = gallery.alike(np.zeros(2), 3)
    assert images.tolist() == [3, 2, 1] and distances.tolist() == [0, 1, 5]
    assert gallery.alike(np.zeros(2), 99)[1].tolist() == [3, 2, 1, 0]


def test_the_order_in_which_pictures_were_added_does_not_matter() -> None:
    pictures, queries, order = normal(5, 9, 3), normal(9, 3, seed=1), np.array([3, 0, 4, 2, 1])
    one, other = shelved(pictures, (3, 3)), shelved(pictures[order], (3, 3))
    for radius in (0, 1, None):
        (a, named), (b, again) = (each.nearest(0, queries, np.arange(5), radius=radius, k=3) for each in (one, other))
        np.testing.assert_allclose(a, b, rtol=1e-6)
        np.testing.assert_array_equal(named[..., 0], order[again[..., 0]])


def test_a_bank_beyond_the_budget_lies_in_a_file_and_answers_the_same(caplog: pytest.LogCaptureFixture) -> None:
    pictures, queries = normal(5, 9, 3), normal(9, 3, seed=1)
    held = shelved(pictures, (3, 3))
    with caplog.at_level(logging.WARNING, "amiss"):
        mapped = shelved(pictures, (3, 3), memory=100)
    assert isinstance(mapped.layers[0].base, np.memmap) and not isinstance(held.layers[0].base, np.memmap)
    assert "memory" in caplog.text
    for radius in (0, 1, None):
        for a, b in zip(*(g.nearest(0, queries, np.arange(5), radius=radius, k=2) for g in (held, mapped)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_half_precision_costs_less_than_a_thousandth() -> None:
    pictures, queries = normal(5, 9, 16), normal(9, 16, seed=1)
    full = shelved(pictures, (3, 3)).nearest(0, queries, np.arange(5), radius=1)[0]
    for memory in (1 << 30, 5 * 9 * 16 * 3, 100):  # widened, too large to widen, in a file
        half = shelved(pictures, (3, 3), precision="half", memory=memory)
        assert half.layers[0].dtype == np.float16 and (half.wide is not None) == (memory > 1 << 20)
        np.testing.assert_allclose(half.nearest(0, queries, np.arange(5), radius=1)[0], full, rtol=1e-3)


def test_the_file_behind_a_mapped_bank_is_closed() -> None:
    shelved(normal(5, 9, 3), (3, 3), memory=100)


def test_a_gallery_comes_back_from_its_arrays() -> None:
    queries = normal(9, 3, seed=1)
    for precision in ("half", "single"):
        gallery = shelved(normal(5, 9, 3), (3, 3), precision=precision)
        for memory in (1, 1 << 30):
            again = Gallery.restored(State(gallery.arrays(), {}), memory=memory)
            assert again.grids == gallery.grids and len(again) == 5
            for a, b in zip(*(g.nearest(0, queries, np.arange(5), radius=1) for g in (gallery, again)), strict=True):
                np.testing.assert_array_equal(a, b)


def test_fewer_pictures_than_announced_leave_no_empty_ones() -> None:
    shelves = Shelves(9, precision="single", memory=1 << 30)
    shelves.add([np.ones((1, 2), np.float32)], np.ones(2, np.float32))
    gallery = shelves.gallery([(1, 1)])
    assert len(gallery) == 1
    assert gallery.nearest(0, np.zeros((1, 2), np.float32), np.array([0]), radius=None, k=5)[0].shape == (1, 1)


def test_a_grid_that_does_not_fit_the_vectors_is_refused() -> None:
    with pytest.raises(BadField, match="grid"):
        Gallery((np.zeros((4, 1, 2), np.float32),), np.zeros((1, 2), np.float32), ((3, 2),))


def test_a_search_anywhere_holds_no_more_than_a_few_blocks() -> None:
    """Many places and few channels: the products, not the vectors, are what grows."""
    pictures, queries = normal(20, 400, 4), normal(400, 4, seed=1)
    gallery = shelved(pictures, (20, 20))
    gallery.nearest(0, queries, np.arange(20), radius=1)  # the norms are computed once
    tracemalloc.start()
    try:
        gallery.nearest(0, queries, np.arange(20), radius=None, k=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * 2**20  # one product of all would take 12 MB for each of its five copies
