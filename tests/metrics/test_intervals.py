from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from amiss.errors import BadField, UndefinedMetric
from amiss.metrics import ranking
from amiss.metrics.intervals import THRESHOLDS, PartCounts, mean_interval, part_interval, thresholds
from amiss.metrics.regions import PixelScores, masked

Array = npt.NDArray[np.generic]
FIGURES = {
    ranking.average_precision: ranking.average_precision_interval,
    ranking.f1_max: ranking.f1_max_interval,
}


def pictures(rng: np.random.Generator, count: int, side: int = 24, shift: float = 1.5) -> tuple[list[Array], list[Array]]:
    """Maps of noise; every other picture has one square region whose scores lie higher, by a lot or a little."""
    maps, masks = [], []
    for number in range(count):
        mask = np.zeros((side, side), bool)
        if number % 2:
            top, left = rng.integers(0, side - 6, 2)
            mask[top : top + 6, left : left + 6] = True
        maps.append((rng.normal(size=mask.shape) + mask * rng.normal(shift, 0.7)).astype(np.float32))
        masks.append(mask)
    return maps, masks


@pytest.mark.parametrize("figure", FIGURES)
def test_an_interval_agrees_with_resampling_by_the_book(figure):
    rng = np.random.default_rng(0)
    scores = np.round(np.concatenate([rng.normal(0, 1, 30), rng.normal(1, 1, 20)]), 1)  # with ties
    labels = np.arange(50) >= 30
    drawn = []
    for _ in range(800):
        picks = np.concatenate([rng.integers(0, 30, 30), rng.integers(30, 50, 20)])
        drawn.append(figure(scores[picks], labels[picks]))
    found = FIGURES[figure](scores, labels, draws=3000)
    low, high = np.quantile(drawn, [0.025, 0.975])
    best = figure(scores, labels)
    wanted = (2 * best - high, 2 * best - low) if figure is ranking.f1_max else (low, high)
    assert found == pytest.approx(np.clip(wanted, 0, 1), abs=0.02)


@pytest.mark.parametrize("figure", FIGURES)
def test_an_interval_covers_the_value_of_a_large_sample_about_as_often_as_it_says(figure):
    rng = np.random.default_rng(1)

    def sample(n: int) -> tuple[Array, Array]:
        return np.concatenate([rng.normal(0, 1, n), rng.normal(1.2, 1, n)]), np.arange(2 * n) >= n

    truth = figure(*sample(100_000))
    held = sum(low <= truth <= high for low, high in (FIGURES[figure](*sample(80), draws=300) for _ in range(150)))
    assert 0.86 <= held / 150 <= 1


def test_the_bound_of_a_perfect_ranking_is_what_that_many_won_pairs_allow():
    assert ranking.separated_bound(1, 50) == pytest.approx(0.025)
    assert ranking.separated_bound(20, 50) ** 20 == pytest.approx(0.025)


def test_counts_on_thresholds_give_nearly_the_exact_figures():
    maps, masks = pictures(np.random.default_rng(2), 20)
    pixels = PixelScores.collect(maps, masks)
    counts = PartCounts.collect(pixels, masked(maps, masks))
    quantised = counts.figures(np.ones((1, 20)), 0.3)[0]
    assert quantised == pytest.approx([pixels.auroc(), pixels.average_precision(), pixels.aupro(0.3)], abs=3e-3)


def test_counts_are_exact_where_there_are_fewer_scores_than_thresholds():
    # one picture: region of two pixels at 3 and 1, fine pixels 2, 0
    maps, masks = [np.array([[3.0, 1.0, 2.0, 0.0]])], [np.array([[True, True, False, False]])]
    pixels = PixelScores.collect(maps, masks)
    counts = PartCounts.collect(pixels, masked(maps, masks))
    assert thresholds(pixels).tolist() == [0, 1, 2, 3]
    # pairs won: 3>2, 3>0, 1>0 of 4; AP: 1/2 at 3, then 2/3 at 1
    assert counts.figures(np.ones((1, 1)), 1.0)[0][:2] == pytest.approx([0.75, 0.5 + 0.5 * 2 / 3])
    rates, overlaps = counts.curve(3)
    assert rates.tolist() == [0, 0.25, 1] and overlaps[1:].tolist() == pytest.approx([0.5, 1.0])


def test_weights_stand_for_pictures_drawn_that_often():
    maps, masks = pictures(np.random.default_rng(3), 6)
    pixels = PixelScores.collect(maps, masks)
    counts = PartCounts.collect(pixels, masked(maps, masks))
    picks = [0, 1, 1, 2, 3, 3]
    drawn = PixelScores.collect([maps[i] for i in picks], [masks[i] for i in picks])
    weights = np.bincount(picks, minlength=6)[None].astype(float)
    found = counts.figures(weights, 0.3)[0]
    assert found == pytest.approx([drawn.auroc(), drawn.average_precision(), drawn.aupro(0.3)], abs=5e-3)


