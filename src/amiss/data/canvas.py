"""What made pictures are drawn with: lengths, slow noise, a camera, a file. Lengths are given for a picture of 96 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Size = tuple[int, int]

_LIGHT = (0.93, 1.07)


def exposed(rng: np.random.Generator, scene: Array) -> Array:
    """What a camera makes of it: light that varies a little, noise, 8 bits."""
    image = scene * rng.uniform(*_LIGHT) + rng.normal(0, 2.5, scene.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def grid(size: Size) -> tuple[Array, Array]:
    """Row and column of every pixel as lengths, (H, W) each."""
    y, x = np.mgrid[: size[0], : size[1]] / unit(size)
    return y, x


def unit(size: tuple[int, ...]) -> float:
    """Pixels to a length of one: 1.0 where the shorter side has 96."""
    return min(size[0], size[1]) / 96


def smooth(rng: np.random.Generator, size: Size, length: float) -> Array:
    """Noise of unit variance, or nearly, that changes over `length`, (H, W)."""
    import cv2

    cells = [max(2, round(edge / unit(size) / length) + 1) for edge in size]
    coarse = rng.standard_normal(cells).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC), np.float64)


def write_png(path: Path, image: Array) -> None:
    """Write (H, W, 3) RGB or (H, W) grey uint8; folders are made as needed."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    path.write_bytes(cv2.imencode(".png", stored)[1].tobytes())
