"""AU-sPRO against hand-worked cases and a slow oracle with one mask a threshold."""

from __future__ import annotations

import math
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from amiss.data.mvtec_loco import Saturation
from amiss.errors import BadField, BadSample, UndefinedMetric
from amiss.metrics.intervals import PartCounts, averaged_intervals
from amiss.metrics.regions import Overlap, aupro
from amiss.metrics.spro import LIMITS, au_spro, saturated


def unions(maps, regions):
    """What any channel marks, a mask a picture."""
    pairs = zip(maps, regions, strict=True)
    return [np.logical_or.reduce([np.zeros(scores.shape, bool), *(mask for mask, _ in some)]) for scores, some in pairs]


def slow_au_spro(maps, regions, limit):
    """The definition word by word: positive is what scores above t, for every t that changes anything."""
    fine = [~union for union in unions(maps, regions)]
    levels = sorted({float(score) for scores in maps for score in scores.ravel()}, reverse=True)
    points = []
    for level in [*levels, -math.inf]:
        positive = [scores > level for scores in maps]
        alarms = sum(int((p & f).sum()) for p, f in zip(positive, fine, strict=True))
        found = [min((p & mask).sum() / full, 1) for p, some in zip(positive, regions, strict=True) for mask, full in some]
        points.append((alarms / sum(int(f.sum()) for f in fine), float(np.mean(found))))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x1 > limit:
            return (area + (limit - x0) * (y0 + (y0 + (y1 - y0) * (limit - x0) / (x1 - x0))) / 2) / limit
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


