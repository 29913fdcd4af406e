"""Pixel figures against hand-worked cases and a slow oracle with one mask a threshold."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from amiss.errors import BadField, BadSample, UndefinedMetric
from amiss.metrics.ranking import auroc, average_precision, f1_max
from amiss.metrics.regions import PixelScores, aupro, pixel_auroc, pixel_average_precision, pixel_f1_max

METRICS = [pixel_auroc, pixel_average_precision, pixel_f1_max, aupro]


def slow_aupro(maps, masks, limit):
    """The definition word by word: a mask a threshold, each region on its own, the area summed piece by piece."""
    fine = sum(int((~mask).sum()) for mask in masks)
    labelled = [ndimage.label(mask, np.ones((3, 3)))[0] for mask in masks]
    area, x0, y0 = 0.0, 0.0, 0.0
    for threshold in sorted({float(score) for scores in maps for score in scores.ravel()}, reverse=True):
        predicted = [scores >= threshold for scores in maps]
        x1 = sum(int((p & ~mask).sum()) for p, mask in zip(predicted, masks, strict=True)) / fine
        overlaps = [
            p[regions == k].mean() for p, regions in zip(predicted, labelled, strict=True) for k in range(1, regions.max() + 1)
        ]
        y1 = float(np.mean(overlaps))
        if x1 >= limit:
            y_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0) if x1 > x0 else y1
            return (area + (limit - x0) * (y0 + y_limit) / 2) / limit
        area += (x1 - x0) * (y0 + y1) / 2
        x0, y0 = x1, y1
    raise AssertionError("the last threshold lets every pixel through")


@st.composite
def tied_maps(draw):
    """A few small pictures of their own sizes, blobs that touch at corners, scores of few values; some pictures good."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values, density = draw(st.integers(1, 12)), draw(st.floats(0.05, 0.6))
    maps, masks = [], []
    for index in range(draw(st.integers(1, 4))):
        shape = draw(st.integers(2, 9)), draw(st.integers(2, 9))
        mask = rng.random(shape) < (density if index == 0 or rng.random() < 0.6 else 0)
        if index == 0:
            mask[0, 0], mask[-1, -1] = True, False  # so that the figures exist
        maps.append((rng.integers(0, values, shape) + 0.5 * mask * rng.integers(0, 3)).astype(np.float32))
        masks.append(mask)
    return maps, masks


@settings(max_examples=120, deadline=None)
@given(tied_maps(), st.sampled_from([1.0, 0.3, 0.05, 0.01, 1 / 3]))
def test_aupro_equals_the_definition_word_by_word(data, limit):
    maps, masks = data
    assert aupro(maps, masks, limit=limit) == pytest.approx(slow_aupro(maps, masks, limit), abs=1e-12)


def test_aupro_of_a_curve_worked_by_hand():
    # fine scores 5 4 2 1 (a quarter of the rate each); one region of two pixels, scores 3 and 6
    maps, masks = [np.array([[5, 4, 6], [2, 1, 3.0]])], [np.array([[0, 0, 1], [0, 0, 1]], bool)]
    # descending: 6 lifts the overlap to 1/2; 5 and 4 move the rate to 1/2; 3 lifts it to 1; 2 and 1 move the rate to 1
    assert aupro(maps, masks, limit=1.0) == pytest.approx(0.5 * 0.5 + 0.5 * 1)
    assert aupro(maps, masks, limit=0.5) == pytest.approx(0.5)
    assert aupro(maps, masks, limit=0.75) == pytest.approx((0.5 * 0.5 + 0.25 * 1) / 0.75)


def test_equal_scores_enter_the_curve_together_along_a_slope():
    # 2 is shared by the defect and two of four fine pixels: from (0, 0) straight to (1/2, 1)
    maps, masks = [np.array([[2, 2, 2, 1, 1.0]])], [np.array([[1, 0, 0, 0, 0]], bool)]
    assert aupro(maps, masks, limit=0.5) == pytest.approx(0.5)
    assert aupro(maps, masks, limit=0.25) == pytest.approx(0.25)  # the line is cut at (1/4, 1/2), the triangle's mean is 1/4
    assert aupro(maps, masks, limit=1.0) == pytest.approx(0.75)


