"""TIFF pictures: tifffile reads the tags, the pixels are put together here from strips or tiles.

Every strip must hold exactly the bytes that its part of the picture needs: a reader that fills up what is missing would turn
a damaged file into a picture with a black or grey end. Read are the first page's 1- to 64-bit samples, uncompressed or as
LZW, deflate, LZMA, PackBits or 8-bit JPEG, in grey, RGB or palette, with or without alpha. Source: the TIFF 6 specification.
"""

from __future__ import annotations

import itertools
import lzma
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.data.headers import Damaged, check_size, jpeg_header

Array = npt.NDArray[Any]

MAX_RASTER = 2**31
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_COLOURS = {4: "a transparency mask", 5: "CMYK, meant for print", 8: "CIE Lab", 9: "ICC Lab", 32803: "a raw sensor mosaic"}
_SAVE = "save it as 8- or 16-bit grey or RGB"
_CUT = "the file is cut off or its strips are damaged"


def read_tiff(content: bytes) -> Array:
    """The first page as (H, W, 1 or 3), alpha laid over black, upright; in the file's own type, 12 bits scaled to 16.

    raises  Damaged when it is not whole, too large or of a kind that is not read
    """
    page = _page(content)
    _check(page)
    offsets, counts = list(page.dataoffsets), list(page.databytecounts)
    if not offsets or any(not count or place + count > len(content) for place, count in zip(offsets, counts, strict=True)):
        raise Damaged(_CUT)
    pieces = (content[place : place + count] for place, count in zip(offsets, counts, strict=True))
    if page.compression == 7:
        return _jpeg(content, pieces)
    image = _photometric(page, _raster(page, pieces))
    orientation = page.tags.get(274)
    return upright(image, 1 if orientation is None else orientation.value)


