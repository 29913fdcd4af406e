"""Scans find their place on a template, whole or from one side; what cannot be found is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.errors import BadSample
from amiss.geometry import register as module
from amiss.geometry.fpfh import other_side
from amiss.geometry.icp import Source
from amiss.geometry.register import Pose, Surface, register
from tests.geometry import made

Array = npt.NDArray[Any]

CELL = 0.1
POINTS = 8_000


@pytest.fixture(scope="module")
def template() -> Surface:
    return Surface.of(made.lump(POINTS, np.random.default_rng(100)), CELL)


def turned_by(rotation: Array) -> float:
    """Degrees."""
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


def one_side(points: Array, rng: np.random.Generator) -> Array:
    """What lies in front of a plane through the part, somewhat behind its middle."""
    return points[points @ made.rotation(rng)[0] > -0.1]


def scanned(seed: int, *, partial: bool = False, unit: float = 1.0) -> tuple[Array, Array, Array]:
    """Points of a fresh scan, and the rotation and translation that lay them onto the template."""
    rng = np.random.default_rng(seed)
    points = made.lump(POINTS, rng)
    if partial:
        points = one_side(points, rng)
    turn, shift = made.rotation(rng), rng.uniform(-5, 5, 3)
    return (points @ turn.T + shift) * unit, turn.T, -turn.T @ shift


def error(pose: Pose, rotation: Array, translation: Array) -> tuple[float, float]:
    """Degrees, and cells that the part's middle lies off."""
    middle = rotation.T @ -translation
    return turned_by(pose.rotation @ rotation.T), float(np.linalg.norm(pose(middle[None]))) / CELL


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_scan_in_any_pose_finds_its_place(seed: int, partial: bool, template: Surface) -> None:
    points, rotation, translation = scanned(seed, partial=partial)
    pose = register(Surface.of(points, CELL), template, np.random.default_rng(0))
    angle, off = error(pose, rotation, translation)
    assert angle < 1 and off < 0.5
    assert pose.sound and pose.fitness > 0.95 and not pose.ambiguous


