"""From votes to defects: which cubes are kept, which places inside belong, and what nearness says."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.kit.finds import Finds, known, within
from amiss.kit.members import Members
from amiss.kit.scenes import FEATURES, Scene
from amiss.kit.voting import Cells, Votes

Array = npt.NDArray[Any]
MARGIN = 2
FIRST = Members(np.array([1.0] + [0.0] * 20), 0.0)  # whose member score is above zero belongs


def line(count: int = 12, marked: slice = slice(0, 0)) -> Scene:
    """One place in the middle of each cell of a row."""
    positions = np.column_stack([np.arange(count) + 0.5, np.full(count, 0.5), np.full(count, 0.5)])
    cells, marks = np.floor(positions).astype(np.int64), np.zeros(count, np.int64)
    marks[marked] = 1
    return Scene(cells, np.zeros((count, len(FEATURES)), np.float32), positions, np.arange(count), np.zeros((count, 3)), marks)


def votes(scene: Scene, scores: dict[int, float], members: Array) -> Votes:
    """Scores of single cells of the row, in the first of two heads."""
    shape = tuple((scene.cells.max(axis=0) + 1 + 2 * MARGIN).tolist())
    places = scene.cells[list(scores)] + MARGIN
    head = Cells.at(places, np.array(list(scores.values()))[:, None], shape)
    return Votes((head, Cells(shape, np.empty(0, np.int64), np.empty((0, 1), np.float32))), members, (12, 12, 12))


def finds(scene: Scene, given: Votes, most: int = 9) -> Finds:
    return Finds.of(given, scene, MARGIN, (4.0, 6.0), FIRST, most=most, lowest=-7.0)


def test_a_cube_takes_the_places_inside_it_that_belong() -> None:
    scene, members = line(), np.full(12, -1.0)
    members[1:8] = 1
    found = finds(scene, votes(scene, {4: 2.0}, members))
    assert found.scores.tolist() == [2.0] and found.best == 2.0 and found.edges.tolist() == [4.0]
    np.testing.assert_allclose(found.middles, [[4.5, 0.5, 0.5]])
    # within 4.5 +- (2 x 1.15 + 0.5) lie 2 to 6, of which all belong; 1 and 7 do too, but lie outside
    assert np.flatnonzero(found.taken[0]).tolist() == [2, 3, 4, 5, 6]


def test_of_cubes_that_overlap_the_best_is_kept_and_the_best_come_first() -> None:
    scene = line()
    given = votes(scene, {2: 1.0, 3: 3.0, 10: 2.0}, np.ones(12))
    assert finds(scene, given).scores.tolist() == [3.0, 2.0]
    assert finds(scene, given, most=1).scores.tolist() == [3.0]


def test_where_nothing_was_voted_for_there_is_nothing_and_the_lowest_score() -> None:
    scene = line()
    found = finds(scene, votes(scene, {}, np.ones(12)))
    assert len(found.scores) == 0 and found.taken.shape == (0, 12) and found.best == -7
    assert not found.nearness(scene.positions).any()


def test_nearness_is_highest_in_the_middle_and_nothing_outside() -> None:
    scene = line()
    near = finds(scene, votes(scene, {4: 2.0}, np.ones(12))).nearness(scene.positions)
    assert near.argmax() == 4 and near[4] == pytest.approx(1 / (1 + np.exp(-2)))
    assert near[6] == pytest.approx(near[4] * np.exp(-2 * 4 / 16)) and near[9] == 0


def test_what_is_known_of_a_defect_is_what_its_cube_holds() -> None:
    scene = line(marked=slice(2, 7))  # 4 long, about 4.5
    (inside,) = known(votes(scene, {}, np.arange(12.0)), scene, (4.0, 9.0))
    assert inside.numbers[:, 0].tolist() == [2, 3, 4, 5, 6]  # within 2.8 of 4.5; marked up to 6
    assert inside.belongs.tolist() == [True] * 5
    assert known(votes(line(), {}, np.ones(12)), line(), (4.0, 9.0)) == []


def test_a_cube_is_looked_at_a_little_wider_than_it_is() -> None:
    ways = np.array([[0.0, 0, 0], [2.7, 0, 0], [2.9, 0, 0], [0, -2.7, 2.7]])
    assert within(ways, np.zeros(3), 4.0).tolist() == [True, True, False, True]  # 2 x 1.15 + 0.5 = 2.8
