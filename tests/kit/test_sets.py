"""Sets as histograms, and shrunk distances, against plain loops and dense inverses in float64."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.errors import BadField, BadSample
from amiss.kit.sets import Histograms, SetFeatures, ShrunkNearest, Whitening, placed
from tests.papers import sinbad_oracle as oracle

Array = npt.NDArray[Any]
WHITENINGS: tuple[Whitening, ...] = ("inverse", "root")
SIGNALS = np.random.default_rng(3).standard_normal((6, 4, 50))  # six recordings, fifty windows of four numbers


def along_itself(*thresholds: float) -> SetFeatures:
    """One direction that is the element's only number."""
    return SetFeatures(np.ones((1, 1), np.float32), np.array([thresholds], np.float32))


def fit(sets: Array, seed: int = 0, **fields: Any) -> SetFeatures:
    return SetFeatures.fit(sets, np.random.default_rng(seed), **fields)


# -- shares ------------------------------------------------------------------------------------------------------------


def test_shares_of_elements_below_each_threshold_by_hand() -> None:
    sets = np.array([[[1.0, 2.0, 3.0, 4.0]], [[2.5, 2.5, 9.0, -1.0]]])
    assert along_itself(1.5, 2.5, 3.5)(sets).tolist() == [[0.25, 0.5, 0.75], [0.25, 0.25, 0.75]]  # 2.5 is not below 2.5
    assert along_itself(1.5, 2.5, 3.5).counts(sets).tolist() == [[[1, 2, 3]], [[1, 1, 3]]]


