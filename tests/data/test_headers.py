"""What an image file says of itself, and what is refused before any decoder sees it."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from amiss.data.headers import MAX_PIXELS, Damaged, Header, read_header
from amiss.data.readers import read_image
from amiss.errors import UnreadableFile
from tests.data import files

JPEG = files.encoded(files.colours(), ".jpg")


def resized_png(width: int, height: int) -> bytes:
    whole = files.encoded(files.colours(), ".png")
    head = files.chunk(b"IHDR", struct.pack(">II", width, height) + whole[24:29])
    return whole[:8] + head + whole[33:]


def resized_jpeg(width: int, height: int) -> bytes:
    frame = JPEG.index(b"\xff\xc0") + 5
    return JPEG[:frame] + struct.pack(">HH", height, width) + JPEG[frame + 4 :]


def resized_webp(width: int, height: int) -> bytes:
    lossless = bytearray(files.encoded(files.colours(), ".webp"))
    lossless[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    return bytes(lossless)


def resized_tiff(width: int, height: int) -> bytes:
    return files.tiff([bytes(1000)], width, height)


BOMBS = {
    "png": resized_png(100_000, 100_000),
    "jpeg": resized_jpeg(65_000, 65_000),
    "webp": resized_webp(16_000, 16_000),
    "bmp": files.bmp(100_000, 100_000, 24, bytes(1000)),
    "tiff": resized_tiff(100_000, 100_000),
    "tiled": files.tiff([bytes(1000)], 64, 64, tilewidth=100_000, tilelength=100_000),
    "wide": files.tiff([bytes(1000)], 14_000, 14_000, bits=64, samples=4, photometric=2),
}


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (files.encoded(files.colours(7, 5), ".png"), Header("png", 5, 7)),
        (files.encoded(files.colours(7, 5, channels=4), ".png"), Header("png", 5, 7, alpha=True)),
        (files.encoded(files.colours(7, 5), ".jpg"), Header("jpeg", 5, 7, lossy=True)),
        (files.encoded(files.colours(7, 5), ".bmp"), Header("bmp", 5, 7)),
        (files.bmp(5, -7, 24, files.bmp_rows(files.colours(7, 5))), Header("bmp", 5, 7)),
        (files.encoded(files.colours(7, 5), ".webp", cv2.IMWRITE_WEBP_QUALITY, 80), Header("webp", 5, 7, lossy=True)),
        (files.encoded(files.colours(7, 5), ".webp"), Header("webp", 5, 7, alpha=True)),
        (files.tiff([bytes(35)], 5, 7), Header("tiff")),
    ],
)
def test_a_header_tells_format_and_size(content: bytes, wanted: Header) -> None:
    assert read_header(content) == wanted


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_orientation_is_read_in_both_byte_orders(order: str) -> None:
    assert read_header(files.with_app1(JPEG, files.exif(6, order))).orientation == 6


@pytest.mark.parametrize("block", [files.exif(0), files.exif(9), b"II*\0", b"XX*\0\x08\0\0\0\x01\0", files.exif(6)[:18]])
def test_an_orientation_that_makes_no_sense_counts_as_upright(block: bytes) -> None:
    assert read_header(files.with_app1(JPEG, block)).orientation == 1


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_is_refused_by_its_header(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = files.written(tmp_path / "bomb.png", BOMBS[name])
    read_image(files.written(tmp_path / "warm.tif", files.tiff([bytes(4)], 2, 2)))  # imports lie outside the measurement
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("the bomb was decoded"))
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableFile, match=r"bomb\.png: .* asks for .* pixels.*; reduce"):
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_the_largest_size_is_named() -> None:
    with pytest.raises(Damaged, match="20001 x 10000 pixels, more than the 200 million"):
        read_header(resized_png(20_001, 10_000))
    assert MAX_PIXELS == 200_000_000


@pytest.mark.parametrize("content", [resized_png(0, 5), resized_jpeg(5, 0), files.bmp(-5, 7, 24, bytes(400))])
def test_a_picture_without_pixels_is_refused(content: bytes) -> None:
    with pytest.raises(Damaged, match="its header says"):
        read_header(content)


def test_every_single_bit_flip_of_a_png_is_refused() -> None:
    content = files.encoded(files.colours(6, 5), ".png")
    for bit in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Damaged):
            read_header(bytes(flipped))


def test_a_wrong_checksum_names_its_chunk() -> None:
    content = files.encoded(files.colours(), ".png")
    with pytest.raises(Damaged, match="checksum of its 'IEND' chunk"):
        read_header(content[:-1] + b"\0")


def test_bytes_after_the_end_of_a_picture_do_no_harm(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".bmp", ".webp"):
        content = files.encoded(files.colours(), suffix)
        whole = read_image(files.written(tmp_path / ("whole" + suffix), content))
        longer = read_image(files.written(tmp_path / ("longer" + suffix), content + b"left over " * 100))
        np.testing.assert_array_equal(whole, longer)


def test_the_end_of_an_embedded_preview_is_not_taken_for_the_end_of_the_picture() -> None:
    preview = files.encoded(files.colours(8, 8), ".jpg")
    content = files.with_app1(JPEG, files.exif(1) + preview)
    cut = content[: content.index(b"\xff\xda", len(preview) + 40) + 60]
    assert b"\xff\xd9" in cut
    with pytest.raises(Damaged, match="cut off"):
        read_header(cut)


@pytest.mark.parametrize("second", [b"\xff\xff\xff", b"\xff"])
def test_fill_bytes_before_a_marker_are_skipped(second: bytes) -> None:
    assert read_header(JPEG[:2] + second + JPEG[2:]).width == 32


def test_animations_are_refused_since_no_frame_is_the_picture() -> None:
    control = files.chunk(b"acTL", struct.pack(">II", 2, 0))
    animated = files.png(np.zeros((4, 4), np.uint8), bits=8, colour=0, width=4, before=control)
    frame = files.encoded(files.colours(), ".webp")
    moving = files.riff((b"VP8X", b"\x02\0\0\0" + bytes(6)), (b"ANIM", bytes(6)), (b"ANMF", bytes(16) + frame[12:]))
    for content in (animated, moving):
        with pytest.raises(Damaged, match="animation") as caught:
            read_header(content)
        assert "frame" in caught.value.remedy


@pytest.mark.parametrize(
    "content",
    [
        files.PNG + files.chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)) + files.chunk(b"IEND", b""),
        files.PNG + files.chunk(b"IDAT", b"") + files.chunk(b"IEND", b""),
        b"\xff\xd8\xff\xd9",
        files.riff((b"VP8X", b"\0\0\0\0" + bytes(6))),
    ],
)
def test_a_file_of_the_right_format_without_pixels_is_refused(content: bytes) -> None:
    with pytest.raises(Damaged, match="no pixels"):
        read_header(content)


def test_a_bmp_whose_channel_order_opencv_ignores_is_refused(tmp_path: Path) -> None:
    body = np.dstack([files.colours(4, 4), np.zeros((4, 4, 1), np.uint8)]).tobytes()
    swapped = files.bmp(4, 4, 32, body, compression=3, masks=struct.pack("<III", 0xFF, 0xFF00, 0xFF0000))
    with pytest.raises(Damaged, match="order"):
        read_header(swapped)


def test_a_bmp_that_hides_a_jpeg_is_refused() -> None:
    with pytest.raises(Damaged, match="BMP compression 4"):
        read_header(files.bmp(4, 4, 24, JPEG, compression=4))


@pytest.mark.parametrize("content", [b"", b"plain text, nothing else", b"GIF89a" + bytes(20), b"\x89PN", bytes(100), b"RIFF"])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(Damaged, match=r"empty|not a PNG, JPEG, TIFF, BMP or WebP"):
        read_header(content)
