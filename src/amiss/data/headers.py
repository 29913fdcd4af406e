"""What an image file says of itself before anything is decoded: format, size, and whether its end is there.

A decoder would happily allocate what a header asks for, and fill the missing half of a truncated picture with grey; both are
refused here, from a few bytes at either end. Sources: the PNG, JPEG (T.81), BMP, RIFF/WebP and TIFF 6 specifications.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

_PNG = b"\x89PNG\r\n\x1a\n"


class Damaged(Exception):
    """The file is not a whole picture of its format; the text says what is wrong."""


@dataclass(frozen=True)
class Header:
    """format  "png", "jpeg", "bmp", "webp" or "tiff"     width, height  pixels, 0 where the format needs a decoder"""

    format: str
    width: int
    height: int


def read_header(content: bytes) -> Header:
    """Format and size of an image file, after checking that it is whole.

    raises  Damaged when the format is unknown, or the file is cut off or corrupt in a way its structure shows
    """
    if not content:
        raise Damaged("the file is empty")
    try:
        if content.startswith(_PNG):
            return _png(content)
        if content.startswith(b"\xff\xd8"):
            return _jpeg(content)
        if content.startswith(b"BM"):
            return _bmp(content)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp(content)
    except (struct.error, IndexError):
        raise Damaged("the file is cut off") from None
    if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return Header("tiff", 0, 0)
    raise Damaged("not a PNG, JPEG, TIFF, BMP or WebP picture")


def _png(content: bytes) -> Header:
    """Walk the chunks; each carries its length and a checksum."""
    width, height = struct.unpack_from(">II", content, 16)
    place = len(_PNG)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        if end > len(content):
            break
        (checksum,) = struct.unpack_from(">I", content, end - 4)
        if zlib.crc32(memoryview(content)[place + 4 : end - 4]) != checksum:
            raise Damaged(f"the checksum of its {kind.decode('latin1')} chunk is wrong")
        if kind == b"IEND":
            return Header("png", width, height)
        place = end
    raise Damaged("the file is cut off")


def _jpeg(content: bytes) -> Header:
    """Walk the markers to the frame header; the last marker of a whole file is EOI."""
    if b"\xff\xd9" not in content[-4096:]:
        raise Damaged("the file is cut off")
    place = 2
    while True:
        while content[place] == 0xFF and content[place + 1] == 0xFF:
            place += 1
        if content[place] != 0xFF:
            raise Damaged("its markers are corrupt")
        marker = content[place + 1]
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            place += 2
            continue
        (length,) = struct.unpack_from(">H", content, place + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, place + 5)
            return Header("jpeg", width, height)
        if marker in (0xD9, 0xDA):
            raise Damaged("it has no frame header")
        place += 2 + length


def _bmp(content: bytes) -> Header:
    size, start, header = struct.unpack_from("<I4xII", content, 2)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", content, 18)
    width, height = abs(width), abs(height)
    if compression in (0, 3) and start + ((width * bits + 31) // 32 * 4) * height > len(content):
        raise Damaged("the file is cut off")
    if size > len(content):
        raise Damaged("the file is shorter than its header says")
    return Header("bmp", width, height)


def _webp(content: bytes) -> Header:
    (size,) = struct.unpack_from("<I", content, 4)
    if size + 8 > len(content):
        raise Damaged("the file is cut off")
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(content[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", content, 26))
    else:
        raise Damaged("its first chunk is not a WebP picture")
    return Header("webp", width, height)
