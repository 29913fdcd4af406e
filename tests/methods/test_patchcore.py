"""What is PatchCore's own: its fields, its budget, its evidence. Its equations are in tests/papers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amiss.data import toys
from amiss.errors import BadField
from amiss.methods.patchcore import PatchCore
from amiss.types import Sample

SIZE = (96, 96)


def quick(**fields: Any) -> PatchCore:
    return PatchCore(**{"size": 96, "bank": 200, **fields})


def test_beats_its_ablated_twin() -> None:
    """The twin keeps a bank of one patch: distance to an average-like patch instead of to the nearest of many."""
    good, well = toys.samples(0, 12, "object", SIZE), toys.samples(50, 10, "object", SIZE)
    ill = [sample for sample, _ in toys.defective_samples(100, 10, "object", SIZE)]

    def separation(detector: PatchCore) -> float:
        detector.fit(good)
        low, high = ([r.score for r in detector.predict(part)] for part in (well, ill))
        return float(np.mean([a < b for a in low for b in high]))

    assert separation(quick()) > separation(quick(bank=1)) + 0.1


@pytest.mark.parametrize(
    "fields",
    [
        {"scale": "mean"}, {"scale": "unit"}, {"scale": "root"}, {"scale": "picture"}, {"scale": "none"},
        {"border": "reflect"}, {"border": "replicate"}, {"embedding": "patchify"}, {"distance": "squared"},
        {"neighbours": 5}, {"score": "max"}, {"score": "paper"}, {"score": "rvorias"}, {"start": "first"},
        {"projection": None}, {"projection": 8}, {"bank": None, "coreset": 0.05}, {"grid": None}, {"grid": 16},
        {"layers": (32,)}, {"layers": (16, 4)}, {"pooling": 1}, {"pooling": 5}, {"aspect": "square"}, {"blur": 0.0},
    ],
)  # fmt: skip
def test_every_variant_separates_made_defects_and_survives_a_model_file(fields: dict[str, Any], tmp_path: Path) -> None:
    from amiss.model import Model

    detector = quick(**fields).fit(toys.samples(0, 8, "texture", SIZE))
    well = [r.score for r in detector.predict(toys.samples(50, 5, "texture", SIZE))]
    judged = [sample for sample, _ in toys.defective_samples(100, 5, "texture", SIZE)]
    ill = [r.score for r in detector.predict(judged)]
    assert np.mean([a < b for a in well for b in ill]) >= 0.7
    Model(detector).save(tmp_path / "m.amiss")
    again = [r.score for r in Model.load(tmp_path / "m.amiss").predict(judged)]
    np.testing.assert_allclose(again, ill, rtol=1e-6)


@pytest.mark.parametrize(
    "fields",
    [{"layers": ()}, {"layers": (8, 8)}, {"size": 8}, {"pooling": 2}, {"coreset": 0.0}, {"coreset": 1.5}, {"bank": 0},
     {"projection": 0}, {"neighbours": 0}, {"top": 0.0}, {"reweight": 0}, {"blur": -1.0}, {"grid": 0}, {"memory": "lots"},
     {"seed": -1}, {"size": "256"}, {"score": "best"}],
)  # fmt: skip
def test_impossible_fields_are_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(BadField, match=next(iter(fields))):
        PatchCore(**fields)


def test_the_memory_budget_bounds_the_candidates_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "amiss"):
        logging.getLogger("amiss").propagate = True
        detector = quick(memory="1MB", bank=100).fit(toys.samples(0, 12, "texture", SIZE))
    assert "uniform sample" in caplog.text
    assert detector.bank_ is not None and len(detector.bank_) == 100


def test_scale_picture_ignores_exposure() -> None:
    detector = quick(scale="picture").fit(toys.samples(0, 8, "texture", SIZE))
    assert detector.bank_ is not None
    lengths = np.linalg.norm(detector.bank_.vectors, axis=1)
    assert 1 < np.median(lengths) < 4  # about one a layer, joined


def test_evidence_names_the_nearest_good_patch_and_its_place() -> None:
    good = toys.samples(0, 6, "object", SIZE)
    detector = quick(neighbours=3).fit(good)
    result = next(detector.predict(toys.samples(9, 1, "object", SIZE)))
    nearest = result.evidence["nearest"]
    assert len(nearest) == 3
    assert {item["sample"] for item in nearest} <= {sample.id for sample in good}
    top, left, bottom, right = nearest[0]["box"]
    assert 0 <= top < bottom <= 96 and 0 <= left < right <= 96
    assert nearest[0]["distance"] <= nearest[1]["distance"]


def test_a_fitted_picture_is_at_distance_zero_when_every_patch_is_kept() -> None:
    good = toys.samples(0, 2, "texture", SIZE)
    detector = quick(bank=None).fit(good)
    assert next(detector.predict(good)).score == pytest.approx(0, abs=1e-3)


def test_defects_light_up_where_they_are() -> None:
    """A bright square in one corner; the map's peak lies in that quarter."""
    rng = np.random.default_rng(0)
    good = [Sample(id=str(i), image=rng.integers(90, 110, (128, 192, 3), dtype=np.uint8)) for i in range(4)]
    detector = quick(size=128).fit(good)
    for top, left in ((8, 8), (8, 150), (90, 8), (90, 150)):
        image = np.array(good[0].image)
        image[top : top + 28, left : left + 28] = 255
        full = next(detector.predict([Sample(id="x", image=image)])).image_map()
        row, column = np.unravel_index(int(full.argmax()), full.shape)
        assert top - 12 <= row <= top + 40 and left - 12 <= column <= left + 40


def test_a_narrow_picture_and_a_tiny_one_are_judged() -> None:
    detector = quick().fit(toys.samples(0, 3, "texture", SIZE))
    for shape in ((8, 400), (1, 1), (400, 8), (3, 3)):
        result = next(detector.predict([Sample(id="x", image=np.zeros((*shape, 3), np.uint8))]))
        assert np.isfinite(result.score) and result.image_map().shape == shape


def test_interrupted_fits_keep_what_was_learned_before(monkeypatch: pytest.MonkeyPatch) -> None:
    good, judged = toys.samples(0, 4, "texture", SIZE), toys.samples(5, 1, "texture", SIZE)
    detector = quick().fit(good)
    before = next(detector.predict(judged)).score

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("amiss.methods.patchcore.greedy_k_centre", stop)
    with pytest.raises(KeyboardInterrupt):
        detector.fit(toys.samples(1, 4, "texture", SIZE))
    assert next(detector.predict(judged)).score == before
