"""MPDD: painted metal parts in the layout of MVTec AD, photographed in many poses and before changing grounds.

Jezek et al., "Deep learning-based defect detection of metal parts", ICUMT 2021.
"""

from __future__ import annotations

from pathlib import Path

from amiss.data.tree import CategoryFolders, learns_from_good

CATEGORIES = frozenset({"bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes"})


class Mpdd(CategoryFolders):
    """The six published categories, those that are there."""

    name = "mpdd"
    about = "MPDD: six painted metal parts"
    arrangement = "<category>/train/good, <category>/test/<kind>, <category>/ground_truth/<kind> for " + ", ".join(
        sorted(CATEGORIES)
    )

    @staticmethod
    def is_category(folder: Path) -> bool:
        return folder.name in CATEGORIES and learns_from_good(folder)
