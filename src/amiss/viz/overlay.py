"""Lay a map over its picture, reduce pictures, cut out patches. Display only: no score is ever read from these pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadSample

Array = npt.NDArray[Any]
Box = tuple[int, int, int, int]

OPACITY = 0.65  # of the heat where the map reaches `high`: the defect stays visible below it
_RIMS = ((4, 0), (1, 0), (2, 255), (3, 255))  # distance of each line from the box and its grey


def heat(image_map: Array, low: float, high: float) -> Array:
    """A map in colours that stay ordered for every kind of colour vision and in grey: black, violet, orange, yellow.

    image_map  (H, W)     low, high  values shown as the first and the last colour; what lies beyond is clipped
    return     (H, W, 3) uint8 RGB; where high is not above low, values above `high` are last colour and the others first
    """
    import cv2

    colours = cv2.applyColorMap(_level(image_map, low, high), cv2.COLORMAP_INFERNO)
    return np.asarray(colours[..., ::-1], order="C")


def overlay(image: Array, image_map: Array, *, low: float, high: float) -> Array:
    """The picture with its map over it: untouched up to `low`, more and more covered from there to `high`.

    image   (H, W, 3) RGB uint8, uint16 or float32 in 0..1     image_map  (H, W)
    return  (H, W, 3) uint8 RGB     raises  BadSample where the map has another size than the picture
    """
    if image_map.shape != image.shape[:2]:
        raise BadSample(f"the map is {image_map.shape}, its picture {image.shape[:2]}; spread the map with image_map() first")
    level = _level(image_map, low, high)
    shown = level > 0
    blended: Array = eight_bits(image).copy()
    opacity = OPACITY * np.sqrt(level[shown].astype(np.float32) / 255)[:, None]  # (shown, 1)
    colours = heat(image_map, low, high)[shown]
    blended[shown] = np.rint(blended[shown] * (1 - opacity) + colours * opacity).astype(np.uint8)
    return blended


def eight_bits(image: Array) -> Array:
    """A picture as uint8 for the screen: the upper byte of uint16, 255 times a float; uint8 is returned as it is."""
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return np.asarray(image >> 8, np.uint8)
    return np.asarray(np.rint(np.clip(np.nan_to_num(image), 0, 1) * np.float32(255)), np.uint8)


def thumbnail(image: Array, side: int) -> Array:
    """The picture reduced until its longer side is at most `side` pixels; smaller pictures keep their size.

    image  (H, W, 3) RGB uint8, uint16 or float32     return  uint8 RGB, proportions kept, no side below 1
    """
    import cv2

    share = side / max(image.shape[:2])
    if share >= 1:
        return np.array(eight_bits(image))
    height, width = (max(1, round(length * share)) for length in image.shape[:2])
    return eight_bits(np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)))


def crop_with_box(image: Array, box: Box, side: int = 160, margin: float = 3.0) -> Array:
    """A place in a picture with its surroundings, the place framed by a white line between black ones.

    image   (H, W, 3) RGB uint8, uint16 or float32     box  (top, left, bottom, right), pixels, the last two excluded
    side    longer side of what is returned     margin  surroundings shown on each side, in lengths of the box's longer side
    return  uint8 RGB, proportions kept; near a border the view moves inwards, a smaller picture is shown whole
    """
    import cv2

    rows, columns = _inside(box[0], box[2], image.shape[0]), _inside(box[1], box[3], image.shape[1])
    reach = max(rows[1] - rows[0], columns[1] - columns[0]) * (1 + 2 * margin)
    (top, bottom), (left, right) = _view(rows, reach, image.shape[0]), _view(columns, reach, image.shape[1])
    share = side / max(bottom - top, right - left)
    size = max(1, round((right - left) * share)), max(1, round((bottom - top) * share))
    how = cv2.INTER_AREA if share < 1 else cv2.INTER_CUBIC
    crop = cv2.resize(eight_bits(image[top:bottom, left:right]), size, interpolation=how)
    ends = [round((end - start) * share) for end, start in zip((*columns, *rows), (left, left, top, top), strict=True)]
    for distance, grey in _RIMS:
        low = max(0, ends[0] - distance), max(0, ends[2] - distance)
        high = min(size[0], ends[1] + distance) - 1, min(size[1], ends[3] + distance) - 1
        cv2.rectangle(crop, low, high, (grey, grey, grey), 1)
    return np.asarray(crop)


def jpeg(image: Array, quality: int = 85) -> bytes:
    """A picture as the content of a JPEG file, 8 bits a channel.

    raises  BadSample for what JPEG cannot hold (a side above 65,500 pixels)
    """
    import cv2

    content = np.ascontiguousarray(eight_bits(image)[..., ::-1])
    try:
        done, encoded = cv2.imencode(".jpg", content, (cv2.IMWRITE_JPEG_QUALITY, quality))
    except cv2.error as error:
        raise BadSample(f"a picture of shape {image.shape} does not go into JPEG ({error.err}); reduce it") from error
    if not done:
        raise BadSample(f"a picture of shape {image.shape} does not go into JPEG; reduce it")
    return bytes(encoded)


def _level(image_map: Array, low: float, high: float) -> Array:
    """(H, W) map to (H, W) uint8: 0 up to low, 255 from high on; NaN counts as low."""
    values = np.asarray(image_map, np.float32)
    if not high > low:
        return np.where(values > high, 255, 0).astype(np.uint8)
    share = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(np.rint(np.nan_to_num(share) * 255), np.uint8)


def _inside(start: int, stop: int, length: int) -> tuple[int, int]:
    """A span moved and cut to lie in 0..length, at least one pixel long."""
    start = min(max(0, start), length - 1)
    return start, min(max(start + 1, stop), length)


def _view(span: tuple[int, int], reach: float, length: int) -> tuple[int, int]:
    """The span of about `reach` pixels around the middle of another one, shifted to lie in 0..length."""
    extent = min(length, max(span[1] - span[0], math.ceil(reach)))
    start = min(max(0, (span[0] + span[1] - extent) // 2), length - extent)
    return start, start + extent
