"""Where crops lie, and the sets that come of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.backbones.runtime import Backbone
from amiss.kit.crops import Canvas, Crop, CropExtractor, crops
from amiss.types import Sample
from tests.backbones import tiny
from tests.papers import sinbad_oracle as oracle
from tests.papers.oracles import picture

Array = npt.NDArray[Any]
WHOLE = Crop(0.0, 0.0, 1.0, 0)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.saved(tmp_path_factory.mktemp("backbone"))


def extractor(path: str, *windows: Crop, canvas: Canvas = "square", size: int = 32, **fields: Any) -> CropExtractor:
    return CropExtractor(path, (4, 8), size, canvas, windows, **fields)


def pixels(found: Array, rows: int) -> Array:
    """What the network saw, (rows, columns, 3), as numbers of 0..255."""
    seen = found[0].T.reshape(rows, -1, 3) * np.array(tiny.STD) + np.array(tiny.MEAN)
    return np.asarray(seen * 255)


def plain(shape: tuple[int, int], value: int) -> Sample:
    return Sample(id="plain", image=np.full((*shape, 3), value, np.uint8))


# -- where they lie ----------------------------------------------------------------------------------------------------


def test_crops_come_size_by_size_row_by_row() -> None:
    found = crops((0.5, 0.7), 0.25)
    assert [(crop.top, crop.left, crop.side, crop.size) for crop in found] == [
        *[(top, left, 0.5, 0) for top in (0, 0.25, 0.5) for left in (0, 0.25, 0.5)],
        (0, 0, 0.7, 1), (0, 0.25, 0.7, 1), (0.25, 0, 0.7, 1), (0.25, 0.25, 0.7, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "step", "counts"),
    [
        ((0.25, 0.5, 0.7, 0.99), 0.25, [16, 9, 4, 1]), ((1.0,), 0.25, [1]), ((1.0,), 1.0, [1]), ((0.4, 0.9), 0.1, [49, 4]),
        ((0.7,), 0.1, [16]), ((0.8,), 0.05, [25]), ((0.3,), 0.7, [4]), ((0.31,), 0.7, [1]), ((0.5, 0.5), 0.5, [4, 4]),
    ],
    ids=str,
)  # fmt: skip
def test_as_many_crops_as_fit_whatever_binary_makes_of_the_step(
    sizes: tuple[float, ...], step: float, counts: list[int]
) -> None:
    found = [crop.size for crop in crops(sizes, step)]
    assert [found.count(index) for index in range(len(sizes))] == counts


@given(st.floats(0.01, 1), st.floats(0.01, 1))
def test_crops_stay_inside_and_no_further_one_would_fit(side: float, step: float) -> None:
    last = max(crop.top for crop in crops((side,), step))
    assert last + side <= 1 + 1e-6 and last + step + side > 1 - 1e-6


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 1), st.integers(1, 400), st.integers(1, 400))
def test_a_box_holds_a_pixel_at_least_and_none_outside(top: float, left: float, side: float, height: int, width: int) -> None:
    a, b, c, d = Crop(top, left, side, 0).box((height, width))
    assert 0 <= a < c <= height and 0 <= b < d <= width


def test_boxes_are_whole_pixels_rounded_down() -> None:
    assert Crop(0.25, 0.5, 0.5, 0).box((10, 7)) == (2, 3, 7, 7)  # 2.5, 3.5, 7.5, 7.0
    assert Crop(0.0, 0.0, 0.99, 0).box((1024, 600)) == (0, 0, 1013, 594)
    assert Crop(0.5, 0.75, 0.25, 0).box((1, 3)) == (0, 2, 1, 3)


# -- what is seen ------------------------------------------------------------------------------------------------------


def test_a_crops_set_is_its_pixels_through_the_backbone(path: str) -> None:
    sample, windows = picture(1, shape=(100, 130)), crops((0.25, 0.7, 0.99), 0.25)
    fine, coarse = extractor(path, *windows)(sample)
    assert fine.shape == (21, 6, 64) and coarse.shape == (21, 10, 16) and fine.dtype == np.float32
    assert sample.image is not None
    for index, window in enumerate(oracle.windows((0.25, 0.7, 0.99), 0.25)):
        for found, truth in zip((fine, coarse), oracle.seen(path, oracle.cut(sample.image, window), 32), strict=True):
            np.testing.assert_allclose(found[index], truth, rtol=1e-4, atol=1e-4)


def test_layers_come_in_the_order_asked_for(path: str, tmp_path: Path) -> None:
    extract = CropExtractor(path, (8, 4), 32, "square", [WHOLE])
    for cache in (None, tmp_path, tmp_path):
        assert [layer.shape for layer in extract(picture(1), cache=cache)] == [(1, 10, 16), (1, 6, 64)]


def test_pixels_are_the_networks_every_so_many_rows_and_columns(path: str) -> None:
    sample = picture(1)  # 32 x 32: nothing to resize
    assert sample.image is not None
    found = extractor(path, WHOLE).pixels(sample, WHOLE, 3)
    assert found.shape == (1, 3, 11 * 11) and found.dtype == np.float32
    np.testing.assert_allclose(pixels(found, 11), sample.image[::3, ::3], atol=1e-3)
    half = extractor(path, WHOLE).pixels(sample, Crop(0.5, 0.5, 0.5, 0), 1)
    np.testing.assert_allclose(pixels(half, 32), 255 * oracle.resize(sample.image[16:, 16:], (32, 32)), atol=1e-3)


# -- canvas ------------------------------------------------------------------------------------------------------------


def test_keep_follows_the_pictures_proportions_and_square_does_not(path: str) -> None:
    wide = plain((32, 96), 100)
    shapes = {canvas: extractor(path, WHOLE, canvas=canvas, size=64)(wide)[0].shape[2] for canvas in ("keep", "square", "pad")}
    assert shapes == {"keep": 8 * 24, "square": 16 * 16, "pad": 16 * 16}
    assert len(pixels(extractor(path, WHOLE, canvas="keep", size=64).pixels(wide, WHOLE, 1), 32)[0]) == 96


def test_a_pinned_frame_holds_for_pictures_of_other_proportions(path: str) -> None:
    extract = extractor(path, WHOLE, canvas="keep", size=64)
    extract.pin([plain((32, 96), 1)] * 3 + [plain((64, 64), 1)])
    assert extract.frame == (32, 96)
    assert {extract(plain(shape, 1))[0].shape for shape in ((32, 96), (64, 64), (200, 20))} == {(1, 6, 8 * 24)}
    again = extractor(path, WHOLE, canvas="keep", size=64, frame=extract.frame, graph=extract.graph)
    np.testing.assert_array_equal(again(picture(1))[0], extract(picture(1))[0])


def test_padding_is_black_below_a_wide_picture_and_right_of_a_tall_one(path: str) -> None:
    for shape, rows, columns in (((16, 32), 16, 32), ((32, 16), 32, 16)):
        seen = pixels(extractor(path, WHOLE, canvas="pad").pixels(plain(shape, 200), WHOLE, 1), 32)
        truth = np.zeros((32, 32, 3))
        truth[:rows, :columns] = 200
        np.testing.assert_allclose(seen, truth, atol=1e-3)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_crop_wholly_outside_the_picture_is_black(path: str, kind: Any) -> None:
    outside = Crop(0.5, 0.0, 0.5, 0)
    sample = Sample(id="wide", image=np.ones((40, 100, 3), kind))
    extract = extractor(path, outside, canvas="pad")
    assert extract.box(outside, (40, 100)) == (50, 0, 100, 50)
    np.testing.assert_allclose(pixels(extract.pixels(sample, outside, 1), 32), 0, atol=1e-3)
    black = extractor(path, WHOLE)(plain((32, 32), 0))
    for found, truth in zip(extract(sample), black, strict=True):
        np.testing.assert_allclose(found, truth, atol=1e-6)


def test_a_padded_crop_is_cut_from_a_square_of_the_longer_side(path: str) -> None:
    sample, window = picture(3, shape=(48, 64)), Crop(0.5, 0.25, 0.5, 0)
    assert sample.image is not None
    found = extractor(path, window, canvas="pad")(sample)
    truth = oracle.seen(path, oracle.padded(sample.image)[32:64, 16:48], 32)
    for one, other in zip(found, truth, strict=True):
        np.testing.assert_allclose(one[0], other, rtol=1e-4, atol=1e-4)
    square = extractor(path, window, canvas="square")
    assert square.box(window, (48, 64)) == (24, 16, 48, 48)
    assert not np.allclose(square(sample)[0], found[0], atol=0.1)


# -- cache -------------------------------------------------------------------------------------------------------------


def test_the_cache_gives_the_same_and_spares_the_backbone(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows, samples = crops((0.5, 0.99), 0.25), [picture(seed, shape=(80, 60)) for seed in range(2)]
    extract = extractor(path, *windows)
    truth = [extract(sample) for sample in samples]
    for sample in samples:
        extract(sample, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(Backbone, "__call__", lambda *_: pytest.fail("the backbone was asked again"))
    for sample, plain_ in zip(samples, truth, strict=True):
        for found, layer in zip(extract(sample, cache=tmp_path), plain_, strict=True):
            np.testing.assert_array_equal(found, layer)


@pytest.mark.parametrize(
    ("windows", "fields"),
    [
        ((WHOLE,), {}), ((Crop(0.0, 0.5, 0.5, 0),), {}), ((Crop(0.0, 0.0, 0.5, 0),), {"size": 64}),
        ((Crop(0.0, 0.0, 0.5, 0),), {"canvas": "pad"}), ((Crop(0.0, 0.0, 0.5, 0),), {"canvas": "keep", "size": 64}),
        ((Crop(0.0, 0.0, 0.5, 0), WHOLE), {}),
    ],
    ids=str,
)  # fmt: skip
def test_what_other_crops_left_in_the_cache_is_not_taken(
    path: str, windows: tuple[Crop, ...], fields: dict[str, Any], tmp_path: Path
) -> None:
    sample = picture(1, shape=(40, 120))
    extractor(path, Crop(0.0, 0.0, 0.5, 0))(sample, cache=tmp_path)
    other = extractor(path, *windows, **fields)
    for found, truth in zip(other(sample, cache=tmp_path), other(sample), strict=True):
        np.testing.assert_array_equal(found, truth)


def test_a_damaged_entry_is_made_again(path: str, tmp_path: Path) -> None:
    extract, sample = extractor(path, WHOLE), picture(1)
    truth = extract(sample, cache=tmp_path)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(entry.read_bytes()[:100])
    np.testing.assert_array_equal(extract(sample, cache=tmp_path)[0], truth[0])
