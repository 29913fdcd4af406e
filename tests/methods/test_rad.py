"""What is RAD's own beside its equations, which tests/papers check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.methods.separation import bad, good, judged, separation

from amiss.errors import BadField
from amiss.methods.rad import RAD
from amiss.metrics.ranking import auroc


def quick(**fields: Any) -> RAD:
    return RAD(**{"size": 96, "images": 10, **fields})


def test_beats_the_twin_that_looks_at_one_picture_only() -> None:
    assert separation(quick()) >= separation(quick(images=1)) + 0.03


def test_one_bank_serves_two_products() -> None:
    detector = quick().fit([*good("texture", 8), *good("object", 8)])
    for kind in ("texture", "object"):
        well, ill = judged(detector, good(kind, 8, seed=50)), judged(detector, bad(kind, 8))
        assert auroc(np.array([*well, *ill]), np.repeat([False, True], 8)) >= 0.85
        (nearest, *_) = next(detector.predict(good(kind, 1, seed=60))).evidence["nearest"]
        assert nearest["sample"] in {sample.id for sample in good(kind, 8)}


def test_one_good_part_is_enough_to_rank_a_defect() -> None:
    detector = quick().fit(good("texture", 1))
    assert min(judged(detector, bad("texture", 5))) > max(judged(detector, good("texture", 5, seed=50)))


@pytest.mark.parametrize(
    ("field", "value"), [("images", 0), ("radius", -1), ("weights", (1.0,)), ("weights", (0.0, 0.0, 0.0, 0.0))]
)
def test_an_impossible_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(BadField, match=field):
        quick(**{field: value})
