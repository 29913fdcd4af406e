"""TIFF pictures: tifffile reads the tags, the pixels are put together here from strips or tiles.

Every strip must hold exactly the bytes that its part of the picture needs: a reader that fills up what is missing would turn
a damaged file into a picture with a black or grey end. Read are the first page's 1- to 64-bit samples, uncompressed or as
LZW, deflate, LZMA, PackBits or 8-bit JPEG, in grey, RGB or palette, with or without alpha. Source: the TIFF 6 specification.
"""

from __future__ import annotations

import itertools
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from amiss.data.headers import Damaged, check_size, jpeg_header

Array = npt.NDArray[Any]

MAX_RASTER = 2**31
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_JPEG = 7
_COLOURS = {4: "a transparency mask", 5: "CMYK, meant for print", 8: "CIE Lab", 9: "ICC Lab", 32803: "a raw sensor mosaic"}
_NEEDED = {256, 257, 262}
_TAGS = _NEEDED | {258, 259, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339, 32997}
_COMPRESSIONS = {
    2: "CCITT fax", 3: "CCITT fax", 4: "CCITT fax", 6: "old JPEG", 34712: "JPEG 2000", 50000: "ZSTD", 50001: "WebP",
    50002: "JPEG XL",
}  # fmt: skip
_SAVE = "save it as 8- or 16-bit grey or RGB"
_CUT = "the file is cut off or its strips are damaged"


