"""ELPV: solar cells in electroluminescence pictures, from the package elpv-dataset.

Buerhop-Lutz et al. 2018, Deitsch et al. 2019; CC BY-NC-SA 4.0, for evaluation only.

    labels.csv: "images/cell0001.png  1.0  mono" on each line     images/*.png

Experts gave each cell a probability of being defective: 0, 1/3, 2/3 or 1. By default only the sure ones are used: 0 is good, 1
is defective. There is no official split. Ours: of the good cells 85 % are train and the rest is test, drawn by seed and content
(default seed 0); all defective cells are test. Train and test may hold cells of one module, which no file tells.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from amiss.data.dataset import Dataset, Entry, Listing
from amiss.data.draw import shuffled
from amiss.data.layouts import wrong_layout
from amiss.data.readers import printable
from amiss.data.table import named_file
from amiss.errors import BadField, BadLayout

PACKAGE = "elpv_dataset"
LEARNED = 0.85


class Elpv(Dataset):
    """Two categories, mono- and polycrystalline cells. The root is the installed package where it is left out."""

    name = "elpv"
    about = "ELPV solar cells from the package elpv-dataset, with a split of ours; needs no DATA"
    arrangement = "labels.csv beside images"
    brings_data = True

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        good_up_to: float = 0.0,
        defective_from: float = 1.0,
        seed: int = 0,
    ) -> None:
        """good_up_to, defective_from  bounds of the defect probability; cells between them are left out

        raises  BadLayout where the package is missing or the root is another, BadField for bounds that cross
        """
        if not 0 <= good_up_to < defective_from <= 1:
            raise BadField(
                f"good_up_to {good_up_to:g}, defective_from {defective_from:g}: wanted 0 <= the first < the second <= 1"
            )
        base = _installed() if root is None else Path(root)
        if not self.fits(base):
            raise wrong_layout(type(self), base)
        super().__init__(base, ("mono", "poly"))
        self._bounds, self._seed = (good_up_to, defective_from), seed

    @classmethod
    def fits(cls, root: Path) -> bool:
        return (root / "labels.csv").is_file() and (root / "images").is_dir()

    def _list(self, category: str) -> Listing:
        good_up_to, defective_from = self._bounds
        good, defective, unsure = [], [], 0
        for path, probability in self._cells(category):
            if probability <= good_up_to:
                good.append(Entry.of(path, "good"))
            elif probability >= defective_from:
                defective.append(Entry.of(path, "defective"))
            else:
                unsure += 1
        drawn = shuffled(good, self._seed)
        learned = round(LEARNED * len(drawn))
        train = tuple(sorted(drawn[:learned], key=lambda entry: entry.path))
        test = tuple(sorted([*drawn[learned:], *defective], key=lambda entry: entry.path))
        text = f"{unsure} cell(s) with a defect probability between {good_up_to:g} and {defective_from:g} are left out"
        return Listing({"train": train, "test": test}, notes=(text,) if unsure else ())

    def _cells(self, category: str) -> Iterator[tuple[Path, float]]:
        table = self.root / "labels.csv"
        for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
            where = f"{printable(table)}, line {number}"
            try:
                name, probability, kind = line.split()
                chance = float(probability)
            except ValueError as error:
                raise BadLayout(f"{where}: {line!r}; wanted a path, a probability and mono or poly") from error
            if kind == category:
                yield named_file(self.root, name, where), chance


def _installed() -> Path:
    """Where the package keeps its data."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise BadLayout("the data set elpv comes with the package elpv-dataset: pip install elpv-dataset, or give its folder")
    return Path(found.submodule_search_locations[0]) / "data"
