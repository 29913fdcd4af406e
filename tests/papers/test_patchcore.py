"""PatchCore as a whole against its equations: backbone outputs, patches and distances recomputed in float64 loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from amiss.methods.patchcore import PatchCore
from amiss.types import Result, Sample
from tests.backbones import tiny
from tests.kit.oracles import bins, neighbourhoods, resampled

Array = npt.NDArray[Any]

SIDE = 64
PLAIN: dict[str, Any] = {
    "layers": (4, 8), "grid": 8, "size": SIDE, "aspect": "square", "embedding": "avgpool", "pooling": 3, "border": "zero",
    "scale": "none", "coreset": 1.0, "bank": None, "start": "first", "projection": None, "neighbours": 1,
    "distance": "euclidean", "score": "max", "top": 0.1, "reweight": 3, "blur": 0.0, "memory": "1GB", "seed": 0,
}  # fmt: skip


def picture(seed: int, defect: tuple[int, int] | None = None) -> Sample:
    """A noisy grey part of the size the network sees; a defect is a bright square with that corner."""
    image = np.random.default_rng(seed).integers(90, 130, (SIDE, SIDE, 3), np.uint8)
    if defect is not None:
        row, column = defect
        image[row : row + 12, column : column + 12] = (250, 20, 20)
    return Sample(id=f"part {seed}", image=image)


GOOD = [picture(seed) for seed in range(3)]
JUDGED = picture(9, defect=(4, 40))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.saved(tmp_path_factory.mktemp("backbone"))


def judged(path: str, **fields: Any) -> Result:
    """The judgement on the defective part after a fit on the good ones."""
    (result,) = PatchCore(backbone=path, **{**PLAIN, **fields}).fit(GOOD).predict([JUDGED])
    return result


# -- the oracle --------------------------------------------------------------------------------------------------------


def maps(path: str, sample: Sample, layers: tuple[int, ...]) -> list[Array]:
    """What the backbone says of a picture, (h, w, C) a layer; the picture needs no resizing."""
    assert sample.image is not None
    image = ((sample.image / 255.0 - np.array(tiny.MEAN)) / np.array(tiny.STD)).astype(np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [{4: "fine", 8: "coarse"}[stride] for stride in layers]
    return [grid[0].transpose(1, 2, 0) for grid in session.run(names, {"image": image.transpose(2, 0, 1)[None]})]


def adaptive(vectors: Array, channels: int) -> Array:
    return np.stack([vectors[..., a:b].mean(axis=-1) for a, b in bins(vectors.shape[-1], channels)], axis=-1)


def embedded(path: str, sample: Sample, fields: dict[str, Any]) -> list[Array]:
    """Section 3.1: each layer's neighbourhoods on one grid, (P, C) a layer."""
    side = SIDE // (fields["grid"] or min(fields["layers"]))
    layers = []
    for grid in maps(path, sample, fields["layers"]):
        around = neighbourhoods(grid, fields["pooling"], fields["border"])  # (h, w, C, size, size)
        patchify = fields["embedding"] == "patchify"
        local = around.reshape(*grid.shape[:2], -1) if patchify else around.mean(axis=(3, 4))
        local = resampled(local, (side, side)).reshape(side * side, -1)
        layers.append(adaptive(local, 1024) if patchify else local)
    return [adaptive(np.concatenate(layers, axis=1), 1024)] if fields["embedding"] == "patchify" else layers


def lengths(layer: Array) -> Array:
    return np.sqrt((layer**2).sum(axis=1, keepdims=True))


def scaled(pictures: list[list[Array]], rule: str) -> list[Array]:
    """Each picture's patches, its layers brought to one scale and joined; the last picture is the judged one."""
    if rule == "unit":
        pictures = [[layer / lengths(layer) for layer in layers] for layers in pictures]
    if rule == "picture":
        pictures = [[layer / lengths(layer).mean() for layer in layers] for layers in pictures]
    if rule == "root":
        pictures = [[layer / np.sqrt(lengths(layer)) for layer in layers] for layers in pictures]
    means = [1.0] * len(pictures[0])
    if rule in ("mean", "root"):  # learned from the good parts alone
        means = [np.mean([lengths(layers[i]) for layers in pictures[:-1]]) for i in range(len(means))]
    return [np.concatenate([layer / mean for layer, mean in zip(layers, means, strict=True)], axis=1) for layers in pictures]


