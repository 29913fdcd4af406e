"""RAD as a whole against its equations: retrieval by cosine, then the best match in a window, in float64 loops."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.errors import BadField
from amiss.methods.rad import RAD
from amiss.types import Result, Sample
from tests.backbones import tiny
from tests.kit.oracles import neighbourhoods, resampled
from tests.papers import oracles
from tests.papers.oracles import SIDE, descriptor, picture, seen

Array = npt.NDArray[Any]
PLAIN: dict[str, Any] = {
    "layers": (4, 8), "weights": (), "grid": 8, "size": SIDE, "aspect": "square", "pooling": 1, "images": 3, "radius": 1,
    "over": "cells", "top": 0.0, "blur": 0.0, "precision": "single", "memory": "1GB", "seed": 0,
}  # fmt: skip


def shaded(seed: int) -> Sample:
    """Noise about one of five greys: pictures that differ in the length and the direction of their descriptors."""
    low = 70 + 20 * (seed % 5)
    image = np.random.default_rng(seed).integers(low, low + 40, (SIDE, SIDE, 3), np.uint8)
    return Sample(id=f"shade {seed}", image=image)


GOOD = [shaded(seed) for seed in range(7)]
JUDGED = picture(99, defect=(4, 18))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.saved(tmp_path_factory.mktemp("backbone"))


def judged(path: str, good: Sequence[Sample] = GOOD, sample: Sample = JUDGED, **fields: Any) -> Result:
    (result,) = RAD(backbone=path, **{**PLAIN, **fields}).fit(good).predict([sample])
    assert result.map is not None
    return result


# -- the oracle --------------------------------------------------------------------------------------------------------


def patches(path: str, sample: Sample, layer: int, fields: dict[str, Any]) -> Array:
    assert sample.image is not None
    shape = (sample.image.shape[0] // fields["grid"], sample.image.shape[1] // fields["grid"])
    around = neighbourhoods(seen(path, sample)[{4: 0, 8: 1}[layer]], fields["pooling"], "zero")
    return resampled(around.mean(axis=(3, 4)), shape)


def expected(path: str, good: Sequence[Sample] = GOOD, sample: Sample = JUDGED, **changes: Any) -> Array:
    """The layers' weighted mean of 1 - the largest cosine within the window, (h, w)."""
    fields = {**PLAIN, **changes}
    tokens = np.array([descriptor(path, each) for each in good])
    retrieved = oracles.alike(descriptor(path, sample), tokens, fields["images"])
    weights = fields["weights"] or [1] * len(fields["layers"])
    total: Any = 0
    for layer, weight in zip(fields["layers"], weights, strict=True):
        gallery = [patches(path, good[index], layer, fields) for index in retrieved]
        total += weight / sum(weights) * oracles.rad_map(patches(path, sample, layer, fields), gallery, fields["radius"])
    return np.asarray(total)


# -- the map -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"radius": 0}, {"radius": 2}, {"radius": None}, {"images": 1}, {"images": 7}, {"layers": (8,)}, {"layers": (8, 4)},
        {"grid": 4, "layers": (8,)}, {"grid": 4, "radius": 2, "layers": (4,), "pooling": 3}, {"pooling": 3},
        {"weights": (1, 3)}, {"weights": (0, 2)},
    ],
    ids=str,
)  # fmt: skip
def test_the_map_holds_each_patchs_best_match_among_the_retrieved(path: str, fields: dict[str, Any]) -> None:
    result, truth = judged(path, **fields), expected(path, **fields)
    assert result.map is not None and result.map.shape == truth.shape
    np.testing.assert_allclose(result.map, truth, rtol=1e-3, atol=1e-6)
    assert result.score == pytest.approx(truth.max(), rel=1e-3)


@pytest.mark.parametrize("radius", [0, 1, None])
def test_a_picture_of_the_bank_has_a_map_of_zeros(path: str, radius: int | None) -> None:
    detector = RAD(backbone=path, **{**PLAIN, "radius": radius, "images": 1}).fit(GOOD)
    for result in detector.predict(GOOD):
        assert result.map is not None and np.abs(result.map).max() < 1e-6


