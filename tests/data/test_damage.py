"""Pictures that were cut off, half written or flipped: refused, and never shown with a grey or black end."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from amiss.data.readers import read_image, read_mask
from amiss.errors import UnreadableFile
from tests.data import files

Array = npt.NDArray[Any]

RGB = files.colours()
GREY = RGB[..., 0]
RGB16 = files.colours(dtype="uint16")
RGBA = files.colours(channels=4)
LOSSY_WEBP = (cv2.IMWRITE_WEBP_QUALITY, 90)


def read(content: bytes, folder: Path, name: str = "picture") -> Array:
    return read_image(files.written(folder / name, content))


def refused(content: bytes, folder: Path, name: str = "picture") -> str:
    path = files.written(folder / name, content)
    with pytest.raises(UnreadableFile) as caught:
        read_image(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and ";" in text
    return text


WHOLE: dict[str, bytes] = {
    "png": files.encoded(RGB, ".png"),
    "png16": files.encoded(RGB16, ".png"),
    "jpeg": files.encoded(RGB, ".jpg"),
    "jpeg grey": files.encoded(GREY, ".jpg"),
    "jpeg progressive": files.encoded(RGB, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "jpeg with restarts": files.encoded(RGB, ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
    "jpeg with preview": files.with_app1(files.encoded(RGB, ".jpg"), files.exif(1) + files.encoded(RGB, ".jpg")),
    "bmp": files.encoded(RGB, ".bmp"),
    "bmp grey": files.encoded(GREY, ".bmp"),
    "bmp from above": files.bmp(32, -24, 24, files.bmp_rows(RGB)),
    "webp lossy": files.encoded(RGB, ".webp", *LOSSY_WEBP),
    "webp lossless": files.encoded(RGB, ".webp"),
    "webp alpha": files.encoded(RGBA, ".webp", *LOSSY_WEBP),
    "tiff": files.encoded(RGB, ".tif", cv2.IMWRITE_TIFF_COMPRESSION, 1),
    "tiff lzw": files.encoded(RGB, ".tif", cv2.IMWRITE_TIFF_COMPRESSION, 5),
    "tiff deflate": files.encoded(RGB16, ".tif", cv2.IMWRITE_TIFF_COMPRESSION, 8),
    "tiff, tags first": files.tiff([RGB.tobytes()], 32, 24, samples=3, photometric=2),
    "tiff lzw, tags first": files.tiff([files.lzw(RGB.tobytes())], 32, 24, samples=3, photometric=2, compression=5),
    "tiff deflate, tags first": files.tiff([zlib.compress(RGB.tobytes())], 32, 24, samples=3, photometric=2, compression=8),
    "tiff jpeg": files.tiff([files.encoded(RGB, ".jpg")], 32, 24, samples=3, photometric=6, compression=7),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_truncated_picture_is_refused_at_every_length(name: str, tmp_path: Path) -> None:
    content = WHOLE[name]
    assert read(content, tmp_path).shape == (24, 32, 3)
    tenths = {len(content) * tenth // 10 for tenth in range(10)}
    ends = {len(content) - cut for cut in (12, 20, 40)} | (
        {len(content) - 1, len(content) - 2} if "tiff" not in name else set()
    )
    for length in sorted(tenths | ends):
        refused(content[:length], tmp_path)


TELLING = [name for name in WHOLE if not name.startswith(("bmp", "webp")) and name != "tiff, tags first"]


@pytest.mark.parametrize("name", TELLING)
def test_a_picture_whose_second_half_was_never_written_is_refused(name: str, tmp_path: Path) -> None:
    """A crash while copying leaves the right length and zeros; BMP, WebP and stored TIFF cannot tell those from pixels."""
    content = WHOLE[name]
    refused(content[: len(content) // 2] + bytes(len(content) - len(content) // 2), tmp_path)


@pytest.mark.parametrize("name", WHOLE)
def test_damage_anywhere_is_refused_or_read_but_never_crashes(name: str, tmp_path: Path) -> None:
    content, path = WHOLE[name], tmp_path / "damaged"
    rng = np.random.default_rng(0)
    for attempt in range(60):
        damaged = bytearray(content)
        if attempt % 2:
            damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        else:
            start = int(rng.integers(len(damaged)))
            del damaged[start : start + int(rng.integers(1, 60))]
        path.write_bytes(damaged)
        try:
            image = read_image(path)
        except UnreadableFile:
            continue
        assert image.ndim == 3 and image.shape[2] == 3 and image.dtype in (np.uint8, np.uint16)


@pytest.mark.parametrize(
    "pixels",
    [zlib.compress(b"\0" * 97 * 12), zlib.compress(b"\0" * 97 * 24)[:-6], zlib.compress(b"\0" * 97 * 24)[:-1] + b"\0", b""],
    ids=["half the rows", "cut stream", "wrong checksum", "nothing"],
)
def test_a_png_whose_checksums_hold_but_whose_pixels_end_early_is_refused(pixels: bytes, tmp_path: Path) -> None:
    refused(files.png(RGB.reshape(24, -1), bits=8, colour=2, width=32, pixels=pixels), tmp_path)


def test_a_cmyk_jpeg_is_refused_with_what_to_do(tmp_path: Path) -> None:
    content = files.encoded(RGB, ".jpg")
    frame = content.index(b"\xff\xc0")
    length = struct.pack(">H", 8 + 3 * 4)
    four = content[:frame] + b"\xff\xc0" + length + content[frame + 4 : frame + 9] + b"\x04"
    four += b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3, 4)) + content[frame + 19 :]
    text = refused(four, tmp_path)
    assert "4 channels" in text and "CMYK" in text and text.endswith("save it as RGB")


def test_a_damaged_mask_is_refused_like_a_picture(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"m\.png: the file is cut off"):
        read_mask(files.written(tmp_path / "m.png", WHOLE["png"][:-3]))
