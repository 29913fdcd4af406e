"""The only place that knows file formats: a path becomes a Sample, a mask file becomes a mask.

Pictures: PNG, JPEG, TIFF, BMP, WebP; 8 or 16 bits, float TIFF in 0..1; grey, colour, palette, with or without alpha (shown
over black); turned upright as their EXIF orientation says.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.data.headers import Damaged, Header, read_header
from amiss.errors import BadSample, UnreadableFile
from amiss.types import Sample

Array = npt.NDArray[Any]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".bmp", ".dib", ".webp"})
MAX_PIXELS = 200_000_000
MAX_BYTES = 2**31


def is_picture(path: Path) -> bool:
    """Whether the name ends like a picture that can be read, and is not a hidden file."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_sample(path: str | os.PathLike[str], *, id: str | None = None, part: str = "") -> Sample:
    """One picture as a Sample whose id is its path.

    raises  UnreadableFile naming the file and the reason
    """
    name = os.fspath(path)
    try:
        return Sample(id=id or name, part=part, image=read_image(path))
    except BadSample as error:
        raise UnreadableFile(f"{printable(name)}: {error}") from error


def read_image(path: str | os.PathLike[str]) -> Array:
    """A picture file as (H, W, 3) RGB, uint8, uint16 or float32, upright.

    raises  UnreadableFile when it is missing, empty, truncated, corrupt, too large or of an unknown format
    """
    content, header = _open(path)
    try:
        image = _decode_tiff(content) if header.format == "tiff" else _decode(content)
    except Damaged as error:
        raise UnreadableFile(f"{printable(path)}: {error}; replace or remove it") from error
    return np.ascontiguousarray(_colour(image, path))


def read_mask(path: str | os.PathLike[str]) -> Array:
    """A mask file as (H, W) bool: True where any channel is not zero.

    raises  UnreadableFile as read_image does
    """
    return np.asarray(read_image(path).any(axis=2))


def printable(path: str | os.PathLike[str]) -> str:
    """A path as text that can always be printed: bytes that are not UTF-8 stand as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _open(path: str | os.PathLike[str]) -> tuple[bytes, Header]:
    """The file's bytes and its header, refused before decoding where it is too large or not whole."""
    try:
        size = os.stat(path).st_size
        if size > MAX_BYTES:
            raise UnreadableFile(f"{printable(path)}: {size / 2**30:.1f} GB; the largest file read is 2 GB")
        content = Path(path).read_bytes()
        header = read_header(content)
        if header.format == "tiff":
            header = _tiff_header(content)
    except OSError as error:
        raise UnreadableFile(f"{printable(path)}: {error.strerror or error}") from error
    except Damaged as error:
        raise UnreadableFile(f"{printable(path)}: {error}; replace or remove it") from error
    if header.width * header.height > MAX_PIXELS:
        raise UnreadableFile(
            f"{printable(path)}: its header asks for {header.width} x {header.height} pixels, more than the "
            f"{MAX_PIXELS // 10**6} million that are read; reduce the picture"
        )
    if header.width < 1 or header.height < 1:
        raise UnreadableFile(f"{printable(path)}: its header says {header.width} x {header.height} pixels; replace it")
    return content, header


def _decode(content: bytes) -> Array:
    """OpenCV's decoder, EXIF orientation applied; channels in RGB order, alpha laid over black."""
    import cv2

    flags = cv2.IMREAD_UNCHANGED if _has_alpha(content) else cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise Damaged(f"it cannot be decoded ({error.err})") from error
    if image is None:
        raise Damaged("it cannot be decoded")
    if image.ndim == 3 and image.shape[2] == 4:
        image = _over_black(image)
    return image[..., ::-1] if image.ndim == 3 else image


def _has_alpha(content: bytes) -> bool:
    """PNG colour types 4 and 6, palettes with a tRNS chunk, and WebP that says so."""
    if content[:4] == b"\x89PNG":
        return content[25] in (4, 6) or b"tRNS" in content[: content.find(b"IDAT")]
    if content[:4] == b"RIFF":
        return content[12:16] == b"VP8L" or (content[12:16] == b"VP8X" and bool(content[20] & 0x10))
    return False


def _over_black(image: Array) -> Array:
    alpha = image[..., 3:].astype(np.float32) / np.iinfo(image.dtype).max
    return np.asarray(np.rint(image[..., :3] * alpha), image.dtype)


def _tiff_header(content: bytes) -> Header:
    import tifffile

    try:
        with tifffile.TiffFile(BytesIO(content)) as file:
            page = file.pages[0]
            return Header("tiff", int(page.imagewidth), int(page.imagelength))
    except Exception as error:  # tifffile raises whatever its parsing meets
        raise Damaged(f"it cannot be read as TIFF ({error})") from error


def _decode_tiff(content: bytes) -> Array:
    """The first page; codecs that tifffile lacks are left to OpenCV."""
    import tifffile

    try:
        with tifffile.TiffFile(BytesIO(content)) as file:
            page = file.pages[0]
            orientation = page.tags.get(274)
            turn = int(orientation.value) if orientation is not None else 1
            image, photometric = page.asarray(), page.photometric.name
    except Exception as error:  # tifffile raises whatever its parsing meets
        if "imagecodecs" in str(error):
            return _decode(content)
        raise Damaged(f"it cannot be read as TIFF ({error})") from error
    if photometric == "PALETTE":
        return _decode(content)
    if photometric == "MINISWHITE":
        image = np.iinfo(image.dtype).max - image
    if image.ndim == 3 and image.shape[0] in (3, 4) and image.shape[2] not in (1, 3, 4):
        image = np.moveaxis(image, 0, 2)  # planes stored one after another
    if image.ndim == 3 and image.shape[2] == 4 and image.dtype.kind == "u":
        image = _over_black(image)
    return _upright(image, turn)


def _upright(image: Array, orientation: int) -> Array:
    """Undo an EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def _colour(image: Array, path: str | os.PathLike[str]) -> Array:
    """Three channels of a depth that a Sample takes."""
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * np.uint8(255)
    if image.dtype.kind == "f":
        image = image.astype(np.float32)
    if image.dtype not in (np.uint8, np.uint16, np.float32) or image.ndim not in (2, 3):
        raise UnreadableFile(
            f"{printable(path)}: {image.dtype} values in shape {image.shape}; wanted 8- or 16-bit or float pictures"
        )
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[2] not in (1, 3):
        raise UnreadableFile(f"{printable(path)}: {image.shape[2]} channels; wanted grey, RGB or RGBA")
    return np.broadcast_to(image, (*image.shape[:2], 3)) if image.shape[2] == 1 else image
