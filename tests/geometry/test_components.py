from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.geometry.components import components


def flooded(points, radius):
    """Pieces found by walking from point to point."""
    labels, number = np.full(len(points), -1), 0
    for start in range(len(points)):
        if labels[start] >= 0:
            continue
        reached = [start]
        while reached:
            here = reached.pop()
            labels[here] = number
            near = np.linalg.norm(points - points[here], axis=1) <= radius
            reached += np.flatnonzero(near & (labels < 0)).tolist()
        number += 1
    return labels


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([0.5, 1.0, 2.0]))
def test_pieces_are_those_that_a_walk_from_point_to_point_reaches(seed, count, radius):
    points = np.random.default_rng(seed).integers(0, 8, (count, 3)).astype(np.float32)  # with copies
    mine, wanted = components(points, radius), flooded(points, radius)
    assert ((mine[:, None] == mine) == (wanted[:, None] == wanted)).all()
    assert set(mine) == set(range(mine.max() + 1))


def test_a_step_as_long_as_the_radius_still_joins():
    assert components(np.array([[0, 0, 0], [2, 0, 0], [4.5, 0, 0]]), 2.0).tolist() == [0, 0, 1]


def test_no_points_have_no_pieces():
    assert components(np.empty((0, 3)), 1.0).shape == (0,)
