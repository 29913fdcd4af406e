"""SINBAD as a whole against its equations: crops, thresholds, shares, dense inverses and weighing recomputed in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.backbones.runtime import Backbone, Outputs
from amiss.kit.crops import crops
from amiss.methods.sinbad import SINBAD
from amiss.types import Result, Sample
from tests.backbones import tiny
from tests.papers import sinbad_oracle as oracle
from tests.papers.oracles import picture

Array = npt.NDArray[Any]
SIDE, SEEN = 128, 32  # pixels of a picture, and of what the network sees of a crop
SIZES = (0.25, 0.5, 0.7, 0.99)
PLAIN: dict[str, Any] = {
    "layers": (4, 8), "size": SEEN, "canvas": "square", "sizes": SIZES, "step": 0.25, "directions": 4, "thresholds": 3,
    "shrinkage": 0.1, "whiten": "inverse", "weigh": "mean", "pixels": 0.0, "pixel_step": 4, "references": 100, "images": 100,
    "folds": 100, "seed": 0,
}  # fmt: skip
GOOD = [picture(seed, shape=(SIDE, SIDE)) for seed in range(9)]
JUDGED = picture(99, defect=(70, 66), shape=(SIDE, SIDE))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.saved(tmp_path_factory.mktemp("backbone"))


def fitted(path: str, good: Sequence[Sample] = GOOD, **fields: Any) -> SINBAD:
    return SINBAD(backbone=path, **{**PLAIN, **fields}).fit(good)


def judged(detector: SINBAD, sample: Sample = JUDGED) -> Result:
    (result,) = detector.predict([sample])
    return result


# -- the oracle --------------------------------------------------------------------------------------------------------


@dataclass
class Depth:
    """One layer by the oracle.

    good  one (n, p) a crop     own  one (p,) a crop, the judged     scores  (crops,) of it     held_out  (n, crops)
    steps  (crops,) what one element at every threshold makes
    """

    good: list[Array]
    own: list[Array]
    scores: Array
    held_out: Array
    steps: Array


def image(sample: Sample, canvas: str = "square") -> Array:
    assert sample.image is not None
    return oracle.padded(sample.image) if canvas == "pad" else sample.image


def depths(detector: SINBAD, path: str, good: Sequence[Sample] = GOOD, sample: Sample = JUDGED, count: int = 30) -> list[Depth]:
    """All layers and the first so many crops, with the detector's directions and nothing else of it."""
    windows = oracle.windows(detector.sizes, detector.step)[:count]
    *sets, query = [
        [oracle.seen(path, oracle.cut(image(each, detector.canvas), window), SEEN) for window in windows]
        for each in [*good, sample]
    ]
    out = []
    for level, layer in enumerate(detector.layers):
        tap = {4: 0, 8: 1}[layer]
        directions = detector.levels_[level].histograms.features[0].directions
        mine = [[crop[tap] for crop in one] for one in sets]
        described, own = oracle.described(mine, [crop[tap] for crop in query], directions, detector.thresholds)
        held_out = oracle.left_out(described, [[i] for i in range(len(good))], detector.shrinkage, detector.whiten)
        scores = oracle.crop_scores(own, described, detector.shrinkage, detector.whiten)
        elements = query[0][tap].shape[1]
        counted = detector.weigh == "evidence"
        steps = [counted * oracle.resolution(each, elements, detector.shrinkage, detector.whiten) for each in described]
        out.append(Depth(described, own, scores, held_out, np.array(steps)))
    return out


def raw(detector: SINBAD, sample: Sample) -> Array:
    """(3, E): the normalised pixels of the largest crop as the network sees it, every so many rows and columns."""
    largest = max(oracle.windows(detector.sizes, detector.step), key=lambda window: window[2])
    seen = oracle.resize(np.ascontiguousarray(oracle.cut(image(sample, detector.canvas), largest)), (SEEN, SEEN))
    normal = (seen - np.array(tiny.MEAN)) / np.array(tiny.STD)
    return np.asarray(normal[:: detector.pixel_step, :: detector.pixel_step].reshape(-1, 3).T)


