"""Small made parts for tests and demonstrations, with defects and their masks: no real data, everything from a seed.

A *texture* is a coarse weave that fills the picture; an *object* is a toothed disc with a bore, lying a little differently
each time. Good ones vary in pose, light and noise as real ones do. Lengths grow with the picture: they are given for 96 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from amiss.data.canvas import Array, Size, exposed, grid, smooth, unit, write_png
from amiss.errors import BadField
from amiss.types import Sample, Truth

DEFECTS = ("scratch", "spot", "missing", "stain")


def texture(rng: np.random.Generator, size: Size = (96, 96)) -> Array:
    """A good piece of coarse weave, (H, W, 3) uint8."""
    image, _ = _texture(rng, size)
    return image


def part(rng: np.random.Generator, size: Size = (96, 96)) -> Array:
    """A good toothed disc on a dark ground, (H, W, 3) uint8."""
    image, _ = _part(rng, size)
    return image


def defect(rng: np.random.Generator, image: Array, *, kind: str | None = None, on: Array | None = None) -> tuple[Array, Array]:
    """The image with one defect, and the mask of what was changed, (H, W) bool, never empty.

    kind  one of DEFECTS, drawn where None     on  (H, W) bool, where the part is; everywhere where None
    """
    kind = kind or str(rng.choice(DEFECTS))
    if kind not in DEFECTS:
        raise BadField(f"defect {kind!r}: wanted one of {', '.join(DEFECTS)}")
    height, width = image.shape[:2]
    on = np.ones((height, width), bool) if on is None else on
    ground = np.median(image[~on], axis=0) if (~on).any() else np.full(3, 35.0)
    rows, columns = np.nonzero(_inside(on, unit(on.shape) * 6))
    pick = rng.integers(len(rows))
    cover = _SHAPES[kind](rng, (height, width), (float(rows[pick]), float(columns[pick]))) * on
    if kind == "missing":
        colour = ground + rng.normal(0, 3, image.shape)
    else:
        lighter = np.mean(image[rows[pick], columns[pick]]) < 128
        depth = {"scratch": 62, "spot": 58, "stain": 42}[kind] * rng.uniform(0.9, 1.2)
        tint = np.array((1.0, 0.8, 0.45)) if kind == "stain" else np.ones(3)
        colour = image + (depth if lighter else -depth) * tint
    mixed = image * (1 - cover[..., None]) + colour * cover[..., None]
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8), cover > 0.4


def samples(seed: int, count: int, kind: str, size: Size = (96, 96)) -> list[Sample]:
    """Good parts; the first ones stay the same when more are asked for."""
    return [
        Sample(id=f"{kind}-{seed}-{number}", image=_drawn(kind)(np.random.default_rng([seed, number]), size)[0])
        for number in range(count)
    ]


def defective_samples(seed: int, count: int, kind: str, size: Size = (96, 96)) -> list[tuple[Sample, Truth]]:
    """Parts with one defect each, the kinds of defect in turn."""
    made = []
    for number in range(count):
        name = DEFECTS[number % len(DEFECTS)]
        image, mask = _defective(np.random.default_rng([seed, number]), kind, size, name)
        sample = Sample(id=f"{kind}-{name}-{seed}-{number}", image=image)
        made.append((sample, Truth(label=True, kind=name, mask=mask)))
    return made


def make_folder(
    root: str | Path,
    *,
    seed: int = 0,
    kind: str = "texture",
    train: int = 12,
    good: int = 4,
    bad: int = 4,
    size: Size = (96, 96),
    masks: bool = True,
) -> Path:
    """One category as PNG files in the MVTec AD layout; `good` and `bad` are the numbers of test parts."""
    root = Path(root)
    for place, files in _pictures(seed, kind, size, (train, good, bad)):
        if masks or place.parts[0] != "ground_truth":
            write_png(root / place, files)
    return root


def _pictures(seed: int, kind: str, size: Size, counts: tuple[int, int, int]) -> Iterator[tuple[Path, Array]]:
    train, good, bad = counts
    for number in range(train):
        yield Path("train/good", f"{number:03}.png"), _drawn(kind)(np.random.default_rng([seed, 1, number]), size)[0]
    for number in range(good):
        yield Path("test/good", f"{number:03}.png"), _drawn(kind)(np.random.default_rng([seed, 2, number]), size)[0]
    for number in range(bad):
        name, stem = DEFECTS[number % len(DEFECTS)], f"{number // len(DEFECTS):03}"
        image, mask = _defective(np.random.default_rng([seed, 3, number]), kind, size, name)
        yield Path("test", name, f"{stem}.png"), image
        yield Path("ground_truth", name, f"{stem}_mask.png"), mask.astype(np.uint8) * np.uint8(255)


def _drawn(kind: str) -> Callable[[np.random.Generator, Size], tuple[Array, Array]]:
    if kind not in ("texture", "object"):
        raise BadField(f"kind {kind!r}: wanted texture or object")
    return _texture if kind == "texture" else _part


def _defective(rng: np.random.Generator, kind: str, size: Size, name: str) -> tuple[Array, Array]:
    image, on = _drawn(kind)(rng, size)
    return defect(rng, image, kind=name, on=on)


def _texture(rng: np.random.Generator, size: Size) -> tuple[Array, Array]:
    """Two crossed threads, bent a little by slow noise; where the part is: everywhere."""
    y, x = grid(size)
    turn = np.deg2rad(rng.uniform(-2, 2))
    bend = smooth(rng, size, 20) * 0.9
    across, along = x * np.cos(turn) + y * np.sin(turn) + bend, y * np.cos(turn) - x * np.sin(turn) - bend
    phase = rng.uniform(0, 2 * np.pi, 2)
    weave = np.sin(2 * np.pi * across / 8 + phase[0]) * 24 + np.sin(2 * np.pi * along / 6 + phase[1]) * 16
    grey = 130 + weave + smooth(rng, size, 14) * 5
    return exposed(rng, grey[..., None] * np.array((1.06, 1.0, 0.9))), np.ones(size, bool)


def _part(rng: np.random.Generator, size: Size) -> tuple[Array, Array]:
    """A disc with ten teeth and a bore; where the part is: its metal."""
    y, x = grid(size)
    scale = unit(size)
    middle = np.array(size) / scale / 2 + rng.uniform(-2, 2, 2)
    dy, dx = y - middle[0], x - middle[1]
    radius, angle = np.hypot(dy, dx), np.arctan2(dy, dx) - rng.uniform(-0.15, 0.15)
    outer = 34 + 3 * np.tanh(4 * np.cos(10 * angle))
    metal = np.clip((outer - radius) * scale + 0.5, 0, 1) * np.clip((radius - 9) * scale + 0.5, 0, 1)
    shine = 165 + 18 * np.cos(2 * angle + 0.6) + 6 * np.sin(radius * 1.4) + smooth(rng, size, 16) * 4
    ground = 42 + 0.08 * (x + y) + smooth(rng, size, 18) * 3
    grey = ground * (1 - metal) + shine * metal
    return exposed(rng, grey[..., None] * np.array((0.97, 1.0, 1.04))), metal > 0.5


def _inside(on: Array, margin: float) -> Array:
    """Where the part is, away from the border of the picture, if that leaves anything."""
    edge = min(round(margin), (min(on.shape) - 1) // 2)
    inner = np.zeros_like(on)
    inner[edge : on.shape[0] - edge, edge : on.shape[1] - edge] = True
    for place in (on & inner, on):
        if place.any():
            return np.asarray(place)
    raise BadField("the part covers no pixel; give a place for the defect")


def _scratch(rng: np.random.Generator, size: Size, at: tuple[float, float]) -> Array:
    """A bent line through `at`, 2 to 3 wide and 25 to 45 long; cover, (H, W) in 0..1."""
    y, x, scale = *grid(size), unit(size)
    turn, bow = rng.uniform(0, np.pi), rng.uniform(-0.008, 0.008)
    dy, dx = y - at[0] / scale, x - at[1] / scale
    along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    distance = np.abs(across - bow * along**2)
    half = rng.uniform(1.0, 1.5)
    return np.asarray(np.clip(half + 0.5 - distance, 0, 1) * np.clip(rng.uniform(12, 22) - np.abs(along), 0, 1))


def _blob(rng: np.random.Generator, size: Size, at: tuple[float, float], radius: float, soft: float) -> Array:
    """A round patch with an uneven rim; cover, (H, W) in 0..1, falling to 0 over `soft`."""
    y, x, scale = *grid(size), unit(size)
    dy, dx = y - at[0] / scale, x - at[1] / scale
    angle, phase = np.arctan2(dy, dx), rng.uniform(0, 2 * np.pi, 2)
    rim = radius * (1 + 0.15 * np.sin(2 * angle + phase[0]) + 0.1 * np.sin(3 * angle + phase[1]))
    return np.asarray(np.clip((rim - np.hypot(dy, dx)) / soft + 0.5, 0, 1))


def _spot(rng: np.random.Generator, size: Size, at: tuple[float, float]) -> Array:
    return _blob(rng, size, at, rng.uniform(3.5, 5.5), 1)


def _missing(rng: np.random.Generator, size: Size, at: tuple[float, float]) -> Array:
    return _blob(rng, size, at, rng.uniform(8, 11), 1)


def _stain(rng: np.random.Generator, size: Size, at: tuple[float, float]) -> Array:
    return _blob(rng, size, at, rng.uniform(9, 13), 5)


_SHAPES: dict[str, Callable[[np.random.Generator, Size, tuple[float, float]], Array]] = {
    "scratch": _scratch, "spot": _spot, "missing": _missing, "stain": _stain,
}  # fmt: skip