def test_in_half_precision_a_picture_of_the_bank_is_nearly_zero_and_the_others_within_a_thousandth(path: str) -> None:
    detector = RAD(backbone=path, **{**PLAIN, "precision": "half"}).fit(GOOD)
    for result in detector.predict(GOOD):
        assert result.map is not None and np.abs(result.map).max() < 1e-3
    np.testing.assert_allclose(judged(path, precision="half").map, expected(path), atol=1e-3)


@pytest.mark.parametrize("radius", [3, 4, 50])
def test_a_window_as_wide_as_the_grid_is_the_whole_picture(path: str, radius: int) -> None:
    np.testing.assert_allclose(judged(path, radius=radius).map, judged(path, radius=None).map, rtol=1e-5, atol=1e-7)


def test_retrieving_as_many_as_there_are_is_no_retrieval(path: str) -> None:
    whole = judged(path, images=7)
    for images in (8, 150):
        np.testing.assert_array_equal(judged(path, images=images).map, whole.map)
    assert np.abs(np.subtract(judged(path, images=1).map, whole.map)).max() > 1e-3  # which retrieval changes


def test_the_order_of_the_bank_does_not_matter(path: str) -> None:
    first = judged(path)
    for good in (GOOD[::-1], GOOD[3:] + GOOD[:3]):
        other = judged(path, good)
        np.testing.assert_allclose(other.map, first.map, rtol=1e-5, atol=1e-7)
        assert other.score == pytest.approx(first.score, rel=1e-5)


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e4])
def test_the_size_of_features_does_not_matter(path: str, factor: float, tmp_path: Path) -> None:
    other = judged(oracles.louder(path, tmp_path, factor))
    np.testing.assert_allclose(other.map, judged(path).map, rtol=1e-3, atol=1e-6)


def test_many_at_once_are_judged_as_one_by_one(path: str) -> None:
    detector = RAD(backbone=path, **PLAIN).fit(GOOD)
    several = [JUDGED, *(picture(seed) for seed in range(3)), GOOD[2]]
    for together, sample in zip(detector.predict(several), several, strict=True):
        (alone,) = detector.predict([sample])
        np.testing.assert_array_equal(together.map, alone.map)


def test_more_pictures_or_a_wider_window_never_raise_a_score(path: str) -> None:
    for field, values in (("images", (1, 2, 3, 5, 7)), ("radius", (0, 1, 2, None))):
        maps = [np.asarray(judged(path, **{field: value}).map) for value in values]
        for narrow, wide in itertools.pairwise(maps):
            assert (wide <= narrow + 1e-6).all()


