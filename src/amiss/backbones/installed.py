"""Backbones the user brought: graphs below the home folder, each beside a record of where it came from.

A backbone is `backbones/NAME.onnx` with `backbones/NAME.json`; the record is written last and removed first,
so a name is there with all it needs or not at all.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amiss import catalog
from amiss.backbones.folders import home_folder, write_whole
from amiss.errors import BadBackbone, BadField, CannotWrite
from amiss.fields import unknown

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
_TRIAL = (96, 128)  # rows and columns of the picture that a graph of free size is tried with
_MORE = 20  # points than a group has, of the cloud that an encoder is tried with


def folder() -> Path:
    return home_folder() / "backbones"


def names() -> list[str]:
    """Names of the installed backbones, sorted."""
    return sorted(path.stem for path in folder().glob("*.json") if path.with_suffix(".onnx").is_file())


def record(name: str) -> dict[str, Any]:
    """What is known of an installed backbone: sha256 and bytes of its graph, where it came from."""
    path = _path(name, ".json")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found["sha256"], str):
            return dict(found)
    except (OSError, ValueError, LookupError, TypeError):
        pass
    raise BadBackbone(f"{path}: the record of backbone {name!r} is damaged; remove it with amiss backbones remove {name}")


def read(name: str) -> bytes:
    """The ONNX bytes of an installed backbone.

    raises  BadBackbone where they are not those that were installed
    """
    path = _path(name, ".onnx")
    graph = path.read_bytes()
    found, wanted = hashlib.sha256(graph).hexdigest(), record(name)["sha256"]
    if found != wanted:
        raise BadBackbone(
            f"{path}: sha256 is {found}, wanted {wanted}; the file was changed or damaged after it was installed. Take it away "
            f"with amiss backbones remove {name} and bring it again"
        )
    return graph


def add(graph: bytes, name: str, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Try a graph out and install it under a name; returns its record.

    origin  where it came from, as plain values for the record
    raises  BadField for a name that cannot be used or is taken; BadBackbone for a graph that is not fit for use
    """
    digest = hashlib.sha256(graph).hexdigest()
    check_name(name)
    if name in names():
        if record(name)["sha256"] == digest:
            return record(name)
        raise BadField(
            f"there is a backbone {name!r} with another content (sha256 {record(name)['sha256'][:12]}, this one "
            f"{digest[:12]}); take it away with amiss backbones remove {name}, or choose another --name"
        )
    try_out(graph, name)
    entry = {**origin, "sha256": digest, "bytes": len(graph)}
    try:
        write_whole(_path(name, ".onnx"), graph)
        write_whole(_path(name, ".json"), json.dumps(entry, indent=1, sort_keys=True).encode())
    except OSError as error:
        raise CannotWrite(f"{folder()}: cannot write there ({error.strerror}); free space or set AMISS_HOME") from error
    return entry


def check_name(name: str) -> None:
    """Refuse a name that is reserved, or that a path or another backbone could be taken for."""
    if name in catalog.BACKBONES:
        raise BadField(f"{name!r} is the name of an embedded backbone; choose another --name")
    if not _NAME.fullmatch(name) or name.endswith((".onnx", ".json")):
        raise BadField(f"{name!r} cannot name a backbone; wanted letters, digits, _ . + - and no ending .onnx; choose --name")


def check_free(name: str) -> None:
    """Refuse a name under which nothing new can be installed, before minutes are spent on making it."""
    check_name(name)
    if name in names():
        raise BadField(
            f"there is a backbone {name!r} already; take it away with amiss backbones remove {name}, or choose another --name"
        )


def remove(name: str) -> None:
    """Take an installed backbone away; model files keep the graph they were fitted with."""
    if name not in names():
        raise unknown(name, names(), "the list of installed backbones") if names() else BadField("no backbone is installed")
    for suffix in (".json", ".onnx"):
        _path(name, suffix).unlink(missing_ok=True)


def try_out(graph: bytes, name: str) -> None:
    """Run every tap and the token of a graph once; an encoder of points on a cloud.

    raises  BadBackbone where it does not run, or gives what no method can use
    """
    from amiss.backbones.points import PointEncoder, is_encoder
    from amiss.backbones.runtime import Backbone

    if is_encoder(graph, name):
        encoder = PointEncoder(graph, name=name)
        noise = np.random.default_rng(0).standard_normal((encoder.description.members + _MORE, 3))
        encoder(noise, noise / np.linalg.norm(noise, axis=1, keepdims=True), 1.0)
        return
    backbone = Backbone(graph, None, name=name, token=True)
    height, width = backbone.description.size or _TRIAL
    image = np.random.default_rng(0).random((1, height, width, 3), np.float32)
    with np.errstate(all="ignore"):  # what overflows is refused below, with a reason
        outputs = backbone(image)
    assert outputs.token is not None  # it was asked for
    for tap, values in zip([*backbone.description.taps, None], [*outputs.grids, outputs.token], strict=True):
        what = f"the tap {tap.name!r}" if tap else "the token"
        if values.size == 0 or not np.isfinite(values).all():
            raise BadBackbone(f"{name}: {what} gives values that are not finite, or none, for a picture of noise")


def _path(name: str, suffix: str) -> Path:
    return folder() / f"{name}{suffix}"
