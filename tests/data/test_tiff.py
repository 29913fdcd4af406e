"""TIFF pictures, whose tags allow the same pixels to be stored in a hundred ways."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from amiss.data.headers import Damaged
from amiss.data.readers import read_image
from amiss.data.tiff import _float_predictor, read_tiff
from tests.data import files

Array = npt.NDArray[Any]
Pack = Callable[[bytes], bytes]

RGB = files.colours(21, 33)  # odd sides, so that strips of odd length occur
GREY = RGB[..., 0]


def packbits(data: bytes) -> bytes:
    """Runs where a byte repeats, literals elsewhere."""
    packed, place = b"", 0
    while place < len(data):
        run = 1
        while run < 128 and data[place : place + 1] == data[place + run : place + run + 1]:
            run += 1
        packed += bytes([257 - run if run > 1 else 0, data[place]])
        place += run
    return packed


PACKERS: dict[int, Pack] = {
    1: lambda data: data,
    5: files.lzw,
    8: zlib.compress,
    32773: packbits,
    32946: zlib.compress,
    34925: lzma.compress,
}


def strips(image: Array, rows: int, pack: Pack = PACKERS[1]) -> list[bytes]:
    return [pack(image[top : top + rows].tobytes()) for top in range(0, len(image), rows)]


def rgb_tiff(image: Array, pieces: list[bytes], **tags: Any) -> bytes:
    height, width, samples = image.shape
    bits = image.dtype.itemsize * 8
    form = 3 if image.dtype.kind == "f" else 1
    return files.tiff(pieces, width, height, bits=bits, samples=samples, photometric=2, sampleformat=form, **tags)


@pytest.mark.parametrize("compression", PACKERS)
@pytest.mark.parametrize("rows", [1, 4, 21])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_compression_gives_the_same_pixels(compression: int, rows: int, dtype: str) -> None:
    image = files.colours(21, 33, dtype)
    content = rgb_tiff(image, strips(image, rows, PACKERS[compression]), compression=compression, rowsperstrip=rows)
    read = read_tiff(content)
    assert read.dtype == image.dtype
    np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize("length", [1, 2, 5, 700, 1024, 2047, 2048, 2049, 9000])
def test_lzw_strips_of_any_length_are_decoded(length: int) -> None:
    values = np.random.default_rng(length).integers(0, 40, (1, length, 1), dtype=np.uint8)
    content = files.tiff([files.lzw(values.tobytes())], length, 1, compression=5)
    np.testing.assert_array_equal(read_tiff(content), values)


@pytest.mark.parametrize("compression", [1, 5, 8])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read(compression: int, order: str) -> None:
    image = files.colours(21, 33, "uint16")
    stored = image.astype(f"{order}u2")
    content = rgb_tiff(image, strips(stored, 5, PACKERS[compression]), compression=compression, rowsperstrip=5, order=order)
    np.testing.assert_array_equal(read_tiff(content), image)


@pytest.mark.parametrize("compression", [1, 5, 8])
def test_tiles_are_put_together_and_what_hangs_over_is_dropped(compression: int) -> None:
    padded = np.zeros((32, 48, 3), np.uint8)
    padded[:21, :33] = RGB
    tiles = [padded[y : y + 16, x : x + 16].tobytes() for y in (0, 16) for x in (0, 16, 32)]
    pieces = [PACKERS[compression](tile) for tile in tiles]
    content = rgb_tiff(RGB, pieces, compression=compression, tilewidth=16, tilelength=16)
    np.testing.assert_array_equal(read_tiff(content), RGB)


@pytest.mark.parametrize("compression", [1, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_planes_one_after_another_are_put_together(compression: int, dtype: str) -> None:
    image = files.colours(21, 33, dtype)
    pieces = [piece for plane in range(3) for piece in strips(image[..., plane], 8, PACKERS[compression])]
    content = rgb_tiff(image, pieces, compression=compression, rowsperstrip=8, planar=2)
    np.testing.assert_array_equal(read_tiff(content), image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("compression", [1, 5, 8])
def test_horizontal_differences_are_summed_up(dtype: str, compression: int) -> None:
    image = files.colours(21, 33, dtype)
    stored = np.diff(image, axis=1, prepend=np.zeros((21, 1, 3), dtype))
    content = rgb_tiff(image, strips(stored, 4, PACKERS[compression]), compression=compression, rowsperstrip=4, predictor=2)
    np.testing.assert_array_equal(read_tiff(content), image)


def test_what_opencv_writes_is_read_back() -> None:
    for dtype in ("uint8", "uint16", "float32"):
        image = files.colours(40, 51, dtype)
        for compression in (1, 5, 8, 32773):
            content = files.encoded(image, ".tif", cv2.IMWRITE_TIFF_COMPRESSION, compression)
            np.testing.assert_array_equal(read_tiff(content), image)


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("large", [False, True])
def test_what_tifffile_writes_is_read_back(tile: tuple[int, int] | None, large: bool) -> None:
    for dtype in ("uint8", "uint16", "float32"):
        for order in ("<", ">"):
            image, file = files.colours(40, 51, dtype), BytesIO()
            tifffile.imwrite(file, image, photometric="rgb", tile=tile, bigtiff=large, byteorder=order)
            np.testing.assert_array_equal(read_tiff(file.getvalue()), image)


def test_the_floating_point_predictor_is_undone() -> None:
    """Two values a row, by hand: 1.0 = 3f 80 00 00 and 0.5 = 3f 00 00 00; first bytes 3f 3f, second 80 00, then zeros."""
    planes = np.array([0x3F, 0x3F, 0x80, 0x00, 0, 0, 0, 0], np.uint8)
    stored = np.diff(planes, prepend=np.uint8(0))[None]
    assert _float_predictor(stored, samples=1, size=4).view(">f4").tolist() == [[1.0, 0.5]]
    content = files.tiff([files.lzw(stored.tobytes())], 2, 1, bits=32, sampleformat=3, compression=5, predictor=3)
    assert read_tiff(content)[..., 0].tolist() == [[1.0, 0.5]]


def test_the_floating_point_predictor_agrees_with_libtiff() -> None:
    image = files.colours(9, 7, "float32")
    order = np.ascontiguousarray(image.astype(">f4").view(np.uint8).reshape(9, 7 * 3, 4).swapaxes(1, 2)).reshape(9, -1, 3)
    stored = np.diff(order, axis=1, prepend=np.zeros((9, 1, 3), np.uint8))
    content = rgb_tiff(image, strips(stored, 4, files.lzw), compression=5, rowsperstrip=4, predictor=3)
    np.testing.assert_array_equal(read_tiff(content), image)
    judge = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read_tiff(content), judge[..., ::-1])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("compression", [1, 5])
def test_where_white_is_zero_the_values_are_turned(dtype: str, compression: int) -> None:
    grey = files.colours(21, 33, dtype)[..., :1]
    pieces = strips(np.iinfo(dtype).max - grey, 6, PACKERS[compression])
    bits = grey.dtype.itemsize * 8
    content = files.tiff(pieces, 33, 21, bits=bits, photometric=0, compression=compression, rowsperstrip=6)
    np.testing.assert_array_equal(read_tiff(content), grey)


def test_white_is_zero_works_for_single_bits_and_floats() -> None:
    ones = GREY > 99
    content = files.tiff([np.packbits(~ones, axis=1).tobytes()], 33, 21, bits=1, photometric=0)
    np.testing.assert_array_equal(read_tiff(content)[..., 0], ones * np.uint8(255))
    light = files.colours(21, 33, "float32")[..., 0]
    content = files.tiff([(1 - light).tobytes()], 33, 21, bits=32, sampleformat=3, photometric=0)
    np.testing.assert_allclose(read_tiff(content)[..., 0], light, atol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12, 14])
def test_odd_depths_span_the_full_range(bits: int) -> None:
    values = np.arange(21 * 33).reshape(21, 33) * 37 % 2**bits
    values[0, :2] = 0, 2**bits - 1
    ones = values[..., None] >> np.arange(bits)[::-1] & 1
    content = files.tiff([np.packbits(ones.reshape(21, -1), axis=1).tobytes()], 33, 21, bits=bits)
    image = read_tiff(content)[..., 0]
    full = 255 if bits < 8 else 65535
    assert image.dtype == (np.uint8 if bits < 8 else np.uint16)
    np.testing.assert_array_equal(image, np.rint(values * (full / (2**bits - 1))))
    assert image[0, :2].tolist() == [0, full]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("scale", [257, 1])
def test_a_palette_is_looked_up_in_tables_of_16_and_of_8_bits(bits: int, scale: int) -> None:
    index = (np.arange(20 * 32).reshape(20, 32) % 2**bits).astype(np.uint8)
    table = np.random.default_rng(1).integers(0, 256, (2**bits, 3))
    stored = index if bits == 8 else index[:, ::2] << 4 | index[:, 1::2]
    tags = {"photometric": 3, "colormap": (table.T * scale).ravel().tolist()}
    np.testing.assert_array_equal(read_tiff(files.tiff([stored.tobytes()], 32, 20, bits=bits, **tags)), table[index])


@pytest.mark.parametrize(("extra", "laid"), [(None, True), (2, True), (1, False), (0, False)])
def test_alpha_is_laid_over_black_unless_it_already_is_or_is_none(extra: int | None, laid: bool) -> None:
    rgba = files.colours(21, 33, channels=4)
    tags = {} if extra is None else {"extrasamples": extra}
    image = read_tiff(rgb_tiff(rgba, strips(rgba, 7, files.lzw), compression=5, rowsperstrip=7, **tags))
    wanted = rgba[..., :3] * (rgba[..., 3:] / 255) if laid else rgba[..., :3]
    np.testing.assert_allclose(image, wanted, atol=0.5)


def test_grey_with_alpha_is_laid_over_black() -> None:
    pair = np.dstack([GREY, RGB[..., 1]])
    image = read_tiff(files.tiff([pair.tobytes()], 33, 21, samples=2, extrasamples=2))
    np.testing.assert_allclose(image[..., 0], GREY * (RGB[..., 1] / 255.0), atol=0.5)


def test_only_the_first_page_is_read() -> None:
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(RGB, photometric="rgb")
        writer.write(255 - RGB, photometric="rgb")
    np.testing.assert_array_equal(read_tiff(file.getvalue()), RGB)


@pytest.mark.parametrize("fill", [0, 255, None])
@pytest.mark.parametrize("compression", [5, 8, 34925])
def test_a_damaged_strip_is_refused_instead_of_shown_black(fill: int | None, compression: int) -> None:
    pieces = strips(RGB, 7, PACKERS[compression])
    noise = np.random.default_rng(0).integers(0, 256, len(pieces[1]) - 20, dtype=np.uint8).tobytes()
    pieces[1] = pieces[1][:20] + (noise if fill is None else bytes([fill]) * len(noise))
    with pytest.raises(Damaged, match="strips are damaged"):
        read_tiff(rgb_tiff(RGB, pieces, compression=compression, rowsperstrip=7))


@pytest.mark.parametrize("compression", PACKERS)
def test_a_strip_that_holds_too_little_is_refused(compression: int) -> None:
    pieces = strips(RGB, 7, PACKERS[compression])
    pieces[-1] = PACKERS[compression](RGB[-7:].tobytes()[:-1])
    with pytest.raises(Damaged, match="strips are damaged"):
        read_tiff(rgb_tiff(RGB, pieces, compression=compression, rowsperstrip=7))


@pytest.mark.parametrize("compression", [1, 5, 8, 32773])
def test_a_last_strip_longer_than_the_picture_is_read(compression: int) -> None:
    longer = np.concatenate([RGB, RGB[:3]])
    pieces = strips(longer, 8, PACKERS[compression])
    np.testing.assert_array_equal(read_tiff(rgb_tiff(RGB, pieces, compression=compression, rowsperstrip=8)), RGB)


@pytest.mark.parametrize("missing", [0, 2])
def test_missing_strips_are_refused(missing: int) -> None:
    pieces = strips(RGB, 7)
    del pieces[missing]
    with pytest.raises(Damaged, match="strips are damaged"):
        read_tiff(rgb_tiff(RGB, pieces, rowsperstrip=7))
    with pytest.raises(Damaged, match="strips are damaged"):
        read_tiff(rgb_tiff(RGB, [*strips(RGB, 7)[:2], b""], rowsperstrip=7))


def test_a_deflate_bomb_is_stopped_at_the_size_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zlib.compress(bytes(50_000_000))
    seen: list[int] = []
    make = zlib.decompressobj

    class Watched:
        def __init__(self) -> None:
            self.inner, self.eof = make(), False

        def decompress(self, data: bytes, most: int) -> bytes:
            seen.append(most)
            return self.inner.decompress(data, most)

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    with pytest.raises(Damaged, match="strips are damaged"):
        read_tiff(rgb_tiff(RGB, [bomb], compression=8))
    assert seen == [RGB.size + 1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (files.tiff([bytes(64)], 4, 4, samples=4, photometric=5), "CMYK"),
        (files.tiff([bytes(48)], 4, 4, samples=3, photometric=8), "CIE Lab"),
        (files.tiff([bytes(48)], 4, 4, samples=3, photometric=6), "YCbCr without JPEG"),
        (files.tiff([bytes(16)], 4, 4, photometric=32803), "raw sensor mosaic"),
        (files.tiff([bytes(16)], 4, 4, photometric=77), "of kind 77"),
        (files.tiff([bytes(80)], 4, 4, samples=5, photometric=2), "5 channels"),
        (files.tiff([bytes(48)], 4, 4, samples=3), "3 channels"),
        (files.tiff([bytes(16)], 4, 4, compression=50000), "ZSTD"),
        (files.tiff([bytes(16)], 4, 4, compression=4), "CCITT fax"),
        (files.tiff([bytes(16)], 4, 4, compression=999), "kind 999"),
        (files.tiff([bytes(48)], 4, 4, bits=24), "24 bits"),
        (files.tiff([bytes(16)], 4, 4, sampleformat=3), "SampleFormat 3, 8 bits"),
        (files.tiff([bytes(16)], 4, 4, sampleformat=6), "SampleFormat 6"),
        (files.tiff([bytes(16)], 4, 4, predictor=3), "predictor 3"),
        (files.tiff([bytes(16)], 4, 4, bits=4, predictor=2), "predictor 2"),
        (files.tiff([bytes(16)], 4, 4, fillorder=2), "backwards"),
        (files.tiff([bytes(32)], 4, 4, depth=2), "2 layers"),
        (files.tiff([bytes(16)], 4, 4, photometric=3), "palette"),
        (files.tiff([bytes(16)], 4, 4, photometric=3, colormap=[1, 2, 3]), "palette"),
        (files.tiff([b"\x00\x01" + bytes(16)], 4, 4, compression=5), "LZW data do not begin"),
        (files.tiff([bytes(16)], 4, 4, compression=7), "markers|cut off"),
        (files.tiff([bytes(32)], 4, 4, bits=16, compression=7), "JPEG in a way"),
        (b"II*\0\x08\0\0\0", "cannot be read as TIFF"),
        (b"MM\0+\0\x08\0\0" + bytes(30), "cannot be read as TIFF"),
    ],
)
def test_what_is_not_read_is_refused_by_name(content: bytes, reason: str) -> None:
    with pytest.raises(Damaged, match=reason) as caught:
        read_tiff(content)
    assert caught.value.remedy


def test_samples_of_different_depths_are_refused() -> None:
    content = bytearray(files.tiff([RGB.tobytes()], 33, 21, samples=3, photometric=2))
    place = content.index(struct.pack("<III", 8, 8, 8))
    content[place : place + 12] = struct.pack("<III", 5, 6, 5)
    with pytest.raises(Damaged, match="unlike numbers of bits"):
        read_tiff(bytes(content))


def test_a_tag_that_cannot_be_read_does_not_fall_back_to_its_default() -> None:
    """Without its BitsPerSample the picture would be taken for one of single bits."""
    content = bytearray(files.tiff([RGB.tobytes()], 33, 21, samples=3, photometric=2))
    place = content.index(struct.pack("<HHI", 258, 4, 3)) + 8
    content[place : place + 4] = struct.pack("<I", len(content) + 100)
    with pytest.raises(Damaged, match="tags are damaged"):
        read_tiff(bytes(content))


def test_a_strip_of_jpeg_without_its_end_is_refused(tmp_path: Path) -> None:
    whole = files.encoded(RGB, ".jpg")
    content = files.tiff([whole[: len(whole) * 2 // 3]], 33, 21, samples=3, photometric=6, compression=7)
    with pytest.raises(Damaged, match="cut off"):
        read_tiff(content)


def test_grey_jpeg_in_tiff_is_read(tmp_path: Path) -> None:
    strip = files.encoded(GREY, ".jpg")
    plain = read_image(files.written(tmp_path / "a.jpg", strip))
    image = read_tiff(files.tiff([strip], 33, 21, compression=7))
    np.testing.assert_allclose(image[..., 0].astype(int), plain[..., 0].astype(int), atol=1)
