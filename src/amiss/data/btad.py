"""BTAD: three products of beanTech.

Mishra et al., "VT-ADL: A Vision Transformer Network for Image Anomaly Detection and Localization", ISIE 2021. Pictures are BMP
or PNG and masks need not have the suffix of their picture, so they are paired by stem.
"""

from __future__ import annotations

from pathlib import Path

from amiss.data.tree import CategoryFolders


class Btad(CategoryFolders):
    """Every folder with train/ok is a category: 01, 02, 03."""

    name = "btad"
    about = "BTAD: 01, 02, 03 with ok and ko parts"
    arrangement = "<01|02|03>/train/ok, <01|02|03>/test/ok, <01|02|03>/test/ko, <01|02|03>/ground_truth/ko"

    @staticmethod
    def is_category(folder: Path) -> bool:
        return (folder / "train" / "ok").is_dir()