def test_small_and_large_regions_weigh_the_same():
    # region of one pixel found at once, region of four pixels never found before the fine ones: overlap 1/2, not 1/5
    mask = np.array([[1, 0, 1, 1, 1, 1]], bool)
    assert aupro([np.array([[9, 5, 1, 1, 1, 1.0]])], [mask], limit=0.3) == pytest.approx(0.5)


def test_pixels_that_touch_at_a_corner_are_one_region():
    # 8-connected: a diagonal of two, half found; 4-connected there would be three regions with overlap (1 + 0 + 1) / 3
    mask = np.array([[1, 0, 0, 0, 0], [0, 1, 0, 0, 1]], bool)
    scores = np.array([[9, 5, 5, 5, 5], [5, 1, 5, 5, 9.0]])
    assert aupro([scores], [mask], limit=0.3) == pytest.approx((0.5 + 1) / 2)


def test_regions_of_different_pictures_are_never_joined():
    # each picture's full mask is one region of its own: picture 0 found at once, picture 1 not
    masks = [np.array([[True, True]]), np.array([[True, True, True]]), np.zeros((1, 4), bool)]
    maps = [np.full((1, 2), 9.0), np.full((1, 3), 1.0), np.full((1, 4), 5.0)]
    assert aupro(maps, masks, limit=0.3) == pytest.approx(0.5)


def test_good_pictures_count_in_the_false_positive_rate():
    bad, mask = np.array([[3, 1, 1, 1.0]]), np.array([[True, False, False, False]])
    assert aupro([bad], [mask]) == 1
    noisy = np.array([[4, 4, 1, 1, 1.0]])  # two of eight fine pixels come before the defect
    assert aupro([bad, noisy], [mask, np.zeros((1, 5), bool)], limit=0.5) == pytest.approx(0.5)


def test_perfect_and_constant_maps_reach_their_known_values():
    mask = np.zeros((20, 20), bool)
    mask[3:7, 3:9] = mask[12:14, 2:4] = True
    for limit in (0.01, 0.3, 1.0):
        assert aupro([mask.astype(float)], [mask], limit=limit) == 1
        assert aupro([np.zeros((20, 20))], [mask], limit=limit) == pytest.approx(limit / 2)  # the diagonal
        assert aupro([-mask.astype(float)], [mask], limit=limit) == 0


@settings(max_examples=60, deadline=None)
@given(tied_maps())
def test_pixel_figures_are_ranking_figures_over_all_pixels(data):
    maps, masks = data
    scores, labels = np.concatenate([m.ravel() for m in maps]), np.concatenate([m.ravel() for m in masks])
    assert pixel_auroc(maps, masks) == auroc(scores, labels)
    assert pixel_average_precision(maps, masks) == average_precision(scores, labels)
    assert pixel_f1_max(maps, masks) == f1_max(scores, labels)


@settings(max_examples=40, deadline=None)
@given(tied_maps())
def test_figures_depend_on_the_order_of_scores_only(data):
    maps, masks = data
    for metric in METRICS:
        assert metric([np.exp(m.astype(float)) for m in maps], masks) == metric(maps, masks)


@settings(max_examples=40, deadline=None)
@given(tied_maps())
def test_weights_of_all_defective_pixels_add_to_one(data):
    assert PixelScores.collect(*data).weights.sum() == pytest.approx(1)


def test_scores_are_held_sorted_in_the_type_of_the_maps():
    mask = np.array([[True, False], [False, True]])
    for dtype in (np.float32, np.float64):
        scores = PixelScores.collect([np.array([[3, 2], [1, 0]], dtype)], [mask])
        assert scores.fine.dtype == scores.defective.dtype == dtype
        assert scores.fine.tolist() == [1, 2] and scores.defective.tolist() == [0, 3]


def test_float64_scores_are_not_rounded_when_float32_maps_come_first():
    tiny = 1 + 1e-12  # equal to 1 in float32
    maps = [np.ones((2, 2), np.float32), np.full((2, 2), tiny)]
    assert pixel_auroc(maps, [np.zeros((2, 2), bool), np.ones((2, 2), bool)]) == 1
    assert pixel_auroc(maps[::-1], [np.ones((2, 2), bool), np.zeros((2, 2), bool)]) == 1


def test_integer_half_and_foreign_endian_maps_are_read():
    mask = np.array([[True, False, False]])
    for dtype in ("i4", "u1", "f2", ">f4", ">f8"):
        assert pixel_auroc([np.array([[2, 3, 1]], dtype)], [mask]) == 0.5


