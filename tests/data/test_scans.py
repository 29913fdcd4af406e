"""The made benchmark of clouds: truths that are right, repeatable, free of units, and seen from one side where they say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial import cKDTree

from amiss.data import scans
from amiss.data.flaws import CRACK, HEIGHT, KINDS, RIM, SCRATCH, Body, Kind, flaw_at
from amiss.data.scans import Scan, Scanner, defective_samples, samples
from amiss.data.shapes import SHAPES, gradient, shape, unit
from amiss.errors import BadField
from amiss.types import Sample, Truth
from tests.data.rays import in_sight

Array = npt.NDArray[Any]

POINTS = 2000


def cloud(sample: Sample) -> Array:
    assert sample.points is not None
    return sample.points


def marks(truth: Truth) -> Array:
    assert truth.point_mask is not None
    return truth.point_mask


def upright(scan: Scan, diagonal: float = scans.DIAGONAL) -> Array:
    """The points back in the frame of the part."""
    return np.asarray((scan.points - scan.translation) @ scan.rotation / diagonal)


# -- good parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("partial", [False, True])
def test_a_scan_has_the_wanted_number_of_different_points_and_no_normals(name: str, partial: bool) -> None:
    for sample in samples(0, 2, name, points=POINTS, partial=partial):
        assert cloud(sample).shape == (POINTS, 3) and cloud(sample).dtype == np.float32
        assert len(np.unique(cloud(sample), axis=0)) == POINTS
        assert sample.normals is None and sample.part == name and sample.sees == {"points"}


def test_a_scan_has_twenty_thousand_points_unless_told_otherwise() -> None:
    assert len(cloud(samples(0, 1, "jug")[0])) == 20_000


@pytest.mark.parametrize("partial", [False, True])
def test_the_same_seed_makes_the_same_scans_and_another_one_others(partial: bool) -> None:
    first, again = (samples(3, 2, "loop", points=POINTS, partial=partial) for _ in range(2))
    assert first == again
    made = [sample for seed in range(3) for sample in samples(seed, 2, "loop", points=POINTS, partial=partial)]
    assert len({sample.digest for sample in made}) == len({sample.id for sample in made}) == 6


def test_the_first_scans_stay_the_same_when_more_are_made() -> None:
    assert samples(0, 3, "gear", points=POINTS)[:1] == samples(0, 1, "gear", points=POINTS)
    few, many = (defective_samples(0, count, "gear", points=POINTS) for count in (2, 6))
    assert [sample for sample, _ in many[:2]] == [sample for sample, _ in few]
    assert [truth.kind for _, truth in many] == ["bulge", "sink", "hole", "crack", "scratch", "bulge"]
    assert samples(0, 0, "gear") == defective_samples(0, 0, "gear") == []


@pytest.mark.parametrize("name", SHAPES)
def test_points_lie_on_the_shape_but_for_the_noise_of_the_sensor(name: str) -> None:
    for noise in (0.0, 0.0005, 0.004):
        scan = Scanner(points=POINTS, noise=noise).good(np.random.default_rng(0), name)
        shape_field, points = shape(name).field, upright(scan)
        off = shape_field(points) / np.linalg.norm(gradient(shape_field, points), axis=1)
        np.testing.assert_allclose(off.std(), noise, rtol=0.1, atol=1e-6)
        assert not scan.marked.any() and scan.eye is None


def test_poses_are_any_rotation_and_a_translation_of_up_to_a_diagonal() -> None:
    """Every axis of the part points everywhere: means of 100 have a standard deviation of 1 / sqrt(300) = 0.06."""
    made = [Scanner(points=100).good(np.random.default_rng(seed), "jug") for seed in range(100)]
    turns, moves = np.array([scan.rotation for scan in made]), np.array([scan.translation for scan in made])
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    assert np.abs(turns.mean(axis=0)).max() < 0.25
    np.testing.assert_allclose(np.mean(turns**2, axis=0), 1 / 3, atol=0.12)
    assert moves.min() < -80 and moves.max() > 80 and np.abs(moves).max() <= 100


def test_normals_of_a_scan_are_turned_with_it() -> None:
    scan = Scanner(points=POINTS, noise=0.0).good(np.random.default_rng(0), "lump")
    np.testing.assert_allclose(scan.normals @ scan.rotation, unit(gradient(shape("lump").field, upright(scan))), atol=1e-3)


# -- partial scans -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_a_partial_scan_shows_only_what_faces_the_viewpoint_and_is_not_behind_anything(name: str) -> None:
    scan = Scanner(points=POINTS, noise=0.0, partial=True).good(np.random.default_rng(0), name)
    assert scan.eye is not None
    np.testing.assert_allclose(np.linalg.norm(scan.eye - scan.translation), 200)
    rays = unit(scan.eye - scan.points)
    assert np.einsum("nd,nd->n", scan.normals, rays).min() > np.cos(np.deg2rad(80)) - 1e-3
    eye = (scan.eye - scan.translation) @ scan.rotation / 100
    # points are rounded to float32, so the ray starts a little outside
    assert in_sight(shape(name).field, upright(scan) + 1e-4 * scan.normals @ scan.rotation, eye).mean() > 0.998


@pytest.mark.parametrize("name", SHAPES)
def test_a_partial_scan_shows_everything_that_is_seen(name: str) -> None:
    part, rng = shape(name), np.random.default_rng(1)
    scan = Scanner(points=POINTS, noise=0.0, partial=True).good(rng, name)
    assert scan.eye is not None
    eye, points = (scan.eye - scan.translation) @ scan.rotation / 100, part.draw(rng, POINTS)
    facing = np.einsum("nd,nd->n", unit(gradient(part.field, points)), unit(eye - points)) > np.cos(np.deg2rad(79))
    points = points[facing]
    seen = points[in_sight(part.field, points, eye)]
    ways, spacing = cKDTree(upright(scan)).query(seen)[0], np.sqrt(part.areas.sum() / POINTS)
    assert 0.05 < len(seen) / POINTS < 0.5 and (ways < 1.5 * spacing).mean() > 0.99


@pytest.mark.parametrize(("kind", "slant"), [("bulge", 3.0), ("crack", 1.2)])
def test_a_defect_hides_what_lies_behind_it(kind: Kind, slant: float) -> None:
    """Strides along rays, against short steps: a bulge or the wall of a crack is never leapt over."""
    part, rng = shape("bracket"), np.random.default_rng(0)
    middle = np.array((0, 0, part.draw(rng, 1000)[:, 2].min()))  # of the flat side
    flaw = flaw_at(rng, kind, middle, np.array((0, 0, -1.0)), 0.15, 0.01)
    body = Body(part, flaw)
    points = body.put(part.draw(rng, 800, np.where(flaw.near(part.middles), part.areas, 0)))[0]
    normals = unit(gradient(body.field, points))
    eye = 2 * unit((flaw.frame[2] + slant * flaw.frame[1])[None])[0]
    facing = np.einsum("nd,nd->n", normals, unit(eye - points)) > scans._GRAZING
    slow = facing.copy()
    slow[facing] = in_sight(body.field, points[facing], eye, step=0.0005, end=0.3)
    seen = scans._seen(body, points, normals, eye)
    assert (seen != slow).mean() < 0.005 and (facing & ~slow).sum() > 10


def test_partial_scans_look_from_everywhere() -> None:
    made = [Scanner(points=100, partial=True).good(np.random.default_rng(seed), "lump") for seed in range(16)]
    eyes = np.array([(scan.eye - scan.translation) @ scan.rotation / 200 for scan in made if scan.eye is not None])
    np.testing.assert_allclose(np.linalg.norm(eyes, axis=1), 1)
    assert np.abs(eyes.mean(axis=0)).max() < 0.5  # a standard deviation of 1 / sqrt(48) = 0.14


# -- defects -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_truths_mark_points_of_the_sample_and_box_them(name: str, partial: bool) -> None:
    for sample, truth in defective_samples(0, 5, name, points=POINTS, partial=partial, size=0.1):
        points, marked = cloud(sample), marks(truth)
        assert truth.label and marked.shape == (POINTS,) and 0 < marked.mean() < 0.15
        (box,) = truth.boxes
        inside = (points >= box.low).all(axis=1) & (points <= box.high).all(axis=1)
        assert inside[marked].all()
        np.testing.assert_array_equal([box.low, box.high], [points[marked].min(axis=0), points[marked].max(axis=0)])
        assert sample.part == name and sample.id == f"{name}-{truth.kind}-0-{KINDS.index(truth.kind)}"  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0.05, 0.1])
def test_the_box_of_a_defect_is_about_as_large_as_its_size(kind: Kind, size: float) -> None:
    """In diagonals, over three parts; a hole has its rim around it, a scratch is wider."""
    sizes = []
    for _, truth in defective_samples(1, 3, "lump", (kind,), size=size):
        (box,) = truth.boxes
        sizes.append(np.linalg.norm(np.subtract(box.high, box.low)) / scans.DIAGONAL)
    rim = 2 * RIM * np.sqrt(shape("lump").areas.sum() / 20_000) if kind == "hole" else 0
    assert 0.7 * size < np.mean(sizes) - rim < 1.5 * size  # of a disc, sides of a box add up to its diameter times up to 1.41


@pytest.mark.parametrize(("kind", "height"), [("bulge", HEIGHT), ("sink", -HEIGHT), ("crack", -CRACK), ("scratch", -SCRATCH)])
def test_marked_points_are_moved_by_the_stated_height_and_others_by_noise_alone(kind: Kind, height: float) -> None:
    """In a dense scan some point lies near the top."""
    part = shape("lump")
    scan = Scanner(points=20_000, noise=0.0).defective(np.random.default_rng(4), "lump", kind, 0.1)
    points = upright(scan)
    ways = part.field(points) / np.linalg.norm(gradient(part.field, points), axis=1) / 0.1
    highest = ways[np.abs(ways).argmax()]
    assert 0.85 < highest / height < 1.1 and np.abs(ways[~scan.marked]).max() < 0.11 * abs(height)


def test_of_a_hole_the_points_around_it_are_marked_and_none_lies_in_it() -> None:
    scan = Scanner(points=20_000, noise=0.0).defective(np.random.default_rng(0), "jug", "hole", 0.1)
    points, spacing = upright(scan), np.sqrt(shape("jug").areas.sum() / 20_000)
    rim = points[scan.marked]
    ways = np.linalg.norm(points - (rim.min(axis=0) + rim.max(axis=0)) / 2, axis=1)
    assert len(points) == 20_000 and ways.min() > 0.035
    assert ways[scan.marked].max() < 0.05 + RIM * spacing + 0.015
    assert cKDTree(points).query(points, k=2)[0][:, 1].max() < 2 * spacing  # no other hole


def test_a_scan_in_another_unit_has_the_same_truth() -> None:
    for partial in (False, True):
        metres, millimetres = (
            defective_samples(2, 3, "jug", points=POINTS, partial=partial, size=0.1, diagonal=diagonal)
            for diagonal in (0.1, 100.0)
        )
        for (small, truth), (large, same) in zip(metres, millimetres, strict=True):
            np.testing.assert_array_equal(marks(truth), marks(same))
            np.testing.assert_allclose(cloud(small) * 1000, cloud(large), atol=1e-4)
            np.testing.assert_allclose(np.multiply(truth.boxes[0].low, 1000), same.boxes[0].low, atol=1e-4)


@pytest.mark.parametrize("partial", [False, True])
def test_the_smallest_defects_have_a_point(partial: bool) -> None:
    """A crack of half a percent has a thousandth of a point to expect; its middle is one."""
    for _, truth in defective_samples(0, 5, "lump", size=0.005, points=POINTS, partial=partial):
        assert marks(truth).any()


def test_defects_lie_all_over_the_part_and_in_partial_scans_on_what_is_seen() -> None:
    places = []
    for seed in range(40):
        scan = Scanner(points=200, noise=0.0).defective(np.random.default_rng(seed), "lump", "bulge", 0.1)
        places.append(upright(scan)[scan.marked].mean(axis=0))
    reach = np.array([np.min(places, axis=0), np.max(places, axis=0)]) / shape("lump").extent
    assert reach[0].max() < -0.3 and reach[1].min() > 0.3  # of sides that end at 0.5
    for seed in range(5):
        scan = Scanner(points=200, partial=True).defective(np.random.default_rng(seed), "lump", "hole", 0.1)
        assert scan.eye is not None and scan.marked.any()
        rays = unit(scan.eye - scan.points[scan.marked])
        assert np.einsum("nd,nd->n", scan.normals[scan.marked], rays).max() > 0.3


def test_defective_scans_are_not_the_good_ones_of_the_same_seed() -> None:
    good, (bad, _) = samples(0, 1, "lump", points=POINTS)[0], defective_samples(0, 1, "lump", points=POINTS)[0]
    sides = [np.sort(np.linalg.svd(cloud(sample) - cloud(sample).mean(axis=0))[2].ravel()) for sample in (good, bad)]
    assert not np.allclose(*sides, atol=0.01)


def test_a_crack_of_which_no_point_is_seen_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "_seen", lambda body, points, normals, eye: body.shape.field(points) > -1e-6)
    monkeypatch.setattr(scans, "_FACING", -2)
    with pytest.raises(BadField, match=r"a sink of size = 0.005 has none of 100 points; give more points"):
        Scanner(points=100, partial=True).defective(np.random.default_rng(0), "jug", "sink", 0.005)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"points": 99}, "points = 99: wanted 100 or more"), ({"points": 1e4}, "points = 10000.0: wanted int"),
        ({"noise": -0.1}, "noise = -0.1: wanted 0.0 to 0.05"), ({"noise": float("nan")}, "noise = nan: wanted float"),
        ({"diagonal": 0}, "diagonal = 0.0: wanted above 0.0"), ({"partial": 1}, "partial = 1: wanted bool"),
        ({"size": 0.3}, "size = 0.3: wanted 0.005 to 0.2"), ({"size": "5%"}, "size = '5%': wanted float"),
        ({"kinds": ()}, r"kinds = \(\): wanted one or more"), ({"kinds": ("dent",)}, r"kinds = \('dent',\): wanted bulge"),
        ({"kinds": ("hole", "hole")}, "none twice"), ({"name": "cube"}, "shape 'cube': wanted one of gear"),
        ({"seed": -1}, "seed = -1: wanted 0 or more"), ({"count": -1}, "count = -1: wanted 0 or more"),
    ],
)  # fmt: skip
def test_impossible_values_are_refused_naming_them(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadField, match=reason):
        defective_samples(**{"seed": 0, "count": 1, "name": "jug", "points": 200, **wrong})
    if not wrong.keys() & {"size", "kinds"}:
        with pytest.raises(BadField, match=reason):
            samples(**{"seed": 0, "count": 1, "name": "jug", "points": 200, **wrong})
