"""What is SPADE's own beside its equations, which tests/papers check."""

from __future__ import annotations

from typing import Any

import pytest
from tests.methods.separation import bad, good, judged, separation

from amiss.errors import BadField
from amiss.methods.spade import SPADE


def quick(**fields: Any) -> SPADE:
    return SPADE(**{"size": 96, "images": 10, **fields})


def test_correspondences_beat_the_twin_that_compares_whole_pictures_only() -> None:
    assert separation(quick()) >= separation(quick(score="images")) + 0.05


def test_one_good_part_is_enough_to_rank_a_defect() -> None:
    detector = quick(match="anywhere").fit(good("texture", 1))
    assert min(judged(detector, bad("texture", 5))) > max(judged(detector, good("texture", 5, seed=50)))


@pytest.mark.parametrize(("field", "value"), [("images", 0), ("kappa", 0), ("match", "near"), ("precision", "quarter")])
def test_an_impossible_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(BadField, match=field):
        quick(**{field: value})
