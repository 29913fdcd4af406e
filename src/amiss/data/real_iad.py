"""Real-IAD: thirty products, each part photographed from five sides, split by JSON files.

Wang et al., "Real-IAD: A Real-World Multi-View Dataset for Benchmarking Versatile Industrial Anomaly Detection", CVPR 2024.

    realiad_{256,512,1024,raw}/<category>/OK/<part>/*.jpg and NG/<code>/<part>/*.jpg with *.png masks
    realiad_jsons/<jsons>/<category>.json: {"train": [...], "test": [...]} of {image_path, mask_path, anomaly_class}

The label is that of the view: a part with a defect may have views that are OK. Part numbers such as S0001 come again in every
code, so `group` names the folder of the part, e.g. audiojack/NG/BX/S0001.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amiss.data.dataset import Dataset, Entry, Listing, SplitName, learned_defects
from amiss.data.layouts import wrong_layout
from amiss.data.readers import printable, read_json
from amiss.data.tree import kinds
from amiss.errors import BadField, BadLayout

RESOLUTIONS = ("1024", "512", "256", "raw")
OK = "OK"


class RealIad(Dataset):
    """The categories that have both a JSON file and a folder of pictures."""

    name = "real_iad"
    about = "Real-IAD: thirty products from five sides each"
    arrangement = (
        "realiad_1024/<category>/OK (or realiad_512, realiad_256, realiad_raw) and realiad_jsons/realiad_jsons/<category>.json"
    )

    def __init__(
        self, root: str | os.PathLike[str], *, resolution: str | int | None = None, jsons: str = "realiad_jsons"
    ) -> None:
        """resolution  1024, 512, 256 or raw; the first of these that is there where None
        jsons  realiad_jsons, realiad_jsons_sv (one view) or realiad_jsons_fuiad_0.0 to 0.4 (that share of train is defective)

        raises  BadLayout saying what was expected and found, BadField for an unknown resolution
        """
        base = Path(root)
        if not self.fits(base):
            raise wrong_layout(type(self), base)
        self._pictures = _pictures(base, None if resolution is None else str(resolution))
        self._jsons = _jsons(base, jsons)
        names = [path.stem for path in sorted(self._jsons.glob("*.json")) if (self._pictures / path.stem).is_dir()]
        if not names:
            met = ", ".join(printable(folder.name) for folder in kinds(self._pictures)) or "no folder"
            raise BadLayout(f"{printable(self._jsons)} holds no JSON file named after a category; the pictures have {met}")
        super().__init__(root, names)

    @classmethod
    def fits(cls, root: Path) -> bool:
        return any((root / f"realiad_{resolution}").is_dir() for resolution in RESOLUTIONS)

    def _list(self, category: str) -> Listing:
        path = self._jsons / f"{category}.json"
        content = read_json(path)
        splits: dict[SplitName, tuple[Entry, ...]] = {}
        names: tuple[SplitName, ...] = ("train", "test")
        for name in names:
            views = content.get(name) if isinstance(content, dict) else None
            if not isinstance(views, list):
                raise BadLayout(f"{printable(path)}: no list named {name}; wanted train and test")
            splits[name] = tuple(self._entry(category, view, path) for view in views)
        _refuse_missing([*splits["train"], *splits["test"]], path)
        return Listing(splits, notes=learned_defects(splits["train"], path.parent))

    def _entry(self, category: str, view: Mapping[str, Any], source: Path) -> Entry:
        try:
            place, mask, code = str(view["image_path"]), view.get("mask_path"), str(view["anomaly_class"])
        except (KeyError, TypeError, AttributeError) as error:
            wanted = "image_path, mask_path and anomaly_class"
            raise BadLayout(f"{printable(source)}: wanted views with {wanted}, met {view!r}") from error
        folder = self._pictures / category
        return Entry.of(
            folder / place,
            "good" if code == OK else code,
            folder / str(mask) if mask else None,
            group=printable(Path(category, place).parent.as_posix()),
        )


def _pictures(base: Path, resolution: str | None) -> Path:
    there = [name for name in RESOLUTIONS if (base / f"realiad_{name}").is_dir()]
    if resolution is not None and resolution not in RESOLUTIONS:
        raise BadField(f"resolution {resolution!r}: wanted one of {', '.join(RESOLUTIONS)}")
    if resolution is not None and resolution not in there:
        raise BadLayout(f"{printable(base)} holds realiad_{', realiad_'.join(there)}, not realiad_{resolution}")
    return base / f"realiad_{resolution or there[0]}"


def _jsons(base: Path, name: str) -> Path:
    """The folder of the JSON files, below realiad_jsons/ or beside it."""
    above = base / "realiad_jsons"
    for folder in (above / name, base / name):
        if any(folder.glob("*.json")):
            return folder
    met = [printable(folder.name) for folder in (*kinds(above), *base.glob("realiad_jsons*")) if any(folder.glob("*.json"))]
    found = f"found {', '.join(sorted(set(met)))}" if met else "found no folder with JSON files"
    raise BadLayout(f"{printable(above / name)}: wanted the JSON files of the splits there, one a category; {found}")


def _refuse_missing(entries: Sequence[Entry], source: Path) -> None:
    files = [path for entry in entries for path in (entry.path, entry.mask) if path is not None]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise BadLayout(
            f"{printable(source)}: {len(missing)} of {len(files)} files it names are not there; first: "
            f"{printable(missing[0])}; unpack the whole category, or choose another resolution"
        )
