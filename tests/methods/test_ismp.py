"""ISMP: what each of its branches sees, what it says of scans it cannot register, and its model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.clouds import bad_clouds, good_clouds
from tests.methods.separation import judged

from amiss.errors import BadModelFile, BadSample, TooFewSamples
from amiss.kit.filter import Filter
from amiss.kit.sides import Sides
from amiss.kit.slices import summary, views
from amiss.methods.ismp import ISMP
from amiss.metrics.ranking import auroc
from amiss.model import Model
from amiss.types import Result, Sample

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def fitted() -> ISMP:
    return ISMP(bank=1000).fit(good_clouds(3))


def one(detector: ISMP, sample: Sample) -> Result:
    return next(detector.predict([sample]))


def test_a_bump_is_found_in_its_place_by_both_branches(fitted: ISMP) -> None:
    bad = bad_clouds(3)
    results = [one(fitted, sample) for sample, _ in bad]
    assert min(result.score for result in results) > max(judged(fitted, good_clouds(3, seed=1)))
    assert (
        auroc(np.concatenate([result.point_map() for result in results]), np.concatenate([marked for _, marked in bad])) > 0.95
    )
    assert all(
        result.evidence["registered"] and set(result.evidence["branches"]) == {"local", "coordinates"} for result in results
    )


def test_missing_surface_is_named_where_it_is(fitted: ISMP) -> None:
    (good,) = good_clouds(1, seed=3)
    assert good.points is not None
    place = good.points[int(np.random.default_rng(0).integers(len(good.points)))]
    left = np.linalg.norm(good.points - place, axis=1) > 0.3
    holed, plain = one(fitted, Sample(id="holed", points=good.points[left])), one(fitted, good)
    assert not plain.evidence["missing"] and holed.evidence["missing"]
    assert all(np.linalg.norm(np.array(piece["point"]) - place) < 0.3 for piece in holed.evidence["missing"])
    assert 0.3 < holed.evidence["missing"][0]["across"] < 1.2
    assert holed.score > plain.score + 1
    without = ISMP(bank=1000, missing=0.0).fit(good_clouds(3))
    assert not one(without, Sample(id="holed", points=good.points[left])).evidence["missing"]


def test_of_a_scan_from_one_side_only_what_is_in_sight_is_missed(fitted: ISMP) -> None:
    (view,) = Sides(good_clouds(1, seed=4, points=8000), 1, 0.05)
    assert view.points is not None
    middle = view.points[np.linalg.norm(view.points - view.points.mean(axis=0), axis=1).argmin()]
    holed = Sample(id="holed", points=view.points[np.linalg.norm(view.points - middle, axis=1) > 0.3])
    seen, lacking = one(fitted, view), one(fitted, holed)
    assert seen.evidence["one_sided"] and not seen.evidence["missing"]
    assert len(lacking.evidence["missing"]) == 1 and lacking.score > seen.score


def test_fitted_again_without_views_nothing_is_held_against_the_old_ones() -> None:
    detector = ISMP(bank=500).fit(good_clouds(2))
    assert detector.sides_ is not None
    detector.views = 0
    assert detector.fit(good_clouds(2)).sides_ is None


def test_scores_of_good_scans_from_one_side_lie_near_those_of_whole_ones() -> None:
    detector, good = ISMP(bank=2000).fit(good_clouds(4, points=6000)), good_clouds(4, seed=1, points=6000)
    whole, side = (np.median(judged(detector, each)) for each in (good, list(Sides(good, 2, 0.05))))
    bad = judged(detector, [sample for sample, _ in bad_clouds(3, points=6000)])
    assert abs(side - whole) < 0.25 * (min(bad) - whole)


@pytest.mark.parametrize("alone", [{"local": 0.0}, {"coordinates": 0.0}], ids=["coordinates", "local"])
def test_each_branch_alone_sees_a_bump(alone: dict[str, float]) -> None:
    detector = ISMP(bank=1000, inside=0.0, **alone).fit(good_clouds(3))
    assert min(judged(detector, [sample for sample, _ in bad_clouds(3)])) > max(judged(detector, good_clouds(3, seed=1)))


def test_inside_views_tell_a_part_that_lacks_a_piece(fitted: ISMP) -> None:
    (good,) = good_clouds(1, seed=3)
    assert good.points is not None
    middle = good.points.mean(axis=0)
    far = np.linalg.norm(good.points - middle, axis=1)
    short = Sample(id="short", points=good.points[far < np.quantile(far, 0.93)])
    assert one(fitted, short).evidence["inside"] > one(fitted, good).evidence["inside"] + 0.1


def test_another_part_is_not_registered_and_says_so(fitted: ISMP, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    ball = rng.standard_normal((3000, 3))
    ball *= 1.4 / np.linalg.norm(ball, axis=1, keepdims=True) * np.array([1.0, 1.6, 0.3])
    result = one(fitted, Sample(id="another part", points=ball.astype(np.float32)))
    assert not result.evidence["registered"] and "another part: not registered" in caplog.text
    assert set(result.evidence["branches"]) == {"local"} and result.score > max(judged(fitted, good_clouds(2, seed=1)))


def test_saved_and_loaded_it_says_the_same(fitted: ISMP, tmp_path: Path) -> None:
    bad = [sample for sample, _ in bad_clouds(2)]
    Model(fitted).save(tmp_path / "gear.amiss")
    assert [Model.load(tmp_path / "gear.amiss").judge(sample).score for sample in bad] == judged(fitted, bad)


@pytest.mark.parametrize("fact", ["gauge", "usual", "whole"])
def test_a_fact_that_is_none_is_refused(fitted: ISMP, fact: str) -> None:
    state = fitted.state()
    with pytest.raises(BadModelFile):
        ISMP(bank=1000).restore(type(state)(state.arrays, {**state.facts, fact: None}))


def test_one_cloud_is_too_few_and_a_line_is_refused() -> None:
    with pytest.raises(TooFewSamples):
        ISMP().fit(good_clouds(1))
    line = Sample(id="line", points=np.linspace(0, 1, 50, dtype=np.float32)[:, None] * np.ones(3, np.float32))
    with pytest.raises(BadSample, match="line: "):
        ISMP().fit([line, line])


# -- inside views and filter -------------------------------------------------------------------------------------------


def test_views_show_the_nearest_point_whatever_the_order() -> None:
    points = np.array([[0.5, 0.5, 0.2], [0.5, 0.5, 0.9], [0.1, 0.9, 0.4]])
    low, high = np.zeros(3), np.ones(3)
    seen = views(points, low, high, 4)
    np.testing.assert_array_equal(seen, views(points[::-1], low, high, 4))
    above, below, upper, lower = seen[8:]  # along z
    assert above[2, 2] == pytest.approx(0.05 + 0.95 * 0.9) and below[2, 2] == pytest.approx(0.05 + 0.95 * 0.8)
    assert upper[2, 2] == pytest.approx(0.05 + 0.95 * 0.2) and lower[0, 3] == pytest.approx(0.05 + 0.95 * 0.8)
    assert upper[0, 3] == 0 and np.count_nonzero(above) == 2


def test_points_outside_the_box_are_not_seen_and_a_summary_has_a_fixed_length() -> None:
    nothing = views(np.full((5, 3), 3.0), np.zeros(3), np.ones(3), 16)
    assert nothing.shape == (12, 16, 16) and not nothing.any()
    assert summary(nothing).shape == (12 * 81,) and not summary(nothing).any()


def test_the_filter_leaves_out_still_channels_and_twins() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((500, 4)).astype(np.float32)
    vectors[:, 1] = 3.0
    vectors[:, 3] = -2 * vectors[:, 0]
    found = Filter.learned(vectors, 0.98)
    assert found.kept.tolist() == [0, 2]
    assert Filter.learned(vectors, 1.0).kept.tolist() == [0, 2, 3]
    assert found(vectors).shape == (500, 2) and abs(np.median(found(vectors), axis=0)).max() < 1e-5
