"""Run a plan cell by cell into a folder; started again, it goes on where it was.

    OUT/cells/NAME-KEY.json   one finished or failed cell each, written whole or not at all
    OUT/features/             the shared feature cache; may be deleted at any time
    OUT/fingerprints.json     digests of data files, to know them again without reading them

A finished cell is never run again as long as nothing in its key changes (amiss.bench.identity). A failed cell stays failed,
with its reason, until --retry-failed: a second out-of-memory costs as long as the first.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import amiss
from amiss.bench.cell import head, now, request
from amiss.bench.identity import Fingerprints, commit, key_of, write_whole
from amiss.bench.plan import Cell, Plan, cells
from amiss.contract import Progress
from amiss.data.readers import printable
from amiss.errors import CannotWrite

FREE = 2 * 2**30  # bytes that the feature cache leaves free
_POLL = 0.5


@dataclass(frozen=True)
class Options:
    """How to run; none of these changes a score.

    pictures  keep the worst misses as small pictures     exact_times  fit without the feature cache
    retry_failed  run failed cells again     same_commit  run cells of other commits again
    """

    pictures: bool = True
    exact_times: bool = False
    retry_failed: bool = False
    same_commit: bool = False


@dataclass(frozen=True)
class Place:
    """A cell, the digest of what makes it, and where its record lies."""

    cell: Cell
    key: str
    fingerprint: str
    path: Path

    def record(self) -> dict[str, Any] | None:
        """What is known of it; None where it has not been run, or its file cannot be read."""
        return read_record(self.path)


def read_record(path: Path) -> dict[str, Any] | None:
    """One cell's file; None where there is none that is whole."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "status" in found and "rows" in found else None


def places(plan: Plan, out: Path, progress: Progress | None = None) -> list[Place]:
    """All cells of a plan with their keys; reads the data's fingerprints."""
    prints = Fingerprints(out / "fingerprints.json", progress)
    found, datasets = [], {}
    for cell in cells(plan):
        opened = cell.source.name, cell.source.root
        if opened not in datasets:
            datasets[opened] = amiss.dataset(*opened)
        fingerprint = prints.of(datasets[opened], cell.category)
        key = key_of(cell, fingerprint)
        found.append(Place(cell, key, fingerprint, out / "cells" / f"{_plain(cell)}-{key}.json"))
    if out.is_dir():
        prints.keep()
    return found


def _plain(cell: Cell) -> str:
    """A name any file system takes and a person can read; the key behind it keeps equal ones apart."""
    words = cell.method.shown, cell.source.shown, cell.category, cell.setting, f"s{cell.seed}"
    return "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", word)[:40] for word in words)


def pending(wanted: Sequence[Place], options: Options) -> list[Place]:
    """Those still to be run."""
    return [place for place in wanted if not _settled(place.record(), options)]


def _settled(record: dict[str, Any] | None, options: Options) -> bool:
    if record is None or (options.same_commit and record.get("commit") != commit()):
        return False
    return record["status"] == "done" or not options.retry_failed


def run(
    wanted: Sequence[Place],
    out: Path,
    options: Options,
    *,
    progress: Progress | None = None,
    told: Callable[[Place, dict[str, Any]], None] | None = None,
) -> None:
    """Run what is pending, one cell after another, each in its own process.

    told    called with each cell that ended     raises  CannotWrite where the folder cannot be used or is in use
    """
    with _locked(out):
        for half in (out / "cells").glob("*.part"):
            half.unlink(missing_ok=True)
        todo = pending(wanted, options)
        for done, place in enumerate(todo):
            _run_one(place, out, options, partial(_beat, progress, done, len(todo)))
            if told is not None:
                told(place, place.record() or {})


def _beat(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress("running cells", done, total)


def _run_one(place: Place, out: Path, options: Options, beat: Callable[[], None]) -> None:
    cache = _cache(out)
    with tempfile.TemporaryDirectory(prefix="amiss-bench-") as folder:
        asked, said = Path(folder, "request.json"), Path(folder, "stderr.txt")
        asked.write_text(
            request(
                place.cell, key=place.key, fingerprint=place.fingerprint, out=os.path.abspath(place.path),
                cache=None if cache is None else os.path.abspath(cache), pictures=options.pictures, exact=options.exact_times,
            ),
            "utf-8",
        )  # fmt: skip
        before = _stamp(place.path)
        code = _process(asked, said, beat)
        if _stamp(place.path) not in (None, before):
            return  # written whole; how the process ended after that does not matter
        record = head(place.cell, place.key, place.fingerprint)
        record |= {"reason": _crash(code, said.read_text("utf-8", "replace")), "notes": [], "finished": now()}
        write_whole(place.path, json.dumps(record))


def _process(asked: Path, said: Path, beat: Callable[[], None]) -> int:
    """Run one request to its end; the process ends with this one, whatever happens."""
    command = [sys.executable, "-m", "amiss.bench.cell", os.fspath(asked)]
    with said.open("wb") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )
        try:
            while True:
                beat()
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(_POLL)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


def _crash(code: int, errors: str) -> str:
    last = next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), "")
    if code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            hint = "; the system may have been out of memory" if name == "SIGKILL" else ""
            return f"the process was killed by {name}{hint}" + (f" ({last})" if last else "")
    return f"the process ended with code {code}" + (f": {last}" if last else "")


def _stamp(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        state = path.stat()
        return state.st_mtime_ns, state.st_ino
    return None


def _cache(out: Path) -> Path | None:
    """The feature cache's folder; None where the disk is nearly full, so that cells go on without it."""
    folder = out / "features"
    folder.mkdir(exist_ok=True)
    return folder if shutil.disk_usage(folder).free > FREE else None


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Only one run at a time in a folder; the lock of a run that was killed does not count."""
    lock = out / "running.lock"
    try:
        (out / "cells").mkdir(parents=True, exist_ok=True)
        if not _alive(lock):
            lock.unlink(missing_ok=True)
        with lock.open("x", encoding="utf-8") as file:
            file.write(json.dumps({"process": os.getpid(), "since": time.time()}))
    except FileExistsError:
        raise CannotWrite(f"{printable(out)}: another bench is running there; wait for it, or choose another --out") from None
    except OSError as error:
        raise CannotWrite(f"{printable(out)}: cannot be written ({error.strerror or error}); choose another --out") from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _alive(lock: Path) -> bool:
    try:
        process = int(json.loads(lock.read_text("utf-8"))["process"])
        if process == os.getpid() or os.name != "posix":
            return False
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True
