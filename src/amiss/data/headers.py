"""What an image file says of itself before anything is decoded: format, size, which way up, and whether its end is there.

A decoder would happily allocate what a header asks for, and fill the missing half of a truncated picture with grey; both are
refused here, from the structure of the file alone. Sources: the PNG, JPEG (T.81), EXIF, BMP and RIFF/WebP specifications.
TIFF has a module of its own.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAX_PIXELS = 200_000_000
_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_EXIF = b"Exif\0\0"
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_CUT = "the file is cut off"


class Damaged(Exception):
    """The file is not a whole picture that can be read; the text says why, `remedy` what to do about it."""

    def __init__(self, reason: str, remedy: str = "replace or remove it") -> None:
        super().__init__(reason)
        self.remedy = remedy


@dataclass(frozen=True)
class Header:
    """What is known before decoding.

    format  "png", "jpeg", "bmp", "webp" or "tiff"     width, height  as stored, 0 for TIFF
    alpha   whether a decoder should be asked for it     lossy  values near an edge are not exact
    orientation  1 to 8 as EXIF numbers them
    """

    format: str
    width: int = 0
    height: int = 0
    alpha: bool = False
    lossy: bool = False
    orientation: int = 1


def read_header(content: bytes) -> Header:
    """What an image file says of itself, after checking that it is whole.

    raises  Damaged when the format is unknown, the file is cut off or corrupt in a way its structure shows, or too large
    """
    if not content:
        raise Damaged("the file is empty")
    try:
        header = _header(content)
    except (struct.error, IndexError):
        raise Damaged(_CUT) from None
    if header.format != "tiff":
        check_size(header.width, header.height)
    return header


def check_size(width: int, height: int) -> None:
    """raises  Damaged when a picture has no pixels, or more than are read"""
    if width < 1 or height < 1:
        raise Damaged(f"its header says {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        most = f"more than the {MAX_PIXELS // 10**6} million that are read"
        raise Damaged(f"its header asks for {width} x {height} pixels, {most}", "reduce or crop the picture")


def kind_of(head: bytes) -> str:
    """The format whose mark the first bytes of a file carry, as its users write it; "" for none that is read."""
    if head.startswith(_TIFF):
        return "TIFF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    return next((name for mark, name in ((_PNG, "PNG"), (b"\xff\xd8", "JPEG"), (b"BM", "BMP")) if head.startswith(mark)), "")


def _header(content: bytes) -> Header:
    kind = kind_of(content)
    if kind == "TIFF":
        return Header("tiff")
    if read := {"PNG": _png, "JPEG": jpeg_header, "BMP": _bmp, "WebP": _webp}.get(kind):
        return read(content)
    raise Damaged("not a PNG, JPEG, TIFF, BMP or WebP picture, whatever its name says", "save it as one of these or remove it")


def _png(content: bytes) -> Header:
    """Size from the first chunk; alpha from colour types 4 and 6, or a palette with transparent entries."""
    chunks = dict(_png_chunks(content))
    if len(chunks.get(b"IHDR", b"")) != 13 or b"IDAT" not in chunks:
        raise Damaged("it holds no pixels")
    if b"acTL" in chunks:
        raise Damaged("it is an animation", "save the frame that is wanted")
    width, height, _, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    alpha = colour in (4, 6) or (colour == 3 and b"tRNS" in chunks)
    return Header("png", width, height, alpha, orientation=_orientation(chunks.get(b"eXIf", b"")))


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Walk the chunks up to IEND; each carries its length and a checksum."""
    view, place = memoryview(content), len(_PNG)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        if end > len(content):
            break
        (checksum,) = struct.unpack_from(">I", content, end - 4)
        if zlib.crc32(view[place + 4 : end - 4]) != checksum:
            raise Damaged(f"the checksum of its {kind.decode('latin1')!r} chunk is wrong")
        yield kind, view[place + 8 : end - 4]
        if kind == b"IEND":
            return
        place = end
    raise Damaged(_CUT)