def expected(path: str, **changes: Any) -> tuple[Array, Array, Array]:
    """Patch scores of the judged part, its patches, and the bank of all good patches."""
    fields = {**PLAIN, **changes}
    *good, patches = scaled([embedded(path, sample, fields) for sample in [*GOOD, JUDGED]], fields["scale"])
    bank = np.concatenate(good)
    distances = np.sqrt(((patches[:, None] - bank[None]) ** 2).sum(axis=2))
    nearest = np.sort(distances, axis=1)[:, : fields["neighbours"]]
    return (nearest**2 if fields["distance"] == "squared" else nearest).mean(axis=1), patches, bank


# -- patch scores ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"border": "reflect"}, {"border": "replicate"}, {"pooling": 1}, {"pooling": 5, "border": "reflect"}, {"grid": 4},
        {"grid": 16}, {"grid": None}, {"layers": (8,)}, {"layers": (8, 4)}, {"scale": "mean"}, {"scale": "unit"},
        {"scale": "picture"}, {"scale": "root"}, {"neighbours": 3}, {"distance": "squared"},
        {"neighbours": 3, "distance": "squared"}, {"embedding": "patchify"}, {"embedding": "patchify", "border": "reflect"},
    ],
    ids=str,
)  # fmt: skip
def test_the_map_holds_each_patchs_distance_to_its_nearest_good_patches(path: str, fields: dict[str, Any]) -> None:
    result = judged(path, **fields)
    scores, _, _ = expected(path, **fields)
    assert result.map is not None
    side = SIDE // ({**PLAIN, **fields}["grid"] or 4)
    assert result.map.shape == (side, side)
    np.testing.assert_allclose(result.map.ravel(), scores, rtol=2e-4, atol=1e-5)
    assert result.score == pytest.approx(scores.max(), rel=2e-4)


def test_a_good_part_that_is_in_the_bank_scores_zero_everywhere(path: str) -> None:
    detector = PatchCore(backbone=path, **PLAIN).fit(GOOD)
    for result in detector.predict(GOOD):
        assert result.map is not None and result.score == 0 and (result.map == 0).all()


# -- the picture's score -----------------------------------------------------------------------------------------------


def test_top_is_the_mean_of_the_largest_tenth(path: str) -> None:
    scores, _, _ = expected(path)
    assert judged(path, score="top").score == pytest.approx(np.sort(scores)[-6:].mean(), rel=1e-4)  # 64 patches


@pytest.mark.parametrize("b", [2, 3, 9, 500])
@pytest.mark.parametrize("rule", ["paper", "rvorias"])
def test_the_weighed_score_follows_equations_6_and_7(path: str, rule: str, b: int) -> None:
    scores, patches, bank = expected(path)
    worst = patches[scores.argmax()]
    to_patch = np.sqrt(((bank - worst) ** 2).sum(axis=1))
    anchor = bank[to_patch.argmin()]  # equation 6
    around = np.argsort(((bank - anchor) ** 2).sum(axis=1), kind="stable")[:b]
    if rule == "rvorias":
        powers, own = np.exp(to_patch[around[1:]] / np.sqrt(len(worst))), np.exp(scores.max() / np.sqrt(len(worst)))
    else:
        powers, own = np.exp(to_patch[around]), np.exp(scores.max())
    assert judged(path, score=rule, reweight=b).score == pytest.approx((1 - own / powers.sum()) * scores.max(), rel=1e-3)


def test_squared_distances_leave_the_weight_as_it_is(path: str) -> None:
    plain, squared = (judged(path, score="paper", distance=kind).score for kind in ("euclidean", "squared"))
    scores, _, _ = expected(path)
    assert squared == pytest.approx(plain * scores.max(), rel=1e-3)


