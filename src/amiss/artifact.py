"""The model file: one uncompressed zip with a description, arrays, graphs and golden inputs. docs/model-file.md has the format.

    model.json          format version, method, fields, facts, calibration, data fingerprint, sha256 of every other member
    state.safetensors   the arrays
    <name>.npy          an array too large to be held twice: written block by block, mapped from the file when it is read
    <name>.onnx         graphs; the embedded backbone is named by digest instead
    goldens.safetensors inputs and the scores they had when the model was written
    (zip comment)       sha256 of everything before it: the seal

Nothing in it is code: no pickle is read or written. A file is written under a temporary name and then renamed.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadModelFile, CannotWrite

Array = npt.NDArray[Any]

FORMAT = 1
_SEAL = b"amiss-sha256:"
_SEAL_LENGTH = len(_SEAL) + 64
_MEMBER = re.compile(r"[a-z0-9_]+\.(json|safetensors|onnx|npy)")
_BLOCK = 1 << 24
MAPPED = 64 * 2**20  # bytes from which on an array is a member of its own
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Artifact:
    """The content of a model file: the description, arrays, graphs, and golden arrays."""

    description: Mapping[str, Any]
    arrays: Mapping[str, Array]
    graphs: Mapping[str, bytes] = field(default_factory=dict)
    goldens: Mapping[str, Array] = field(default_factory=dict)


def write(path: str | os.PathLike[str], artifact: Artifact) -> None:
    """Write a model file; the old one stays whole until the new one is complete.

    raises  CannotWrite naming the folder and the reason
    """
    target = Path(path)
    members = _members(artifact)
    try:
        file = tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False)
    except OSError as error:
        raise CannotWrite(f"{target}: cannot write there ({error.strerror}); choose another --out") from error
    try:
        with file:
            _write_zip(file, members)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(file.name, 0o666 & ~_umask())
        os.replace(file.name, target)
    except OSError as error:
        raise CannotWrite(f"{target}: cannot write there ({error.strerror}); free space or choose another --out") from error
    finally:
        Path(file.name).unlink(missing_ok=True)


def read(path: str | os.PathLike[str]) -> Artifact:
    """Read a model file after checking names, sizes, seal, digests and format version.

    raises  BadModelFile saying what is wrong and what to do
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            _check_structure(file, name)
            _check_seal(file, name)
            with zipfile.ZipFile(file) as archive:
                large = [info for info in archive.infolist() if info.filename.endswith(".npy")]
                contents = {info.filename: archive.read(info) for info in archive.infolist() if info not in large}
                digests = {key: hashlib.sha256(content).hexdigest() for key, content in contents.items() if key != "model.json"}
                digests |= {info.filename: _member_digest(archive, info) for info in large}
                mapped = {info.filename[:-4]: _mapped(archive, info, name) for info in large}
    except OSError as error:
        raise BadModelFile(f"{name}: {error.strerror or error}; check the path") from error
    except (zipfile.BadZipFile, struct.error, RuntimeError, EOFError, ValueError, OverflowError) as error:
        raise BadModelFile(f"{name}: not a whole model file ({error}); copy or fit it again") from error
    description = _description(contents.pop("model.json"), name)
    _check_digests(description, digests, name)
    return Artifact(
        description=description,
        arrays={**_arrays(contents["state.safetensors"], name), **mapped},
        graphs={key[:-5]: value for key, value in contents.items() if key.endswith(".onnx")},
        goldens=_arrays(contents["goldens.safetensors"], name) if "goldens.safetensors" in contents else {},
    )


def file_digest(path: str | os.PathLike[str]) -> str:
    """sha256 of a whole file, as hex."""
    with open(path, "rb") as file:
        return _hash(file, None)


def _members(artifact: Artifact) -> dict[str, bytes | Array]:
    """Every member but the description: bytes as they will stand in the file, or a large array."""
    from safetensors.numpy import save

    large = {key: array for key, array in artifact.arrays.items() if array.nbytes > MAPPED}
    small = {key: np.asarray(array, order="C") for key, array in artifact.arrays.items() if key not in large}
    members: dict[str, bytes | Array] = {"state.safetensors": save(small)}
    members |= {f"{key}.npy": array for key, array in large.items()}
    members |= {f"{key}.onnx": graph for key, graph in artifact.graphs.items()}
    if artifact.goldens:
        members["goldens.safetensors"] = save({k: np.asarray(v, order="C") for k, v in artifact.goldens.items()})
    digests = {key: _digest(content) for key, content in members.items()}
    description = {"format": FORMAT, **artifact.description, "digests": digests}
    return {"model.json": json.dumps(description, indent=1, allow_nan=False).encode(), **members}


