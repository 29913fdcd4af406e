"""What the command line says and how: words on stderr, results on stdout, progress only where something takes long."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from amiss.contract import Progress

PATIENCE = 2.0  # seconds before progress is shown


class Console:
    """quiet  only errors and asked-for results     as_json  results as one JSON object on stdout"""

    def __init__(self, *, quiet: bool, as_json: bool) -> None:
        self.quiet, self.as_json = quiet, as_json
        _route_log(quiet)

    def note(self, text: str) -> None:
        """A line a person may want to know."""
        if not self.quiet:
            print(text, file=sys.stderr)

    def warn(self, text: str) -> None:
        """A line a person should know."""
        if text and not self.quiet:
            print(f"warning: {text}", file=sys.stderr)

    def result(self, values: Mapping[str, Any], lines: Sequence[str]) -> None:
        """What was asked for: one JSON object, or lines of text."""
        if self.as_json:
            print(json.dumps(_finite(values)))
        elif not self.quiet:
            print("\n".join(_encodable(line) for line in lines))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of short texts on stdout."""
        from rich.console import Console as Screen
        from rich.table import Table

        table = Table(*columns, title=title or None, title_justify="left")
        for row in rows:
            table.add_row(*(_encodable(str(cell)) for cell in row))
        Screen(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False).print(table)

    @contextmanager
    def progress(self) -> Iterator[Progress | None]:
        """A progress callable: a bar with time left on a terminal, a line every few seconds elsewhere."""
        if self.quiet:
            yield None
            return
        shown = _Bar() if sys.stderr.isatty() else _Lines()
        try:
            yield shown
        finally:
            shown.close()


class _Pace:
    """When did this stage start, and how long will it take."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._stage, self._stage_began, self._first = "", self._began, 0

    def left(self, stage: str, done: int, total: int | None) -> float | None:
        """Seconds left in this stage, None while unknown."""
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._stage_began, self._first = stage, now, 0 if done <= 1 else done  # a resumed stage starts late
        if not total or done <= self._first:
            return None
        return (now - self._stage_began) / (done - self._first) * (total - done)

    def waited(self) -> bool:
        return time.monotonic() - self._began > PATIENCE


class _Lines(_Pace):
    EVERY = 5.0

    def __init__(self) -> None:
        super().__init__()
        self._last = self._began

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        left = self.left(stage, done, total)
        if self.waited() and time.monotonic() - self._last > self.EVERY:
            self._last = time.monotonic()
            ahead = "" if left is None else f", about {math.ceil(left)} s left"
            print(f"{stage}: {done} of {total or '?'}{ahead}", file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class _Bar(_Pace):
    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        fresh = stage != self._stage
        self.left(stage, done, total)
        if not self.waited():
            return
        if self._bar is None:
            self._bar, fresh = self._opened(), True
        if fresh or self._task is None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(stage, total=total)
        self._bar.update(self._task, completed=done, total=total)

    def _opened(self) -> Any:
        from rich.console import Console as Screen
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        bar = Progress(*columns, console=Screen(stderr=True), transient=True)
        bar.start()
        return bar

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def _route_log(quiet: bool) -> None:
    """The library logs what a user should know, e.g. that a bank was chosen from a sample."""
    logger = logging.getLogger("amiss")
    logger.handlers.clear()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if quiet else logging.WARNING)
    logger.propagate = False


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
