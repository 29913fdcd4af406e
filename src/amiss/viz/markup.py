"""Strings and numbers as they stand in a page: escaped, printable, short."""

from __future__ import annotations

import html
import math
import os
import re
from collections.abc import Iterable
from statistics import median
from typing import Any
from urllib.parse import quote

# control characters, lone surrogates, and marks that reverse the direction of a line
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def text(value: object) -> str:
    """Anything as text that is safe between tags and inside quoted attributes, and always valid UTF-8."""
    return html.escape(_UNPRINTABLE.sub(_spelled, str(value)))


def link(path: str | os.PathLike[str]) -> str:
    """A relative path as the value of href; it can name a file only, never a scheme or a host."""
    name = os.fspath(path).replace(os.sep, "/")
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        encoded = name.encode("utf-8", "backslashreplace")
    return html.escape("./" + quote(encoded.lstrip(b"/"), safe="/"))


def score_format(scores: Iterable[float]) -> str:
    """One format for all of them in which about four digits of their range, and of a usual score, can be told apart."""
    finite = [score for score in scores if math.isfinite(score)]
    if not finite:
        return ".4g"
    sizes = [abs(score) for score in finite if score]
    widths = [width for width in (max(finite) - min(finite), median(sizes) if sizes else 0.0) if width > 0]
    decimals = 3 - math.floor(math.log10(min(widths))) if widths and math.isfinite(widths[0]) else 3
    return f".{max(0, decimals)}f" if decimals <= 6 and max(sizes, default=0) < 1e8 else ".6g"


def value(item: Any) -> str:
    """A setting's value as plain text, not yet escaped."""
    if isinstance(item, bool):
        return "yes" if item else "no"
    if item is None:
        return "none"
    if isinstance(item, float):
        return f"{item:.6g}"
    if isinstance(item, (list, tuple, set, frozenset)):
        return ", ".join(value(part) for part in item) or "none"
    return str(item)


def _spelled(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
