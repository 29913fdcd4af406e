"""PaDiM as a whole against its equations: features of the backbone, Gaussians and dense inverses recomputed in float64."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.errors import BadField
from amiss.methods.padim import PaDiM
from amiss.model import Model
from amiss.types import Result, Sample
from tests.backbones import tiny
from tests.kit.oracles import neighbourhoods, resampled
from tests.papers import oracles
from tests.papers.oracles import SIDE, picture, seen

Array = npt.NDArray[Any]
PLAIN: dict[str, Any] = {
    "layers": (4, 8), "grid": 4, "size": SIDE, "aspect": "square", "pooling": 1, "upsampling": "nearest", "scale": "none",
    "channels": None, "epsilon": 0.01, "regularisation": "absolute", "over": "cells", "top": 0.0, "blur": 0.0,
    "memory": "1GB", "seed": 0,
}  # fmt: skip
GOOD = [picture(seed) for seed in range(20)]  # more than the 16 channels
JUDGED = picture(99, defect=(4, 18))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.saved(tmp_path_factory.mktemp("backbone"))


def fitted(path: str, good: Sequence[Sample] = GOOD, **fields: Any) -> PaDiM:
    return PaDiM(backbone=path, **{**PLAIN, **fields}).fit(good)


def judged(detector: PaDiM, sample: Sample = JUDGED) -> Result:
    (result,) = detector.predict([sample])
    assert result.map is not None
    return result


# -- the oracle --------------------------------------------------------------------------------------------------------


def joined(path: str, sample: Sample, fields: dict[str, Any]) -> Array:
    """All layers side by side on the grid, (P, C)."""
    side = SIDE // fields["grid"]
    parts = []
    for layer in fields["layers"]:
        grid = neighbourhoods(seen(path, sample)[{4: 0, 8: 1}[layer]], fields["pooling"], "zero").mean(axis=(3, 4))
        copies = fields["upsampling"] == "nearest" and len(grid) <= side
        grid = oracles.copied(grid, (side, side)) if copies else resampled(grid, (side, side))
        lengths = [np.sqrt(vector @ vector) for vector in grid.reshape(side * side, -1)]
        parts.append(grid.reshape(side * side, -1) / (np.mean(lengths) if fields["scale"] == "picture" else 1))
    return np.concatenate(parts, axis=1)


def expected(path: str, good: Sequence[Sample] = GOOD, picks: Array | None = None, **changes: Any) -> Array:
    """Mahalanobis distance at every place of the judged part, (h, w)."""
    fields = {**PLAIN, **changes}
    picked = slice(None) if picks is None else picks
    *data, query = [joined(path, sample, fields)[:, picked] for sample in [*good, JUDGED]]
    places, epsilon = len(query), fields["epsilon"]
    if fields["regularisation"] == "relative":
        epsilon *= np.mean([oracles.gaussian(np.array(data)[:, place], 0)[1].diagonal() for place in range(places)])
    out = [
        oracles.mahalanobis(query[place], *oracles.gaussian(np.array(data)[:, place], epsilon)) for place in range(places)
    ]  # fmt: skip
    return np.array(out).reshape(SIDE // fields["grid"], -1)


# -- the map -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"upsampling": "bilinear"}, {"layers": (8,), "grid": 8}, {"layers": (8, 4)}, {"grid": 8}, {"pooling": 3},
        {"scale": "picture"}, {"regularisation": "relative"}, {"epsilon": 1.0}, {"epsilon": 1.0, "regularisation": "relative"},
        {"scale": "picture", "regularisation": "relative", "pooling": 3, "upsampling": "bilinear"},
    ],
    ids=str,
)  # fmt: skip
def test_the_map_holds_each_places_distance_to_its_own_gaussian(path: str, fields: dict[str, Any]) -> None:
    result, truth = judged(fitted(path, **fields)), expected(path, **fields)
    assert result.map is not None and result.map.shape == truth.shape
    np.testing.assert_allclose(result.map, truth, rtol=2e-3)
    assert result.score == pytest.approx(truth.max(), rel=2e-3)


def test_copies_and_interpolation_give_other_maps(path: str) -> None:
    copied, smooth = (judged(fitted(path, upsampling=how)).map for how in ("nearest", "bilinear"))
    assert copied is not None and smooth is not None and np.abs(copied - smooth).max() > 0.1


@pytest.mark.parametrize("count", [1, 2, 5, 16, 17])
def test_fewer_parts_than_channels_are_enough(path: str, count: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "amiss"):
        result = judged(fitted(path, GOOD[:count]))
    np.testing.assert_allclose(result.map, expected(path, GOOD[:count]), rtol=5e-3)
    assert ("epsilon" in caplog.text) == (count <= 16)  # it is said


def test_one_part_makes_a_distance_in_units_of_the_root_of_epsilon(path: str) -> None:
    result = judged(fitted(path, GOOD[:1], epsilon=0.25))
    apart = joined(path, JUDGED, PLAIN) - joined(path, GOOD[0], PLAIN)
    np.testing.assert_allclose(np.ravel(result.map), np.sqrt((apart**2).sum(axis=1)) / 0.5, rtol=1e-4, atol=1e-5)


def test_one_part_works_with_a_relative_epsilon_too(path: str) -> None:
    result = judged(fitted(path, GOOD[:1], regularisation="relative"))
    assert result.map is not None and np.isfinite(result.map).all() and result.map.max() > 0


def test_a_relative_epsilon_makes_scores_independent_of_the_size_of_features(path: str, tmp_path: Path) -> None:
    other = oracles.louder(path, tmp_path, 100.0)
    for rule, same in (("relative", True), ("absolute", False)):
        quiet, loud = (judged(fitted(each, regularisation=rule)).score for each in (path, other))
        assert (loud == pytest.approx(quiet, rel=1e-3)) == same


# -- channels ----------------------------------------------------------------------------------------------------------


def test_the_channels_drawn_are_fixed_by_the_seed(path: str) -> None:
    one, again, other = (fitted(path, GOOD[:3], channels=5, seed=seed) for seed in (3, 3, 4))
    assert one.channels_ is not None and again.channels_ is not None and other.channels_ is not None
    assert one.channels_.tolist() == again.channels_.tolist() != other.channels_.tolist()
    assert len(set(one.channels_.tolist())) == 5 and set(one.channels_.tolist()) <= set(range(16))


def test_the_map_uses_the_channels_drawn_and_no_others(path: str) -> None:
    detector = fitted(path, channels=5, seed=3)
    np.testing.assert_allclose(judged(detector).map, expected(path, picks=detector.channels_), rtol=2e-3)


def test_the_channels_drawn_travel_with_the_model(path: str, tmp_path: Path) -> None:
    detector = fitted(path, channels=5, seed=3)
    Model(detector).save(tmp_path / "part.amiss")
    loaded = Model.load(tmp_path / "part.amiss").detector
    assert isinstance(loaded, PaDiM) and loaded.channels_ is not None and detector.channels_ is not None
    np.testing.assert_array_equal(loaded.channels_, detector.channels_)
    assert judged(loaded).score == pytest.approx(judged(detector).score, rel=1e-6)


@pytest.mark.parametrize("channels", [16, 17, 5000, None])
def test_asking_for_more_channels_than_there_are_takes_all(path: str, channels: int | None) -> None:
    detector = fitted(path, channels=channels)
    assert detector.channels_ is not None and sorted(detector.channels_) == list(range(16))
    np.testing.assert_allclose(judged(detector).map, expected(path), rtol=2e-3)


# -- the picture's score -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", [0.0, 0.01, 0.1, 1.0])
def test_the_score_over_cells_is_the_mean_of_their_top_share(path: str, top: float) -> None:
    assert judged(fitted(path, top=top)).score == pytest.approx(oracles.highest(expected(path), top), rel=2e-3)


@pytest.mark.parametrize("top", [0.0, 0.01])
@pytest.mark.parametrize("blur", [0.0, 1.0, 4.0])
def test_the_score_over_the_map_is_taken_after_upsampling_and_blur(path: str, top: float, blur: float) -> None:
    full = oracles.smoothed(expected(path), (SIDE, SIDE), blur)
    assert judged(fitted(path, over="map", top=top, blur=blur)).score == pytest.approx(oracles.highest(full, top), rel=2e-3)


# -- memory ------------------------------------------------------------------------------------------------------------


def test_more_gaussians_than_the_budget_holds_are_refused_before_any_is_learned_with_a_way_out(path: str) -> None:
    learned: list[Any] = []
    with pytest.raises(BadField, match=r"(?s)(?=.*64 )(?=.*16 )(?=.*100KB)(?=.*channels)(?=.*memory)"):
        PaDiM(backbone=path, **{**PLAIN, "memory": "100KB"}).fit(GOOD, progress=lambda *step: learned.append(step))
    assert learned == []


def test_the_memory_a_fit_takes_is_said(path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "amiss"):
        fitted(path, GOOD[:2])
    assert "64" in caplog.text and "16" in caplog.text and "GB" in caplog.text


# -- places ------------------------------------------------------------------------------------------------------------


def test_a_place_is_judged_by_its_own_gaussian_and_no_other(path: str) -> None:
    marked = [picture(seed, defect=(4, 18)) for seed in range(20)]  # good parts that all carry the square, there
    here, elsewhere = (judged(fitted(path, marked), picture(99, defect=at)).score for at in ((4, 18), (18, 2)))
    assert elsewhere > 3 * here


def test_pictures_of_other_sizes_are_brought_to_one_frame(path: str) -> None:
    detector = fitted(path, [*GOOD[:3], picture(8, shape=(20, 90))], aspect="keep")
    for shape in ((64, 64), (20, 90)):
        result = judged(detector, picture(7, shape=shape))
        assert result.map is not None and result.map.shape == (8, 8) and result.image_map().shape == shape


def test_rows_stay_rows_in_a_wide_picture(path: str) -> None:
    wide = [picture(seed, shape=(32, 64)) for seed in range(10)]
    detector = fitted(path, wide, size=45, aspect="keep")
    result = judged(detector, picture(99, defect=(18, 46), shape=(32, 64)))
    assert result.map is not None and result.map.shape == (8, 16)
    row, column = np.unravel_index(int(result.map.argmax()), result.map.shape)
    assert 4 <= row <= 7 and 11 <= column <= 14
