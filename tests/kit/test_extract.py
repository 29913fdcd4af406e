"""Pictures to features: sizes, the one resize routine, and the cache that several fits share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.backbones.runtime import Backbone
from amiss.kit.extract import Aspect, Features, ImageExtractor, network_size, resize
from amiss.types import Sample
from tests.backbones import tiny

Array = npt.NDArray[Any]


def picture(h: int = 64, w: int = 64, seed: int = 0) -> Sample:
    return Sample(id=f"{seed}", image=np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8))


def extractor(size: int = 64, layers: tuple[int, ...] = (4, 8), aspect: Aspect = "keep", **more: Any) -> ImageExtractor:
    return ImageExtractor("tiny", layers, size, aspect, graph=tiny.graph(), **more)


def same(one: Features, other: Features) -> bool:
    return one.grids == other.grids and all(np.array_equal(a, b) for a, b in zip(one.layers, other.layers, strict=True))


@pytest.mark.parametrize(
    ("shape", "aspect", "expected"),
    [
        ((100, 100), "keep", (320, 320)), ((100, 400), "keep", (160, 640)), ((400, 100), "keep", (640, 160)),
        ((100, 400), "square", (320, 320)), ((1, 1000), "keep", (32, 10112)),
    ],
)  # fmt: skip
def test_the_network_sees_the_asked_area_in_multiples_of_32(
    shape: tuple[int, int], aspect: Aspect, expected: tuple[int, int]
) -> None:
    assert network_size(shape, 320, aspect) == expected


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(32, 1024))
def test_sides_are_multiples_of_32_and_proportions_are_kept_to_within_one_step(h: int, w: int, size: int) -> None:
    height, width = network_size((h, w), size, "keep")
    assert height % 32 == width % 32 == 0 and min(height, width) >= 32
    ratio = np.sqrt(h / w)
    assert abs(height - max(32, size * ratio)) <= 16 and abs(width - max(32, size / ratio)) <= 16


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_every_depth_is_brought_to_nought_to_one(dtype: type, full: float) -> None:
    image = (np.random.default_rng(0).random((40, 50, 3)) * full).astype(dtype)
    expected = image / full
    np.testing.assert_allclose(resize(image, (40, 50)), expected, atol=1e-6)
    for size in ((20, 30), (64, 96)):
        resized = resize(image, size)
        assert resized.shape == (*size, 3) and resized.dtype == np.float32
        assert resized.min() >= -1e-6 and resized.max() <= 1 + 1e-6


def test_shrinking_takes_the_mean_of_the_covered_pixels() -> None:
    image = np.random.default_rng(0).random((64, 64, 3), np.float32)
    expected = image.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(image, (32, 32)), expected, atol=1e-6)


def test_layers_are_cells_by_channels_in_reading_order() -> None:
    features = extractor()(picture(64, 64))
    assert features.grids == ((16, 16), (8, 8)) and [layer.shape for layer in features.layers] == [(256, 6), (64, 10)]
    np.testing.assert_array_equal(features.grid(1)[2, 3], features.layers[1][2 * 8 + 3])


def test_a_second_look_reads_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract = extractor()
    first = extract(picture(), cache=tmp_path)
    monkeypatch.setattr(Backbone, "__call__", forbidden)
    assert same(extract(picture(), cache=tmp_path), first)
    with pytest.raises(AssertionError, match="was run"):
        extract(picture(seed=1), cache=tmp_path)


def forbidden(self: Backbone, images: Array) -> None:
    raise AssertionError("the backbone was run")


def test_fits_with_other_layers_share_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fine, coarse = extractor(layers=(4,)), extractor(layers=(8,), token=True)
    expected = coarse(picture())
    fine(picture(), cache=tmp_path)
    monkeypatch.setattr(Backbone, "__call__", forbidden)
    assert same(coarse(picture(), cache=tmp_path), expected)


def test_the_descriptor_is_the_graphs_token_or_the_mean_of_its_last_tap(tmp_path: Path) -> None:
    plain = extractor(token=True)(picture())
    assert plain.token is not None and plain.token.shape == (10,)
    np.testing.assert_allclose(plain.token, plain.layers[1].mean(axis=0), rtol=1e-5)
    own = ImageExtractor("t", (4,), 64, "keep", token=True, graph=tiny.graph({**tiny.DESCRIPTION, "token": "token"}))
    told = own(picture()).token
    assert told is not None
    np.testing.assert_allclose(told, plain.token, rtol=1e-5)  # the tiny graph's token is that mean
    assert extractor()(picture()).token is None


def test_a_frame_brings_every_picture_to_one_grid() -> None:
    framed = extractor(frame=(64, 96))
    assert {framed(picture(*shape)).grids for shape in ((64, 64), (50, 90), (200, 20))} == {((16, 24), (8, 12))}
    assert framed(picture(50, 90)).shape == (50, 90)


@pytest.mark.parametrize("other", [{"size": 96}, {"layers": (4,)}, {"layers": (8, 4)}, {"aspect": "square"}])
def test_fits_that_share_a_cache_never_get_each_others_features(tmp_path: Path, other: dict[str, Any]) -> None:
    sample = picture(64, 128)
    extractor()(sample, cache=tmp_path)
    assert same(extractor(**other)(sample, cache=tmp_path), extractor(**other)(sample))


def test_another_backbone_does_not_read_the_first_ones_features(tmp_path: Path) -> None:
    sample = picture()
    extractor()(sample, cache=tmp_path)
    brighter = ImageExtractor("b", (4, 8), 64, "keep", graph=tiny.graph({**tiny.DESCRIPTION, "mean": (0.1, 0.1, 0.1)}))
    assert same(brighter(sample, cache=tmp_path), brighter(sample))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"half"])
def test_a_damaged_cache_entry_is_made_anew(tmp_path: Path, content: bytes) -> None:
    extract = extractor()
    expected = extract(picture(), cache=tmp_path)
    (entry,) = tmp_path.iterdir()
    for damaged in (content, entry.read_bytes()[:-300]):
        entry.write_bytes(damaged)
        assert same(extract(picture(), cache=tmp_path), expected)
        assert same(extract(picture(), cache=tmp_path), expected)
    assert [path.name for path in tmp_path.iterdir()] == [entry.name]


def test_a_cache_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    assert same(extractor()(picture(), cache=tmp_path / "missing"), extractor()(picture()))
