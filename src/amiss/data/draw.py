"""Seeded draws that do not hang on names or order of files: a picture's place follows from the seed and its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from amiss.data.dataset import Entry
from amiss.data.readers import printable
from amiss.errors import BadField, UnreadableFile


def shuffled(entries: Sequence[Entry], seed: int) -> tuple[Entry, ...]:
    """All entries in a random order; adding some, renaming or moving files leaves the order of the others.

    Every file is read once, without decoding it. Copies lie side by side.
    raises  UnreadableFile for a file that cannot be opened
    """
    if seed < 0:
        raise BadField(f"seed = {seed}: wanted 0 or more")
    return tuple(sorted(entries, key=lambda entry: (_place(entry.path, seed), entry.id)))


def _place(path: Path, seed: int) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadableFile(f"{printable(path)}: {reason}; give a file that is there and can be opened") from error
    return hashlib.blake2b(content, digest_size=16, salt=seed.to_bytes(16, "little")).digest()