def test_a_picture_interval_holds_its_figure_and_is_wider_than_one_over_pixels():
    maps, masks = pictures(np.random.default_rng(4), 16)
    pixels = PixelScores.collect(maps, masks)
    exact = pixels.auroc(), pixels.average_precision(), pixels.aupro(0.3)
    found = PartCounts.collect(pixels, masked(maps, masks)).intervals(exact, 0.3, draws=400)
    for value, (low, high) in zip(exact, found, strict=True):
        assert 0 <= low <= value <= high <= 1
    scores, labels = np.concatenate([m.ravel() for m in maps]), np.concatenate([m.ravel() for m in masks])
    over_pixels = ranking.auroc_interval(scores, labels, draws=100)
    assert np.ptp(found[0]) > 2 * np.ptp(over_pixels)


def test_picture_intervals_cover_the_value_of_many_pictures_about_as_often_as_they_say():
    rng = np.random.default_rng(5)
    truth = PixelScores.collect(*pictures(rng, 1500, side=16)).auroc()
    held = 0
    for _ in range(40):
        maps, masks = pictures(rng, 40, side=16)
        pixels = PixelScores.collect(maps, masks)
        exact = pixels.auroc(), pixels.average_precision(), pixels.aupro(0.3)
        low, high = PartCounts.collect(pixels, masked(maps, masks)).intervals(exact, 0.3, draws=200)[0]
        held += low <= truth <= high
    assert 0.83 <= held / 40 <= 1


def test_there_are_at_most_so_many_thresholds_and_impossible_levels_are_refused():
    maps, masks = pictures(np.random.default_rng(6), 4)
    pixels = PixelScores.collect(maps, masks)
    assert len(thresholds(pixels)) <= THRESHOLDS
    with pytest.raises(BadField, match="level"):
        PartCounts.collect(pixels, masked(maps, masks)).intervals((0.5, 0.5, 0.5), 0.3, level=2)


def test_the_interval_of_a_mean_auroc_agrees_with_resampling_by_the_book():
    rng = np.random.default_rng(7)
    kinds = np.repeat([0, 1, 4], [30, 12, 25])  # numbers need not follow one another
    scores = np.round(rng.normal(np.choose(np.searchsorted([0, 1, 4], kinds), [0.0, 1.5, 0.5]), 1), 1)

    def mean(scores: Array, kinds: Array) -> float:
        pairs = [(kinds == 0) | (kinds == kind) for kind in (1, 4)]
        return float(np.mean([ranking.auroc(scores[some], kinds[some] != 0) for some in pairs]))

    drawn = []
    for _ in range(1000):
        picks = np.concatenate([rng.choice(np.flatnonzero(kinds == kind), (kinds == kind).sum()) for kind in (0, 1, 4)])
        drawn.append(mean(scores[picks], kinds[picks]))
    low, high = ranking.mean_auroc_interval(scores, kinds, draws=4000)
    assert (low, high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.015)
    assert low < mean(scores, kinds) < high


def test_the_interval_of_the_mean_of_one_kind_is_that_of_its_auroc():
    rng = np.random.default_rng(8)
    scores, labels = rng.normal(size=40), np.arange(40) % 3 == 0
    assert ranking.mean_auroc_interval(scores, labels * 2) == ranking.auroc_interval(scores, labels)


@pytest.mark.parametrize(("kinds", "missing"), [([0, 0, 0], "bad"), ([1, 2, 2], "good")])
def test_a_mean_auroc_without_good_or_without_bad_samples_is_undefined(kinds, missing):
    with pytest.raises(UndefinedMetric, match=f"is {missing}"):
        ranking.mean_auroc_interval([1.0, 2.0, 3.0], kinds)


def test_the_interval_of_a_mean_over_parts_agrees_with_resampling_by_the_book():
    rng = np.random.default_rng(9)
    values = rng.random(25)
    drawn = [rng.choice(values, 25).mean() for _ in range(4000)]
    assert mean_interval(values, draws=4000) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.01)
    assert mean_interval(np.array([0.7])) == pytest.approx((0.7, 0.7))


def test_parts_are_drawn_each_from_their_own_kind():
    kinds = np.repeat([0, 1], [7, 3])
    seen = []

    def share(weights: Array) -> Array:
        seen.append(weights)
        return weights[:, 0] / 10

    part_interval(share, kinds, draws=50)
    weights = np.concatenate(seen)
    assert len(weights) == 50 and (weights[:, kinds == 0].sum(axis=1) == 7).all()
    assert (weights[:, kinds == 1].sum(axis=1) == 3).all() and weights.std(axis=0).min() > 0
    with pytest.raises(BadField, match="draws"):
        part_interval(share, kinds, draws=0)