@st.composite
def defective_parts(draw):
    """Small pictures of their own sizes, some good; channels that overlap, full at some number of pixels; scores that tie."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values, density = draw(st.integers(1, 12)), draw(st.floats(0.05, 0.6))
    maps, regions = [], []
    for index in range(draw(st.integers(1, 4))):
        shape = draw(st.integers(2, 9)), draw(st.integers(2, 9))
        channels = []
        for _ in range(max(draw(st.integers(0, 3)), index == 0)):
            mask = rng.random(shape) < density
            mask[0, 0], mask[-1, -1] = True, False  # never empty, and never without a fine pixel
            whole = draw(st.booleans())
            full = rng.integers(1, mask.sum() + 1) if whole else rng.uniform(1, mask.sum())
            channels.append((mask, float(full)))
        lift = sum((mask for mask, _ in channels), np.zeros(shape))
        maps.append((rng.integers(0, values, shape) + 0.5 * lift * rng.integers(0, 3)).astype(np.float32))
        regions.append(channels)
    return maps, regions


@settings(max_examples=150, deadline=None)
@given(defective_parts(), st.sampled_from([*LIMITS, 1 / 3, 0.7]))
def test_au_spro_equals_the_definition_word_by_word(data, limit):
    maps, regions = data
    assert au_spro(maps, regions, limits=[limit])[limit] == pytest.approx(slow_au_spro(maps, regions, limit), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(defective_parts())
def test_full_at_the_whole_area_of_connected_regions_it_is_aupro(data):
    maps, some = data
    masks = unions(maps, some)
    labelled = [ndimage.label(mask, np.ones((3, 3))) for mask in masks]
    regions = [[(where == k, float((where == k).sum())) for k in range(1, count + 1)] for where, count in labelled]
    assert au_spro(maps, regions, limits=[0.3])[0.3] == pytest.approx(aupro(maps, masks, limit=0.3), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(defective_parts())
def test_every_channel_weighs_the_same_however_soon_it_is_full(data):
    overlap = Overlap.gather(saturated(*data))
    assert overlap.weights.sum() == pytest.approx(1) and overlap.weights.min() > 0


@settings(max_examples=40, deadline=None)
@given(defective_parts())
def test_areas_depend_on_the_order_of_scores_only(data):
    maps, regions = data
    assert au_spro([np.exp(m.astype(float)) for m in maps], regions) == au_spro(maps, regions)


@settings(max_examples=40, deadline=None)
@given(defective_parts())
def test_a_defect_that_is_full_sooner_is_never_found_later(data):
    maps, regions = data
    sooner = [[(mask, max(1.0, full / 2)) for mask, full in some] for some in regions]
    before, after = au_spro(maps, regions), au_spro(maps, sooner)
    assert all(after[limit] >= before[limit] - 1e-12 for limit in LIMITS)


# One channel of four pixels, scores 9 6 3 1, and four fine pixels at 8 5 2 0: each a quarter of the rate.
SCORES = np.array([[9, 6, 3, 1.0], [8, 5, 2, 0]])
TOP = np.array([[True] * 4, [False] * 4])


def one(full, limit=1.0, scores=SCORES):
    return au_spro([scores], [[(TOP, full)]], limits=[limit])[limit]


def test_absolute_saturation_worked_by_hand():
    # full at 2: 9 lifts to 1/2, 8 moves to rate 1/4, 6 lifts to 1 and there it stays
    assert one(2) == pytest.approx(0.25 * 0.5 + 0.75)
    assert one(4) == pytest.approx(0.25 * (1 / 4 + 2 / 4 + 3 / 4 + 1))
    assert one(1) == 1  # 9 alone is enough


def test_a_saturation_between_two_pixels_takes_a_part_of_the_next():
    # full at 2.5: heights 0.4, 0.8, 1
    assert one(2.5) == pytest.approx(0.25 * (0.4 + 0.8 + 1 + 1))


def test_relative_and_absolute_thresholds_are_turned_into_pixels_by_the_reader():
    assert one(Saturation(0.5, relative=True).pixels(4)) == one(2)
    assert one(Saturation(3, relative=False).pixels(4)) == one(3)
    assert one(Saturation(100, relative=False).pixels(4)) == one(4)  # never more than there are
    assert one(Saturation(0.01, relative=True).pixels(4)) == 1  # int(0.04) pixels would be none: one is wanted


def test_the_two_channels_of_the_specification_are_averaged():
    # A: four pixels, all wanted; B: four pixels, half wanted. 9 8 in A, then fine 7, then 6 5 in B, then fine 4, 1 1 in A
    scores = np.array([[9, 8, 1, 1, 7], [6, 5, 0, 0, 4.0]])
    a, b = np.zeros((2, 5), bool), np.zeros((2, 5), bool)
    a[0, :4] = b[1, :4] = True
    channels = [(a, Saturation(4, relative=False).pixels(4)), (b, Saturation(0.5, relative=True).pixels(4))]
    # to rate 1/2: (2/4 + 0) / 2; to rate 1: (2/4 + 1) / 2
    assert au_spro([scores], [channels], limits=[1.0, 0.5]) == pytest.approx({1.0: 0.5 * 0.25 + 0.5 * 0.75, 0.5: 0.25})


def test_a_pixel_of_two_channels_counts_in_both_and_is_no_false_alarm():
    # 9 is in both: A (full at 1) and half of B; fine pixels 5 and 4; B's other pixel last
    scores, a, b = np.array([[9, 1, 5, 4.0]]), np.array([[1, 0, 0, 0]], bool), np.array([[1, 1, 0, 0]], bool)
    assert au_spro([scores], [[(a, 1), (b, 2)]], limits=[1.0])[1.0] == pytest.approx((1 + 0.5) / 2)


def test_a_pixel_fine_in_one_channel_only_is_not_fine():
    # were A's pixel fine for B, or B's for A, the rate would move before both are found
    scores, a, b = np.array([[9, 8, 1, 1.0]]), np.array([[1, 0, 0, 0]], bool), np.array([[0, 1, 0, 0]], bool)
    assert au_spro([scores], [[(a, 1), (b, 1)]]) == dict.fromkeys(LIMITS, 1.0)


def test_pixels_beyond_saturation_are_neither_rewarded_nor_false_alarms():
    low = SCORES.copy()
    low[0, 2:] = -5  # those beyond the two that count
    assert one(2, scores=low) == one(2)


def test_the_mean_is_over_channels_not_over_pictures():
    # picture 0 has three channels found at once, picture 1 one that is never found before its fine pixel
    found, missed = np.array([[9, 9, 9, 0.0]]), np.array([[0, 5.0]])
    three = [(np.eye(1, 4, k, dtype=bool), 1.0) for k in range(3)]
    assert au_spro([found, missed], [three, [(np.array([[True, False]]), 1.0)]], limits=[0.4])[0.4] == pytest.approx(0.75)


def test_good_pictures_count_in_the_false_positive_rate():
    bad, channel = np.array([[3, 1, 1, 1.0]]), (np.array([[True, False, False, False]]), 1.0)
    noisy = np.array([[4, 4, 1, 1, 1.0]])  # two of eight fine pixels come before the defect
    assert au_spro([bad], [[channel]], limits=[0.5])[0.5] == 1
    assert au_spro([bad, noisy], [[channel], []], limits=[0.5])[0.5] == pytest.approx(0.5)


def test_equal_scores_enter_together_along_a_slope_and_the_limit_cuts_it():
    # 2 is shared by the channel and two of four fine pixels: from (0, 0) straight to (1/2, 1)
    maps, regions = [np.array([[2, 2, 2, 1, 1.0]])], [[(np.array([[1, 0, 0, 0, 0]], bool), 1.0)]]
    assert au_spro(maps, regions, limits=[0.25, 0.5, 1.0]) == pytest.approx({0.25: 0.25, 0.5: 0.5, 1.0: 0.75})


def test_equal_scores_within_a_channel_fill_it_together():
    # three pixels at 5 fill a channel of two at once, together with one of two fine pixels
    maps, regions = [np.array([[5, 5, 5, 5, 1.0]])], [[(np.array([[1, 1, 1, 0, 0]], bool), 2.0)]]
    assert au_spro(maps, regions, limits=[0.5, 1.0]) == pytest.approx({0.5: 0.5, 1.0: 0.75})


def test_perfect_constant_and_opposite_maps_reach_their_known_values():
    mask = np.zeros((20, 20), bool)
    mask[3:7, 3:9] = True
    for full in (1, 7.5, 24):
        assert au_spro([mask.astype(float)], [[(mask, full)]]) == dict.fromkeys(LIMITS, 1.0)
        diagonal = {limit: limit / 2 for limit in LIMITS}
        assert au_spro([np.zeros((20, 20))], [[(mask, full)]]) == pytest.approx(diagonal)
        assert au_spro([-mask.astype(float)], [[(mask, full)]]) == dict.fromkeys(LIMITS, 0.0)


def test_no_limit_gives_nothing_and_one_area_does_not_depend_on_the_other_limits():
    assert au_spro([SCORES], [[(TOP, 3)]], limits=[]) == {}
    assert au_spro([SCORES], [[(TOP, 3)]])[0.3] == one(3, 0.3)


def test_inputs_are_left_as_they_were_and_buffers_may_be_reused():
    rng = np.random.default_rng(1)
    maps, masks = rng.random((4, 6, 6)), rng.random((4, 6, 6)) < 0.4
    maps.flags.writeable = masks.flags.writeable = False
    wanted = au_spro(maps, [[(mask, 2.0)] for mask in masks])

    def reused():
        buffer = np.empty((6, 6))
        for one_map in maps:
            buffer[...] = one_map
            yield buffer

    assert au_spro(reused(), ([(mask, 2.0)] for mask in masks)) == wanted


def test_a_stream_of_pictures_leaves_little_more_than_the_scores_of_fine_pixels():
    mask = np.zeros((400, 500), bool)
    mask[100:300, 100:300] = True  # of 40,000 pixels ten are wanted
    pictures = 30

    def maps():
        for seed in range(pictures):
            yield np.random.default_rng(seed).random((400, 500), np.float32)

    tracemalloc.start()
    try:
        overlap = Overlap.gather(saturated(maps(), ([(mask, 10.0)] for _ in range(pictures))))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert overlap.fine.dtype == overlap.defective.dtype == np.float32 and len(overlap.defective) == 10 * pictures
    assert peak / (pictures * mask.size) < 6  # bytes a pixel, of which up to 4 are the score itself


def test_without_fine_pixels_or_without_channels_it_is_undefined():
    with pytest.raises(UndefinedMetric, match="no defective pixel in 2 pictures"):
        au_spro([SCORES, SCORES], [[], []])
    with pytest.raises(UndefinedMetric, match="no fine pixel in 1 pictures"):
        au_spro([SCORES], [[(TOP, 1), (~TOP, 1)]])
    with pytest.raises(UndefinedMetric, match="in 0 pictures"):
        au_spro([], [])


@pytest.mark.parametrize(
    ("maps", "regions", "words"),
    [
        ([SCORES], [[(TOP, 1), (TOP[:1], 1)]], r"channel 1 of map 0 has shape \(1, 4\), its map \(2, 4\)"),
        ([SCORES, SCORES], [[], [(TOP.astype(np.uint8), 1)]], "channel 0 of map 1 is uint8; wanted bool"),
        ([SCORES], [[(TOP & False, 1)]], "channel 0 of map 0 marks no pixel.*leave it out"),
        ([SCORES], [[(TOP, 0.5)]], r"full at 0.5 pixels; wanted at least 1 .*max\(1, int"),
        ([SCORES], [[(TOP, 5)]], "full at 5 pixels; .* its area, 4 pixels"),
        ([SCORES], [[(TOP, math.nan)]], "full at nan pixels"),
        ([SCORES], [None], "the channels of map 0 are no pairs"),
        ([SCORES], [[TOP, TOP, TOP]], "the channels of map 0 are no pairs"),
        ([SCORES], [[(TOP, "all")]], "the channels of map 0 are no pairs"),
        ([SCORES * math.nan], [[(TOP, 1)]], "map 0 holds NaN"),
        ([SCORES[0]], [[(TOP, 1)]], r"map 0 has shape \(4,\)"),
        ([SCORES, SCORES], [[(TOP, 1)]], "more maps than lists of channels: there are only 1"),
        ([SCORES], [[(TOP, 1)], []], "more lists of channels than maps: there are only 1 maps"),
    ],
)
def test_channels_that_do_not_fit_are_refused_by_place(maps, regions, words):
    with pytest.raises(BadSample, match=words):
        au_spro(maps, regions)


@pytest.mark.parametrize("limit", [0, -0.1, 1.001, math.nan])
def test_limits_that_are_no_rate_are_refused_before_a_map_is_read(limit):
    def never():
        raise AssertionError("a map was asked for")
        yield

    with pytest.raises(BadField, match="limit"):
        au_spro(never(), never(), limits=[0.05, limit])


def some_parts(rng, kinds):
    """A map and its channels for each kind: 0 is good, the others have one region found more or less well."""
    maps, regions = [], []
    for kind in kinds:
        mask = np.zeros((16, 16), bool)
        if kind:
            top, left = rng.integers(0, 11, 2)
            mask[top : top + 5, left : left + 5] = True
        maps.append((rng.normal(size=mask.shape) + mask * rng.normal(1.5 / max(kind, 1), 0.7)).astype(np.float32))
        regions.append([(mask, 12.0)] if kind else [])
    return maps, regions


def by_kind(maps, regions, kinds, kind):
    keep = [index for index, other in enumerate(kinds) if other in (0, kind)]
    return [maps[i] for i in keep], [regions[i] for i in keep]


def test_intervals_of_the_mean_agree_with_resampling_by_the_book():
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1, 2], [6, 5, 7])
    rng.shuffle(kinds)
    maps, regions = some_parts(rng, kinds)
    exact, counts = [], []
    for kind in (1, 2):
        some = by_kind(maps, regions, kinds, kind)
        overlap = Overlap.gather(saturated(*some))
        exact.append(overlap.area(0.3))
        counts.append(PartCounts.collect(overlap, saturated(*some)))
    drawn = []
    for _ in range(300):
        picks = np.concatenate([rng.choice(np.flatnonzero(kinds == kind), (kinds == kind).sum()) for kind in (0, 1, 2)])
        again = [maps[i] for i in picks], [regions[i] for i in picks]
        areas = [au_spro(*by_kind(*again, kinds[picks], kind), limits=[0.3])[0.3] for kind in (1, 2)]
        drawn.append([*areas, np.mean(areas)])
    wanted = np.quantile(drawn, [0.025, 0.975], axis=0).T
    found = averaged_intervals(counts, kinds, exact, 0.3)
    assert np.abs(np.array(found) - wanted).max() < 0.03
    assert all(low < value < high for value, (low, high) in zip([*exact, np.mean(exact)], found, strict=True))


def test_an_impossible_level_is_refused():
    counts = PartCounts.collect(Overlap.gather(saturated([SCORES], [[(TOP, 2)]])), saturated([SCORES], [[(TOP, 2)]]))
    with pytest.raises(BadField, match="level"):
        averaged_intervals([counts], np.array([1]), [0.5], 0.05, level=1)
