"""Which method sees which defect: image AUROC of each kind of defect on made trays, and the pictures of docs/which-method.md.

    python benchmarks/which_method.py [--good 200] [--judged 40] [--steps N] [--without ulsad] [--pictures docs/pictures]
    python benchmarks/which_method.py --nuts loose ...

Fitted on good trays of seed 0. Judged are good trays of seed 1, and the same trays again with one thing wrong. The methods
have their default fields unless their label says otherwise; seed 0. ULSAD trains for minutes and needs the extra `train`;
`--steps` shortens that, its two maps are judged apart without fitting again. Rows are printed as they are done, so a run that
is cut short leaves those it had. Seconds and milliseconds are those of the machine as busy as it is.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

import amiss
from amiss.contract import Detector
from amiss.data import trays
from amiss.data.tray_picture import Nuts
from amiss.methods.ulsad import ULSAD
from amiss.metrics.ranking import auroc
from amiss.types import Sample, Truth
from amiss.viz.overlay import overlay

Array = npt.NDArray[Any]

KINDS = trays.LOGICAL + trays.STRUCTURAL
SETTINGS: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "patchcore": ("patchcore", None, {}),
    "patchcore, preset fast, score = max": ("patchcore", "fast", {"score": "max"}),
    "patchcore, the same, strides 4 and 8": ("patchcore", "fast", {"score": "max", "layers": (4, 8)}),
    "padim": ("padim", None, {}),
    "rad": ("rad", None, {}),
    "spade": ("spade", None, {}),
    "sinbad": ("sinbad", None, {}),
    "ulsad": ("ulsad", None, {}),
}

SHOWN_METHODS, SHOWN_KINDS = ("patchcore", "sinbad", "ulsad"), ("surplus", "pair", "scratch")
SAID = {
    "good": "good",
    "surplus": "surplus: five nuts",
    "missing": "missing: three nuts",
    "pair": "pair: caps differ",
    "order": "order: bars swapped",
    "scratch": "scratch",
    "spot": "spot",
    "stain": "stain",
}
COLUMNS, ENLARGED, GAP, HEAD, AIR = 4, 1.5, 8, 22, 3  # the last three in pixels; AIR lies between a defect and its outline
TONES = 4  # grey levels between neighbours in the files: camera noise is most of a small PNG
LINE, INK = (255, 0, 200), (40, 40, 40)
QUIET = 0.9  # share of good trays' places that stay without colour


@dataclass(frozen=True, eq=False)
class Judged:
    """The trays that are judged: good ones, and of each kind the same with one thing wrong."""

    good: list[Sample]
    bad: dict[str, list[tuple[Sample, Truth]]]

    @classmethod
    def made(cls, count: int, nuts: Nuts) -> Judged:
        bad = {kind: trays.defective_samples(1, count, (kind,), nuts=nuts) for kind in KINDS}
        return cls(trays.samples(1, count, nuts=nuts), bad)


# -- table -------------------------------------------------------------------------------------------------------------


def fitted(label: str, good: Sequence[Sample], steps: int | None) -> tuple[Detector, float]:
    """A detector and the seconds that its fit took."""
    name, preset, fields = SETTINGS[label]
    if name == "ulsad" and steps is not None:
        fields = {**fields, "steps": steps}
    started = time.perf_counter()
    detector = amiss.detector(name, preset=preset, **fields).fit(good)
    return detector, time.perf_counter() - started


def rows(label: str, detector: Detector, seconds: float, judged: Judged) -> Iterator[str]:
    """A line of the table; for ULSAD two more, each of its maps alone."""
    yield row(label, detector, f"{seconds:.0f}", judged)
    if isinstance(detector, ULSAD):
        for which in ("local", "global"):
            detector.maps = which
            yield row(f"{label}, {which} map alone", detector, "", judged)
        detector.maps = "both"


def row(label: str, detector: Detector, fit: str, judged: Judged) -> str:
    results = list(detector.predict(judged.good))
    good = [result.score for result in results]
    figures = []
    for pairs in judged.bad.values():
        bad = [result.score for result in detector.predict([sample for sample, _ in pairs])]
        figures.append(f"{auroc([*good, *bad], [False] * len(good) + [True] * len(bad)):.2f}")
    milliseconds = 1e3 * float(np.median([result.seconds for result in results]))
    return f"| {label} | {' | '.join(figures)} | {fit} | {milliseconds:.0f} |"


# -- pictures ----------------------------------------------------------------------------------------------------------


def contact_sheet(judged: Judged) -> Array:
    """The first judged tray, good and with each defect, all places outlined where the defect could be marked."""
    shown = [panel(SAID["good"], enlarged(_image(judged.good[0])))]
    for kind, pairs in judged.bad.items():
        sample, truth = pairs[0]
        shown.append(panel(SAID[kind], outlined(enlarged(_image(sample)), truth)))
    return sheet([shown[start : start + COLUMNS] for start in range(0, len(shown), COLUMNS)])


def heated(label: str, detector: Detector, judged: Judged) -> dict[str, Array]:
    """A panel for each shown kind: the first judged tray under its map.

    Colour begins where `QUIET` of the good trays' places lie below, and is full above all that any of them reached.
    """
    usual = np.stack([result.image_map() for result in detector.predict(judged.good)])
    low, high = float(np.quantile(usual, QUIET)), float(usual.max())
    panels = {}
    for kind in SHOWN_KINDS:
        sample, _ = judged.bad[kind][0]
        (result,) = detector.predict([sample])
        panels[kind] = panel(label, enlarged(overlay(_image(sample), result.image_map(), low=low, high=high)))
    return panels


def heat_sheet(heats: dict[str, dict[str, Array]], judged: Judged) -> Array:
    """A line for each shown kind: the tray with its defect outlined, then each method's map."""
    lines = []
    for kind in SHOWN_KINDS:
        sample, truth = judged.bad[kind][0]
        seen = panel(SAID[kind], outlined(enlarged(_image(sample)), truth))
        lines.append([seen, *(panels[kind] for panels in heats.values())])
    return sheet(lines)


