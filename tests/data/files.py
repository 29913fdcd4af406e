"""Picture files made by hand, where no library at hand writes them, and by OpenCV where one does."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

PNG = b"\x89PNG\r\n\x1a\n"


def colours(height: int = 24, width: int = 32, dtype: str = "uint8", channels: int = 3) -> Array:
    """A picture without symmetry over the full range of its type: smooth, with a bright block in the top left corner."""
    y, x = np.mgrid[:height, :width]
    planes = [x / max(width - 1, 1), y / max(height - 1, 1), (x + y) / max(width + height - 2, 1), (x * y % 17) / 16]
    image = np.stack(planes[:channels], axis=2)
    image[: height // 4, : width // 4] = 1
    kind = np.dtype(dtype)
    return np.asarray(image, kind) if kind.kind == "f" else np.asarray(np.rint(image * np.iinfo(kind).max), kind)


def encoded(image: Array, suffix: str, *parameters: int) -> bytes:
    """An RGB, RGBA or grey array as a file's bytes, by OpenCV."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[image.shape[2]])
    done, content = cv2.imencode(suffix, image, list(parameters))
    assert done
    return bytes(content)


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: Array, *, bits: int, colour: int, width: int, before: bytes = b"", pixels: bytes | None = None) -> bytes:
    """A PNG of rows (H, bytes a row); `before` are whole chunks that stand ahead of the pixels."""
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0))
    data = zlib.compress(raw) if pixels is None else pixels
    return PNG + head + before + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def exif(orientation: int, order: str = "<") -> bytes:
    """An EXIF block that knows nothing but the orientation."""
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(order + "HIHHHIHHI", 42, 8, 1, 274, 3, 1, orientation, 0, 0)


def turned(image: Array, orientation: int) -> Array:
    """How a stored image is to be shown, by the words of the EXIF standard."""
    ways = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: np.rot90(a, 2),
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, 1),
    }
    return np.ascontiguousarray(ways[orientation](image))


def with_app1(jpeg: bytes, block: bytes) -> bytes:
    segment = b"Exif\0\0" + block
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webp_with_exif(webp: bytes, size: tuple[int, int], block: bytes) -> bytes:
    """A plain WebP wrapped into the extended format with an EXIF chunk."""
    kind, (length,) = webp[12:16], struct.unpack_from("<I", webp, 16)
    sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
    return riff((b"VP8X", b"\x08\0\0\0" + sides), (kind, webp[20 : 20 + length]), (b"EXIF", block))


def bmp(
    width: int, height: int, bits: int, body: bytes, *, compression: int = 0, palette: bytes = b"", masks: bytes = b""
) -> bytes:
    """A BMP with a 40-byte header, or a longer one where four colour masks are given."""
    size = 56 if len(masks) == 16 else 40
    head = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, compression, len(body), 0, 0, len(palette) // 4, 0)
    start = 14 + len(head) + len(masks) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + masks + palette + body


def bmp_rows(image: Array) -> bytes:
    """Rows of BGR pixels, each padded to four bytes, in the order given."""
    length = (image.shape[1] * 3 + 3) // 4 * 4
    return b"".join(row[:, ::-1].tobytes().ljust(length, b"\0") for row in image)


def tiff(
    strips: list[bytes], width: int, height: int, *, bits: int = 8, samples: int = 1, order: str = "<", **tags: Any
) -> bytes:
    """A TIFF of ready strips or tiles; tags by name, numbers or lists of them. A grey picture in one strip unless told."""
    numbers = {
        "compression": 259, "photometric": 262, "fillorder": 266, "orientation": 274, "rowsperstrip": 278, "planar": 284,
        "predictor": 317, "colormap": 320, "tilewidth": 322, "tilelength": 323, "extrasamples": 338, "sampleformat": 339,
        "depth": 32997,
    }  # fmt: skip
    values: dict[int, list[int]] = {256: [width], 257: [height], 258: [bits] * samples, 259: [1], 262: [1], 277: [samples]}
    values |= {numbers[name]: list(np.atleast_1d(value)) for name, value in tags.items()}
    tiled = 322 in values
    values[324 if tiled else 273], values[325 if tiled else 279] = [0] * len(strips), [len(strip) for strip in strips]
    if not tiled:
        values.setdefault(278, [height])
    place = 8 + 2 + 12 * len(values) + 4
    outside = b""
    lists = {tag: value for tag, value in values.items() if len(value) > 1}
    places = {}
    for tag, value in lists.items():
        places[tag] = place + len(outside)
        outside += bytes(4 * len(value))
    starts = np.cumsum([place + len(outside), *(len(strip) for strip in strips)])[:-1]
    values[324 if tiled else 273] = [int(start) for start in starts]
    blocks = b"".join(struct.pack(f"{order}{len(values[tag])}I", *values[tag]) for tag in lists)
    entries = b"".join(
        struct.pack(order + "HHII", tag, 4, len(value), places.get(tag, value[0])) for tag, value in sorted(values.items())
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(values))
    return head + entries + bytes(4) + blocks + b"".join(strips)


def lzw(data: bytes) -> bytes:
    """TIFF's LZW: codes from the highest bit on, 9 to 12 bits, one bit wider one code early."""
    bits: list[str] = []
    table: dict[bytes, int] = {}

    def clear() -> None:
        bits.append(f"{256:0{width()}b}")
        table.clear()
        table.update({bytes([value]): value for value in range(256)})

    def width() -> int:
        return 9 if not table else max(9, (len(table) + 2).bit_length())

    clear()
    word = b""
    for value in data:
        longer = word + bytes([value])
        if longer in table:
            word = longer
            continue
        bits.append(f"{table[word]:0{width()}b}")
        table[longer] = len(table) + 2
        if len(table) + 2 >= 4094:
            clear()
        word = bytes([value])
    if word:
        bits.append(f"{table[word]:0{width()}b}")
        table[word + b"end"] = len(table) + 2
    bits.append(f"{257:0{width()}b}")
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")
