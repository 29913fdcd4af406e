"""Point figures against hand-worked cases and a slow oracle with one set of predicted points a threshold."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.errors import BadField, BadSample, UndefinedMetric
from amiss.metrics.points import PointScores, boxes_around, mean_of_clouds, point_aupro
from amiss.metrics.ranking import auroc, average_precision, f1_max


def line(*places):
    """Points on a line, in a plane of the cloud's own."""
    return np.stack([np.array(places, np.float32), np.full(len(places), 2), np.full(len(places), 5)], axis=1)


def walked(points, mask, radius):
    """Regions as lists of indices, by walking from marked point to marked point."""
    left, found = set(np.flatnonzero(mask).tolist()), []
    while left:
        todo = [left.pop()]
        region = list(todo)
        while todo:
            here = todo.pop()
            near = {other for other in left if np.linalg.norm(points[here] - points[other]) <= radius}
            left -= near
            todo += near
            region += near
        found.append(region)
    return found


def nearest(points):
    """Median distance to the nearest other place, by the definition."""
    distinct = np.unique(points, axis=0)
    table = np.linalg.norm(distinct[:, None] - distinct[None], axis=2)
    np.fill_diagonal(table, np.inf)
    return np.median(table.min(axis=1))


def slow_aupro(maps, truths, limit, reach):
    """The definition word by word: a set of points a threshold, each region on its own, the area summed piece by piece."""
    regions = [walked(points, mask, reach * nearest(points)) for mask, points in truths]
    masks = [mask for mask, _ in truths]
    fine = sum(int((~mask).sum()) for mask in masks)
    area, x0, y0 = 0.0, 0.0, 0.0
    for threshold in sorted({float(score) for scores in maps for score in scores}, reverse=True):
        predicted = [scores >= threshold for scores in maps]
        x1 = sum(int((p & ~mask).sum()) for p, mask in zip(predicted, masks, strict=True)) / fine
        y1 = float(np.mean([p[region].mean() for p, some in zip(predicted, regions, strict=True) for region in some]))
        if x1 >= limit:
            y_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0) if x1 > x0 else y1
            return (area + (limit - x0) * (y0 + y_limit) / 2) / limit
        area += (x1 - x0) * (y0 + y1) / 2
        x0, y0 = x1, y1
    raise AssertionError("the last threshold lets every point through")


