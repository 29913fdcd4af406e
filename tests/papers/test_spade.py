"""SPADE as a whole against its equations: nearest pictures, then nearest features, in float64 loops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.errors import BadField
from amiss.kit import gallery
from amiss.methods.spade import SPADE
from amiss.types import Result, Sample
from tests.backbones import tiny
from tests.papers import oracles
from tests.papers.oracles import SIDE, descriptor, neighbours, picture, seen

Array = npt.NDArray[Any]
PLAIN: dict[str, Any] = {
    "layers": (8,), "size": SIDE, "aspect": "square", "images": 3, "match": "same", "kappa": 1, "score": "images", "top": 0.0,
    "blur": 0.0, "precision": "single", "memory": "1GB", "seed": 0,
}  # fmt: skip
GOOD = [picture(seed) for seed in range(6)]
JUDGED = picture(99, defect=(4, 18))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.saved(tmp_path_factory.mktemp("backbone"))


def judged(path: str, good: Sequence[Sample] = GOOD, sample: Sample = JUDGED, **fields: Any) -> Result:
    (result,) = SPADE(backbone=path, **{**PLAIN, **fields}).fit(good).predict([sample])
    assert result.map is not None
    return result


def score(path: str, images: int) -> float:
    return oracles.spade_score(descriptor(path, JUDGED), np.array([descriptor(path, good) for good in GOOD]), images)


def expected(path: str, **changes: Any) -> Array:
    """The mean over the layers, each brought to the finest grid, of the distances to the corresponding features."""
    fields = {**PLAIN, **changes}
    tokens = np.array([descriptor(path, good) for good in GOOD])
    retrieved = neighbours(descriptor(path, JUDGED), tokens, fields["images"])
    finest = SIDE // min(fields["layers"])
    maps = []
    for layer in fields["layers"]:
        which = {4: 0, 8: 1}[layer]
        found = [seen(path, GOOD[index])[which] for index in retrieved]
        distances = oracles.spade_map(seen(path, JUDGED)[which], found, fields["kappa"], fields["match"])
        maps.append(oracles.bilinear(distances, (finest, finest)))
    return np.asarray(np.mean(maps, axis=0))


@pytest.mark.parametrize("images", [1, 2, 5, 6, 50])
def test_the_pictures_score_is_its_mean_distance_to_the_nearest_good_ones(path: str, images: int) -> None:
    assert judged(path, images=images).score == pytest.approx(score(path, images), rel=1e-4)  # 50 is cut to the 6 there are


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"match": "anywhere"}, {"kappa": 2}, {"kappa": 3, "match": "anywhere"}, {"images": 1},
        {"images": 1, "match": "anywhere"}, {"images": 50}, {"images": 50, "kappa": 4}, {"layers": (4, 8)},
        {"layers": (8, 4), "kappa": 2}, {"layers": (4, 8), "images": 2, "match": "anywhere"}, {"layers": (4,)},
    ],
    ids=str,
)  # fmt: skip
def test_the_map_holds_the_distances_to_the_corresponding_features(path: str, fields: dict[str, Any]) -> None:
    result, truth = judged(path, **fields), expected(path, **fields)
    assert result.map is not None and result.map.shape == truth.shape
    np.testing.assert_allclose(result.map, truth, rtol=1e-4, atol=1e-5)


def test_more_nearest_features_than_there_are_takes_all(path: str) -> None:
    np.testing.assert_allclose(judged(path, kappa=99).map, expected(path, kappa=99), rtol=1e-4)  # 3 at the same place
    anywhere = {"kappa": 999, "match": "anywhere"}
    np.testing.assert_allclose(judged(path, **anywhere).map, expected(path, **anywhere), rtol=1e-4)  # 3 x 16


def test_only_the_retrieved_pictures_are_compared_with(path: str) -> None:
    alone, all_ = (expected(path, images=images) for images in (1, 6))
    assert (alone >= all_ - 1e-9).all() and np.abs(alone - all_).max() > 0.01  # the oracle can tell
    np.testing.assert_allclose(judged(path, images=1).map, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("match", ["same", "anywhere"])
def test_a_good_picture_in_the_gallery_has_a_map_of_zeros(path: str, match: str) -> None:
    detector = SPADE(backbone=path, **{**PLAIN, "match": match, "images": 1, "layers": (4, 8)}).fit(GOOD)
    for result in detector.predict(GOOD):
        assert result.map is not None and (result.map == 0).all() and result.score == 0


@pytest.mark.parametrize("match", ["same", "anywhere"])
def test_the_order_of_the_good_pictures_does_not_matter(path: str, match: str) -> None:
    results = [judged(path, good, match=match, kappa=2) for good in (GOOD, GOOD[::-1], GOOD[3:] + GOOD[:3])]
    for other in results[1:]:
        assert other.score == pytest.approx(results[0].score, rel=1e-6)
        np.testing.assert_allclose(other.map, results[0].map, rtol=1e-5)


def test_every_good_picture_counts_when_there_are_not_a_multiple_of_a_hundred(path: str) -> None:
    many = [picture(seed) for seed in range(103)]
    detector = SPADE(backbone=path, **{**PLAIN, "images": 1, "match": "anywhere"}).fit(many)
    for result in detector.predict(many[95:]):
        assert result.score == 0 and result.map is not None and (result.map == 0).all()


@pytest.mark.parametrize("block", [1, 100])
@pytest.mark.parametrize("match", ["same", "anywhere"])
def test_a_search_in_small_blocks_finds_the_same(path: str, match: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = judged(path, match=match, kappa=2)
    monkeypatch.setattr(gallery, "_BLOCK", block)
    np.testing.assert_allclose(judged(path, match=match, kappa=2).map, whole.map, rtol=1e-5)


@pytest.mark.parametrize("top", [0.0, 0.1, 1.0])
def test_the_score_of_the_map_is_the_mean_of_its_top_share(path: str, top: float) -> None:
    fields = {"layers": (4, 8), "score": "map"}
    truth = oracles.highest(expected(path, **fields), top)
    assert judged(path, **fields, top=top).score == pytest.approx(truth, rel=1e-4)


def test_the_score_of_the_pictures_does_not_depend_on_the_map(path: str) -> None:
    plain = judged(path).score
    for fields in ({"match": "anywhere"}, {"kappa": 3}, {"layers": (4,)}, {"top": 0.5}, {"blur": 4.0}):
        assert judged(path, **fields).score == pytest.approx(plain, rel=1e-6)


def test_the_evidence_names_the_nearest_pictures(path: str) -> None:
    tokens = np.array([descriptor(path, good) for good in GOOD])
    truth = neighbours(descriptor(path, JUDGED), tokens, 3)
    found = judged(path).evidence["pictures"]
    assert [each["sample"] for each in found] == [f"part {index}" for index in truth]
    assert found[0]["distance"] == pytest.approx(oracles.distance(tokens[truth[0]], descriptor(path, JUDGED)), rel=1e-4)


def test_half_precision_changes_scores_by_less_than_a_hundredth(path: str) -> None:
    np.testing.assert_allclose(judged(path, precision="half").map, judged(path).map, rtol=1e-2)


def test_features_larger_than_half_precision_holds_are_refused_with_the_way_out(path: str, tmp_path: Path) -> None:
    with pytest.raises(BadField, match="set precision to single"):
        judged(oracles.louder(path, tmp_path, 1e5), precision="half")
    loud = judged(oracles.louder(path, tmp_path, 1e5), score="map", precision="single")
    assert loud.score == pytest.approx(1e5 * judged(path, score="map").score, rel=1e-2)


def test_pictures_of_other_sizes_are_brought_to_one_frame(path: str) -> None:
    for shape in ((64, 64), (20, 90)):
        result = judged(path, sample=picture(7, shape=shape), aspect="keep")
        assert result.map is not None and result.map.shape == (4, 4) and result.image_map().shape == shape
