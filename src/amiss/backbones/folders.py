"""Where amiss keeps graphs: a cache that may be wiped at any time, and a home for what the user brought."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    """Where built graphs and downloads are kept: $AMISS_CACHE, else the user's cache folder."""
    if chosen := os.environ.get("AMISS_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return _local_app_data() / "amiss" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))) / "amiss"


def home_folder() -> Path:
    """Where installed backbones are kept: $AMISS_HOME, else the user's data folder; no cleaner of caches looks there."""
    if chosen := os.environ.get("AMISS_HOME"):
        return Path(chosen)
    if sys.platform == "win32":
        return _local_app_data() / "amiss" / "data"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "amiss"


def _local_app_data() -> Path:
    return Path(os.environ.get("LOCALAPPDATA", str(Path.home() / "AppData" / "Local")))


def remembered(file: str, build: Callable[[], bytes]) -> bytes:
    """What `build` makes, from the cache where it lies there unharmed.

    file  name in the cache; it must say everything that the content depends on
    """
    path = cache_folder() / file
    seal = path.with_suffix(".sha256")
    try:
        content = path.read_bytes()
        if seal.read_bytes() == hashlib.sha256(content).hexdigest().encode():
            return content
    except OSError:
        pass
    content = build()
    try:
        write_whole(path, content)
        write_whole(seal, hashlib.sha256(content).hexdigest().encode())
    except OSError:
        pass  # a cache that cannot be written only costs the time to build
    return content


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it, making its folder; nobody ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