def test_the_same_scan_and_seed_give_the_same_pose(template: Surface) -> None:
    scan = Surface.of(scanned(1)[0], CELL)
    one, again = (register(scan, template, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.rotation, again.rotation)
    np.testing.assert_array_equal(one.translation, again.translation)
    assert one.fitness == again.fitness


def test_neither_seed_nor_order_nor_type_moves_the_pose_by_much(template: Surface) -> None:
    points, _, _ = scanned(2)
    expected = register(Surface.of(points, CELL), template, np.random.default_rng(0))
    shuffled = np.random.default_rng(1).permutation(points).astype(np.float32)
    found = register(Surface.of(shuffled, CELL), template, np.random.default_rng(9))
    assert turned_by(found.rotation @ expected.rotation.T) < 0.1
    np.testing.assert_allclose(found(points), expected(points), atol=0.1 * CELL)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_the_unit_plays_no_role(unit: float, template: Surface) -> None:
    points, rotation, _ = scanned(3, unit=unit)
    other = Surface.of(made.lump(POINTS, np.random.default_rng(100)) * unit, CELL * unit)
    pose = register(Surface.of(points, CELL * unit), other, np.random.default_rng(0))
    assert turned_by(pose.rotation @ rotation.T) < 1 and pose.fitness > 0.95
    plain = register(Surface.of(points / unit, CELL), template, np.random.default_rng(0))
    np.testing.assert_allclose(pose.translation, plain.translation * unit, atol=0.1 * CELL * unit)


def test_a_scan_with_its_normals_inside_out_is_turned_round(template: Surface) -> None:
    points, rotation, _ = scanned(4)
    scan = Surface.of(points, CELL)
    scan = replace(scan, normals=-scan.normals, descriptors=other_side(scan.descriptors))
    pose = register(scan, template, np.random.default_rng(0))
    assert turned_by(pose.rotation @ rotation.T) < 1 and pose.sound


def test_without_any_feature_the_own_axes_decide(template: Surface) -> None:
    points, rotation, _ = scanned(5)
    scan = Surface.of(points, CELL)
    bare = [replace(each, descriptors=np.zeros_like(each.descriptors)) for each in (scan, template)]
    pose = register(bare[0], bare[1], np.random.default_rng(0))
    assert turned_by(pose.rotation @ rotation.T) < 1 and pose.sound


def test_a_part_of_another_shape_is_not_sound(template: Surface) -> None:
    rng = np.random.default_rng(0)
    for stranger in (made.torus(POINTS, rng, 1.0, 0.5)[0], made.box(0.04, (1.6, 1.2, 1.0))[0]):
        pose = register(Surface.of(stranger, CELL), template, rng)
        assert not pose.sound and pose.fitness < 0.6


def test_a_mirrored_part_is_not_laid_down_by_a_mirror(template: Surface) -> None:
    pose = register(Surface.of(scanned(0)[0] * [-1, 1, 1], CELL), template, np.random.default_rng(0))
    assert np.linalg.det(pose.rotation) == pytest.approx(1)
    assert not pose.sound


@pytest.mark.parametrize("name", ["box", "torus", "ball"])
def test_a_symmetric_part_fits_in_several_ways_and_that_is_said(name: str) -> None:
    rng = np.random.default_rng(0)
    points = {
        "box": lambda: made.box(0.04, (1.6, 1.2, 0.8))[0],
        "torus": lambda: made.torus(POINTS, rng)[0],
        "ball": lambda: made.sphere(POINTS)[0],
    }[name]()
    scan = points @ made.rotation(rng).T
    pose = register(Surface.of(scan, CELL), Surface.of(points, CELL), rng)
    assert pose.sound and pose.ambiguous


def test_a_cloud_with_too_few_cells_is_refused() -> None:
    with pytest.raises(BadSample, match="60 neighbours of each are wanted"):
        Surface.of(made.lump(200, np.random.default_rng(0)), 1.0)


def test_a_surface_lies_as_its_cloud_does() -> None:
    rng = np.random.default_rng(0)
    points, _ = made.torus(20_000, rng)
    turn, shift = made.rotation(rng), np.array([1e4, -2e4, 3e4])
    surface = Surface.of(points @ turn.T + shift, 0.1)
    back = (surface.points - shift) @ turn
    away = np.hypot(np.hypot(back[:, 0], back[:, 1]) - 1.0, back[:, 2])
    np.testing.assert_allclose(away, 0.4, atol=0.02)
    outward = back - back * [1, 1, 0] / np.linalg.norm(back[:, :2], axis=1, keepdims=True)
    assert ((surface.normals @ turn) * outward).sum(axis=1).min() > 0.3


# -- parts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 40, 1 << 22])
def test_matches_are_the_nearest_with_the_mutual_ones_first(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    rng = np.random.default_rng(0)
    ours, theirs = (rng.random((count, 33)).astype(np.float32) for count in (30, 20))
    ours, theirs = (each / each.sum(axis=1, keepdims=True) for each in (ours, theirs))
    ways = np.linalg.norm(np.sqrt(ours)[:, None] - np.sqrt(theirs), axis=2)
    mutual = [i for i in range(30) if ways[:, ways[i].argmin()].argmin() == i]
    asked, found = module._matches(ours, theirs)
    assert 0 < len(mutual) < 20
    assert asked.tolist() == mutual + [i for i in range(30) if i not in mutual]
    assert found.tolist() == ways[asked].argmin(axis=1).tolist()


def test_pairs_are_alike_in_length_and_angles_as_a_loop_says() -> None:
    rng = np.random.default_rng(1)
    points, normals = rng.uniform(0, 30, (25, 3)), rng.standard_normal((25, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    others, turned = points + rng.normal(0, 1.5, points.shape), normals + rng.normal(0, 0.15, normals.shape)
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    found = module._alike(Source(points, normals), Source(others, turned))
    expected = np.zeros((25, 25), bool)
    for i in range(25):
        for j in range(25):
            way, other = points[j] - points[i], others[j] - others[i]
            length, second = np.linalg.norm(way), np.linalg.norm(other)
            if i == j or length < 6 or min(length, second) < 0.9 * max(length, second):
                continue
            cosines = [abs(normals[k] @ way / length - turned[k] @ other / second) for k in (i, j)]
            expected[i, j] = max(*cosines, abs(normals[i] @ normals[j] - turned[i] @ turned[j])) <= 0.35
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(found, expected)


def test_triples_go_together_in_all_their_pairs() -> None:
    rng = np.random.default_rng(0)
    alike = np.triu(rng.random((40, 40)) < 0.2, 1)
    alike |= alike.T
    triples = module._triples(alike, rng)
    assert len(triples) > 20
    for one, other, third in triples.tolist():
        assert alike[one, other] and alike[one, third] and alike[other, third]


def test_where_no_pairs_go_together_there_are_no_triples() -> None:
    rng = np.random.default_rng(0)
    assert module._triples(np.zeros((5, 5), bool), rng).shape == (0, 3)
    assert module._triples(np.eye(5, k=1, dtype=bool) | np.eye(5, k=-1, dtype=bool), rng).shape == (0, 3)  # a chain