def repeats(detector: SINBAD, good: Sequence[Sample] = GOOD, sample: Sample = JUDGED) -> tuple[Array, Array]:
    """The judged (100,) and each good picture left out (n, 100)."""
    assert detector.pixels_ is not None
    directions = detector.pixels_.histograms.features[0].directions
    assert directions.shape == (1000, 3)
    found = [raw(detector, each) for each in good]
    return oracle.pixel_repeats(found, raw(detector, sample), directions.reshape(100, 10, 3), detector.thresholds)


def expected(detector: SINBAD, path: str, good: Sequence[Sample] = GOOD, sample: Sample = JUDGED) -> float:
    windows = oracle.windows(detector.sizes, detector.step)
    found = depths(detector, path, good, sample)
    if detector.weigh == "mean":
        score = float(np.mean([oracle.layer_mean(each.scores, each.held_out, windows) for each in found]))
    else:
        score = float(np.mean([oracle.layer_evidence(each.scores, each.held_out, windows, each.steps) for each in found]))
    if detector.pixels:
        own, held_out = repeats(detector, good, sample)
        median, usual = oracle.pixel_median(own, held_out), [oracle.pixel_median(row, held_out) for row in held_out]
        score += detector.pixels * (
            median if detector.weigh == "mean" else oracle.told(median, np.array(usual), oracle.EPSILON)
        )
    return score


# -- crops and sets ----------------------------------------------------------------------------------------------------


def test_the_papers_crops_lie_where_its_code_puts_them() -> None:
    found = [crop.box((1024, 1024)) for crop in crops(SIZES, 0.25)]
    starts = {256: (0, 256, 512, 768), 512: (0, 256, 512), 716: (0, 256), 1013: (0,)}
    assert found == [
        (top, left, top + side, left + side) for side, at in starts.items() for top in at for left in at
    ]  # 16 + 9 + 4 + 1


def test_every_crop_has_thresholds_of_its_own_from_the_good_parts_along_shared_directions(path: str) -> None:
    detector = fitted(path)
    windows = oracle.windows(SIZES, 0.25)
    for level, tap in zip(detector.levels_, (0, 1), strict=True):
        features = level.histograms.features
        assert len(features) == len(windows) == 30
        for window, found in zip(windows, features, strict=True):
            np.testing.assert_array_equal(found.directions, features[0].directions)
            sets = [oracle.seen(path, oracle.cut(image(each), window), SEEN)[tap] for each in GOOD]
            np.testing.assert_allclose(found.thresholds, oracle.thresholds(sets, found.directions, 3), atol=2e-6)
    assert not np.array_equal(*(level.histograms.features[0].directions[:, :6] for level in detector.levels_))


def test_fewer_references_place_thresholds_by_that_many_of_the_good_parts(path: str) -> None:
    detector = fitted(path, GOOD[:5], sizes=(0.5, 0.99), references=3)
    found = detector.levels_[0].histograms.features[0]
    sets = [oracle.seen(path, oracle.cut(image(each), (0.0, 0.0, 0.5, 0)), SEEN)[0] for each in GOOD[:5]]
    each = [oracle.thresholds(picked, found.directions, 3) for picked in combinations(sets, 3)]
    assert sum(np.allclose(found.thresholds, marks, atol=2e-6) for marks in each) == 1


def test_the_descriptions_are_the_shares_below_the_thresholds(path: str) -> None:
    detector = fitted(path)
    for level, truth, elements in zip(detector.levels_, depths(detector, path), (64, 16), strict=True):
        assert level.histograms.counts.shape == (len(GOOD), 30, 12)
        shares = level.histograms.counts / elements
        np.testing.assert_allclose(shares, np.stack(truth.good, axis=1), atol=1e-6)


def test_a_part_learned_from_is_described_alike_when_it_is_judged(path: str) -> None:
    result = judged(fitted(path), GOOD[4])
    assert result.score == pytest.approx(0, abs=1e-5) and result.evidence["nearest"][0]["sample"] == GOOD[4].id


# -- held-out parts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"whiten": "root"}, {"shrinkage": 0.5}, {"shrinkage": 1.0}], ids=str)
def test_with_as_many_folds_as_parts_each_is_judged_by_all_the_others(path: str, fields: dict[str, Any]) -> None:
    detector = fitted(path, **fields)
    for level, truth in zip(detector.levels_, depths(detector, path), strict=True):
        np.testing.assert_allclose(level.means, truth.held_out.mean(axis=0), rtol=1e-3)
        logs = np.log(truth.held_out + truth.steps)
        spread = np.stack([logs.mean(axis=0), np.maximum(logs.std(axis=0, ddof=1), 0.05)], axis=1)
        np.testing.assert_allclose(level.spread, spread, rtol=1e-3, atol=1e-3)


