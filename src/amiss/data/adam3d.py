"""3D-ADAM: machined parts and printed ones, here their colour pictures only.

    CLASS/{train,validation}/good/rgb/*, CLASS/test/<good|kind>/{rgb,ground_truth}/*, with xyz/ beside that is not read
    CLASS/train/good/*, CLASS/test/<kind>/*, CLASS/ground_truth/<kind>/*     the flat form that RAD's authors make of it

validation/good is for calibration. RAD's flat form has it as test/good instead, so figures of the two forms do not compare.
"""

from __future__ import annotations

from pathlib import Path

from amiss.data.dataset import Listing
from amiss.data.tree import CategoryFolders, Tree, kinds, learns_from_good, read_category

CATEGORIES = frozenset(
    {"1m1", "1m2", "1m3", "2m1", "2m2h", "2m2m", "3m1", "3m2", "3m2c", "4m1", "4m2", "4m2c", "gripper_closed", "gripper_open",
     "helicalgear1", "helicalgear2", "rackgear", "spiralgear", "spurgear", "tapa2m1", "tapa3m1", "tapa4m1", "tapatbb"}
)  # fmt: skip
NESTED = Tree(inner="rgb", masks="test/{kind}/ground_truth")


class Adam3d(CategoryFolders):
    """Known by its published names, or by masks in ground_truth/ of a test kind; MVTec 3D-AD has them in gt/."""

    name = "adam3d"
    about = "3D-ADAM, colour pictures only"
    arrangement = (
        "<category>/train/good/rgb, <category>/validation/good/rgb, <category>/test/<kind>/rgb, "
        "<category>/test/<kind>/ground_truth"
    )

    @staticmethod
    def is_category(folder: Path) -> bool:
        published = folder.name in CATEGORIES or any((kind / "ground_truth").is_dir() for kind in kinds(folder / "test"))
        return learns_from_good(folder) and published and not any((kind / "gt").is_dir() for kind in kinds(folder / "test"))

    def _list(self, category: str) -> Listing:
        folder = self._folders[category]
        return read_category(folder, NESTED if (folder / "train" / "good" / "rgb").is_dir() else None)
