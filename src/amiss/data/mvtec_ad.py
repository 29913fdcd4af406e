"""MVTec AD, and any folder of categories laid out like it.

Bergmann et al., "MVTec AD - A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection", CVPR 2019. 15 categories;
masks are 8-bit, 0 and 255, named <stem>_mask.png.
"""

from __future__ import annotations

from pathlib import Path

from amiss.data.tree import CategoryFolders, learns_from_good


class MvtecAd(CategoryFolders):
    """Every folder with train/good is a category."""

    name = "mvtec_ad"
    about = "MVTec AD, or any folder of categories laid out like it"
    arrangement = "<category>/train/good, <category>/test/<kind>, <category>/ground_truth/<kind>"

    @staticmethod
    def is_category(folder: Path) -> bool:
        return learns_from_good(folder)