def test_with_two_folds_each_half_is_judged_by_the_other(path: str) -> None:
    detector = fitted(path, GOOD[:6], folds=2)
    level, truth = detector.levels_[0], depths(detector, path, GOOD[:6])[0]
    halves = [[list(half), [i for i in range(6) if i not in half]] for half in combinations(range(6), 3) if 0 in half]
    means = [oracle.left_out(truth.good, split, 0.1, "inverse").mean(axis=0) for split in halves]
    assert sum(np.allclose(level.means, each, rtol=1e-3) for each in means) == 1


def test_the_pixels_constants_come_from_parts_left_out(path: str) -> None:
    detector = fitted(path, pixels=0.1)
    _, held_out = repeats(detector)
    assert detector.pixels_ is not None
    np.testing.assert_allclose(detector.pixels_.means, held_out.mean(axis=0), rtol=0.02)  # a tie or two
    logs = np.log(np.array([oracle.pixel_median(row, held_out) for row in held_out]) + oracle.EPSILON)
    np.testing.assert_allclose(detector.pixels_.spread, [logs.mean(), logs.std(ddof=1)], atol=1e-3)


def test_without_a_weight_pixels_are_left_out(path: str) -> None:
    assert fitted(path, GOOD[:3], sizes=(0.99,)).pixels_ is None


# -- the score ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weigh", ["mean", "evidence"])
@pytest.mark.parametrize(
    "fields",
    [
        {}, {"whiten": "root"}, {"shrinkage": 1.0}, {"pixels": 0.1}, {"pixels": 2.0, "pixel_step": 3, "sizes": (0.99, 0.5)},
        {"layers": (8,)}, {"layers": (8, 4), "sizes": (0.5,)}, {"directions": 7, "thresholds": 5, "sizes": (0.7, 0.99)},
        {"sizes": (0.4, 0.8), "step": 0.2},
        {"whiten": "root", "shrinkage": 0.7, "pixels": 0.3, "thresholds": 2, "directions": 9},
    ],
    ids=str,
)  # fmt: skip
def test_the_score_is_the_equations(path: str, weigh: str, fields: dict[str, Any]) -> None:
    detector = fitted(path, weigh=weigh, **fields)
    assert judged(detector).score == pytest.approx(expected(detector, path), rel=1e-3)


@pytest.mark.parametrize("weigh", ["mean", "evidence"])
def test_a_good_part_not_learned_from_scores_by_the_equations_too(path: str, weigh: str) -> None:
    detector, fresh = fitted(path, weigh=weigh, pixels=0.1), picture(50, shape=(SIDE, SIDE))
    score = judged(detector, fresh).score
    assert score == pytest.approx(expected(detector, path, sample=fresh), rel=1e-3)
    assert score < judged(detector).score


def test_a_wide_part_is_padded_to_a_black_square_as_the_paper_has_it(path: str) -> None:
    good = [picture(seed, shape=(96, 128)) for seed in range(9)]
    wide = picture(99, defect=(70, 66), shape=(96, 128))
    # no crop lies outside the picture: such have nothing to measure
    detector = fitted(path, good, canvas="pad", sizes=(0.5, 0.7, 0.99), pixels=0.1)
    assert judged(detector, wide).score == pytest.approx(expected(detector, path, good, wide), rel=1e-3)


def test_a_score_depends_on_nothing_else_that_is_judged(path: str) -> None:
    detector = fitted(path, sizes=(0.5, 0.99), pixels=0.1, weigh="evidence")
    alone = judged(detector).score
    before = [level.histograms.features[0].thresholds.copy() for level in detector.levels_]
    odd = Sample(id="white", image=np.full((40, 300, 3), 255, np.uint8))
    among = {result.id: result.score for result in detector.predict([odd, *GOOD, JUDGED, odd])}
    assert among[JUDGED.id] == alone == judged(detector).score
    for level, kept in zip(detector.levels_, before, strict=True):
        np.testing.assert_array_equal(level.histograms.features[0].thresholds, kept)


