"""Samples, truths, verdicts and results: frozen, read-only, checked where they are made."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.errors import BadSample
from amiss.spread import GridSpread
from amiss.types import Box, Result, Sample, Truth, Verdict

GREY = np.full((4, 5, 3), 7, np.uint8)
CLOUD = np.arange(12, dtype=np.float32).reshape(4, 3)


# -- Sample ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_three_depths_are_taken_as_they_are(dtype: type) -> None:
    image = np.ones((2, 3, 3), dtype)
    sample = Sample(id="a", image=image)
    assert sample.image is not None and sample.image.dtype == dtype and sample.sees == {"image"}
    np.testing.assert_array_equal(sample.image, image)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((4, 5), np.uint8), r"image has shape \(4, 5\), wanted \(H, W, 3\)"),
        (np.zeros((4, 5, 4), np.uint8), r"shape \(4, 5, 4\)"), (np.zeros((1, 4, 5, 3), np.uint8), r"shape \(1, 4, 5, 3\)"),
        (np.zeros((0, 5, 3), np.uint8), r"shape \(0, 5, 3\)"), (np.zeros((4, 5, 3), np.int32), "image is int32"),
        (np.zeros((4, 5, 3)), "image is float64, wanted uint8, uint16 or float32"),
        (np.zeros((4, 5, 3), bool), "image is bool"), (np.zeros((4, 5, 3), np.float16), "image is float16"),
        (np.full((4, 5, 3), np.nan, np.float32), "NaN or infinity"),
        (np.full((4, 5, 3), np.inf, np.float32), "NaN or infinity"),
        (np.full((4, 5, 3), 255, np.float32), "runs from 255 to 255, wanted 0 to 1; scale it"),
        (np.full((4, 5, 3), -0.1, np.float32), "runs from -0.1 to -0.1"), ([[[1, 2, 3]]], "image is a list"),
        ("a.png", "image is a str"), (np.full((4, 5, 3), "x"), "image is a <U1 array"),
        (np.full((4, 5, 3), None), "image is a object array"),
    ],
)  # fmt: skip
def test_any_other_image_is_refused_with_what_was_met(image: Any, reason: str) -> None:
    with pytest.raises(BadSample, match=rf"^sample 'part 7': .*{reason}"):
        Sample(id="part 7", image=image)


def test_one_bad_pixel_is_enough() -> None:
    image = np.zeros((4, 5, 3), np.float32)
    image[2, 3, 1] = np.nan
    with pytest.raises(BadSample, match="NaN"):
        Sample(id="a", image=image)


def test_points_bring_normals_and_pixels_of_the_same_number() -> None:
    sample = Sample(id="a", points=CLOUD.astype(float), normals=CLOUD, pixels=np.zeros((4, 2), np.int64), shape=(9, 9))
    assert sample.points is not None and sample.points.dtype == np.float32
    assert sample.pixels is not None and sample.pixels.dtype == np.int32
    assert sample.sees == {"points"}
    assert Sample(id="b", image=GREY, points=CLOUD).sees == {"image", "points"}


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"points": np.zeros((4, 2), np.float32)}, r"points has shape \(4, 2\), wanted \(N, 3\)"),
        ({"points": np.zeros((0, 3), np.float32)}, "with N > 0"), ({"points": np.zeros(3, np.float32)}, r"shape \(3,\)"),
        ({"points": CLOUD, "normals": CLOUD[:3]}, "3 normals for 4 points"),
        ({"points": CLOUD, "pixels": np.zeros((5, 2), np.int32)}, "5 pixels for 4 points"),
        ({"points": CLOUD, "pixels": np.zeros((4, 3), np.int32)}, r"wanted \(N, 2\)"),
        ({"points": CLOUD * np.nan}, "points hold NaN or infinity; drop those rows"),
        ({"points": np.full((4, 3), 1e300)}, "NaN or infinity"), ({"points": CLOUD.tolist()}, "points is a list"),
        ({"points": CLOUD, "normals": np.full((4, 3), "x")}, "normals is a <U1 array"),
    ],
)  # fmt: skip
def test_clouds_that_do_not_fit_together_are_refused(arrays: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadSample, match=rf"^sample 'part 7': .*{reason}"):
        Sample(id="part 7", **arrays)


def test_a_sample_of_nothing_is_refused() -> None:
    with pytest.raises(BadSample, match="'part 7' has neither an image nor points"):
        Sample(id="part 7")


def test_arrays_are_read_only_and_the_callers_own_stay_writable() -> None:
    image, points = GREY.copy(), CLOUD.copy()
    sample = Sample(id="a", image=image, points=points, normals=points, pixels=np.zeros((4, 2), np.int32))
    for array in (sample.image, sample.points, sample.normals, sample.pixels):
        assert array is not None
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    image[0], points[0] = 1, 1


def test_a_sample_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sample(id="a", image=GREY).id = "b"  # type: ignore[misc]


def test_equality_is_by_content_and_not_by_name() -> None:
    one, same = Sample(id="a", image=GREY), Sample(id="b", part="screw", group="g", image=GREY.copy())
    assert one == same and hash(one) == hash(same) and len({one, same}) == 1
    assert one != Sample(id="a", image=GREY + 1) and one != "a"


def test_the_digest_tells_type_shape_and_kind_of_array_apart() -> None:
    zeros = [np.zeros((2, 6, 3), np.uint8), np.zeros((6, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint16)]
    digests = {Sample(id="a", image=image).digest for image in zeros}
    digests |= {Sample(id="a", points=CLOUD).digest, Sample(id="a", points=CLOUD, normals=CLOUD).digest}
    digests |= {Sample(id="a", points=CLOUD, image=GREY).digest}
    assert len(digests) == 6 and all(len(digest) == 32 for digest in digests)


def test_the_digest_does_not_depend_on_how_the_array_lies_in_memory() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    lying = np.asfortranarray(image), np.repeat(image, 2, axis=1)[:, ::2], image[::-1][::-1]
    assert {Sample(id="a", image=array).digest for array in lying} == {Sample(id="a", image=image).digest}


@given(st.integers(0, 59), st.integers(1, 255))
def test_any_changed_value_changes_the_digest(place: int, by: int) -> None:
    image = GREY.copy()
    image.flat[place] ^= by
    assert Sample(id="a", image=image).digest != Sample(id="a", image=GREY).digest


# -- Truth -------------------------------------------------------------------------------------------------------------


def test_a_mask_is_boolean_and_read_only() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = True
    truth = Truth(label=True, kind="scratch", mask=mask)
    assert truth.mask is not None and truth.mask[1, 2]
    with pytest.raises(ValueError, match="read-only"):
        truth.mask[0, 0] = True


@pytest.mark.parametrize("mask", [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 1), bool), np.zeros(4, bool)])
def test_any_other_mask_is_refused(mask: Any) -> None:
    with pytest.raises(BadSample, match=r"a mask is \(H, W\) bool; met"):
        Truth(label=True, mask=mask)


def test_a_good_part_has_no_marked_defect() -> None:
    mask = np.zeros((4, 5), bool)
    assert Truth(label=False, mask=mask).mask is not None
    mask[3, 3] = True
    with pytest.raises(BadSample, match="labelled good has a mask that marks a defect"):
        Truth(label=False, mask=mask)


def test_a_point_mask_is_boolean_and_read_only() -> None:
    truth = Truth(label=True, kind="hole", point_mask=np.array([False, True, False]))
    assert truth.point_mask is not None and truth.point_mask.tolist() == [False, True, False]
    with pytest.raises(ValueError, match="read-only"):
        truth.point_mask[0] = True


@pytest.mark.parametrize("mask", [np.zeros(4, np.uint8), np.zeros((4, 1), bool), np.zeros((), bool)])
def test_any_other_point_mask_is_refused(mask: Any) -> None:
    with pytest.raises(BadSample, match=r"a point mask is \(N,\) bool; met"):
        Truth(label=True, point_mask=mask)


def test_a_good_part_has_no_marked_points() -> None:
    assert Truth(label=False, point_mask=np.zeros(3, bool)).point_mask is not None
    with pytest.raises(BadSample, match="labelled good has a point mask that marks a defect"):
        Truth(label=False, point_mask=np.array([False, True, False]))


def test_a_defect_may_be_known_without_its_place() -> None:
    assert Truth(label=True).mask is None
    assert Truth(label=True, mask=np.zeros((2, 2), bool)).label


def test_a_good_part_has_neither_marked_points_nor_boxes() -> None:
    assert Truth(label=False, point_mask=np.zeros(3, bool)).point_mask is not None
    with pytest.raises(BadSample, match="labelled good has a point mask that marks a defect"):
        Truth(label=False, point_mask=np.ones(3, bool))
    with pytest.raises(BadSample, match="labelled good has 1 boxes"):
        Truth(label=False, boxes=(Box(low=(0, 0, 0), high=(1, 1, 1)),))


@pytest.mark.parametrize(
    ("low", "high", "score", "reason"),
    [
        ((0, 0), (1, 1, 1), 0, "as many"), ((), (), 0, "as many"), ((0, 0, 2), (1, 1, 1), 0, "low lies above high"),
        ((0, 0, np.nan), (1, 1, 1), 0, "finite"), ((0, 0, 0), (1, 1, np.inf), 0, "finite"),
        ((0, 0, 0), (1, 1, 1), np.nan, "finite score"),
    ],
)  # fmt: skip
def test_a_box_that_is_none_is_refused(low: Any, high: Any, score: float, reason: str) -> None:
    with pytest.raises(BadSample, match=reason):
        Box(low=low, high=high, score=score)


# -- Verdict and Result ------------------------------------------------------------------------------------------------


def test_verdicts_and_boxes_are_values() -> None:
    facts: dict[str, Any] = {
        "outcome": "NG", "p_value": 0.01, "threshold": 2.0, "review_threshold": 1.0, "extrapolated": False, "bound": 0.01,
    }  # fmt: skip
    assert Verdict(**facts) == Verdict(**facts, note="") != Verdict(**{**facts, "outcome": "OK"})
    assert Box(low=(0, 0), high=(1, 1)) == Box(low=(0, 0), high=(1, 1), score=0.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Verdict(**facts).outcome = "OK"  # type: ignore[misc]


def test_a_result_spreads_its_map_only_when_asked() -> None:
    class Counting(GridSpread):
        asked = 0

        def __call__(self, grid: Any) -> Any:
            Counting.asked += 1
            return super().__call__(grid)

    result = Result(id="a", score=1.0, map=np.ones((2, 2)), spread=Counting(shape=(6, 9), size=(8, 8), sigma=0))
    assert Counting.asked == 0
    assert result.image_map().shape == (6, 9) and Counting.asked == 1


def test_a_result_without_a_map_says_so() -> None:
    with pytest.raises(BadSample, match="result 'a' has no map"):
        Result(id="a", score=1.0).image_map()
    with pytest.raises(BadSample, match="result 'a' has no map"):
        Result(id="a", score=1.0, map=np.ones((2, 2))).image_map()


def test_evidence_cannot_be_added_to_by_accident() -> None:
    with pytest.raises(TypeError):
        Result(id="a", score=1.0).evidence["new"] = 1  # type: ignore[index]