def upright(image: Array, orientation: int) -> Array:
    """Undo an EXIF orientation, 1 to 8; any other number means as it is."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def over_black(image: Array, alpha: Array) -> Array:
    """Colours (H, W, C) weighted by alpha (H, W, 1), both over the full range of their type."""
    full = np.float32(1 if image.dtype.kind == "f" else np.iinfo(image.dtype).max)
    shown = image * (alpha.astype(np.float32) / full)
    return np.asarray(shown if image.dtype.kind == "f" else np.rint(shown), image.dtype)


def _page(content: bytes) -> Any:
    import tifffile

    try:
        with tifffile.TiffFile(BytesIO(content)) as file:
            return file.pages[0]
    except Exception as error:  # tifffile raises whatever its parsing meets
        raise Damaged(f"it cannot be read as TIFF ({error})") from error


def _check(page: Any) -> None:
    """Refuse what is too large or not read, by name, before anything is allocated."""
    width, height, samples, bits = page.imagewidth, page.imagelength, page.samplesperpixel, page.bitspersample
    check_size(width, height)
    if not isinstance(bits, int) or not (1 <= bits <= 16 or bits in (32, 64)):
        raise Damaged(f"it has {bits} bits a sample", _SAVE)
    if page.imagedepth != 1:
        raise Damaged(f"it is a volume of {page.imagedepth} layers", "save the layer that is wanted")
    base = 3 if page.photometric in (_RGB, _YCBCR) else 1
    if page.photometric in _COLOURS or page.photometric not in (0, 1, 2, 3, 6):
        raise Damaged(f"its colours are {_COLOURS.get(int(page.photometric), f'of kind {int(page.photometric)}')}", _SAVE)
    if samples not in (base, base + 1) or (page.photometric == _PALETTE and (samples > 1 or bits > 8)):
        raise Damaged(f"it has {samples} channels", _SAVE)
    if page.compression not in _CODECS and page.compression != 7:
        name = getattr(page.compression, "name", page.compression)
        raise Damaged(f"it is compressed as {name}, which is not read", "save it uncompressed, as LZW or as deflate")
    if page.compression == 7 and (bits != 8 or samples != base or page.photometric == _PALETTE):
        raise Damaged("it is compressed as JPEG in a way that is not read", _SAVE)
    if page.compression != 7 and page.photometric == _YCBCR:
        raise Damaged("its colours are YCbCr", _SAVE)
    floating = page.sampleformat == 3
    if page.sampleformat not in (1, 2, 3, 4) or (floating and bits not in (16, 32, 64)):
        raise Damaged(f"its samples are of a kind that is not read (SampleFormat {page.sampleformat}, {bits} bits)", _SAVE)
    if page.predictor not in (1, 2, 3) or (page.predictor == 3) > floating or (page.predictor == 2 and bits % 8):
        raise Damaged(f"its predictor {page.predictor} is not read", "save it without a predictor")
    if page.fillorder != 1:
        raise Damaged("its bits are stored backwards (FillOrder 2)", _SAVE)
    if width * height * samples * max(8, bits) // 8 > MAX_RASTER or math.prod(_block(page)) * samples > MAX_RASTER:
        raise Damaged(f"it asks for {width} x {height} pixels of {samples} x {bits} bits", "reduce or crop the picture")


def _jpeg(content: bytes, pieces: Iterator[bytes]) -> Array:
    """Strips or tiles that are JPEG streams, each checked to its end, decoded by OpenCV, which also turns them upright."""
    import cv2

    for piece in pieces:
        try:
            jpeg_header(piece)
        except (struct.error, IndexError):
            raise Damaged(_CUT) from None
    image = _opencv(content)
    return image[..., None] if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _opencv(content: bytes) -> Array:
    import cv2

    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise Damaged(f"{_CUT} ({error.err})") from error
    if image is None:
        raise Damaged(_CUT)
    return np.asarray(image)


def _block(page: Any) -> tuple[int, int]:
    """Rows and columns of one strip or tile."""
    if page.is_tiled:
        return int(page.tilelength), int(page.tilewidth)
    return min(int(page.rowsperstrip) or page.imagelength, page.imagelength), int(page.imagewidth)


def _raster(page: Any, pieces: Iterator[bytes]) -> Array:
    """All samples as they are stored, (H, W, S)."""
    height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    planes = samples if page.planarconfig == 2 else 1
    tall, wide = _block(page)
    raster = np.empty((height, width, samples), _dtype(page))
    for plane, top, left in itertools.product(range(planes), range(0, height, tall), range(0, width, wide)):
        piece = next(pieces, None)
        if piece is None:
            raise Damaged(_CUT)
        rows = tall if page.is_tiled else min(tall, height - top)
        block = _decoded(page, piece, rows, wide, samples // planes)
        channels = slice(plane, plane + 1) if planes > 1 else slice(None)
        raster[top : top + rows, left : left + wide, channels] = block[: height - top, : width - left]
    return raster


def _dtype(page: Any) -> np.dtype[Any]:
    """Type of one sample; bits that fill no whole byte stand in the next larger type."""
    bits = page.bitspersample
    kind = {2: "i", 3: "f"}.get(int(page.sampleformat), "u")
    return np.dtype(f"{kind}{(bits + 7) // 8}")


def _decoded(page: Any, piece: bytes, rows: int, wide: int, samples: int) -> Array:
    """One strip or tile, (rows, wide, samples)."""
    bits, dtype = page.bitspersample, _dtype(page)
    length = (wide * samples * bits + 7) // 8
    try:
        raw = _CODECS[int(page.compression)](piece, rows * length, _block(page)[0] * length)
    except (zlib.error, lzma.LZMAError) as error:
        raise Damaged(f"{_CUT} ({error})") from error
    if len(raw) < rows * length:
        raise Damaged(_CUT)
    values = np.frombuffer(raw, np.uint8, rows * length).reshape(rows, length)
    if bits % 8:
        ones = np.unpackbits(values, axis=1)[:, : wide * samples * bits].reshape(rows, wide, samples, bits)
        return np.asarray(ones @ (1 << np.arange(bits)[::-1]), dtype)
    if page.predictor == 3:
        values = _float_predictor(values, samples, dtype.itemsize)
    big = page.predictor == 3 or page.parent.byteorder == ">"
    block = values.view(dtype.newbyteorder(">" if big else "<")).reshape(rows, wide, samples).astype(dtype, copy=False)
    return np.asarray(np.cumsum(block, axis=1, dtype=dtype)) if page.predictor == 2 else block


def _float_predictor(values: Array, samples: int, size: int) -> Array:
    """Undo Adobe's floating point predictor: bytes as differences along the row, all first bytes before all second ones."""
    rows, length = values.shape
    summed = np.cumsum(values.reshape(rows, -1, samples), axis=1, dtype=np.uint8)
    return np.ascontiguousarray(summed.reshape(rows, size, -1).swapaxes(1, 2)).reshape(rows, length)


