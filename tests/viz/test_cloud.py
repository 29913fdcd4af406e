"""Pictures of clouds: what is where, what hides what, and nothing breaks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.viz.camera import View, views, whole
from amiss.viz.cloud import Array, Drawing, draw

FROM_ABOVE = View(np.eye(3), np.zeros(3), 1.0)  # x to the right, y up, z towards the viewer
SIDE = 96


def plate(count: int, seed: int = 0, half: float = 0.8) -> Array:
    """Points strewn over a square in z = 0."""
    flat = np.random.default_rng(seed).uniform(-half, half, (count, 2))
    return np.column_stack((flat, np.zeros(count))).astype(np.float32)


def ball(count: int, seed: int = 0) -> Array:
    points = np.random.default_rng(seed).standard_normal((count, 3))
    return np.asarray(points / np.linalg.norm(points, axis=1)[:, None], np.float32)


def zeros(points: Array) -> Array:
    return np.zeros(len(points), np.float32)


def differs(drawing: Drawing) -> Array:
    """Where the map shows, (side, side) bool."""
    return np.abs(drawing.coloured(0.2, 1.0).astype(int) - drawing.plain()).max(axis=2) > 25


def middle_of(shown: Array) -> Array:
    """Mean row and column, as shares of the side."""
    return np.argwhere(shown).mean(axis=0) / len(shown)


def test_the_map_shows_where_the_high_scores_are_and_nowhere_else() -> None:
    points = plate(20_000)
    near = np.linalg.norm(points[:, :2] - (0.4, 0.5), axis=1) < 0.15
    shown = differs(draw(points, near.astype(np.float32), FROM_ABOVE, SIDE))
    assert middle_of(shown) == pytest.approx((0.25, 0.7), abs=0.02)  # up to the right: y = 0.5 is row 0.25, x = 0.4 column 0.7
    assert shown.mean() == pytest.approx(np.pi * 0.15**2 / 4, rel=0.25)


def test_the_colours_are_those_of_a_picture_under_its_map() -> None:
    from amiss.viz.overlay import overlay

    drawing = draw(plate(5000), np.full(5000, 0.7), FROM_ABOVE, SIDE)
    expected = overlay(drawing.plain(), np.full((SIDE, SIDE), 0.7), low=0.2, high=1.0)
    inside = slice(SIDE // 4, -SIDE // 4)
    assert np.abs(drawing.coloured(0.2, 1.0)[inside, inside].astype(int) - expected[inside, inside]).max() <= 2


def test_what_lies_in_front_hides_what_lies_behind() -> None:
    front, behind = plate(10_000), plate(10_000, seed=1) - (0, 0, 0.3)
    points, scores = np.vstack((front, behind)), np.repeat((0.0, 1.0), 10_000)
    inside = slice(SIDE // 4, -SIDE // 4)
    assert not differs(draw(points, scores, FROM_ABOVE, SIDE))[inside, inside].any()
    assert differs(draw(points * (-1, 1, -1), scores, FROM_ABOVE, SIDE))[inside, inside].all()  # from the other side


@pytest.mark.parametrize("count", [300, 3000, 30_000, 300_000])
def test_a_surface_has_no_gaps_however_dense_it_is(count: int) -> None:
    under = plate(count, seed=1) - (0, 0, 0.5)
    points, scores = np.vstack((plate(count), under)), np.repeat((0.0, 1.0), count)
    drawing = draw(points, scores, FROM_ABOVE, SIDE)
    inside = slice(SIDE // 4, -SIDE // 4)
    assert np.isfinite(drawing.scores[SIDE // 2 : -SIDE // 2, SIDE // 2 : -SIDE // 2]).all()
    assert differs(drawing)[inside, inside].mean() < 0.01


def test_a_cloud_fills_its_own_area_and_a_hole_stays_open() -> None:
    points = plate(20_000)
    points = points[np.linalg.norm(points[:, :2], axis=1) > 0.3]
    solid = np.isfinite(draw(points, zeros(points), FROM_ABOVE, SIDE).scores)
    assert solid.mean() == pytest.approx((1.6**2 - np.pi * 0.3**2) / 4, rel=0.05)
    assert not solid[SIDE - 10 : SIDE + 10, SIDE - 10 : SIDE + 10].any()


def test_a_bump_is_lighter_towards_the_upper_left_and_a_dent_darker() -> None:
    points = plate(60_000)
    bump = 0.15 * np.exp(-((points[:, 0] ** 2 + points[:, 1] ** 2) / 0.2**2))
    shades = []
    for sign in (1, -1):
        points[:, 2] = sign * bump
        grey = draw(points, zeros(points), FROM_ABOVE, SIDE).plain().mean(axis=2)
        upper_left = grey[SIDE // 2 - 9 : SIDE // 2 - 4, SIDE // 2 - 9 : SIDE // 2 - 4].mean()
        lower_right = grey[SIDE // 2 + 4 : SIDE // 2 + 9, SIDE // 2 + 4 : SIDE // 2 + 9].mean()
        shades.append(upper_left - lower_right)
    assert shades[0] > 30 and shades[1] < -30


def test_the_order_of_the_points_does_not_matter() -> None:
    points, scores = ball(5000), np.random.default_rng(1).random(5000).astype(np.float32)
    order = np.random.default_rng(2).permutation(5000)
    first, second = (draw(points[some], scores[some], FROM_ABOVE, SIDE) for some in (slice(None), order))
    assert np.abs(first.coloured(0, 1).astype(int) - second.coloured(0, 1)).max() <= 2


def test_another_unit_and_another_place_give_the_same_picture() -> None:
    points = ball(5000).astype(np.float64) * (1, 0.7, 0.4)
    moved = 1000 * points + (5000.0, -2000.0, 100.0)
    first, second = (
        draw(some, points[:, 0], whole(some, np.eye(3)), SIDE).coloured(0, 1).astype(int)
        for some in (points.astype(np.float32), moved.astype(np.float32))
    )
    assert np.abs(first - second).mean() < 0.5


@pytest.mark.parametrize(
    "points", [np.zeros((0, 3)), np.zeros((1, 3)), np.ones((500, 3)), np.linspace((0, 0, 0), (1, 2, 3), 200)]
)
def test_few_points_equal_points_and_a_line_make_a_picture(points: Array) -> None:
    points = points.astype(np.float32)
    view = FROM_ABOVE if not len(points) else views(points, points[-1])[0]
    drawing = draw(points, np.ones(len(points)), view, SIDE)
    assert drawing.plain().shape == drawing.coloured(0, 1).shape == (SIDE, SIDE, 3)
    assert np.isfinite(drawing.scores).any() == (len(points) > 0)


def test_a_flat_cloud_seen_along_itself_makes_a_picture() -> None:
    points = plate(3000)
    drawing = draw(points, zeros(points), whole(points, np.roll(np.eye(3), 1, axis=0)), SIDE)
    assert 0 < np.isfinite(drawing.scores).mean() < 0.2


def test_scores_that_are_no_numbers_count_as_the_ends_of_those_that_are() -> None:
    points = plate(8000)
    scores = np.where(points[:, 0] < 0, np.nan, np.where(points[:, 1] < 0, np.inf, 0.5))
    drawing = draw(points, scores, FROM_ABOVE, SIDE)
    known = drawing.scores[np.isfinite(drawing.scores)]
    assert len(known) > 1000 and known.max() == pytest.approx(0.5) and known.min() == pytest.approx(0.5)


# -- views -------------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_axes_are_of_unit_length_upright_and_right_handed(seed: int) -> None:
    points = ball(200, seed)
    for view in views(points, points[0]):
        assert view.axes @ view.axes.T == pytest.approx(np.eye(3), abs=1e-9)
        assert np.linalg.det(view.axes) == pytest.approx(1)


@pytest.mark.parametrize("worst", [0, 1, 2, 3])
def test_the_worst_place_faces_the_viewer_and_is_still_seen_from_three_quarters(worst: int) -> None:
    points = ball(20_000)
    facing, aside = views(points, points[worst])
    assert facing.axes[2] @ points[worst] > 0.9
    assert 0.5 < aside.axes[2] @ facing.axes[2] < 0.9


def test_the_inside_of_a_bowl_is_looked_into() -> None:
    points = ball(20_000)
    bowl = points[points[:, 1] < 0.3]  # open towards y
    lowest = bowl[bowl[:, 1].argmin()]
    inner = np.vstack((bowl, 1.2 * bowl, bowl * (1, 1.2, 1)))  # an outer shell hides the inner one from everywhere else
    assert views(inner, 0.9999 * lowest)[0].axes[2, 1] > 0.8


def test_a_scan_is_looked_at_from_where_it_was_measured() -> None:
    sheet = plate(5000) + np.float32((0, 0, 2))
    for eye in (np.zeros(3), np.array((0.0, 0.0, 4.0))):
        for view in views(sheet, sheet[0], eye=eye):
            assert view.axes[2] @ (eye - sheet.mean(axis=0)) > 0.5
        assert abs(views(sheet, sheet[0], eye=eye)[0].axes[2, 2]) > 0.99


def test_up_is_up_unless_it_is_looked_along() -> None:
    points = ball(5000)
    side = views(points, np.array((1.0, 0.0, 0.0)), up=np.array((0.0, -1.0, 0.0)))[0]
    assert side.axes[1, 1] < -0.9
    assert views(points, np.array((0.0, 0.0, 1.0)))[0].axes[1] == pytest.approx((0, 1, 0), abs=0.35)


def test_every_point_lies_in_the_picture_with_air_around() -> None:
    points = ball(3000) * np.float32((3, 1, 0.5)) + np.float32((100, 200, -300))
    for view in views(points, points[7]):
        column, row, _ = view.placed(points, 100)
        assert min(column.min(), row.min()) > 0 and max(column.max(), row.max()) < 100
        assert max(np.ptp(column), np.ptp(row)) == pytest.approx(100 / 1.08, rel=0.01)


def test_a_close_view_has_the_place_in_its_middle() -> None:
    points = ball(100)
    close = views(points, points[3])[0].close(points[3], 0.1)
    assert close.placed(points[3:4], 50)[:2, 0] == pytest.approx(25)
