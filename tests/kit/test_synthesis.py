"""Made defects: where they lie, how high they are, and that neither unit nor place in space plays a role."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.errors import BadField
from amiss.kit.synthesis import FLAWS, Flaw, Ranges, spoiled

Array = npt.NDArray[Any]


def plane(count: int = 4000) -> tuple[Array, Array]:
    """Points on z = 0 with normals upwards."""
    rng = np.random.default_rng(1)
    points = np.column_stack([rng.uniform(-1, 1, (count, 2)), np.zeros(count)])
    return points, np.tile([0.0, 0.0, 1.0], (count, 1))


def test_a_stretch_moves_just_what_it_marks_along_the_normal() -> None:
    points, normals = plane()
    made = spoiled(points, normals, np.random.default_rng(0), ["stretch"], Ranges(share=(0.02, 0.02)))
    moved = made.points - points
    assert made.marked.sum() == 80
    assert (moved[~made.marked] == 0).all() and (moved[:, :2] == 0).all()
    assert len(set(np.sign(moved[made.marked, 2]).tolist()) - {0.0}) == 1


@pytest.mark.parametrize("height", [0.1, 0.6])
def test_a_stretch_is_as_high_in_its_middle_as_its_share_of_the_reach(height: float) -> None:
    points, normals = plane()
    ranges = Ranges(share=(0.02, 0.02), height=(height, height), axes=(1.0, 1.0))
    made = spoiled(points, normals, np.random.default_rng(0), ["stretch"], ranges)
    middle = np.abs(made.points[:, 2]).argmax()
    reach = np.linalg.norm(points[made.marked] - points[middle], axis=1).max()
    assert abs(made.points[middle, 2]) == pytest.approx(height * reach)


@pytest.mark.parametrize("kind", FLAWS)
def test_unit_and_place_in_space_play_no_role(kind: Flaw) -> None:
    points, normals = plane()
    here = spoiled(points, normals, np.random.default_rng(3), [kind])
    there = spoiled(1000 * points + [5e4, 0, 9e4], normals, np.random.default_rng(3), [kind])
    np.testing.assert_array_equal(here.marked, there.marked)
    np.testing.assert_allclose(here.points, (there.points - [5e4, 0, 9e4]) / 1000, atol=1e-8)


def test_a_hole_takes_points_away_and_marks_its_rim() -> None:
    points, normals = plane()
    made = spoiled(points, normals, np.random.default_rng(2), ["hole"], Ranges(share=(0.05, 0.05)))
    gone = np.setdiff1d(np.arange(len(points)), made.kept)
    np.testing.assert_array_equal(made.points, points[made.kept])
    assert len(gone) == 200 and 0 < made.marked.sum() < 400
    middle = points[gone].mean(axis=0)
    far = np.linalg.norm(points[gone] - middle, axis=1).max()
    assert np.linalg.norm(made.points[made.marked] - middle, axis=1).max() < 2 * far


def test_a_crack_is_long_and_thin_and_goes_in() -> None:
    points, normals = plane(40_000)
    for seed in range(5):
        made = spoiled(points, normals, np.random.default_rng(seed), ["crack"], Ranges(share=(0.02, 0.02)))
        lengths = np.sqrt(np.linalg.eigvalsh(np.cov(points[made.marked, :2].T)))
        assert lengths[0] < 0.5 * lengths[1] and made.points[made.marked, 2].max() <= 0 and made.points[:, 2].min() < 0


def test_rough_points_lie_on_both_sides() -> None:
    points, normals = plane()
    made = spoiled(points, normals, np.random.default_rng(0), ["rough"])
    heights = made.points[made.marked, 2]
    assert heights.min() < 0 < heights.max() and abs(heights.mean()) < heights.std()


@pytest.mark.parametrize("kind", FLAWS)
def test_the_box_holds_what_is_marked_and_the_cloud_given_is_left_alone(kind: Flaw) -> None:
    points, normals = plane()
    before = points.copy()
    made = spoiled(points, normals, np.random.default_rng(4), [kind])
    low, high = made.box
    assert made.marked.any() and (made.points[made.marked] >= low).all() and (made.points[made.marked] <= high).all()
    np.testing.assert_array_equal(points, before)


def test_the_same_seed_makes_the_same_defect_and_kinds_are_drawn() -> None:
    points, normals = plane()
    first, again = (spoiled(points, normals, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.points, again.points)
    assert len({len(spoiled(points, normals, np.random.default_rng(seed)).points) < 4000 for seed in range(20)}) == 2


@pytest.mark.parametrize("kinds", [[], ["dent"]], ids=str)
def test_no_kind_or_an_unknown_one_is_refused(kinds: list[Any]) -> None:
    points, normals = plane(100)
    with pytest.raises(BadField, match="wanted some of stretch, hole, crack, rough"):
        spoiled(points, normals, np.random.default_rng(0), kinds)


def test_a_cloud_of_three_points_is_spoiled_whole() -> None:
    made = spoiled(np.eye(3), np.eye(3), np.random.default_rng(0), ["stretch"])
    assert made.marked.all() and np.isfinite(made.points).all()
