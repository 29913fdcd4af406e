"""A report in one HTML file: opens from disk without a network, sorts and filters, prints.

Cards hold small JPEG files, so that a run of thousands of parts never holds its pictures at full size. The page's policy
forbids every request, and every script and style but its own, which it names by digest. Nothing here judges: scores and
verdicts are those of the results.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from amiss.viz.card import Card
from amiss.viz.overlay import crop_with_box
from amiss.viz.page import Page
from amiss.viz.template import write_page

__all__ = ["Card", "crop_with_box", "write_report"]


def write_report(
    path: str | os.PathLike[str],
    cards: Sequence[Card],
    *,
    title: str,
    settings: Mapping[str, Any],
    summary: Mapping[str, Any],
    warnings: Sequence[str],
) -> None:
    """Write the report; an older file stays whole until the new one is complete.

    settings  what made it: method, fields, guarantee, digests; mappings in it become groups     summary  facts for the top
    warnings  plain sentences for the top; notes of the verdicts are added     raises  CannotWrite saying what to do
    """
    page = Page(cards, title, settings, summary, warnings)
    write_page(path, page.pieces(), "report")
