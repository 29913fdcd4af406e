"""Encoders of points: which groups they see, what may not change them, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.backbones.points import Encoding, Frame, PointEncoder, farthest, grouped, in_own_frames, prepared
from amiss.errors import BadBackbone, BadSample
from tests.backbones.encoders import SMALL, encoder
from tests.clouds import surface, turned

Array = npt.NDArray[Any]


def cloud(seed: int = 0, count: int = 400) -> Array:
    return surface(np.random.default_rng(seed), count)[0]


def outward(points: Array) -> Array:
    """Directions that turn with the cloud: away from its middle."""
    ways = points - points.mean(axis=0)
    return np.asarray(ways / np.linalg.norm(ways, axis=1, keepdims=True))


# -- groups ------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40))
def test_each_pick_is_the_point_farthest_from_all_before_it(seed: int, count: int) -> None:
    points = np.random.default_rng(seed).standard_normal((40, 3))
    picks = farthest(points, count, start=3).tolist()
    assert picks[0] == 3 and len(set(picks)) == count
    for number in range(1, count):
        gaps = [min(np.linalg.norm(point - points[pick]) for pick in picks[:number]) for point in points]
        assert gaps[picks[number]] == pytest.approx(max(gaps))


def test_copies_of_a_point_are_picked_one_after_another() -> None:
    assert sorted(farthest(np.ones((5, 3)), 5, start=2).tolist()) == [0, 1, 2, 3, 4]


def test_members_are_the_nearest_points_and_the_centre_comes_first() -> None:
    points = cloud()
    centres, members = grouped(points, 20, 9)
    distances = np.linalg.norm(points[centres, None] - points[None], axis=2)
    np.testing.assert_array_equal(members, np.argsort(distances, axis=1, kind="stable")[:, :9])
    np.testing.assert_array_equal(members[:, 0], centres)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_the_order_of_points_changes_no_group_even_where_distances_are_equal(seed: int) -> None:
    grid = np.stack(np.meshgrid(*[np.arange(5.0)] * 3), axis=-1).reshape(-1, 3)
    for points in (grid, cloud(seed)):
        order = np.random.default_rng(seed).permutation(len(points))
        here, there = grouped(points, 30, 7), grouped(points[order], 30, 7)
        np.testing.assert_array_equal(points[here.centres], points[order][there.centres])
        np.testing.assert_array_equal(points[here.members], points[order][there.members])


def test_a_cloud_of_fewer_points_than_groups_has_one_about_each() -> None:
    centres, members = grouped(cloud(count=50), 1024, 6)
    assert sorted(centres.tolist()) == list(range(50)) and members.shape == (50, 6)


@pytest.mark.parametrize("frame", ["own", "local"])
def test_pose_and_unit_change_nothing_that_an_encoder_sees(frame: Frame) -> None:
    encoding, points, rng = replace(SMALL, frame=frame), cloud(), np.random.default_rng(1)
    groups, centres, at = prepared(points, outward(points), 0.05, encoding)
    moved = turned(points, rng) * 1000
    there = prepared(moved, outward(moved), 50.0, encoding)
    np.testing.assert_array_equal(at, there[2])
    np.testing.assert_allclose(groups, there[0], atol=1e-4)
    np.testing.assert_allclose(centres, there[1], atol=1e-3)
    assert np.ptp(centres, axis=0).max() > 50  # in cells of 0.05, of a cloud that is some 4 across


def test_given_axes_are_kept_and_lengths_are_in_units_of_the_network() -> None:
    points = cloud()
    groups, centres, at = prepared(points, outward(points), 0.5, replace(SMALL, frame="given", unit=4.0))
    members = grouped(points, SMALL.groups, SMALL.members).members
    np.testing.assert_allclose(groups, (points[members] - points[at, None]) / 2.0, atol=1e-5)
    np.testing.assert_allclose(centres, (points[at] - points.mean(axis=0)) / 2.0, atol=1e-5)


def test_groups_of_the_same_form_look_alike_in_their_own_frames_wherever_they_lie() -> None:
    rng = np.random.default_rng(0)
    form = np.column_stack([rng.gamma(2, 2, 30), rng.uniform(-1, 1, 30), 0.1 * rng.random(30)])
    turns = [turned(np.vstack([form, np.zeros(3), [0, 0, 1]]), rng) for _ in range(5)]
    groups = np.stack([each[:30] - each[30] for each in turns])
    directions = np.stack([each[31] - each[30] for each in turns])
    found = in_own_frames(groups, directions)
    np.testing.assert_allclose(found, np.broadcast_to(found[:1], found.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(found, axis=2), np.linalg.norm(groups, axis=2))
    assert found[0].std(axis=0).argsort().tolist() == [2, 1, 0]
    mirrored = in_own_frames(groups * [1, 1, -1], directions * [1, 1, -1])
    assert np.abs(mirrored - found).max() > 0.1


# -- encoders ----------------------------------------------------------------------------------------------------------


def test_a_graph_sees_groups_and_centres_and_gives_a_token_for_each() -> None:
    points = cloud()
    tokens, at = PointEncoder(encoder(), name="means")(points, outward(points), 0.05)
    groups, centres, places = prepared(points, outward(points), 0.05, SMALL)
    np.testing.assert_array_equal(at, places)
    np.testing.assert_allclose(tokens, np.concatenate([groups.mean(axis=1), centres], axis=1), atol=1e-5)


def test_a_description_survives_its_text_form() -> None:
    told = Encoding(taps=(4, 8), channels=768, groups=512, members=32, unit=16.0, frame="local", statistics="batch")
    assert Encoding.from_json(told.to_json()) == told


@pytest.mark.parametrize(
    "change",
    [{"taps": []}, {"taps": [0]}, {"channels": "6"}, {"unit": 0.0}, {"unit": np.nan}, {"frame": "mine"}, {"groups": True}],
    ids=str,
)  # fmt: skip
def test_a_description_that_is_not_as_documented_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadBackbone, match=r"amiss\.points.*docs/points\.md"):
        Encoding.from_json(json.dumps({**json.loads(SMALL.to_json()), **change}))


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (b"no graph", "not an ONNX file"),
        (encoder(entry=""), "not an encoder of points"),
        (encoder(entry="{}"), "not as documented"),
        (encoder(output="else"), "wanted .* and 'tokens'"),
    ],
    ids=["bytes", "picture", "empty", "outputs"],
)
def test_what_is_no_encoder_is_refused(graph: bytes, said: str) -> None:
    with pytest.raises(BadBackbone, match=said):
        PointEncoder(graph, name="it")


@pytest.mark.parametrize(
    "graph", [encoder(replace(SMALL, channels=7)), encoder(times=float("inf"))], ids=["channels", "infinite"]
)
def test_tokens_that_are_not_those_promised_are_refused(graph: bytes) -> None:
    points = cloud()
    with pytest.raises(BadBackbone, match="gives tokens"):
        PointEncoder(graph, name="it")(points, outward(points), 0.05)


def test_a_cloud_of_fewer_points_than_a_group_is_refused() -> None:
    points = cloud(count=11)
    with pytest.raises(BadSample, match="11 points after thinning, groups of 12"):
        PointEncoder(encoder(), name="it")(points, outward(points), 0.05)
