"""Read tensors out of a torch file in the old, non-zip format, and nothing else.

The embedded backbone comes from PyPI as such a file: five pickles, then raw storages. A pickle can
name any callable, so the reader (1) checks the file's sha256 before anything is parsed and (2) resolves
exactly four names: an ordered dictionary, a tensor rebuild function of ours, and two storage types.
Any other name in the file stops the reading.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadBackbone

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


@dataclass(frozen=True)
class _StorageType:
    dtype: str


@dataclass
class _Storage:
    """Raw numbers of one storage, filled after the pickles have been read."""

    dtype: str
    size: int
    data: npt.NDArray[Any] | None = None


@dataclass(frozen=True)
class _Tensor:
    """A strided view into a storage; element counts, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> npt.NDArray[Any]:
        data = self.storage.data
        if data is None:
            raise BadBackbone("the weights file names a storage it does not hold; fetch the file again")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        inside = self.offset >= 0 and min(self.strides, default=0) >= 0 and last < data.size
        if not inside or min(self.shape, default=1) < 1 or math.prod(self.shape) > data.size:
            raise BadBackbone("a tensor in the weights file reaches beyond its storage; fetch the file again")
        step = data.itemsize
        view = np.lib.stride_tricks.as_strided(
            data[self.offset :], shape=self.shape, strides=tuple(s * step for s in self.strides)
        )
        return np.array(view, order="C")


def _rebuild_tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch", "FloatStorage"): _StorageType("<f4"),
    ("torch", "LongStorage"): _StorageType("<i8"),
}


class _TensorReader(pickle.Unpickler):
    """An unpickler that resolves the four names above and refuses all others."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise BadBackbone(
                f"the weights file asks for {module}.{name}; only plain tensors are read, "
                "so this file is not used. Reinstall the package it came from"
            ) from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _location, size, *_view = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise BadBackbone(f"the weights file holds a {kind!r} entry; only tensor storages are read")
        return self.storages.setdefault(key, _Storage(storage_type.dtype, size))


def read_tensors(path: Path, *, sha256: str) -> dict[str, npt.NDArray[Any]]:
    """All named tensors of a torch file in the old format, as contiguous arrays.

    path  the file      sha256  hex digest the file must have
    raises  BadBackbone when the digest differs or the file holds anything but tensors
    source  layout observed in the file itself; see docs/backbones.md
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise BadBackbone(f"{path}: sha256 is {found}, wanted {sha256}. Reinstall the package it came from")
    return _parse(content, str(path))


def _parse(content: bytes, name: str) -> dict[str, npt.NDArray[Any]]:
    file = io.BytesIO(content)
    try:
        if _TensorReader(file).load() != _MAGIC or _TensorReader(file).load() != _PROTOCOL:
            raise BadBackbone(f"{name}: not a torch file in the old format")
        _TensorReader(file).load()  # byte order and sizes of the writing machine; always little-endian here
        reader = _TensorReader(file)
        entries = reader.load()
        keys = _TensorReader(file).load()
        for key in keys:
            _fill(file, reader.storages[key], name)
        return {key: value.array() for key, value in entries.items() if isinstance(value, _Tensor)}
    except (
        pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError, OverflowError, MemoryError,
    ) as error:  # fmt: skip
        raise BadBackbone(f"{name}: damaged weights file ({error}). Reinstall the package it came from") from error


def _fill(file: io.BytesIO, storage: _Storage, name: str) -> None:
    dtype = np.dtype(storage.dtype)
    count = int.from_bytes(file.read(8), "little")
    raw = file.read(count * dtype.itemsize)
    if count != storage.size or len(raw) != count * dtype.itemsize:
        raise BadBackbone(f"{name}: storage is shorter than declared. Reinstall the package it came from")
    storage.data = np.frombuffer(raw, dtype)