def test_all_thresholds_of_a_direction_stand_before_those_of_the_next() -> None:
    features = SetFeatures(
        np.array([[1, 0], [0, 1], [1, -1]], np.float32), np.array([[0.5, 5], [15, 25], [-15, 0]], np.float32)
    )
    elements = np.array([[[0.0, 1.0, 2.0], [10.0, 20.0, 30.0]]])  # (0, 10), (1, 20), (2, 30); differences -10, -19, -28
    assert features.counts(elements).tolist() == [[[1, 3], [1, 2], [2, 3]]]
    np.testing.assert_allclose(features(elements), np.array([[1, 3, 1, 2, 2, 3]]) / 3, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_description_is_a_loop_over_elements_whatever_their_order(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n, c, e, r, k = (data.draw(st.integers(1, most)) for most in (4, 5, 30, 6, 4))
    sets = rng.integers(-5, 6, (n, c, e)).astype(data.draw(st.sampled_from([np.float32, np.float64, np.int64])))
    # whole numbers: every sum is exact, ties with a threshold included
    features = SetFeatures(
        rng.integers(-3, 4, (r, c)).astype(np.float32), np.sort(rng.integers(-9, 9, (r, k)), axis=1).astype(np.float32)
    )
    found = features(sets)
    assert found.shape == (n, r * k)
    np.testing.assert_allclose(found, [oracle.shares(one, features.directions, features.thresholds) for one in sets], rtol=1e-6)
    shuffled = np.stack([one[:, rng.permutation(e)] for one in sets])
    np.testing.assert_array_equal(features(shuffled), found)


def test_any_series_of_windows_is_a_set() -> None:
    features = fit(SIGNALS, directions=8, thresholds=3)
    found, backwards = features(SIGNALS), features(np.flip(SIGNALS, axis=2))
    np.testing.assert_allclose(
        found, [oracle.shares(one, features.directions, features.thresholds) for one in SIGNALS], atol=1e-6
    )
    np.testing.assert_array_equal(found, backwards)
    twice = np.concatenate([SIGNALS, SIGNALS], axis=2)  # a longer recording of the same
    np.testing.assert_array_equal(features(twice), found)


def test_a_set_is_described_alike_alone_and_among_others() -> None:
    features = fit(SIGNALS, directions=30)
    np.testing.assert_array_equal(features(SIGNALS), np.concatenate([features(one[None]) for one in SIGNALS]))
    np.testing.assert_array_equal(features(np.asfortranarray(SIGNALS)), features(SIGNALS))


# -- thresholds --------------------------------------------------------------------------------------------------------


def test_thresholds_by_hand() -> None:
    sets = np.arange(101.0).reshape(1, 1, 101)  # quantiles 1 and 99, so 25.5, 50 and 74.5 between them
    features = fit(sets, directions=20, thresholds=3)
    assert features.directions.shape == (20, 1) and features.thresholds.shape == (20, 3)
    for direction, found in zip(features.directions[:, 0], features.thresholds, strict=True):
        np.testing.assert_allclose(found, sorted(direction * np.array([25.5, 50, 74.5])), rtol=1e-5)


def test_a_tail_of_nothing_spans_all_elements() -> None:
    features = fit(np.array([[[0.0, 1.0]], [[2.0, 12.0]]]), directions=1, thresholds=2, tail=0.0)
    np.testing.assert_allclose(np.sort(features.thresholds / features.directions), [[4.0, 8.0]], rtol=1e-6)


@pytest.mark.parametrize("tail", [0.0, 0.01, 0.2])
@pytest.mark.parametrize("thresholds", [1, 5])
def test_thresholds_come_from_all_elements_of_all_sets(tail: float, thresholds: int) -> None:
    features = fit(SIGNALS, directions=6, thresholds=thresholds, tail=tail)
    truth = oracle.thresholds(list(SIGNALS), features.directions, thresholds, tail)
    np.testing.assert_allclose(features.thresholds, truth, atol=1e-5)
    assert (np.diff(features.thresholds, axis=1) > 0).all()


def test_directions_are_normal_and_fixed_by_the_generator() -> None:
    drawn = fit(SIGNALS, directions=4000).directions
    assert drawn.shape == (4000, 4)
    assert abs(drawn.mean()) < 0.03 and drawn.std() == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.08 and (np.abs(drawn) > 2).mean() == pytest.approx(0.0455, abs=0.01)
    np.testing.assert_array_equal(fit(SIGNALS, directions=4000).directions, drawn)
    assert not np.array_equal(fit(SIGNALS, seed=1, directions=4000).directions, drawn)


def test_moved_thresholds_are_those_of_the_other_sets_along_the_same_directions() -> None:
    features, others = fit(SIGNALS, directions=5, thresholds=4), SIGNALS[:2] * 7 + 1
    moved = features.moved(others)
    np.testing.assert_array_equal(moved.directions, features.directions)
    np.testing.assert_allclose(moved.thresholds, oracle.thresholds(list(others), features.directions, 4), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(features.thresholds, oracle.thresholds(list(SIGNALS), features.directions, 4), atol=1e-5)


def test_many_directions_and_elements_need_no_array_of_both() -> None:
    sets = np.random.default_rng(0).standard_normal((8, 3, 20_000)).astype(np.float32)
    tracemalloc.start()
    fit(sets, directions=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 250e6  # all at once: 1000 x 160,000 x 4 bytes, twice


@pytest.mark.parametrize("shape", [(3,), (3, 4), (1, 2, 3, 4), (0, 2, 3), (2, 0, 3), (2, 3, 0)])
@pytest.mark.parametrize(
    "use", [fit, fit(SIGNALS, directions=2), fit(SIGNALS, directions=2).moved], ids=["fit", "call", "moved"]
)
def test_sets_of_another_shape_are_refused_with_the_one_wanted(shape: tuple[int, ...], use: Callable[[Array], Any]) -> None:
    with pytest.raises(BadSample, match=r"\(N, C, E\)") as met:
        use(np.zeros(shape))
    assert str(shape) in str(met.value)


def test_elements_of_another_width_are_refused_with_both_numbers() -> None:
    with pytest.raises(BadSample, match=r"(?=.*\b5\b)(?=.*\b4\b)"):
        fit(SIGNALS)(np.zeros((1, 5, 3)))


@pytest.mark.parametrize(
    "fields",
    [{"directions": 0}, {"directions": -1}, {"thresholds": 0}, {"tail": -0.1}, {"tail": 0.5}, {"tail": float("nan")}],
    ids=str,
)  # fmt: skip
def test_impossible_numbers_are_refused_with_what_was_met_and_wanted(fields: dict[str, Any]) -> None:
    (value,) = fields.values()
    with pytest.raises(BadField, match=rf"{value}.*wanted"):
        fit(SIGNALS, **fields)


# -- many crops --------------------------------------------------------------------------------------------------------


def test_crops_share_directions_and_have_thresholds_of_their_own() -> None:
    references = [np.stack([one, 3 * one + 1, -one]) for one in SIGNALS]  # three crops each
    features = placed(references, 5, 2, np.random.default_rng(0))
    for crop, each in enumerate(features):
        np.testing.assert_array_equal(each.directions, features[0].directions)
        truth = oracle.thresholds([sets[crop] for sets in references], each.directions, 2)
        np.testing.assert_allclose(each.thresholds, truth, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("elements", "kind"), [(255, "uint8"), (256, "uint16"), (65536, "uint32")])
def test_counts_are_kept_in_the_smallest_whole_numbers_that_hold_a_full_set(elements: int, kind: str) -> None:
    histograms = Histograms.empty([along_itself(0.0, 2.0)], 1, elements)
    counts = histograms.counted(np.ones((1, 1, elements)))
    assert counts.dtype == histograms.counts.dtype == kind
    assert counts.tolist() == [[0, elements]] and histograms.shares(counts).tolist() == [[0, 1]]


# -- shrunk distances --------------------------------------------------------------------------------------------------


def agree(vectors: Array, queries: Array, shrinkage: float, whiten: Whitening, rtol: float = 1e-8) -> None:
    truth = oracle.squared(queries, vectors, shrinkage, whiten)
    scorer = ShrunkNearest(vectors, shrinkage=shrinkage, whiten=whiten)
    np.testing.assert_allclose(scorer.squared(queries), truth, rtol=rtol)
    squared, nearest = scorer.nearest(queries)
    np.testing.assert_allclose(squared, truth.min(axis=1), rtol=rtol)
    np.testing.assert_array_equal(nearest, truth.argmin(axis=1))


@pytest.mark.parametrize("whiten", WHITENINGS)
@pytest.mark.parametrize("shrinkage", [0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("n", "p"), [(12, 40), (40, 12), (20, 20), (2, 9), (9, 1), (60, 61)])
def test_distances_are_those_of_the_dense_inverse(n: int, p: int, shrinkage: float, whiten: Whitening) -> None:
    rng = np.random.default_rng(n * 1000 + p)
    stretch = np.exp(-np.arange(p) / 5)
    agree(rng.standard_normal((n, p)) * stretch + 3, rng.standard_normal((5, p)) * stretch + 3, shrinkage, whiten)


@pytest.mark.parametrize("whiten", WHITENINGS)
@pytest.mark.parametrize("n", [8, 50])
def test_vectors_in_few_directions_are_measured_rightly_in_and_beside_them(n: int, whiten: Whitening) -> None:
    rng = np.random.default_rng(1)
    few = rng.standard_normal((3, 30))
    vectors = rng.standard_normal((n, 3)) @ few + rng.standard_normal(30)  # rank 3
    vectors[n // 2] = vectors[0]  # and one twice
    agree(vectors, np.concatenate([rng.standard_normal((4, 30)), rng.standard_normal((4, 3)) @ few + vectors[1]]), 0.1, whiten)


@pytest.mark.parametrize("whiten", WHITENINGS)
def test_full_shrinkage_measures_plain_lengths_in_mean_variances(whiten: Whitening) -> None:
    vectors = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]])  # variances 1 and 4, so mu = 2.5
    found = ShrunkNearest(vectors, shrinkage=1.0, whiten=whiten).squared(np.array([[3.0, 0.0]]))
    plain = np.array([[9.0, 1.0, 25.0, 17.0]])
    np.testing.assert_allclose(found, plain / (6.25 if whiten == "inverse" else 2.5), rtol=1e-12)


def test_the_two_whitenings_by_hand() -> None:
    vectors = np.array([[-1.0, 0.0], [1.0, 0.0]])  # Cov = diag(1, 0), mu = 0.5; half shrunk: S = diag(0.75, 0.25)
    query = np.array([[1.0, 0.5]])  # beside the second by (0, 0.5): 0.25 / 0.25 and 0.25 / 0.0625
    for whiten, truth in (("root", 1.0), ("inverse", 4.0)):
        squared, index = ShrunkNearest(vectors, shrinkage=0.5, whiten=whiten).nearest(query)  # type: ignore[arg-type]
        assert squared[0] == pytest.approx(truth, rel=1e-12) and index[0] == 1


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 25), st.integers(1, 25), st.integers(1, 25), st.floats(0.02, 1), st.sampled_from(WHITENINGS),
    st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1.0, 1e3]), st.sampled_from([0.0, 5.0]),
)  # fmt: skip
def test_distances_are_those_of_the_dense_inverse_for_all(
    n: int, p: int, rank: int, shrinkage: float, whiten: Whitening, seed: int, scale: float, offset: float
) -> None:
    rng = np.random.default_rng(seed)
    vectors = scale * (rng.standard_normal((n, min(rank, p))) @ rng.standard_normal((min(rank, p), p)) + offset)
    queries = scale * (rng.standard_normal((3, p)) + offset)
    truth = oracle.squared(queries, vectors, shrinkage, whiten)
    found = ShrunkNearest(vectors, shrinkage=shrinkage, whiten=whiten).squared(queries)
    np.testing.assert_allclose(found, truth, rtol=1e-8, atol=1e-8 * truth.max())


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 15), st.integers(1, 20), st.floats(0.05, 1), st.sampled_from(WHITENINGS), st.integers(0, 2**32 - 1))
def test_laws_of_distances(n: int, p: int, shrinkage: float, whiten: Whitening, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = rng.standard_normal((n, p)), rng.standard_normal((4, p))
    scorer = ShrunkNearest(vectors, shrinkage=shrinkage, whiten=whiten)
    found, size = scorer.squared(queries), scorer.squared(queries).max()
    assert (found >= 0).all() and (scorer.squared(vectors).diagonal() <= 1e-9 * size).all()
    moved = ShrunkNearest(vectors + 2, shrinkage=shrinkage, whiten=whiten).squared(queries + 2)
    np.testing.assert_allclose(moved, found, rtol=1e-7, atol=1e-9 * size)
    wide = ShrunkNearest(vectors * 10, shrinkage=shrinkage, whiten=whiten).squared(queries * 10)  # lengths in units of variance
    np.testing.assert_allclose(wide * (100 if whiten == "inverse" else 1), found, rtol=1e-7, atol=1e-9 * size)
    np.testing.assert_allclose(
        np.concatenate([scorer.squared(one[None]) for one in queries]), found, rtol=1e-9, atol=1e-9 * size
    )


@pytest.mark.parametrize("whiten", WHITENINGS)
def test_single_precision_comes_near_the_same(whiten: Whitening) -> None:
    rng = np.random.default_rng(2)
    vectors, queries = (rng.integers(0, 50, (count, 300)).astype(np.float32) / 49 for count in (40, 5))
    truth = oracle.squared(queries.astype(float), vectors.astype(float), 0.1, whiten)
    np.testing.assert_allclose(ShrunkNearest(vectors, shrinkage=0.1, whiten=whiten).squared(queries), truth, rtol=1e-4)


@pytest.mark.parametrize("whiten", WHITENINGS)
@pytest.mark.parametrize("n", [1, 3, 7, 300])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_vectors_that_all_agree_give_plain_lengths(n: int, kind: Any, whiten: Whitening) -> None:
    vector = (np.arange(50) % 49 / 49).astype(kind)  # shares whose sum rounds
    scorer = ShrunkNearest(np.tile(vector, (n, 1)), shrinkage=0.1, whiten=whiten)
    beside = vector.copy()
    beside[[3, 5]] += 0.25
    np.testing.assert_allclose(scorer.squared(np.stack([vector, beside])), [[0.0] * n, [0.125] * n], rtol=1e-5, atol=1e-6)


def test_a_basis_found_before_gives_the_same_distances() -> None:
    rng = np.random.default_rng(0)
    vectors, queries = rng.standard_normal((6, 10)), rng.standard_normal((2, 10))
    first = ShrunkNearest(vectors, shrinkage=0.1, whiten="inverse")
    again = ShrunkNearest(vectors, shrinkage=0.1, whiten="inverse", basis=first.basis)
    assert again.basis is first.basis
    np.testing.assert_array_equal(again.squared(queries), first.squared(queries))


def test_the_square_matrix_of_all_numbers_is_never_made() -> None:
    vectors = np.random.default_rng(0).standard_normal((10, 20_000)).astype(np.float32)
    tracemalloc.start()
    ShrunkNearest(vectors, shrinkage=0.1, whiten="inverse").nearest(vectors[:3])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6  # 20,000 x 20,000 would be 1.6 GB, and even one row in 50 of it 32 MB