def enlarged(image: Array) -> Array:
    import cv2

    return np.asarray(cv2.resize(image, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC))


def outlined(image: Array, truth: Truth) -> Array:
    """A line around each place of the mask, which has the picture's size before it was enlarged."""
    import cv2

    assert truth.mask is not None
    inside = truth.mask.astype(np.float32)
    mask = cv2.resize(inside, image.shape[1::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * AIR + 1, 2 * AIR + 1))
    outlines, _ = cv2.findContours(cv2.dilate(mask.astype(np.uint8), disc), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(image.copy(), outlines, -1, LINE, 1, cv2.LINE_AA))


def panel(said: str, image: Array) -> Array:
    """A picture, in fewer tones, below its label."""
    import cv2

    head = np.full((HEAD, image.shape[1], 3), 255, np.uint8)
    cv2.putText(head, said, (1, HEAD - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.47, INK, 1, cv2.LINE_AA)
    fewer = np.minimum((image.astype(np.uint16) + TONES // 2) // TONES * TONES, 255).astype(np.uint8)
    return np.concatenate([head, fewer])


def sheet(lines: Sequence[Sequence[Array]]) -> Array:
    """Panels of one size in lines, on white."""
    padded = [[np.pad(one, ((0, GAP), (GAP, 0), (0, 0)), constant_values=255) for one in line] for line in lines]
    joined = np.concatenate([np.concatenate(line, axis=1) for line in padded])
    return np.pad(joined, ((0, 0), (0, GAP), (0, 0)), constant_values=255)


def write_small(path: Path, image: Array) -> None:
    """Write a PNG as small as it gets."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1], (cv2.IMWRITE_PNG_COMPRESSION, 9))


def _image(sample: Sample) -> Array:
    assert sample.image is not None
    return sample.image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=int, default=200, help="good trays that methods learn from")
    parser.add_argument("--judged", type=int, default=40, help="judged trays, good and of each kind")
    parser.add_argument("--nuts", choices=get_args(Nuts), default="pockets", help="four of them in pockets, or a loose one")
    parser.add_argument("--steps", type=int, help="training steps of ulsad, if not its own")
    parser.add_argument("--without", nargs="+", default=[], choices=sorted({name for name, *_ in SETTINGS.values()}))
    parser.add_argument("--pictures", type=Path, help="folder to write trays.png and heat_maps.png to")
    asked = parser.parse_args()
    good, judged = trays.samples(0, asked.good, nuts=asked.nuts), Judged.made(asked.judged, asked.nuts)
    if asked.pictures:
        write_small(asked.pictures / "trays.png", contact_sheet(judged))
    print(f"{asked.good} good trays, seed 0; {asked.judged} good and {asked.judged} of each kind judged, seed 1; image AUROC\n")
    print(f"| method | {' | '.join(KINDS)} | fit s | ms per part |\n|{' --- |' * (len(KINDS) + 3)}")
    heats = {}
    for label in (label for label, (name, *_) in SETTINGS.items() if name not in asked.without):
        detector, seconds = fitted(label, good, asked.steps)
        for line in rows(label, detector, seconds, judged):
            print(line, flush=True)
        if asked.pictures and label in SHOWN_METHODS:
            heats[label] = heated(label, detector, judged)
    if heats:
        write_small(asked.pictures / "heat_maps.png", heat_sheet(heats, judged))


if __name__ == "__main__":
    main()