def test_views_with_odd_strides_give_what_their_copies_give():
    rng = np.random.default_rng(0)
    maps, masks = [rng.random((12, 9)).T[::-1]], [(rng.random((24, 9)) < 0.3)[::2].T[::-1]]
    assert aupro(maps, masks) == aupro([maps[0].copy()], [masks[0].copy()])


def test_a_buffer_that_is_reused_between_pictures_does_no_harm():
    rng = np.random.default_rng(1)
    maps, masks = rng.random((5, 8, 8)), rng.random((5, 8, 8)) < 0.2
    masks[0] = False

    def reused(arrays):
        buffer = np.empty(arrays.shape[1:], arrays.dtype)
        for array in arrays:
            buffer[...] = array
            yield buffer

    assert aupro(reused(maps), reused(masks)) == aupro(maps, masks)


def test_inputs_are_left_as_they_were():
    rng = np.random.default_rng(2)
    maps, masks = rng.random((3, 6, 6)), rng.random((3, 6, 6)) < 0.3
    before = maps.copy(), masks.copy()
    maps.flags.writeable = masks.flags.writeable = False
    aupro(maps, masks)
    assert (maps == before[0]).all() and (masks == before[1]).all()


def test_collecting_a_stream_holds_little_more_than_the_scores():
    mask = np.zeros((400, 500), bool)
    mask[100:150, 100:150] = True
    pictures = 60  # 12 million pixels

    def maps():
        for seed in range(pictures):
            yield np.random.default_rng(seed).random((400, 500), np.float32)

    tracemalloc.start()
    try:
        scores = PixelScores.collect(maps(), (mask for _ in range(pictures)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / (pictures * mask.size) < 6  # bytes a pixel, of which 4 are the score itself
    assert len(scores.fine) + len(scores.defective) == pictures * mask.size


@pytest.mark.parametrize("metric", METRICS)
def test_pictures_without_fine_or_without_defective_pixels_are_undefined(metric):
    scores = np.zeros((2, 3))
    with pytest.raises(UndefinedMetric, match="no defective pixel in 2 pictures"):
        metric([scores, scores], [np.zeros((2, 3), bool)] * 2)
    with pytest.raises(UndefinedMetric, match="no fine pixel in 1 pictures"):
        metric([scores], [np.ones((2, 3), bool)])
    with pytest.raises(UndefinedMetric, match="in 0 pictures"):
        metric([], [])


FINE, MARKED = np.zeros((2, 2)), np.eye(2, dtype=bool)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("maps", "masks", "words"),
    [
        ([FINE, np.array([[0, math.nan], [0, 0]])], [MARKED] * 2, "map 1 holds NaN"),
        ([FINE, np.array([[0, math.inf], [0, 0]])], [MARKED] * 2, "map 1 holds NaN or infinity"),
        ([FINE, np.zeros((2, 3))], [MARKED] * 2, r"mask 1 has shape \(2, 2\), its map \(2, 3\)"),
        ([FINE[None]], [MARKED[None]], r"map 0 has shape \(1, 2, 2\)"),
        (FINE, MARKED, r"map 0 has shape \(2,\)"),
        ([FINE], [MARKED.astype(np.uint8)], "mask 0 is uint8"),
        ([FINE], [None], "mask 0 is object"),
        ([None], [MARKED], r"map 0 has shape \(\)"),
        ([FINE.astype(complex)], [MARKED], "complex128"),
        ([FINE, FINE], [MARKED], "more maps than masks: there are only 1 masks"),
        ([FINE], [MARKED, MARKED], "more masks than maps: there are only 1 maps"),
    ],
)
def test_maps_and_masks_that_do_not_fit_are_refused_by_index(metric, maps, masks, words):
    with pytest.raises(BadSample, match=words):
        metric(maps, masks)


@pytest.mark.parametrize("limit", [0, -0.1, 1.001, math.nan, math.inf])
def test_limits_that_are_no_rate_are_refused(limit):
    with pytest.raises(BadField, match="limit"):
        aupro([FINE], [MARKED], limit=limit)
    with pytest.raises(BadField, match="limit"):
        PixelScores.collect([FINE], [MARKED]).aupro(limit)
