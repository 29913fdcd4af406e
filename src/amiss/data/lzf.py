"""LZF, the light compression of PCD files: literal runs and references back into what was already written.

A byte below 32 is followed by that many bytes and one to be copied. Any other holds a length in its upper three bits (7: a byte
with the rest follows) and the upper five bits of a distance whose lower eight follow. Lengths count from 2, distances from 1; a
piece may reach into itself. Source: the description of the format that comes with liblzf.
"""

from __future__ import annotations

from amiss.data.headers import Damaged

MOST = 88  # bytes that one compressed byte can stand for: three make up to 264
_CORRUPT = "its compressed data are corrupt"


def decompress(data: bytes, length: int) -> bytes:
    """What the data stand for, `length` bytes of it.

    raises  Damaged where a reference reaches before the start, the data end within a run, or the length is another
    """
    out = bytearray()
    place, end = 0, 0
    try:
        while place < len(data):
            head = data[place]
            if head < 32:
                stop = place + head + 2
                out += data[place + 1 : stop]
                place, end = stop, end + head + 1
                continue
            count, high = (head >> 5) + 2, (head & 31) << 8
            if count == 9:
                place += 1
                count += data[place]
            distance = high + data[place + 1] + 1
            place += 2
            _copy(out, end - distance, count)
            end += count
            if end > length:
                break
    except IndexError:
        raise Damaged(_CORRUPT) from None
    if len(out) != length or end != length:
        raise Damaged(f"{_CORRUPT}: they stand for {len(out):,} bytes where its header says {length:,}")
    return bytes(out)


def _copy(out: bytearray, start: int, count: int) -> None:
    """Append bytes from `start` on; where they reach beyond what is there, they repeat."""
    if start < 0:
        raise Damaged(f"{_CORRUPT}: they refer to what is before their start")
    piece = out[start : start + count]
    while len(piece) < count:
        piece += piece[: count - len(piece)]
    out += piece
