"""What to say of a root that is laid out otherwise than the data set asked for: expected, found, and what it may be instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from amiss import catalog
from amiss.data.dataset import Dataset
from amiss.data.readers import printable
from amiss.errors import BadLayout

_SHOWN = 8
_SEARCHED = 50  # folders looked into for names that are nearly right


def wrong_layout(asked: type[Dataset], root: Path) -> BadLayout:
    """The error for a root that a data set cannot read, with the nearest match where there is one."""
    if not root.is_dir():
        met = "this is a file" if root.exists() else f"there is no such folder{_near_sibling(root)}"
        return BadLayout(f"{printable(root)}: {met}; {asked.name} wants a folder with {asked.arrangement}")
    hint = _below(asked, root) or looks_like(root, asked) or _above(asked, root) or _near_names(asked, root)
    return BadLayout(
        f"{printable(root)} is not laid out as {asked.name}: expected {asked.arrangement}; found {_found(root)}"
        f"{hint or '; see docs/data.md'}"
    )


def looks_like(root: Path, asked: type[Dataset]) -> str:
    """Which other data set is laid out like this root, as the end of a sentence; "" where none is."""
    for name in reversed(catalog.DATASETS):
        kind = catalog.resolve("dataset", name)
        if kind is not asked and kind.fits(root):
            return f"; it looks like {name}: use the data set {name} (--dataset {name})"
    return ""


def _above(asked: type[Dataset], root: Path) -> str:
    """The layout asked for fits the folder above."""
    above = root.resolve().parent
    return f"; the folder above fits: give {printable(above)}" if asked.fits(above) else ""


def _below(asked: type[Dataset], root: Path) -> str:
    """The layout asked for fits folders in the root."""
    below = [printable(folder) for folder in _folders(root) if asked.fits(folder)]
    if len(below) == 1:
        return f"; a folder in it fits: give {below[0]}"
    return f"; folders in it fit: give one of {', '.join(below[:_SHOWN])}" if below else ""


def _found(root: Path) -> str:
    names = sorted(printable(path.name) + "/" * path.is_dir() for path in root.iterdir() if not path.name.startswith("."))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "nothing") + more


def _near_names(asked: type[Dataset], root: Path) -> str:
    """Names in the root, or in its folders, that are nearly those expected."""
    wanted = dict.fromkeys(re.findall(r"[\w.]+", re.sub(r"<[^>]*>", "", asked.arrangement)))
    found = {name.lower(): name for name in _names(root) if name not in wanted}
    near = []
    for name in wanted:
        for close in difflib.get_close_matches(name.lower(), found, n=1, cutoff=0.7):
            near.append(f"{found[close]!r} is nearly {name!r}")
    return f"; {', '.join(near)}: rename it" if near else ""


def _names(root: Path) -> Iterator[str]:
    for folder in (root, *_folders(root)):
        yield from (printable(path.name) for path in sorted(folder.iterdir()))


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))[:_SEARCHED]


def _near_sibling(root: Path) -> str:
    above = root.parent
    names = [path.name for path in above.iterdir() if path.is_dir()] if above.is_dir() else []
    close = difflib.get_close_matches(root.name, names, n=1)
    return f", did you mean {printable(above / close[0])}?" if close else ""
