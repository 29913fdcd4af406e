"""What is PaDiM's own beside its equations, which tests/papers check."""

from __future__ import annotations

from typing import Any

import pytest
from tests.methods.separation import bad, good, judged, separation

from amiss.errors import BadField
from amiss.methods.padim import PaDiM


def quick(**fields: Any) -> PaDiM:
    return PaDiM(**{"size": 96, "grid": 8, "channels": 40, **fields})


def test_beats_the_twin_whose_gaussians_are_all_round() -> None:
    assert separation(quick()) >= separation(quick(epsilon=1e4)) + 0.05


def test_one_good_part_is_enough_to_rank_a_stain() -> None:
    detector = quick().fit(good("texture", 1))
    assert min(judged(detector, bad("texture", 5))) > max(judged(detector, good("texture", 5, seed=50)))


@pytest.mark.parametrize(
    ("field", "value"), [("epsilon", 0.0), ("pooling", 2), ("top", 1.5), ("layers", ()), ("memory", "lots")]
)
def test_an_impossible_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(BadField, match=field):
        quick(**{field: value})


def test_an_epsilon_too_small_to_invert_with_is_refused_with_the_way_out() -> None:
    with pytest.raises(BadField, match="too small to invert"):
        quick(epsilon=1e-30).fit([*good("texture", 2)])