@pytest.mark.parametrize("precision", ["single", "half"])
def test_a_bank_beyond_the_budget_is_mapped_and_scores_the_same(
    path: str, precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    held = judged(path, precision=precision)
    with caplog.at_level(logging.WARNING, "amiss"):
        mapped = judged(path, precision=precision, memory="1KB")
    assert "memory" in caplog.text
    np.testing.assert_array_equal(mapped.map, held.map)
    assert mapped.score == held.score


def test_the_part_a_picture_shows_is_never_read(path: str) -> None:
    named = [replace(sample, part=f"part {index % 2}") for index, sample in enumerate(GOOD)]
    for part in ("part 0", "part 1", "unheard of"):
        result = judged(path, named, replace(JUDGED, part=part))
        np.testing.assert_array_equal(result.map, judged(path).map)


# -- retrieval ---------------------------------------------------------------------------------------------------------


def test_pictures_are_retrieved_by_the_angle_of_their_descriptors_not_their_distance(path: str) -> None:
    tokens, own = np.array([descriptor(path, each) for each in GOOD]), descriptor(path, JUDGED)
    by_angle, by_distance = oracles.alike(own, tokens, 1), oracles.neighbours(own, tokens, 1)
    assert by_angle != by_distance  # so that the two can be told apart here
    (index,) = by_angle
    np.testing.assert_allclose(judged(path, images=1).map, expected(path, [GOOD[index]]), rtol=1e-3, atol=1e-6)


def test_the_evidence_names_the_picture_and_the_place_of_the_best_match(path: str) -> None:
    fields = {"layers": (8,), "images": 1, "radius": 0}
    result, truth = judged(path, **fields), expected(path, **fields)
    (index,) = oracles.alike(descriptor(path, JUDGED), np.array([descriptor(path, each) for each in GOOD]), 1)
    row, column = np.unravel_index(int(truth.argmax()), truth.shape)
    (nearest,) = result.evidence["nearest"]
    assert nearest["sample"] == f"shade {index}"
    assert tuple(nearest["box"]) == (row * 8, column * 8, row * 8 + 8, column * 8 + 8)


# -- fusion and score --------------------------------------------------------------------------------------------------


def test_weights_are_brought_to_a_sum_of_one(path: str) -> None:
    for weights in ((0.25, 0.75), (1, 3), (100, 300)):
        np.testing.assert_allclose(judged(path, weights=weights).map, judged(path, weights=(1, 3)).map, rtol=1e-5)
    np.testing.assert_allclose(judged(path, weights=(2, 2)).map, judged(path).map, rtol=1e-5)


@pytest.mark.parametrize("weights", [(0, 0), (-1, 2), (-1, -1), (1,), (1, 1, 1)])
def test_weights_that_cannot_be_shared_out_are_refused(path: str, weights: tuple[float, ...]) -> None:
    with pytest.raises(BadField, match="weights"):
        RAD(backbone=path, **{**PLAIN, "weights": weights})


@pytest.mark.parametrize("over", ["cells", "map"])
@pytest.mark.parametrize("top", [0.0, 0.01, 0.2])
def test_the_score_is_the_mean_of_the_top_share(path: str, over: str, top: float) -> None:
    scores = expected(path) if over == "cells" else oracles.smoothed(expected(path), (SIDE, SIDE), 1.0)
    result = judged(path, over=over, top=top, blur=1.0)
    assert result.score == pytest.approx(oracles.highest(scores, top), rel=2e-3)


# -- places ------------------------------------------------------------------------------------------------------------


def test_pictures_of_other_sizes_are_brought_to_one_frame(path: str) -> None:
    good = [GOOD[0], picture(7, shape=(64, 50)), picture(8, shape=(20, 90))]
    for shape in ((64, 64), (20, 90)):
        result = judged(path, good, picture(9, shape=shape), aspect="keep")
        assert result.map is not None and result.map.shape == (4, 4) and result.image_map().shape == shape


@pytest.mark.parametrize("radius", [0, 1, 3, None])
def test_in_a_wide_frame_rows_stay_rows(path: str, radius: int | None) -> None:
    good, sample = [picture(seed, shape=(32, 64)) for seed in range(3)], picture(99, defect=(18, 46), shape=(32, 64))
    result = judged(path, good, sample, size=45, aspect="keep", radius=radius)  # seen as they are: 45 x 45 pixels of area
    truth = expected(path, good, sample, radius=radius)
    assert result.map is not None and result.map.shape == truth.shape == (4, 8)
    np.testing.assert_allclose(result.map, truth, rtol=1e-3, atol=1e-6)


def test_a_window_forgives_a_shift_that_the_same_place_does_not(path: str) -> None:
    base = np.random.default_rng(3).integers(0, 255, (SIDE, SIDE + 8, 3), np.uint8)
    still, moved = (Sample(id=f"{start}", image=base[:, start : start + SIDE].copy()) for start in (0, 8))  # by one cell of 8
    fields = {"layers": (4,), "grid": 4}  # two cells of 4: inner patches meet themselves again
    maps = {radius: np.asarray(judged(path, [still], moved, radius=radius, **fields).map)[2:6, 2:5] for radius in (0, 1, 2)}
    assert maps[2].max() < 1e-6 and maps[1].mean() > 0.05 and maps[0].mean() > 0.05
