"""Maps over pictures, thumbnails, crops and their files: what must hold for every kind and size of picture."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.errors import BadSample
from amiss.viz.overlay import OPACITY, crop_with_box, eight_bits, heat, jpeg, overlay, thumbnail

Array = npt.NDArray[np.generic]
SIZES = [(1, 1), (3, 500), (500, 3), (40, 60)]
DTYPES = [np.uint8, np.uint16, np.float32]


def picture(height: int, width: int, dtype: type = np.uint8) -> Array:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    if dtype == np.uint16:
        image = image.astype(np.uint16) * 257
    elif dtype == np.float32:
        image = image.astype(np.float32) / np.float32(255)
    image.flags.writeable = False
    return image


def decoded(content: bytes) -> Array:
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])


def test_heat_grows_lighter_with_the_value_and_clips_beyond_both_ends() -> None:
    colours = heat(np.array([[-5.0, 0.0, 1.0, 2.0, 3.0, 4.0, 99.0]]), 0, 4)
    light = colours.astype(float) @ [0.2126, 0.7152, 0.0722]  # luminance of RGB
    assert colours.shape == (1, 7, 3) and colours.dtype == np.uint8
    assert (colours[0, 0] == colours[0, 1]).all() and (colours[0, 5] == colours[0, 6]).all()
    assert (np.diff(light[0, 1:6]) > 0).all()


def test_heat_is_rgb_so_that_its_middle_is_redder_than_blue() -> None:
    red, _, blue = heat(np.array([[0.6]]), 0, 1)[0, 0]
    assert red > 150 > 100 > blue


@pytest.mark.parametrize("level", [0.0, 7.0, np.inf])
def test_a_flat_map_with_equal_ends_shows_nothing(level: float) -> None:
    image = picture(5, 4)
    assert (overlay(image, np.full((5, 4), level), low=level, high=level) == image).all()


def test_values_above_equal_ends_are_shown_fully() -> None:
    colours = heat(np.array([[1.0, 2.0]]), 1, 1)
    assert (colours == heat(np.array([[0.0, 9.0]]), 0, 9)).all()


def test_nan_in_a_map_counts_as_normal() -> None:
    image = picture(1, 2)
    assert (overlay(image, np.array([[np.nan, 0.0]]), low=0, high=1) == image).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_overlay_leaves_pixels_up_to_low_unchanged_and_covers_the_others(dtype: type) -> None:
    image, values = picture(40, 60, dtype), np.zeros((40, 60), np.float32)
    values[:20] = 2.0
    values[20:30] = 1.0  # exactly low
    shown = overlay(image, values, low=1, high=3)
    assert shown.shape == (40, 60, 3) and shown.dtype == np.uint8
    assert (shown[20:] == eight_bits(image)[20:]).all()
    assert (shown[:20] != eight_bits(image)[:20]).mean() > 0.9


def test_overlay_covers_more_the_higher_the_value() -> None:
    grey = np.full((1, 5, 3), 100, np.uint8)
    shown = overlay(grey, np.array([[0.0, 1.0, 2.0, 3.0, 4.0]]), low=0, high=4)
    colours = heat(np.array([[0.0, 1.0, 2.0, 3.0, 4.0]]), 0, 4)
    wanted = 100 * (1 - OPACITY * np.sqrt([0, 0.25, 0.5, 0.75, 1]))[:, None]
    wanted = wanted + colours[0] * (OPACITY * np.sqrt([0, 0.25, 0.5, 0.75, 1]))[:, None]
    assert np.abs(shown[0] - wanted).max() <= 1


def test_overlay_does_not_change_its_inputs() -> None:
    image, values = picture(4, 4).copy(), np.ones((4, 4), np.float32)
    before = image.copy()
    overlay(image, values, low=0, high=1)
    assert (image == before).all() and (values == 1).all()


def test_a_map_of_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(BadSample, match=r"\(2, 3\).*\(4, 4\)"):
        overlay(picture(4, 4), np.zeros((2, 3)), low=0, high=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_eight_bits_keeps_black_and_white(dtype: type) -> None:
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    assert eight_bits(np.array([[[0, top, top]]], dtype)).tolist() == [[[0, 255, 255]]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_every_kind_and_size_of_picture_passes_all_steps(size: tuple[int, int], dtype: type) -> None:
    image, values = picture(*size, dtype), np.ones(size, np.float32)
    for made in (overlay(image, values, low=0, high=1), thumbnail(image, 32), crop_with_box(image, (0, 0, 1, 1), side=32)):
        assert made.dtype == np.uint8 and made.ndim == 3 and 0 not in made.shape
        assert decoded(jpeg(made)).shape == made.shape
    assert max(thumbnail(image, 32).shape[:2]) <= 32


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 64))
def test_a_thumbnail_keeps_proportions_within_half_a_pixel(height: int, width: int, side: int) -> None:
    small = thumbnail(np.zeros((height, width, 3), np.uint8), side)
    share = min(1.0, side / max(height, width))
    assert abs(small.shape[0] - height * share) <= 0.5 or small.shape[0] == 1
    assert abs(small.shape[1] - width * share) <= 0.5 or small.shape[1] == 1


def test_a_small_picture_keeps_its_size_and_is_copied() -> None:
    image = picture(7, 5)
    small = thumbnail(image, 99)
    assert (small == image).all() and not np.shares_memory(small, image)


def test_jpeg_holds_the_colours() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 0] = 200
    assert np.abs(decoded(jpeg(image)).astype(int) - image).max() < 12


def test_jpeg_of_16_bits_shows_what_the_8_bit_picture_shows() -> None:
    assert jpeg(picture(20, 20, np.uint16)) == jpeg(picture(20, 20))


def test_lower_quality_makes_smaller_files() -> None:
    assert len(jpeg(picture(40, 60), quality=20)) < len(jpeg(picture(40, 60), quality=95))


def test_a_picture_too_long_for_jpeg_is_refused() -> None:
    with pytest.raises(BadSample, match="does not go into"):
        jpeg(np.zeros((1, 70_000, 3), np.uint8))


def test_a_crop_shows_the_box_in_the_middle_with_its_surroundings_and_frames_it() -> None:
    image = np.full((100, 100, 3), 100, np.uint8)
    image[50:60, 50:60] = 60
    crop = crop_with_box(image, (50, 50, 60, 60), side=70, margin=3)  # 70 pixels of the picture, scale 1
    assert crop.shape == (70, 70, 3)
    inside, row = crop[30:40, 30:40], crop[35, :, 0].tolist()
    assert (inside == 60).all()
    assert row[26:30] == [0, 255, 255, 0] and row[40:44] == [0, 255, 255, 0]
    assert set(row[:26]) == {100} and set(row[44:]) == {100}


def test_a_crop_at_the_border_moves_inwards_and_still_frames_the_box() -> None:
    crop = crop_with_box(np.full((100, 100, 3), 100, np.uint8), (90, 0, 100, 10), side=70, margin=3)
    assert crop.shape == (70, 70, 3)
    assert (crop == 255).any() and (crop[62:68, 2:8] == 100).all()


def test_a_picture_smaller_than_the_view_is_shown_whole() -> None:
    assert crop_with_box(picture(10, 20), (4, 4, 8, 8), side=40, margin=9).shape == (20, 40, 3)


@given(st.tuples(*[st.integers(-20, 60)] * 4), st.sampled_from(SIZES), st.floats(0, 5), st.integers(1, 200))
def test_any_box_even_outside_the_picture_yields_a_crop(
    box: tuple[int, int, int, int], size: tuple[int, int], margin: float, side: int
) -> None:
    crop = crop_with_box(np.zeros((*size, 3), np.uint8), box, side=side, margin=margin)
    assert min(crop.shape[:2]) >= 1 and max(crop.shape[:2]) == side