def _photometric(page: Any, raster: Array) -> Array:
    """Stored samples as colours: palette looked up, odd depths scaled to full range, white-is-zero turned, alpha over black."""
    if page.photometric == _PALETTE:
        return _palette(page, raster[..., 0])
    if page.bitspersample % 8:
        full = np.iinfo(raster.dtype).max
        raster = np.asarray(np.rint(raster * (full / (2**page.bitspersample - 1))), raster.dtype)
    base = 3 if page.photometric == _RGB else 1
    colours, alpha = raster[..., :base], raster[..., base:]
    if page.photometric == _WHITE_IS_ZERO:
        colours = (1 if raster.dtype.kind == "f" else np.iinfo(raster.dtype).max) - colours
    meaning = [int(extra) for extra in page.extrasamples]
    return over_black(colours, alpha) if alpha.shape[2] and meaning in ([], [2]) else colours


def _palette(page: Any, index: Array) -> Array:
    """Colours by index, 8 bits each; some writers fill the 16-bit table with 8-bit values."""
    table = page.colormap
    if table is None or np.shape(table) != (3, 2**page.bitspersample):
        raise Damaged("its palette is damaged")
    table = np.asarray(table, np.uint16)
    colours = np.asarray(table if table.max() < 256 else table >> 8, np.uint8).T
    return np.asarray(colours[index])


def _stored(piece: bytes, wanted: int, most: int) -> bytes:
    return piece


def _deflate(piece: bytes, wanted: int, most: int) -> bytes:
    """Up to the end of the stream, where its checksum is; the last strip may be longer than the picture, but no bomb."""
    stream = zlib.decompressobj()
    raw = stream.decompress(piece, most + 1)
    if not stream.eof:
        raise Damaged(_CUT)
    return raw


def _lzma(piece: bytes, wanted: int, most: int) -> bytes:
    stream = lzma.LZMADecompressor()
    raw = stream.decompress(piece, most + 1)
    if not stream.eof:
        raise Damaged(_CUT)
    return raw


def _packbits(piece: bytes, wanted: int, most: int) -> bytes:
    raw, place = bytearray(), 0
    while place < len(piece) and len(raw) < wanted:
        head, place = piece[place], place + 1
        if head < 128:
            raw += piece[place : place + head + 1]
            place += head + 1
        elif head > 128:
            raw += piece[place : place + 1] * (257 - head)
            place += 1
    return bytes(raw)


def _lzw(piece: bytes, wanted: int, most: int) -> bytes:
    """LZW through OpenCV, which knows it only inside a TIFF: the codes become a grey 16-bit picture 1024 pixels wide.

    That road reports bad codes, which the one for 8-bit pictures answers with black. To fill whole rows the codes are
    preceded by groups of eight 9-bit codes, clear and zeros, which leave the rest aligned: 9 bytes each, standing for 6 or 7.
    """
    if piece[:1] != b"\x80" or piece[1:2] >= b"\x80":
        raise Damaged("its LZW data do not begin as TIFF 6 demands", "save it uncompressed or as deflate")
    padding = -wanted % 2048
    if 0 < padding < 36:
        padding += 2048
    sevens = padding % 6
    codes = _SIX * ((padding - 7 * sevens) // 6) + _SEVEN * sevens + piece
    rows = (wanted + padding) // 2048
    tags = {256: 1024, 257: rows, 258: 16, 259: 5, 262: 1, 273: 122, 277: 1, 278: rows, 279: len(codes)}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = struct.pack("<4sIH", b"II*\0", 8, len(tags)) + directory + bytes(4)
    return _opencv(head + codes).tobytes()[padding:]


def _group(*codes: int) -> bytes:
    return sum(code << 9 * (7 - place) for place, code in enumerate(codes)).to_bytes(9, "big")


_SIX, _SEVEN = _group(256, 0, 0, 0, 256, 0, 0, 0), _group(256, 0, 0, 0, 0, 0, 0, 0)
_CODECS: dict[int, Callable[[bytes, int, int], bytes]] = {
    1: _stored, 5: _lzw, 8: _deflate, 32773: _packbits, 32946: _deflate, 34925: _lzma,
}  # fmt: skip
