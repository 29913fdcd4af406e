"""PatchCore on point clouds: what it finds, what may not change its scores, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.clouds import bad_clouds, good_clouds, surface, turned
from tests.methods.separation import judged

from amiss.contract import State
from amiss.errors import BadModelFile, BadSample, WrongModality
from amiss.geometry.visible import visible
from amiss.methods.patchcore import PatchCore
from amiss.metrics.ranking import auroc
from amiss.model import Model
from amiss.types import Result, Sample

Array = npt.NDArray[Any]

UP = np.array((0, 0, 12))


@pytest.fixture(scope="module")
def fitted() -> PatchCore:
    return PatchCore(places=1000).fit(good_clouds(3))


def one(detector: PatchCore, sample: Sample) -> Result:
    return next(detector.predict([sample]))


def test_a_bump_is_found_and_in_its_place(fitted: PatchCore) -> None:
    bad = bad_clouds(4)
    results = [one(fitted, sample) for sample, _ in bad]
    assert min(result.score for result in results) > max(judged(fitted, good_clouds(4, seed=1)))
    places = np.concatenate([result.point_map() for result in results])
    assert auroc(places, np.concatenate([marked for _, marked in bad])) > 0.95


def test_point_maps_have_a_value_for_every_point_and_peak_at_the_named_place(fitted: PatchCore) -> None:
    ((sample, marked),) = bad_clouds(1)
    result = one(fitted, sample)
    assert sample.points is not None and result.map is not None
    assert result.point_map().shape == (len(sample.points),) and result.map.ndim == 1
    assert np.linalg.norm(sample.points[marked] - result.evidence["patch"], axis=1).min() < 0.2
    (nearest,) = result.evidence["nearest"]
    assert nearest["sample"].startswith("good") and len(nearest["point"]) == 3


def test_a_unit_a_thousand_times_smaller_changes_no_score() -> None:
    small, large = good_clouds(3), [scaled(sample, 1000) for sample in good_clouds(3)]
    bad = [sample for sample, _ in bad_clouds(3)]
    here = judged(PatchCore(places=500).fit(small), bad)
    there = judged(PatchCore(places=500).fit(large), [scaled(sample, 1000) for sample in bad])
    np.testing.assert_allclose(here, there, rtol=2e-2)
    assert np.argsort(here).tolist() == np.argsort(there).tolist()


def scaled(sample: Sample, by: float) -> Sample:
    assert sample.points is not None
    return Sample(id=sample.id, points=sample.points * np.float32(by))


def test_order_of_points_and_pose_change_no_score(fitted: PatchCore) -> None:
    rng = np.random.default_rng(0)
    points, _ = surface(rng, bump=0.3)
    moved = [points, points[rng.permutation(len(points))], *(turned(points, rng) for _ in range(3))]
    scores = judged(fitted, [Sample(id=str(i), points=cloud.astype(np.float32)) for i, cloud in enumerate(moved)])
    np.testing.assert_allclose(scores, scores[0], rtol=2e-2)


def test_a_denser_scan_of_a_good_part_is_as_good(fitted: PatchCore) -> None:
    dense, usual = good_clouds(2, seed=5, points=9000), good_clouds(2, seed=6)
    bad = judged(fitted, [sample for sample, _ in bad_clouds(2)])
    assert max(judged(fitted, dense)) < min(bad) and max(judged(fitted, dense)) < 1.3 * max(judged(fitted, usual))


@pytest.mark.parametrize("by", [1000, 3, 0.3], ids=str)
def test_a_scan_of_another_scale_is_named(fitted: PatchCore, caplog: pytest.LogCaptureFixture, by: float) -> None:
    one(fitted, scaled(good_clouds(1)[0], by))
    assert "good 0" in caplog.text and "across, the good ones are" in caplog.text


def test_a_scan_smaller_than_a_cell_is_refused_with_its_scale(fitted: PatchCore) -> None:
    with pytest.raises(BadSample, match=r"good 0: .*1 points after thinning.*across, the good ones are"):
        one(fitted, scaled(good_clouds(1)[0], 1e-3))


def test_a_scan_too_thin_for_the_cells_is_named(fitted: PatchCore, caplog: pytest.LogCaptureFixture) -> None:
    one(fitted, good_clouds(1, points=300)[0])
    assert "scan it more densely" in caplog.text


def test_clouds_larger_than_the_most_are_seen_in_larger_cells() -> None:
    samples = good_clouds(2)
    coarse = PatchCore(places=200, most=500).fit(samples)
    result = one(coarse, samples[0])
    assert result.map is not None and 300 < len(result.map) <= 550


def test_saved_and_loaded_it_says_the_same_and_verifies(fitted: PatchCore, tmp_path: Path) -> None:
    bad = [sample for sample, _ in bad_clouds(2)]
    Model(fitted).with_goldens(good_clouds(2)).save(tmp_path / "gear.amiss")
    loaded = Model.load(tmp_path / "gear.amiss")
    assert [loaded.judge(sample).score for sample in bad] == judged(fitted, bad)
    assert [row["gap"] for row in loaded.verify()] == [0, 0]


def test_goldens_of_large_clouds_are_thinned(fitted: PatchCore) -> None:
    model = Model(fitted).with_goldens(good_clouds(1, points=30_000))
    assert 5_000 < len(model.goldens["points_0"]) <= 20_000


def test_a_picture_is_refused_once_clouds_were_fitted_and_the_other_way_round(fitted: PatchCore) -> None:
    picture = Sample(id="picture", image=np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(WrongModality, match="reads points since it was fitted"):
        one(fitted, picture)
    pictures = PatchCore(size=64, bank=50).fit([picture])
    with pytest.raises(WrongModality, match="reads image since it was fitted"):
        one(pictures, good_clouds(1)[0])
    assert one(pictures.fit(good_clouds(1)), good_clouds(1)[0]).map is not None


def test_a_cloud_among_pictures_is_refused_in_the_fit() -> None:
    picture = Sample(id="picture", image=np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(WrongModality):
        PatchCore(size=64, bank=50).fit([picture, good_clouds(1)[0]])


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (np.ones((50, 3)), "all the same"),
        (np.linspace(0, 1, 50)[:, None] * [1, 2, 3], "lie on a line"),
        (np.random.default_rng(0).standard_normal((6, 3)), "neighbours of each are wanted"),
    ],
    ids=["one place", "line", "few"],
)  # fmt: skip
def test_clouds_without_a_surface_are_refused_by_name(fitted: PatchCore, points: Array, said: str) -> None:
    sample = Sample(id="odd scan", points=points.astype(np.float32))
    with pytest.raises(BadSample, match=f"odd scan: .*{said}"):
        one(fitted, sample)
    with pytest.raises(BadSample, match=f"odd scan: .*{said}"):
        PatchCore().fit([sample])


def test_duplicated_points_change_little(fitted: PatchCore) -> None:
    ((bad, _),) = bad_clouds(1)
    assert bad.points is not None
    twice = Sample(id="twice", points=np.concatenate([bad.points, bad.points]))
    assert one(fitted, twice).score == pytest.approx(one(fitted, bad).score, rel=0.02)


def test_features_are_kept_in_the_workdir(tmp_path: Path) -> None:
    samples = good_clouds(2)
    first = PatchCore(places=200).fit(samples, workdir=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 2 * (1 + first.views)
    again = PatchCore(places=200).fit(samples, workdir=tmp_path)
    np.testing.assert_array_equal(first.bank_.vectors, again.bank_.vectors)  # type: ignore[union-attr]


def from_one_side(sample: Sample) -> Sample:
    assert sample.points is not None
    middle = sample.points.mean(axis=0)
    return Sample(id=f"{sample.id} from one side", points=sample.points[visible(sample.points, middle + UP)])


def test_a_scan_from_one_side_is_held_against_views_of_the_whole_good_ones(caplog: pytest.LogCaptureFixture) -> None:
    good, judged_ = good_clouds(3), [from_one_side(sample) for sample in good_clouds(3, seed=1)]
    with_views, without = PatchCore().fit(good), PatchCore(views=0).fit(good)
    assert with_views.bank_ is not None and with_views.sides_ is not None and without.sides_ is None
    np.testing.assert_array_equal(with_views.bank_.vectors, without.bank_.vectors)  # type: ignore[union-attr]
    assert (np.array(judged(with_views, judged_)) < 0.7 * np.array(judged(without, judged_))).all()
    assert "good 0 from one side is a scan from one side, the good ones are whole" in caplog.text
    assert one(with_views, judged_[0]).evidence["one_sided"] is True
    whole = good_clouds(2, seed=2)
    assert "one_sided" not in one(with_views, whole[0]).evidence
    assert judged(with_views, whole) == judged(without, whole)


def test_scores_of_scans_from_one_side_lie_where_those_of_whole_ones_do() -> None:
    detector = PatchCore().fit(good_clouds(4))
    whole, side = (np.array(judged(detector, each)) for each in (
        good_clouds(4, seed=1), [from_one_side(sample) for sample in good_clouds(4, seed=1)]
    ))  # fmt: skip
    assert 0.2 < detector.level_ < 1 and 0.8 < np.median(side) / np.median(whole) < 1.25
    assert PatchCore().fit(good_clouds(1)).level_ == 1  # a single cloud has no other to be held against
    twice = [Sample(id=each, points=good_clouds(1)[0].points) for each in ("it", "its copy")]
    assert PatchCore().fit(twice).level_ == 1  # copies say nothing of how far good ones are apart: no score may become 0


def test_squared_distances_of_scans_from_one_side_are_the_squares_of_plain_ones() -> None:
    good, view = good_clouds(2), from_one_side(good_clouds(1, seed=1)[0])
    plain, squared = (one(PatchCore(places=500, distance=each).fit(good), view).map for each in ("euclidean", "squared"))
    assert plain is not None and squared is not None
    np.testing.assert_allclose(squared, plain**2, rtol=1e-5)


def test_a_bump_is_found_in_a_scan_from_one_side() -> None:
    detector = PatchCore().fit(good_clouds(3))
    found = []
    for sample, marked in bad_clouds(6):
        assert sample.points is not None
        seen = visible(sample.points, sample.points.mean(axis=0) + UP)
        if marked[seen].sum() > 20:
            view = Sample(id=sample.id, points=sample.points[seen])
            found.append(auroc(one(detector, view).point_map(), marked[seen]))
    assert len(found) > 2 and np.mean(found) > 0.9


def test_where_good_clouds_are_scans_from_one_side_no_views_are_made(caplog: pytest.LogCaptureFixture) -> None:
    good = [from_one_side(sample) for sample in good_clouds(3)]
    detector = PatchCore(places=1000).fit(good)
    assert detector.sides_ is None
    one(detector, from_one_side(good_clouds(1, seed=1)[0]))
    assert "the good ones are whole" not in caplog.text


def test_views_are_saved_and_their_clouds_named(tmp_path: Path) -> None:
    detector = PatchCore(places=300).fit(good_clouds(2))
    Model(detector).with_goldens(good_clouds(1)).save(tmp_path / "part.amiss")
    again, view = Model.load(tmp_path / "part.amiss"), from_one_side(good_clouds(1, seed=4)[0])
    here, there = one(detector, view), again.judge(view)
    assert here.score == pytest.approx(there.score, rel=1e-6)
    assert here.evidence["nearest"][0]["sample"] in {"good 0", "good 1"}


@pytest.mark.parametrize("whole", [0, -1, 10**9, 3.5, None])
def test_a_bank_that_is_said_to_be_of_impossibly_many_whole_parts_is_refused(fitted: PatchCore, whole: Any) -> None:
    state = fitted.state()
    with pytest.raises(BadModelFile, match=r"whole"):
        PatchCore(places=1000).restore(State(state.arrays, state.facts | {"whole": whole}, state.graphs))


@pytest.mark.parametrize("level", [0.0, -1.0, np.inf, np.nan, 1, None])
def test_an_impossible_level_of_scans_from_one_side_is_refused(fitted: PatchCore, level: Any) -> None:
    state = fitted.state()
    with pytest.raises(BadModelFile, match=r"level"):
        PatchCore(places=1000).restore(State(state.arrays, state.facts | {"level": level}, state.graphs))


@pytest.mark.parametrize("gauge", [None, {"cell": 0.0, "spacing": 1.0, "low": 1.0, "high": 1.0}, {"cell": "1"}], ids=str)
def test_a_gauge_that_is_none_is_refused(fitted: PatchCore, gauge: Any) -> None:
    state = fitted.state()
    with pytest.raises(BadModelFile, match="gauge"):
        PatchCore(places=1000).restore(type(state)(state.arrays, {**state.facts, "gauge": gauge}))


def test_folds_make_no_views_where_all_good_clouds_are_whole(fitted: PatchCore) -> None:
    assert fitted.views and fitted.fold().views == 0 and fitted.unfitted().views == fitted.views
    halves = PatchCore(places=1000).fit([from_one_side(sample) for sample in good_clouds(2)])
    assert halves.fold().views == halves.views