@dataclass(frozen=True)
class _Page:
    """The tags of the first page that matter. tall, wide  rows and columns of one strip or tile     bits  0 where mixed"""

    width: int
    height: int
    layers: int
    samples: int
    bits: int
    format: int
    extras: tuple[int, ...]
    photometric: int
    compression: int
    planes: int
    predictor: int
    fillorder: int
    orientation: int
    tiled: bool
    tall: int
    wide: int
    big: bool
    places: tuple[tuple[int, int], ...]
    colormap: Array | None

    @property
    def base(self) -> int:
        """Channels that show something; floats that are called grey come in threes where they measure x, y and z."""
        measured = self.format == 3 and self.samples == 3 and self.photometric == _BLACK_IS_ZERO
        return 3 if measured or self.photometric in (_RGB, _YCBCR) else 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one sample; bits that fill no whole byte stand in the next larger type."""
        return np.dtype(f"{ {2: 'i', 3: 'f'}.get(self.format, 'u') }{(self.bits + 7) // 8}")


def read_tiff(content: bytes) -> Array:
    """The first page as (H, W, 1 or 3), alpha laid over black, upright; in the file's own type, 12 bits scaled to 16.

    raises  Damaged when it is not whole, too large or of a kind that is not read
    """
    page = _page(content)
    _check(page)
    if not page.places or any(count < 1 or place + count > len(content) for place, count in page.places):
        raise Damaged(_CUT)
    pieces = (content[place : place + count] for place, count in page.places)
    if page.compression == _JPEG:
        return _jpeg(content, pieces)
    return upright(_photometric(page, _raster(page, pieces)), page.orientation)


def tiff_size(content: bytes) -> tuple[int, int]:
    """Rows and columns of the first page by its tags; raises Damaged as read_tiff does."""
    page = _page(content)
    return page.height, page.width


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
    with np.errstate(invalid="ignore", over="ignore"):
        shown = image * (alpha.astype(np.float32) / full)
    return np.asarray(shown if image.dtype.kind == "f" else np.rint(shown), image.dtype)


def _page(content: bytes) -> _Page:
    import tifffile

    try:
        with tifffile.TiffFile(BytesIO(content)) as file:
            page = file.pages[0]
            codes, kept = _codes(content, page.offset, file.byteorder, file.is_bigtiff), set(page.tags.keys())
            if (codes & _TAGS) - kept or not kept >= _NEEDED:
                raise Damaged("its tags are damaged")
            orientation, colormap = page.tags.get(274), page.colormap
            height, width, rows = int(page.imagelength), int(page.imagewidth), int(page.rowsperstrip)
            return _Page(
                width=width,
                height=height,
                layers=int(page.imagedepth),
                samples=int(page.samplesperpixel),
                bits=page.bitspersample if isinstance(page.bitspersample, int) else 0,
                format=int(page.sampleformat),
                extras=tuple(int(extra) for extra in page.extrasamples),
                photometric=int(page.photometric),
                compression=int(page.compression),
                planes=int(page.samplesperpixel) if page.planarconfig == 2 else 1,
                predictor=int(page.predictor),
                fillorder=int(page.fillorder),
                orientation=1 if orientation is None else int(orientation.value),
                tiled=bool(page.is_tiled),
                tall=int(page.tilelength) if page.is_tiled else min(rows or height, height),
                wide=int(page.tilewidth) if page.is_tiled else width,
                big=file.byteorder == ">",
                places=tuple(zip(map(int, page.dataoffsets), map(int, page.databytecounts), strict=True)),
                colormap=None if colormap is None else np.asarray(colormap),
            )
    except Damaged:
        raise
    except Exception as error:  # tifffile raises whatever its parsing meets
        raise Damaged(f"it cannot be read as TIFF ({error})") from error


def _codes(content: bytes, start: int, order: str, large: bool) -> set[int]:
    """The tags a directory lists; tifffile passes over those it cannot read, and they then take their defaults."""
    head, size, form = (8, 20, "Q") if large else (2, 12, "H")
    (count,) = struct.unpack_from(order + form, content, start)
    return {struct.unpack_from(order + "H", content, start + head + size * entry)[0] for entry in range(count)}


def _check(page: _Page) -> None:
    """Refuse what is too large or not read, by name, before anything is allocated."""
    check_size(page.width, page.height)
    if not (1 <= page.bits <= 16 or page.bits in (32, 64)):
        raise Damaged(f"its samples have {page.bits or 'unlike numbers of'} bits", _SAVE)
    if page.layers != 1:
        raise Damaged(f"it is a volume of {page.layers} layers", "save the layer that is wanted")
    if page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR):
        raise Damaged(f"its colours are {_COLOURS.get(page.photometric, f'of kind {page.photometric}')}", _SAVE)
    if page.photometric == _YCBCR and page.compression != _JPEG:
        raise Damaged("its colours are YCbCr without JPEG", _SAVE)
    if page.samples not in (page.base, page.base + 1) or (page.photometric == _PALETTE and (page.samples > 1 or page.bits > 8)):
        raise Damaged(f"it has {page.samples} channels", _SAVE)
    if page.compression not in (*_CODECS, _JPEG):
        name = _COMPRESSIONS.get(page.compression, f"kind {page.compression}")
        raise Damaged(f"it is compressed as {name}, which is not read", "save it uncompressed, as LZW or as deflate")
    if page.compression == _JPEG and (page.bits != 8 or page.samples != page.base or page.photometric == _PALETTE):
        raise Damaged("it is compressed as JPEG in a way that is not read", _SAVE)
    floating = page.format == 3
    if page.format not in (1, 2, 3, 4) or (floating and page.bits not in (16, 32, 64)):
        raise Damaged(f"its samples are of a kind that is not read (SampleFormat {page.format}, {page.bits} bits)", _SAVE)
    if page.predictor not in (1, 2, 3) or (page.predictor == 3) > floating or (page.predictor == 2 and page.bits % 8):
        raise Damaged(f"its predictor {page.predictor} is not read", "save it without a predictor")
    if page.fillorder != 1:
        raise Damaged("its bits are stored backwards (FillOrder 2)", _SAVE)
    if page.tall < 1 or page.wide < 1:
        raise Damaged(_CUT)
    if max(page.width * page.height, page.tall * page.wide) * page.samples * max(8, page.bits) // 8 > MAX_RASTER:
        raise Damaged(f"it asks for {page.width} x {page.height} pixels of {page.samples} x {page.bits} bits", "reduce it")


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


def _raster(page: _Page, pieces: Iterator[bytes]) -> Array:
    """All samples as they are stored, (H, W, S)."""
    raster = np.empty((page.height, page.width, page.samples), page.dtype)
    tops, lefts = range(0, page.height, page.tall), range(0, page.width, page.wide)
    for plane, top, left in itertools.product(range(page.planes), tops, lefts):
        piece = next(pieces, None)
        if piece is None:
            raise Damaged(_CUT)
        rows = page.tall if page.tiled else min(page.tall, page.height - top)
        block = _decoded(page, piece, rows)[: page.height - top, : page.width - left]
        channels = slice(plane, plane + 1) if page.planes > 1 else slice(None)
        raster[top : top + rows, left : left + page.wide, channels] = block
    return raster


def _decoded(page: _Page, piece: bytes, rows: int) -> Array:
    """One strip or tile, (rows, wide, samples of a plane)."""
    samples, dtype = page.samples // page.planes, page.dtype
    length = (page.wide * samples * page.bits + 7) // 8
    try:
        raw = _CODECS[page.compression](piece, rows * length, page.tall * length)
    except (zlib.error, lzma.LZMAError) as error:
        raise Damaged(f"{_CUT} ({error})") from error
    if len(raw) < rows * length:
        raise Damaged(_CUT)
    values = np.frombuffer(raw, np.uint8, rows * length).reshape(rows, length)
    if page.bits % 8:
        ones = np.unpackbits(values, axis=1)[:, : page.wide * samples * page.bits]
        return np.asarray(ones.reshape(rows, page.wide, samples, -1) @ (1 << np.arange(page.bits)[::-1]), dtype)
    if page.predictor == 3:
        values = _float_predictor(values, samples, dtype.itemsize)
    order: Literal["<", ">"] = ">" if page.big or page.predictor == 3 else "<"
    block = values.view(dtype.newbyteorder(order)).reshape(rows, page.wide, samples).astype(dtype, copy=False)
    return np.asarray(np.cumsum(block, axis=1, dtype=dtype)) if page.predictor == 2 else block


def _float_predictor(values: Array, samples: int, size: int) -> Array:
    """Undo Adobe's floating point predictor: bytes as differences along the row, all first bytes before all second ones."""
    rows, length = values.shape
    summed = np.cumsum(values.reshape(rows, -1, samples), axis=1, dtype=np.uint8)
    return np.ascontiguousarray(summed.reshape(rows, size, -1).swapaxes(1, 2)).reshape(rows, length)


def _photometric(page: _Page, raster: Array) -> Array:
    """Stored samples as colours: palette looked up, odd depths scaled to full range, white-is-zero turned, alpha over black."""
    if page.photometric == _PALETTE:
        return _palette(page, raster[..., 0])
    if page.bits % 8:
        raster = np.asarray(np.rint(raster * (np.iinfo(raster.dtype).max / (2**page.bits - 1))), raster.dtype)
    colours, alpha = raster[..., : page.base], raster[..., page.base :]
    if page.photometric == _WHITE_IS_ZERO:
        colours = (1 if raster.dtype.kind == "f" else np.iinfo(raster.dtype).max) - colours
    return over_black(colours, alpha) if alpha.shape[2] and page.extras in ((), (2,)) else colours


def _palette(page: _Page, index: Array) -> Array:
    """Colours by index, 8 bits each; some writers fill the 16-bit table with 8-bit values."""
    table = page.colormap
    if table is None or table.shape != (3, 2**page.bits):
        raise Damaged("its palette is damaged")
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