def _blocks(content: bytes | Array) -> Iterator[bytes]:
    """A member's bytes, a large array's one block after another."""
    if isinstance(content, bytes):
        yield content
        return
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": np.lib.format.dtype_to_descr(content.dtype), "fortran_order": False, "shape": content.shape}
    )
    yield header.getvalue()
    step = max(1, _BLOCK // max(1, content[:1].nbytes))
    for start in range(0, len(content), step):
        yield np.ascontiguousarray(content[start : start + step]).tobytes()


def _digest(content: bytes | Array) -> str:
    state = hashlib.sha256()
    for block in _blocks(content):
        state.update(block)
    return state.hexdigest()


def _write_zip(file: Any, members: Mapping[str, bytes | Array]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for key, content in members.items():
            with archive.open(zipfile.ZipInfo(key, _EPOCH), "w", force_zip64=not isinstance(content, bytes)) as member:
                for block in _blocks(content):
                    member.write(block)
        archive.comment = _SEAL + b"0" * 64
    file.seek(0)
    seal = _hash(file, os.fstat(file.fileno()).st_size - _SEAL_LENGTH)
    file.seek(-64, os.SEEK_END)
    file.write(seal.encode())


def _member_digest(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    with archive.open(info) as member:
        return _hash(member, None)


def _mapped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Array:
    """A large array as a read-only map of the model file; nothing of it is read before it is used."""
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version != (1, 0):
            raise BadModelFile(f"{name}: {info.filename} is written in a way amiss does not; fit it again")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        header = member.tell()
    if fortran or dtype.hasobject or header + dtype.itemsize * math.prod(shape) != info.file_size:
        raise BadModelFile(f"{name}: {info.filename} is not the array its header promises; fit it again")
    assert archive.fp is not None and archive.filename is not None
    archive.fp.seek(info.header_offset + 26)
    lengths = struct.unpack("<HH", archive.fp.read(4))  # of the name and the extra field in the local header
    offset = info.header_offset + 30 + sum(lengths) + header
    return np.memmap(archive.filename, dtype, "r", offset=offset, shape=shape)


def _hash(file: Any, length: int | None) -> str:
    state = hashlib.sha256()
    remaining = length if length is not None else 1 << 62
    while remaining > 0 and (block := file.read(min(1 << 20, remaining))):
        state.update(block)
        remaining -= len(block)
    return state.hexdigest()


def _check_structure(file: Any, name: str) -> None:
    """Names, storage and sizes of the members, before any of them is read."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        for info in archive.infolist():
            if not _MEMBER.fullmatch(info.filename):
                raise BadModelFile(f"{name}: member {info.filename!r} does not belong in a model file; do not use it")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise BadModelFile(f"{name}: member {info.filename!r} is not stored plainly; do not use this file")
        if len(set(names)) != len(names) or not {"model.json", "state.safetensors"} <= set(names):
            raise BadModelFile(f"{name}: its members are {', '.join(names)}; not a whole model file, fit it again")
        version = _format(archive.read("model.json"))
    if isinstance(version, int) and version > FORMAT:
        raise BadModelFile(f"{name}: format {version}, this amiss reads up to {FORMAT}; upgrade amiss")
    if version != FORMAT:
        raise BadModelFile(f"{name}: its description is not one amiss wrote (format {version!r}); fit it again")


def _format(content: bytes) -> object:
    """The format number in a description, None where it is no JSON object."""
    try:
        description = json.loads(content)
    except ValueError:
        return None
    return description.get("format") if isinstance(description, dict) else None


def _check_seal(file: Any, name: str) -> None:
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(max(0, size - _SEAL_LENGTH))
    comment = file.read()
    file.seek(0)
    if not comment.startswith(_SEAL) or _hash(file, size - _SEAL_LENGTH) != comment[len(_SEAL) :].decode("latin1"):
        raise BadModelFile(f"{name}: its seal does not match its content; the file is damaged or was altered, copy it again")
    file.seek(0)


def _description(content: bytes, name: str) -> dict[str, Any]:
    description = json.loads(content)
    wanted = {"method": str, "fields": dict, "facts": dict, "digests": dict}
    for key, kind in wanted.items():
        if not isinstance(description.get(key), kind):
            raise BadModelFile(f"{name}: its description lacks {key!r}; fit it again")
    for key in ("named_graphs", "origin"):
        if not isinstance(description.get(key, {}), dict):
            raise BadModelFile(f"{name}: {key!r} in its description is no object; fit it again")
    return dict(description)


def _check_digests(description: Mapping[str, Any], digests: Mapping[str, str], name: str) -> None:
    if set(description["digests"]) != set(digests):
        raise BadModelFile(f"{name}: its members are not those its description names; do not use it")
    for key, digest in digests.items():
        if digest != description["digests"][key]:
            raise BadModelFile(f"{name}: member {key} has a wrong digest; the file is damaged or was altered, copy it again")


def _arrays(content: bytes, name: str) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(content))
    except (SafetensorError, KeyError, ValueError) as error:
        raise BadModelFile(f"{name}: its arrays cannot be read ({error}); fit it again") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