@pytest.mark.parametrize("references", [2, 100])
def test_a_fit_takes_each_crop_of_each_part_through_the_backbone_once(
    path: str, references: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Array] = []
    plain = Backbone.__call__

    def counted(self: Backbone, images: Array) -> Outputs:
        seen.extend(images)
        return plain(self, images)

    monkeypatch.setattr(Backbone, "__call__", counted)
    fitted(path, references=references, folds=3, pixels=0.1)
    assert len(seen) == len(GOOD) * 30 == len({one.tobytes() for one in seen})


# -- map and evidence --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weigh", ["mean", "evidence"])
@pytest.mark.parametrize("sizes", [(0.25,), SIZES], ids=str)
def test_a_cell_of_the_map_is_the_mean_of_the_crops_that_hold_its_middle(
    path: str, weigh: str, sizes: tuple[float, ...]
) -> None:
    detector = fitted(path, weigh=weigh, sizes=sizes)
    windows = oracle.windows(sizes, 0.25)
    said = np.zeros(len(windows))
    for depth in depths(detector, path):
        usual = np.mean([oracle.by_size(row, windows) for row in depth.held_out], axis=0)
        ratios = depth.scores / (np.array([usual[window[3]] for window in windows]) + oracle.EPSILON)
        said += (ratios if weigh == "mean" else oracle.evidence(depth.scores, depth.held_out, depth.steps)) / 2
    truth = np.zeros((4, 4))
    for row, column in np.ndindex(4, 4):
        y, x = (row + 0.5) / 4, (column + 0.5) / 4
        held = [top <= y < top + side and left <= x < left + side for top, left, side, _ in windows]
        truth[row, column] = said[held].mean()
    np.testing.assert_allclose(judged(detector).map, truth, rtol=1e-3)


def test_the_oddest_cell_holds_the_defect(path: str) -> None:
    result = judged(fitted(path, sizes=(0.25,), weigh="evidence", directions=40))
    assert result.map is not None and np.unravel_index(int(result.map.argmax()), (4, 4)) == (2, 2)  # pixels 70.. of 128, 66..


@pytest.mark.parametrize("layers", [(4, 8), (8, 4)])
def test_the_evidence_names_the_oddest_crop_and_the_good_part_nearest_there(path: str, layers: tuple[int, int]) -> None:
    detector = fitted(path, sizes=(0.25,), weigh="evidence", layers=layers, directions=12)
    found = depths(detector, path)
    said = np.array([oracle.evidence(depth.scores, depth.held_out, depth.steps) for depth in found])
    depth, crop = np.unravel_index(int(said.argmax()), said.shape)
    assert layers[depth] == 8  # so that both the first and the last of the depths are named
    result = judged(detector)
    (near,) = result.evidence["nearest"]
    top, left, side, _ = (round(value * SIDE) for value in oracle.windows((0.25,), 0.25)[crop])
    assert near["box"] == result.evidence["patch"] == (top, left, top + side, left + side)
    squared = oracle.squared(found[depth].own[crop][None], found[depth].good[crop], 0.1, "inverse")[0]
    assert near["sample"] == GOOD[int(squared.argmin())].id
    assert near["distance"] == pytest.approx(np.sqrt(squared.min()), rel=1e-3)


def test_crops_in_which_all_good_parts_agree_leave_the_score_of_a_part_that_agrees_too_as_it_was(path: str) -> None:
    good = [picture(seed, shape=(64, 128)) for seed in range(9)]
    fresh = picture(50, shape=(64, 128))
    for weigh, quiet in (("mean", 0.0), ("evidence", np.log(2))):  # no distance; as odd as the middle of good parts
        detector = fitted(path, good, canvas="pad", sizes=(0.25,), weigh=weigh)
        upper = expected_rows(detector, path, good, fresh)
        assert judged(detector, fresh).score == pytest.approx((upper + quiet) / 2, rel=1e-3)


def expected_rows(detector: SINBAD, path: str, good: Sequence[Sample], sample: Sample) -> float:
    """The mean over the eight crops that lie on the picture; the mean rule divides by that of all sixteen, half zeros."""
    said = []
    for depth in depths(detector, path, good, sample, 8):
        if detector.weigh == "mean":
            said.append((depth.scores / (depth.held_out.mean() / 2 + oracle.EPSILON)).mean())
        else:
            said.append(oracle.evidence(depth.scores, depth.held_out, depth.steps).mean())
    return float(np.mean(said))