@st.composite
def clouds(draw):
    """A few small clouds of their own sizes on a coarse grid, with copies of points, scores of few values; some good."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values, density = draw(st.integers(1, 9)), draw(st.floats(0.1, 0.6))
    maps, truths = [], []
    for index in range(draw(st.integers(1, 4))):
        count = draw(st.integers(4, 30))
        points = rng.integers(0, 12, (count, 3)).astype(np.float32) * [1, 1, 0.25]
        points[:2] = [[0, 0, 0], [20, 0, 0]]
        mask = rng.random(count) < (density if index == 0 or rng.random() < 0.6 else 0)
        if index == 0:
            mask[:2] = True, False  # so that the figures exist
        maps.append((rng.integers(0, values, count) + 0.5 * mask * rng.integers(0, 3)).astype(np.float32))
        truths.append((mask, points))
    return maps, truths


@settings(max_examples=100, deadline=None)
@given(clouds(), st.sampled_from([1.0, 0.3, 0.05, 1 / 3]), st.sampled_from([1.07, 1.7, 2.9]))
def test_aupro_equals_the_definition_word_by_word(data, limit, reach):
    maps, truths = data
    wanted = slow_aupro(maps, truths, limit, reach)
    assert point_aupro(maps, truths, limit=limit, reach=reach) == pytest.approx(wanted, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(clouds())
def test_pooled_figures_are_ranking_figures_over_all_points(data):
    maps, truths = data
    scores, labels = np.concatenate(maps), np.concatenate([mask for mask, _ in truths])
    found = PointScores.collect(maps, truths)
    assert found.auroc() == auroc(scores, labels)
    assert found.average_precision() == average_precision(scores, labels)
    assert found.f1_max() == f1_max(scores, labels)


@settings(max_examples=40, deadline=None)
@given(clouds(), st.sampled_from([1e-3, 1.0, 1e3]))
def test_neither_the_unit_nor_the_order_of_the_points_plays_a_role(data, unit):
    maps, truths = data
    orders = [np.random.default_rng(0).permutation(len(scores)) for scores in maps]
    turned = [(mask[order], points[order] * unit) for (mask, points), order in zip(truths, orders, strict=True)]
    shuffled = [scores[order] for scores, order in zip(maps, orders, strict=True)]
    # 2.9 and not 3: points on a grid lie whole spacings apart, and a step as long as the reach hangs on rounding
    assert point_aupro(shuffled, turned, reach=2.9) == pytest.approx(point_aupro(maps, truths, reach=2.9), abs=1e-12)


def test_marks_further_apart_than_the_reach_are_two_regions():
    # spacing 1; marked 0 1 and 5: a step of 4 parts them. The two are found first, 5 never before the fine ones: overlap 1/2
    cloud, mask = line(0, 1, 2, 3, 4, 5, 6, 7), np.array([1, 1, 0, 0, 0, 1, 0, 0], bool)
    scores = np.array([9, 9, 5, 5, 5, 1, 5, 5.0])
    assert point_aupro([scores], [(mask, cloud)], reach=3) == pytest.approx(1 / 2)
    assert point_aupro([scores], [(mask, cloud)], reach=4) == pytest.approx(2 / 3)  # one region of three


def test_the_spacing_is_that_of_the_whole_cloud_not_of_the_marks():
    # marked 0 and 6 with nothing marked between them: 6 spacings apart, though each is the other's nearest mark
    cloud, mask = line(0, 1, 2, 3, 4, 5, 6), np.array([1, 0, 0, 0, 0, 0, 1], bool)
    assert point_aupro([np.array([9, 5, 5, 5, 5, 5, 1.0])], [(mask, cloud)]) == pytest.approx(1 / 2)


def test_a_round_mark_on_points_that_lie_at_random_is_one_region():
    rng = np.random.default_rng(0)
    for _ in range(5):
        points = np.column_stack([rng.random((4000, 2)), np.zeros(4000)])
        mask = np.linalg.norm(points[:, :2] - 0.5, axis=1) < 0.1
        assert len(boxes_around(points, mask, least=1)) == 1


def test_regions_of_different_clouds_are_never_joined():
    cloud, mask = line(0, 1), np.array([True, False])
    assert point_aupro([np.array([9, 5.0]), np.array([1, 5.0])], [(mask, cloud)] * 2) == pytest.approx(1 / 2)


def test_good_clouds_count_in_the_false_positive_rate():
    cloud = line(0, 1, 2, 3)
    bad, good = (np.array([1, 0, 0, 0], bool), cloud), (np.zeros(4, bool), cloud)
    scores = np.array([3, 1, 1, 1.0])
    assert point_aupro([scores], [bad]) == 1
    # a fine point of the good cloud comes before the defect: one of seven, so the overlap is 0 up to 1/7 and 1 beyond
    assert point_aupro([scores, np.array([4, 0, 0, 0.0])], [bad, good], limit=1.0) == pytest.approx(6 / 7)


def test_the_mean_of_clouds_weighs_large_and_small_ones_alike():
    small, large = line(0, 1), line(*range(8))
    # AUROC 0 and 1; average precision 1/2 and 1; pooled, the small cloud's one wrong pair hardly counts
    maps = [np.array([1, 2.0]), np.array([5, 5, 5, 5, 0, 0, 0, 0.0]), np.array([3, 3.0])]
    truths = [(np.array([1, 0], bool), small), (np.arange(8) < 4, large), (np.zeros(2, bool), small)]
    assert mean_of_clouds(maps, truths) == (0.5, 0.75)
    assert PointScores.collect(maps, truths).auroc() > 0.8


def test_clouds_without_fine_or_without_defective_points_have_no_figure():
    cloud = line(0, 1, 2)
    with pytest.raises(UndefinedMetric, match="no defective point in 2 clouds; point metrics"):
        point_aupro([np.zeros(3)] * 2, [(np.zeros(3, bool), cloud)] * 2)
    with pytest.raises(UndefinedMetric, match="no fine point in 1 clouds"):
        point_aupro([np.zeros(3)], [(np.ones(3, bool), cloud)])
    with pytest.raises(UndefinedMetric, match="no cloud has both"):
        mean_of_clouds([np.zeros(3)], [(np.ones(3, bool), cloud)])


FINE, MARKED, CLOUD = np.zeros(3), np.array([True, False, False]), line(0, 1, 2)


@pytest.mark.parametrize(
    ("maps", "truths", "words"),
    [
        ([FINE, np.array([0, np.nan, 0])], [(MARKED, CLOUD)] * 2, "map 1 holds NaN"),
        ([np.zeros((1, 3))], [(MARKED, CLOUD)], r"map 0 has shape \(1, 3\) .*wanted \(N,\)"),
        ([FINE], [(MARKED[:2], CLOUD)], r"mask 0 has shape \(2,\), its map \(3,\)"),
        ([FINE], [(MARKED, CLOUD[:2])], r"cloud 0 has shape \(2, 3\), its map \(3,\)"),
        ([FINE], [(MARKED.astype(int), CLOUD)], "mask 0 is int64"),
        ([FINE], [], "more maps than truths"),
    ],
)
def test_maps_masks_and_clouds_that_do_not_fit_are_refused_by_index(maps, truths, words):
    with pytest.raises(BadSample, match=words):
        point_aupro(maps, truths)


def test_a_limit_that_is_no_rate_is_refused():
    with pytest.raises(BadField, match="limit"):
        point_aupro([FINE], [(MARKED, CLOUD)], limit=0)


def test_collecting_a_stream_holds_little_more_than_the_scores():
    cloud = np.random.default_rng(0).random((4_000, 3), np.float32)
    mask = np.linalg.norm(cloud - 0.5, axis=1) < 0.2
    count = 60

    def maps():
        for seed in range(count):
            yield np.random.default_rng(seed).random(len(cloud), np.float32)

    tracemalloc.start()
    try:
        found = PointScores.collect(maps(), ((mask, cloud) for _ in range(count)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.fine) + len(found.defective) == count * len(cloud)
    assert peak / (count * len(cloud)) < 9  # bytes a point, of which 4 are the score itself; twelve for the cloud would be 16


# -- boxes -------------------------------------------------------------------------------------------------------------


LONG = line(*range(8))


def test_a_box_goes_half_a_spacing_beyond_the_points_of_its_region():
    mask = np.array([1, 1, 0, 0, 0, 0, 0, 1], bool)
    first, second = sorted(boxes_around(LONG, mask, least=1), key=lambda box: box.low)
    assert (first.low, first.high) == ((-0.5, 1.5, 4.5), (1.5, 2.5, 5.5))
    assert (second.low, second.high) == ((6.5, 1.5, 4.5), (7.5, 2.5, 5.5))


def test_crumbs_are_left_out_unless_there_is_nothing_else():
    mask = np.array([1, 1, 0, 0, 0, 0, 0, 1], bool)
    assert [box.low[0] for box in boxes_around(LONG, mask, least=2)] == [-0.5]
    assert [box.low[0] for box in boxes_around(LONG, mask, least=10)] == [-0.5]  # the largest stays
    assert boxes_around(LONG, np.zeros(8, bool)) == ()
