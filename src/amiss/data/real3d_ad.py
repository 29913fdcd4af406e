"""Real3D-AD: twelve toys scanned to a hundredth of a millimetre and finer; templates from all sides, test scans from one.

Liu et al., "Real3D-AD: A Dataset of Point Cloud Anomaly Detection", NeurIPS 2023 (Datasets and Benchmarks). Millimetres.

    <category>/train/<number>_template.pcd (or _prototype)     <category>/test/<number>_<good|bulge|sink>[_cut|_copy].pcd
    <category>/gt/<number>_<kind>.txt with x, y, z and label between spaces, for every defective cloud

Clouds with `cut` or `copy` in their names are variants of others, and are judged like any. Train shows whole parts and test one
side of them, so what is only seen in one of the two is no defect; nothing is cut, centred or thinned here.
"""

from __future__ import annotations

from pathlib import Path

from amiss.data.dataset import Listing
from amiss.data.named_clouds import Rules
from amiss.data.tree import CategoryFolders

RULES = Rules(good="good", labels="gt", delimiter=" ")


class Real3dAd(CategoryFolders):
    """Every folder with templates in train/ beside gt/ is a category."""

    name = "real3d_ad"
    about = "Real3D-AD: point clouds of twelve toys, four whole templates each"
    arrangement = (
        "<category>/train/<number>_template.pcd, <category>/test/<number>_<kind>.pcd, <category>/gt/<number>_<kind>.txt"
    )

    @staticmethod
    def is_category(folder: Path) -> bool:
        return RULES.is_category(folder)

    def _list(self, category: str) -> Listing:
        return RULES.listing(self._folders[category])
