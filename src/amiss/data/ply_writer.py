"""Clouds as PLY files: binary little endian, with normals, colours and raw scores where they are given.

Colours are the caller's: what a score is to look like hangs on a model's thresholds and not on one cloud. The colours that the
reports give to a map are those of `amiss.viz.overlay.heat(scores[None], low, high)[0]`.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.data.readers import printable
from amiss.errors import BadSample, CannotWrite

Array = npt.NDArray[Any]

_KINDS = {"<f4": "float", "|u1": "uchar"}


def write_ply(
    path: str | os.PathLike[str],
    points: Array,
    *,
    scores: Array | None = None,
    colours: Array | None = None,
    normals: Array | None = None,
) -> None:
    """Write a cloud; an old file stays whole until the new one is complete.

    points  (N, 3) finite     normals  (N, 3)     colours  (N, 3) uint8 RGB     scores  (N,), kept raw as the property `score`
    raises  BadSample for other shapes, types or no points; CannotWrite naming the file and the reason
    """
    columns = [_checked(points, "points", "x y z"), *_given(normals, "normals", "nx ny nz")]
    columns += [*_given(colours, "colours", "red green blue"), *_given(scores, "scores", "score")]
    if any(len(values) != len(points) for _, values in columns):
        counts = ", ".join(f"{len(values)} of {names}" for names, values in columns)
        raise BadSample(f"a PLY holds as many of everything as points; met {counts}")
    form = np.dtype([(name, values.dtype) for names, values in columns for name in names.split()])
    table = np.empty(len(points), form)
    for names, values in columns:
        for name, column in zip(names.split(), values.T, strict=True):
            table[name] = column
    lines = [f"property {_KINDS[values.dtype.str]} {name}" for names, values in columns for name in names.split()]
    head = "\n".join(["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}", *lines, "end_header", ""])
    _write(Path(path), head.encode(), table)


def _given(values: Array | None, what: str, names: str) -> list[tuple[str, Array]]:
    return [] if values is None else [_checked(values, what, names)]


def _checked(values: Array, what: str, names: str) -> tuple[str, Array]:
    """The names of the properties and their values, (N, number of names)."""
    wide = np.asarray(values)
    width, wanted = len(names.split()), np.dtype("u1" if what == "colours" else "<f4")
    if wide.ndim == 1 and width == 1:
        wide = wide[:, None]
    if wide.ndim != 2 or wide.shape[1] != width or not len(wide):
        raise BadSample(f"{what} are {np.shape(values)}, wanted (N{f', {width}' * (width > 1)}) with N > 0")
    if (wide.dtype.kind not in "fiu") or (what == "colours" and wide.dtype != np.uint8):
        raise BadSample(f"{what} are {wide.dtype}, wanted {wanted}")
    with np.errstate(over="ignore"):
        cast = wide.astype(wanted)
    if what == "points" and not np.isfinite(cast).all():
        raise BadSample("points hold NaN or infinity; drop those rows first")
    return names, cast


def _write(target: Path, head: bytes, table: Array) -> None:
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with unfinished.open("xb") as file:
            file.write(head)
            file.write(table.data)
        os.replace(unfinished, target)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotWrite(f"{printable(target)}: cannot write there ({reason}); free space or choose another place") from error
    finally:
        unfinished.unlink(missing_ok=True)
