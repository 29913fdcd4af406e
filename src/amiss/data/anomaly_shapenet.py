"""Anomaly-ShapeNet: made defects on models of ShapeNet, forty classes and ten more in a folder of their own.

Li et al., "Towards Scalable 3D Anomaly Detection and Localization: A Benchmark via 3D Anomaly Synthesis and A Self-Supervised
Learning Network", CVPR 2024. Without a unit: models are of any scale.

    pcd/<category>/train/<name>_template<number>.pcd     pcd/<category>/test/<category>_<positive|kind><number>.pcd
    pcd/<category>/GT/<category>_<kind><number>.txt with x, y, z and label between commas, for every defective cloud

The meshes in obj/ are not read.
"""

from __future__ import annotations

import os
from pathlib import Path

from amiss.data.dataset import Listing
from amiss.data.named_clouds import Rules
from amiss.data.tree import CategoryFolders, category_folders

RULES = Rules(good="positive", labels="GT", delimiter=",")


class AnomalyShapenet(CategoryFolders):
    """The categories in pcd/, or those of a root that is pcd/ itself."""

    name = "anomaly_shapenet"
    about = "Anomaly-ShapeNet: point clouds of forty classes with made defects"
    arrangement = (
        "pcd/<category>/train/<name>_template<number>.pcd, pcd/<category>/test/<name>_<kind><number>.pcd, "
        "pcd/<category>/GT/<name>_<kind><number>.txt"
    )

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """raises  BadLayout saying what was expected, what was found, and what it may be instead"""
        inner = Path(root) / "pcd"
        super().__init__(inner if category_folders(inner, self.is_category) else root)
        self.root = Path(root)

    @staticmethod
    def is_category(folder: Path) -> bool:
        return RULES.is_category(folder)

    @classmethod
    def fits(cls, root: Path) -> bool:
        return super().fits(root / "pcd") or super().fits(root)

    def _list(self, category: str) -> Listing:
        return RULES.listing(self._folders[category])
