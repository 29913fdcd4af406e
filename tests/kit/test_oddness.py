"""How odd places are: high on a defect, the same in every pose and unit, and never measured against the cloud itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from amiss.contract import State
from amiss.errors import BadModelFile, BadSample
from amiss.geometry.cloud import Neighbours
from amiss.kit.clouds import Gauge
from amiss.kit.oddness import WAYS, Looker, Oddness, Surface, _spread
from amiss.metrics.ranking import auroc
from amiss.types import Sample
from tests.clouds import bad_clouds, good_clouds

GOOD = good_clouds(3)


@pytest.fixture(scope="module")
def look() -> Looker:
    return Looker(Gauge.of(GOOD, 0.62, 3000))


@pytest.fixture(scope="module")
def surfaces(look: Looker) -> list[Surface]:
    return [look(sample) for sample in GOOD]


@pytest.fixture(scope="module")
def oddness(surfaces: list[Surface]) -> Oddness:
    return Oddness.of(surfaces, 1500)


def test_a_bump_is_odd_to_descriptors_of_both_sizes(look: Looker, oddness: Oddness) -> None:
    ((sample, marked),) = bad_clouds(1)
    odd = oddness(look(sample))[look(sample).went]
    assert odd.shape == (3000, 3) and np.isfinite(odd).all()
    assert auroc(odd[:, 0], marked) > 0.85 and auroc(odd[:, 1], marked) > 0.9


def test_where_a_surface_ends_its_neighbours_lie_on_one_side() -> None:
    plane = np.array([[x, y, 0.0] for x in range(-9, 10) for y in range(10)])
    spread, rim = _spread(plane, Neighbours.around(plane, 3.0), 1.0)
    at = {place: index for index, place in enumerate(map(tuple, plane.astype(int).tolist()))}
    inside, edge = at[0, 5, 0], at[0, 0, 0]
    assert rim[inside, 0] == pytest.approx(0, abs=1e-6) and rim[edge, 0] > 0.5
    assert rim[inside, 1] == pytest.approx(1, abs=1e-3) and rim[edge, 1] < 0.8  # as wide in both directions, and not
    assert spread[edge, 0] > spread[inside, 0] + 0.3 and spread[:, 1].max() < 1e-3  # flat


def test_a_good_cloud_is_measured_against_all_but_itself(surfaces: list[Surface], oddness: Oddness) -> None:
    itself, others = oddness(surfaces[0]), oddness(surfaces[0], without=0)
    assert (others >= itself - 1e-5).all() and (others > itself + 1).mean() > 0.1
    rest = [surfaces[1], surfaces[2]]
    for own, bank in zip(oddness.banks, Oddness.of([*rest, rest[0]], 1500).banks, strict=True):
        kept = own.vectors[own.rows[:, 0] != 0]
        if own is not oddness.banks[-1]:  # the last has another scale
            np.testing.assert_allclose(kept, bank.vectors[bank.rows[:, 0] < 2])


def test_banks_have_as_many_places_of_every_good_cloud(oddness: Oddness) -> None:
    for bank in oddness.banks:
        assert np.bincount(bank.rows[:, 0]).tolist() == [500, 500, 500]


def test_a_point_far_off_is_refused_before_a_grid_fills_the_memory(look: Looker) -> None:
    (sample,) = good_clouds(1, seed=4)
    assert sample.points is not None
    stray = Sample(id="stray", points=np.concatenate([sample.points, [[8e3, 9e3, 1e4]]]).astype(np.float32))
    with pytest.raises(BadSample, match=r"stray: it reaches over .* x .* x .* cells.*remove points far off"):
        look(stray)


def test_another_unit_for_all_of_them_changes_nothing(oddness: Oddness, surfaces: list[Surface]) -> None:
    scaled = [Sample(id=sample.id, points=1000 * sample.points) for sample in GOOD if sample.points is not None]
    look = Looker(Gauge.of(scaled, 0.62, 3000))
    theirs = [look(sample) for sample in scaled]
    here, there = oddness(surfaces[1], without=1), Oddness.of(theirs, 1500)(theirs[1], without=1)
    # a last digit may choose another place for a bank, and all that are chosen after it
    assert np.median(np.abs(here - there)) < 1e-3 and np.corrcoef(here.ravel(), there.ravel())[0, 1] > 0.98


def test_its_arrays_bring_it_back(oddness: Oddness, surfaces: list[Surface]) -> None:
    again = Oddness.restored(State(oddness.arrays(), {}))
    np.testing.assert_allclose(again(surfaces[2]), oddness(surfaces[2]), rtol=1e-6)


@pytest.mark.parametrize("name", [*WAYS, "rim_scale"])
def test_arrays_that_do_not_fit_are_refused(oddness: Oddness, name: str) -> None:
    state = State(oddness.arrays(), {})
    lacking = {key: value for key, value in state.arrays.items() if key != name}
    with pytest.raises(BadModelFile, match=name):
        Oddness.restored(dataclasses.replace(state, arrays=lacking))
    with pytest.raises(BadModelFile, match="fit it again"):
        Oddness.restored(dataclasses.replace(state, arrays={**state.arrays, name: state.arrays[name][:0]}))
