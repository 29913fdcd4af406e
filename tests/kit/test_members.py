"""Which places inside a cube belong to the defect: learned from cubes of which it is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from amiss.kit.members import FEWEST, Inside, Members, _logistic, span

Array = npt.NDArray[Any]


def known(rng: np.random.Generator, count: int = 200, height: float = 3.0, columns: int = 2) -> Inside:
    """Places in a cube of 4 cells, of which those nearest the middle are odd by so much, in the first column alone."""
    positions = rng.uniform(-2, 2, (count, 3))
    belongs = np.linalg.norm(positions, axis=1) < 1.2
    numbers = rng.normal(0, 0.3, (count, columns))
    numbers[:, 0] += height * belongs
    return Inside(numbers, positions, belongs)


def test_the_line_has_the_least_logistic_loss() -> None:
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.standard_normal((60, 2)), np.ones(60)])
    wanted = (rows @ [1.5, -1, 0.3] + rng.logistic(size=60) > 0).astype(float)
    spans = np.append(rows[:, :2].std(axis=0), 1)

    def loss(weights: Array) -> float:
        return float(
            np.logaddexp(0, np.where(wanted > 0, -1, 1) * (rows @ weights)).mean() + 5e-4 * ((weights * spans) ** 2).sum()
        )

    found = _logistic(rows, wanted, np.full(60, 1 / 60))
    np.testing.assert_allclose(found, minimize(loss, np.zeros(3), tol=1e-10).x, rtol=1e-3, atol=1e-3)


def test_boxes_about_the_places_taken_are_those_about_the_defect() -> None:
    rng = np.random.default_rng(0)
    members = Members.learned([known(rng) for _ in range(6)])
    fresh = known(rng)
    taken = members(fresh.numbers)
    assert (taken == fresh.belongs).mean() > 0.97
    np.testing.assert_allclose(span(fresh.positions[taken]), span(fresh.positions[fresh.belongs]), atol=0.2)


def test_a_defect_ends_where_it_has_fallen_from_its_own_peak() -> None:
    rng = np.random.default_rng(0)
    heights = np.linspace(2, 6, 12)

    def blurred(height: float) -> Inside:
        positions = rng.uniform(-2, 2, (300, 3))
        way = np.linalg.norm(positions, axis=1)
        return Inside((height - way * height / 2)[:, None], positions, way < 1)

    members = Members.learned([blurred(height) for height in heights])
    for height in (2.5, 5.5):  # half the height is 1.25 for one, and near the peak of none
        one = blurred(height)
        assert (members(one.numbers) == one.belongs).mean() > 0.9


def test_some_places_always_belong() -> None:
    members = Members(np.array([0.0, 1.0, 0.0, 0.0, 0.0, -99.0]), 0.0)
    assert members(np.arange(9.0)[:, None]).sum() == FEWEST
    assert members(np.arange(3.0)[:, None]).all()


def test_a_span_has_the_lowest_and_the_highest_corner() -> None:
    np.testing.assert_array_equal(span(np.array([[1.0, 5, 2], [3, 4, 2]])), [[1, 4, 2], [3, 5, 2]])