# -- places ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corner", [(0, 0), (0, 52), (52, 0), (52, 52), (24, 8)])
def test_a_defect_lights_up_where_it_is(path: str, corner: tuple[int, int]) -> None:
    detector = PatchCore(backbone=path, **{**PLAIN, "blur": 2.0}).fit(GOOD)
    (result,) = detector.predict([picture(9, defect=corner)])
    assert result.map is not None
    for lit, scale in ((result.map, 8), (result.image_map(), 1)):
        row, column = np.unravel_index(int(lit.argmax()), lit.shape)
        assert abs((row + 0.5) * scale - corner[0] - 6) <= 10 and abs((column + 0.5) * scale - corner[1] - 6) <= 10


def test_in_a_wide_picture_rows_stay_rows(path: str) -> None:
    def wide(defect: bool) -> Sample:
        image = np.random.default_rng(int(defect)).integers(90, 130, (64, 192, 3), np.uint8)
        if defect:
            image[4:20, 150:170] = (250, 20, 20)
        return Sample(id="wide", image=image)

    detector = PatchCore(backbone=path, **{**PLAIN, "size": 110, "aspect": "keep", "blur": 2.0}).fit([wide(False)])
    (result,) = detector.predict([wide(True)])
    full = result.image_map()
    row, column = np.unravel_index(int(full.argmax()), full.shape)
    assert full.shape == (64, 192) and row < 28 and 142 <= column < 178


def test_the_evidence_names_the_good_patch_that_was_nearest(path: str) -> None:
    result = judged(path)
    scores, patches, bank = expected(path)
    nearest = int(((bank - patches[scores.argmax()]) ** 2).sum(axis=1).argmin())
    found = result.evidence["nearest"][0]
    row, column = divmod(nearest % 64, 8)
    assert found["sample"] == f"part {nearest // 64}"
    assert tuple(found["box"]) == (row * 8, column * 8, row * 8 + 8, column * 8 + 8)
    assert found["distance"] == pytest.approx(scores.max(), rel=1e-4)


# -- the bank ----------------------------------------------------------------------------------------------------------


def test_a_smaller_bank_is_the_greedy_choice_among_the_good_patches(path: str) -> None:
    _, _, bank = expected(path)
    picks, squared = [0], ((bank - bank[0]) ** 2).sum(axis=1)
    while len(picks) < 20:
        picks.append(int(squared.argmax()))
        np.minimum(squared, ((bank - bank[picks[-1]]) ** 2).sum(axis=1), out=squared)
    detector = PatchCore(backbone=path, **{**PLAIN, "bank": 20}).fit(GOOD)
    assert detector.bank_ is not None
    np.testing.assert_allclose(detector.bank_.vectors, bank[picks], rtol=1e-4, atol=1e-4)


def test_the_share_of_the_coreset_counts_all_good_patches(path: str) -> None:
    for share, size in ((0.1, 19), (0.25, 48), (1.0, 192)):  # of 3 x 64
        detector = PatchCore(backbone=path, **{**PLAIN, "coreset": share}).fit(GOOD)
        assert detector.bank_ is not None and len(detector.bank_) == size


# -- no framework ------------------------------------------------------------------------------------------------------

LIGHT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "timm", "sklearn", "matplotlib"}:
            raise ImportError(f"{name} was asked for")
sys.meta_path.insert(0, Refuse())
import numpy as np
from amiss.methods.patchcore import PatchCore
from amiss.types import Sample
rng = np.random.default_rng(0)
parts = [Sample(id=str(i), image=rng.integers(0, 256, (64, 64, 3), np.uint8)) for i in range(3)]
detector = PatchCore(size=64, bank=50, layers=(8, 16)).fit(parts[:2])
(result,) = detector.predict(parts[2:])
print(result.image_map().shape, result.score > 0)
"""


def test_fitting_and_judging_need_neither_torch_nor_scikit_learn_nor_matplotlib(tmp_path: Path) -> None:
    import subprocess
    import sys

    run = subprocess.run([sys.executable, "-W", "error", "-c", LIGHT], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split("\n")[0] == "(64, 64) True"
