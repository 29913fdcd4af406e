"""Fit every method where torch is, then judge where it is not: `fit` writes models and scores, `judge` compares.

python -m tests.without_torch fit FOLDER      in the development environment
python -m tests.without_torch judge FOLDER    in an environment with the core alone
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np

import amiss
from amiss import catalog
from amiss.contract import build
from amiss.data import toys
from amiss.model import Model
from tests.clouds import bad_clouds, good_clouds

SIZE = (96, 96)
OPTIONAL = ("torch", "torchvision", "timm", "onnxscript", "open3d", "faiss", "pytest")
TOLERANCE = 1e-4


def fit(folder: Path) -> None:
    """A model of every detector in the catalog for every modality it sees, and the scores it gives here."""
    folder.mkdir(parents=True, exist_ok=True)
    scores: dict[str, dict[str, list[float]]] = {}
    for name, modality in _cases():
        kind = catalog.resolve("detector", name)
        detector = build(kind, kind.quick).fit(_good(modality))
        Model(detector).save(folder / f"{name}-{modality}.amiss")
        scores.setdefault(name, {})[modality] = [result.score for result in detector.predict(_judged(modality))]
    (folder / "scores.json").write_text(json.dumps(scores))


def judge(folder: Path) -> None:
    """The same scores without torch, or an error that names the method."""
    found = [name for name in OPTIONAL if importlib.util.find_spec(name) is not None]
    if found:
        sys.exit(f"this environment has {', '.join(found)}; wanted one with the core alone")
    expected = json.loads((folder / "scores.json").read_text())
    missing = set(catalog.DETECTORS) ^ set(expected)
    if missing:
        sys.exit(f"{', '.join(sorted(missing))}: not judged; run fit again")
    for name, modality in _cases():
        model = amiss.load(folder / f"{name}-{modality}.amiss")
        scores = [model.judge(sample).score for sample in _judged(modality)]
        np.testing.assert_allclose(scores, expected[name][modality], rtol=TOLERANCE, err_msg=f"{name} on {modality}")
    print(f"{len(expected)} methods judged without torch as they did with it")


def _cases() -> list[tuple[str, str]]:
    return [(name, modality) for name in catalog.DETECTORS for modality in sorted(catalog.resolve("detector", name).sees)]


def _good(modality: str) -> list[amiss.Sample]:
    return good_clouds(4) if modality == "points" else toys.samples(0, 8, "object", SIZE)


def _judged(modality: str) -> list[amiss.Sample]:
    if modality == "points":
        return [sample for sample, _ in bad_clouds(2)] + good_clouds(1, seed=50)
    return [sample for sample, _ in toys.defective_samples(100, 4, "object", SIZE)] + toys.samples(50, 2, "object", SIZE)


if __name__ == "__main__":
    {"fit": fit, "judge": judge}[sys.argv[1]](Path(sys.argv[2]))