def jpeg_header(content: bytes) -> Header:
    """Walk the markers through every scan to EOI, which a truncated file does not have."""
    place, frame, orientation, scans = 2, None, 1, 0
    while True:
        while content[place : place + 2] == b"\xff\xff":
            place += 1
        if content[place] != 0xFF:
            raise Damaged("its markers are corrupt")
        marker = content[place + 1]
        if marker == 0xD9:
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            place += 2
            continue
        (length,) = struct.unpack_from(">H", content, place + 2)
        segment = content[place + 4 : place + 2 + length]
        place += 2 + length
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = struct.unpack_from(">HHB", segment, 1)
        elif marker == 0xE1 and segment.startswith(_EXIF):
            orientation = _orientation(segment)
        elif marker == 0xDA:
            place, scans = _scan_end(content, place), scans + 1
    if frame is None or not scans:
        raise Damaged("it holds no pixels")
    height, width, channels = frame
    if channels not in (1, 3):
        raise Damaged(f"it has {channels} channels, as CMYK pictures for print do; wanted grey or RGB", "save it as RGB")
    return Header("jpeg", width, height, lossy=True, orientation=orientation)


def _scan_end(content: bytes, place: int) -> int:
    found = _SCAN_END.search(content, place)
    if found is None:
        raise Damaged(_CUT)
    return found.start()


def _orientation(exif: bytes | memoryview) -> int:
    """Tag 274 of the first directory of an EXIF block, 1 where it is absent or makes no sense."""
    block = bytes(exif).removeprefix(_EXIF)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (place,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, place)
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", block, entry)
            if tag == 274 and kind == 3:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _bmp(content: bytes) -> Header:
    """Size and depth; rows are whole when the file is as long as they ask for."""
    size, start, header = struct.unpack_from("<I4xII", content, 2)
    compression, stored, masks = 0, 0, (0, 0, 0, 0)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
    else:
        width, height, _, bits, compression, stored = struct.unpack_from("<iiHHII", content, 18)
    if compression == 3:
        masks = struct.unpack_from("<IIII" if header >= 56 else "<III", content, 54)
    height = abs(height)
    if compression not in (0, 1, 2, 3):
        raise Damaged(f"its pixels are stored in a way that is not read (BMP compression {compression})", "save it as PNG")
    if compression == 3 and bits == 32 and masks[:3] != (0xFF0000, 0xFF00, 0xFF) and header < 56:
        raise Damaged("its colours lie in an order that is not read (BMP bit fields)", "save it as PNG")
    if compression in (0, 3):
        stored = (max(width, 0) * bits + 31) // 32 * 4 * height
    if max(size, start + stored) > len(content):
        check_size(width, height)
        raise Damaged(_CUT)
    return Header("bmp", width, height, alpha=bits == 32 and len(masks) == 4 and masks[3] != 0)


def _webp(content: bytes) -> Header:
    """Walk the chunks; the picture itself is VP8 or VP8L, what surrounds it stands in VP8X."""
    (size,) = struct.unpack_from("<I", content, 4)
    chunks: dict[bytes, memoryview] = {}
    end, place = size + 8, 12
    if end > len(content):
        raise Damaged(_CUT)
    while place + 8 <= end:
        kind, length = struct.unpack_from("<4sI", content, place)
        if place + 8 + length > end:
            raise Damaged(_CUT)
        chunks.setdefault(kind, memoryview(content)[place + 8 : place + 8 + length])
        place += 8 + length + length % 2
    if b"ANIM" in chunks or b"ANMF" in chunks:
        raise Damaged("it is an animation", "save the frame that is wanted")
    orientation = _orientation(chunks.get(b"EXIF", b""))
    if picture := chunks.get(b"VP8L"):
        (bits,) = struct.unpack_from("<I", picture, 1)
        return Header("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, alpha=True, orientation=orientation)
    if picture := chunks.get(b"VP8 "):
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", picture, 6))
        return Header("webp", width, height, b"ALPH" in chunks, lossy=True, orientation=orientation)
    raise Damaged("it holds no pixels")
