"""The data that a command was given: DATA, --dataset and --category."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import amiss
from amiss.data.dataset import Dataset


@dataclass(frozen=True)
class Asked:
    """root  None where the data set brings its data     category  None where it holds one"""

    root: Path | None
    dataset: str
    category: str | None

    def opened(self, *, unlabelled: bool = False) -> tuple[Dataset, str]:
        """The data set and the name of the category.

        unlabelled  whether a bare folder may hold defective parts
        raises  BadLayout for another layout, and naming the categories where one has to be chosen
        """
        options = {"unlabelled": True} if unlabelled and self.dataset == "folder" else {}
        dataset = amiss.dataset(self.dataset, self.root, **options)
        return dataset, dataset.only() if self.category is None else self.category
