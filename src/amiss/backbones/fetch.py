"""Fetch one published weights file: the only place in amiss that opens a connection, and only when asked by name."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol

from amiss.backbones.published import Published
from amiss.contract import Progress
from amiss.errors import BadBackbone, CannotWrite

TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 2**20


class Opener(Protocol):
    """What opens an address: urllib's opener, or a stand-in."""

    def open(self, fullurl: str, data: None = None, timeout: float = ...) -> Any: ...


@dataclass(frozen=True)
class Fetched:
    """A weights file on this machine     checked  whether its publisher states a digest that it agrees with"""

    path: Path
    sha256: str
    checked: bool


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https and nowhere else."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def https_opener() -> Opener:
    """What opens an address on the net; proxies from the environment are used."""
    return urllib.request.build_opener(_OnlyHttps)


def offline() -> bool:
    """Whether AMISS_OFFLINE forbids the network."""
    return os.environ.get("AMISS_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


def fetch(entry: Published, folder: Path, *, progress: Progress | None = None, opener: Opener | None = None) -> Fetched:
    """A published weights file in a folder, fetched unless it lies there already with the stated digest.

    raises  BadBackbone, telling how to bring the file by hand, where the network is forbidden or fails, or the digest differs
    """
    target = folder / entry.file
    if target.is_file() and entry.sha256 is not None:
        found = file_sha256(target)
        if found.startswith(entry.sha256):
            return Fetched(target, found, True)
    if offline():
        raise BadBackbone(f"AMISS_OFFLINE forbids the network, so {entry.url} is not fetched. {by_hand(entry)}")
    _https(entry.url)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            found = _received(entry, file, progress, opener or https_opener())
        _check(entry, found)
        os.replace(part, target)
    except OSError as error:
        raise CannotWrite(f"{target}: cannot write there ({error.strerror}); free space or set AMISS_CACHE") from error
    finally:
        part.unlink(missing_ok=True)
    return Fetched(target, found, entry.sha256 is not None)


def by_hand(entry: Published) -> str:
    """Which file to bring to a machine without network, and what to type there."""
    stated = f"sha256 begins with {entry.sha256}" if entry.sha256 else "its publisher states no sha256"
    return (
        f"Fetch {entry.url} on a machine with network ({stated}), bring it here as {entry.file}, then: "
        f"pip install 'amiss[timm]' and amiss backbones export {entry.name} --weights {entry.file}. Or export it over there "
        f"with --out {entry.name}.onnx, bring that file, and: amiss backbones add {entry.name}.onnx (no torch needed here)"
    )


def file_sha256(path: Path) -> str:
    """Hex digest of a file, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def _https(url: str) -> None:
    if not url.lower().startswith("https://"):
        raise BadBackbone(f"{url}: only https is used; nothing was fetched")


def _received(entry: Published, file: Any, progress: Progress | None, opener: Opener) -> str:
    """Copy the answer into an open file; returns its digest."""
    digest, done = hashlib.sha256(), 0
    for piece, total in _pieces(entry, opener):
        file.write(piece)
        digest.update(piece)
        done += len(piece)
        if progress is not None:
            progress(f"fetching {entry.file}, MB", done >> 20, None if total is None else total >> 20)
    return digest.hexdigest()


def _pieces(entry: Published, opener: Opener) -> Iterator[tuple[bytes, int | None]]:
    """The answer piece by piece, each with the length of the whole where the server states it."""
    try:
        with closing(opener.open(entry.url, timeout=TIMEOUT)) as answer:
            stated = answer.headers.get("Content-Length")
            total, done = None if stated is None else int(stated), 0
            while piece := answer.read(_CHUNK):
                done += len(piece)
                yield piece, total
    except (OSError, HTTPException, ValueError) as error:
        raise BadBackbone(f"{entry.url} cannot be fetched ({error}). {by_hand(entry)}") from error
    if total is not None and done != total:
        raise BadBackbone(f"{entry.url}: the connection ended after {done} of {total} bytes; try again. {by_hand(entry)}")


def _check(entry: Published, found: str) -> None:
    if entry.sha256 is not None and not found.startswith(entry.sha256):
        raise BadBackbone(
            f"{entry.url}: sha256 is {found}, its publisher states {entry.sha256}...; the file was thrown away. Try again, and "
            "if it happens again do not use that file"
        )
