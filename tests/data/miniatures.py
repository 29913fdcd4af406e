"""The published data sets in small, each in its exact layout, with made parts: nothing of the real pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.data import toys
from tests.data import files, miniatures_3d

Array = npt.NDArray[Any]
SIZE = (32, 40)


class Maker:
    """Writes parts that all differ, from one seed."""

    def __init__(self, root: Path, seed: int = 0) -> None:
        self.root, self._rng = root, np.random.default_rng(seed)

    def good(self, *names: str) -> None:
        for name in names:
            save(self.root / name, toys.texture(self._rng, SIZE))

    def bad(self, name: str, mask: str | None = None, *, value: int = 255) -> Array:
        """A part with a defect, and its mask where it has a name; returns the mask."""
        image, marked = toys.defect(self._rng, toys.texture(self._rng, SIZE))
        save(self.root / name, image)
        if mask is not None:
            save(self.root / mask, marked * np.uint8(value))
        return marked


def save(path: Path, image: Array) -> Path:
    return files.written(path, files.encoded(image, path.suffix))


def numbered(folder: str, count: int, suffix: str = ".png") -> Iterator[str]:
    return (f"{folder}/{number:03d}{suffix}" for number in range(count))


def mvtec_ad(root: Path, categories: Sequence[str] = ("bottle", "screw"), *, train: int = 4) -> Path:
    for seed, name in enumerate(categories):
        made = Maker(root / name, seed)
        made.good(*numbered("train/good", train), *numbered("test/good", 2))
        for kind in ("cut", "hole"):
            for number in range(2):
                made.bad(f"test/{kind}/{number:03d}.png", f"ground_truth/{kind}/{number:03d}_mask.png")
    return root


def mpdd(root: Path) -> Path:
    return mvtec_ad(root, ("bracket_black", "tubes"))


def btad(root: Path) -> Path:
    """01 has BMP pictures and PNG masks, 02 has PNG for both, 03 BMP pictures and BMP masks."""
    for name, picture, mask in (("01", ".bmp", ".png"), ("02", ".png", ".png"), ("03", ".bmp", ".bmp")):
        made = Maker(root / name, int(name))
        made.good(*numbered("train/ok", 3, picture), *numbered("test/ok", 2, picture))
        for number in range(2):
            made.bad(f"test/ko/{number:04d}{picture}", f"ground_truth/ko/{number:04d}{mask}")
    return root


CONFIG = [
    {"defect_name": "missing", "pixel_value": 255, "saturation_threshold": 12, "relative_saturation": False},
    {"defect_name": "swapped", "pixel_value": 254, "saturation_threshold": 0.5, "relative_saturation": True},
    {"defect_name": "tiny", "pixel_value": 253, "saturation_threshold": 0.01, "relative_saturation": True},
]


def mvtec_loco(root: Path, categories: Sequence[str] = ("box", "juice_bottle")) -> Path:
    """Of the logical pictures the first has three channels: 4 x 5 pixels of 255, 4 x 5 of 254, 2 x 5 of 253."""
    for seed, name in enumerate(categories):
        made = Maker(root / name, seed)
        made.good(*numbered("train/good", 4), *numbered("validation/good", 3), *numbered("test/good", 2))
        made.bad("test/logical_anomalies/000.png")
        for number, value in enumerate((255, 254, 253)):
            channel = np.zeros(SIZE, np.uint8)
            channel[4 * number : 4 * number + (2 if value == 253 else 4), :5] = value
            save(root / name / f"ground_truth/logical_anomalies/000/{number:03d}.png", channel)
        made.bad("test/logical_anomalies/001.png", "ground_truth/logical_anomalies/001/000.png", value=254)
        made.bad("test/structural_anomalies/000.png", "ground_truth/structural_anomalies/000/000.png", value=255)
        files.written(root / name / "defects_config.json", json.dumps(CONFIG).encode())
    return root


def visa(root: Path, objects: Sequence[str] = ("candle", "pcb1")) -> Path:
    """With its three tables; masks hold the numbers 1 and 2. In 2cls_fewshot one defect is in train."""
    lines: dict[str, list[str]] = {name: [] for name in ("1cls", "2cls_fewshot", "2cls_highshot")}
    for seed, name in enumerate(objects):
        made = Maker(root, seed)
        images, masks = f"{name}/Data/Images", f"{name}/Data/Masks/Anomaly"
        made.good(*numbered(f"{images}/Normal", 5, ".JPG"))
        for number in range(3):
            made.bad(f"{images}/Anomaly/{number:03d}.JPG", f"{masks}/{number:03d}.png", value=1 + number % 2)
        for table, rows in lines.items():
            for number in range(5):
                split = "train" if number < 3 else "test"
                rows.append(f"{name},{split},normal,{images}/Normal/{number:03d}.JPG,")
            for number in reversed(range(3)):  # not in the order of the names
                split = "train" if table != "1cls" and number == 0 else "test"
                rows.append(f"{name},{split},anomaly,{images}/Anomaly/{number:03d}.JPG,{masks}/{number:03d}.png")
        files.written(root / name / "image_anno.csv", b"image,label,mask\n")
    for table, rows in lines.items():
        files.written(root / "split_csv" / f"{table}.csv", "\n".join(["object,split,label,image,mask", *rows, ""]).encode())
    return root


def visa_tree(root: Path) -> Path:
    """Re-organised, as 1cls/ of VisA_pytorch: stems of masks are those of the pictures."""
    for seed, name in enumerate(("candle", "pcb1")):
        made = Maker(root / name, seed)
        made.good(*numbered("train/good", 3, ".JPG"), *numbered("test/good", 2, ".JPG"))
        made.bad("test/bad/007.JPG", "ground_truth/bad/007.png", value=1)
    return root


def real_iad(root: Path, categories: Sequence[str] = ("audiojack", "zipper")) -> Path:
    """Parts with five views; of the defective part NG/BX/S0001 two views show the defect, and OK/S0001 is another part."""
    for seed, name in enumerate(categories):
        made = Maker(root / "realiad_256" / name, seed)
        splits: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
        for split, code, part in (("train", "OK", "S0001"), ("train", "OK", "S0002"), ("test", "OK", "S0003")):
            for view in range(1, 6):
                place = f"OK/{part}/{name}_{part[1:]}_OK_C{view}_2023.jpg"
                made.good(place)
                splits[split].append({"image_path": place, "mask_path": None, "anomaly_class": code, "category": name})
        for view in range(1, 6):
            code = "BX" if view <= 2 else "OK"
            place = f"NG/BX/S0001/{name}__0001_NG_{code}_C{view}_2023.jpg"
            mask = place.replace(".jpg", ".png") if code != "OK" else ""
            if mask:
                made.bad(place, mask)
            else:
                made.good(place)
            splits["test"].append({"image_path": place, "mask_path": mask, "anomaly_class": code, "category": name})
        content = {"meta": {"normal_class": "OK", "prefix": f"{name}/"}, **splits}
        mixed = {**content, "train": [*splits["train"], splits["test"].pop(5)]}
        write_json(
            root / f"realiad_jsons/realiad_jsons/{name}.json", {**content, "test": [*mixed["train"][-1:], *splits["test"]]}
        )
        write_json(root / f"realiad_jsons/realiad_jsons_fuiad_0.1/{name}.json", mixed)
    return root


def write_json(path: Path, content: Any) -> Path:
    return files.written(path, json.dumps(content).encode())


def adam3d(root: Path, categories: Sequence[str] = ("1m1", "spurgear")) -> Path:
    """Nested, with xyz beside rgb; good test pictures have masks that mark nothing."""
    for seed, name in enumerate(categories):
        made = Maker(root / name, seed)
        for split, count in (("train", 3), ("validation", 2), ("test", 2)):
            made.good(*numbered(f"{split}/good/rgb", count))
            for number in range(count):
                files.written(root / name / f"{split}/good/xyz/{number:03d}.tiff", b"never read")
        for number in range(2):
            made.bad(f"test/cut/rgb/{number:03d}.png", f"test/cut/ground_truth/{number:03d}.png")
            save(root / name / f"test/good/ground_truth/{number:03d}.png", np.zeros(SIZE, np.uint8))
    return root


def adam3d_flat(root: Path) -> Path:
    made = Maker(root / "spurgear")
    made.good(*numbered("train/good", 3), *numbered("test/good", 2))
    made.bad("test/cut/000.png", "ground_truth/cut/000.png")
    return root


def magnetic_tile(root: Path) -> Path:
    """Ten good tiles with empty masks, and two of two kinds; the masks are soft."""
    made = Maker(root)
    made.good(*numbered("MT_Free/Imgs", 10, ".jpg"))
    for name in numbered("MT_Free/Imgs", 10):
        save(root / name, np.zeros(SIZE, np.uint8))
    for kind in ("Blowhole", "Crack"):
        for number in range(2):
            marked = made.bad(f"MT_{kind}/Imgs/exp{number}_num_{number}.jpg")
            soft = np.where(marked, np.uint8(200), np.uint8(90))
            save(root / f"MT_{kind}/Imgs/exp{number}_num_{number}.png", soft)
    return root


def elpv(root: Path) -> Path:
    """Ten good cells of each kind, three defective ones, two that the experts were not sure of."""
    made = Maker(root)
    lines = []
    chances = [0.0] * 10 + [1.0] * 3 + [1 / 3, 2 / 3]
    for number, (kind, chance) in enumerate([(kind, chance) for kind in ("mono", "poly") for chance in chances], start=1):
        name = f"images/cell{number:04d}.png"
        made.good(name)
        lines.append(f"{name}  {chance}   {kind}")
    files.written(root / "labels.csv", "\n".join(lines).encode())
    return root


MAKERS = {
    "mvtec_ad": mvtec_ad, "mpdd": mpdd, "btad": btad, "mvtec_loco": mvtec_loco, "adam3d": adam3d, "visa": visa,
    "real_iad": real_iad, "magnetic_tile": magnetic_tile, "elpv": elpv, **miniatures_3d.MAKERS,
}  # fmt: skip
