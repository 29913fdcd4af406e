"""MuSc-V2 on pictures as a whole against its equations: aggregation, mutual and constrained scores in float64 loops."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.errors import TooFewSamples
from amiss.methods.musc_v2 import MuScV2
from amiss.metrics.ranking import auroc
from amiss.model import Model
from amiss.types import Sample
from tests.backbones import tiny
from tests.kit.oracles import resampled
from tests.papers import oracles
from tests.papers.oracles import SIDE, descriptor, picture, seen

Array = npt.NDArray[Any]
PLAIN: dict[str, Any] = {
    "layers": (4, 8), "grid": 8, "size": SIDE, "aspect": "square", "aggregation": "similarity", "degrees": (1, 3, 5),
    "unit_first": False, "temperature": 1.0, "fuse": "mean", "share": 0.3, "top": 0.0, "windows": (1, 3),
    "descriptor": "worst", "blur": 0.0, "memory": "1GB", "seed": 0,
}  # fmt: skip
POOL = [picture(seed, defect=(4, 18) if seed == 2 else None) for seed in range(9)]
NEW = picture(99, defect=(18, 4))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.saved(tmp_path_factory.mktemp("backbone"))


def fitted(path: str, pool: Sequence[Sample] = POOL, **fields: Any) -> MuScV2:
    return MuScV2(backbone=path, **{**PLAIN, **fields}).fit(pool)


def scores(detector: MuScV2, samples: Sequence[Sample] = POOL) -> list[float]:
    return [result.score for result in detector.predict(samples)]


# -- the oracle --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """What the equations say of pictures: maps (h, w), raw scores (N,), descriptors (N, C)."""

    maps: list[Array]
    raw: Array
    described: Array


def groups(path: str, sample: Sample, fields: dict[str, Any]) -> list[Array]:
    """Aggregated unit vectors of each layer, (h, w, C); rounded as a pool is stored."""
    assert sample.image is not None
    shape = (sample.image.shape[0] // fields["grid"], sample.image.shape[1] // fields["grid"])
    out = []
    for layer in fields["layers"]:
        grid = resampled(seen(path, sample)[{4: 0, 8: 1}[layer]], shape)
        if fields["unit_first"]:
            grid = grid / np.sqrt((grid**2).sum(axis=2, keepdims=True))
        if fields["fuse"] == "scores":
            out += [plainly(grid, degree, fields["aggregation"]) for degree in fields["degrees"]]
        else:
            out.append(oracles.snamd(grid, fields["degrees"]))
    return [vectors.astype(np.float16).astype(float) for vectors in out]


def plainly(grid: Array, degree: int, aggregation: str) -> Array:
    return oracles.snamd(grid, (degree,)) if aggregation == "similarity" else oracles.lnamd(grid, degree)


def told(path: str, sample: Sample, own: list[Array], others: list[list[Array]], fields: dict[str, Any]) -> Any:
    """One picture against others: its map, raw score and descriptor."""
    h, w, _ = own[0].shape
    per_group = []
    for index, vectors in enumerate(own):
        flat = [other[index].reshape(-1, vectors.shape[2]) for other in others]
        per_group.append(oracles.lowest(oracles.against(vectors.reshape(h * w, -1), flat), fields["share"]).reshape(h, w))
    joined = np.mean(per_group, axis=0)
    before_last = max(0, len(fields["layers"]) - 2) * len(own) // len(fields["layers"])
    worst = own[before_last][np.unravel_index(int(joined.argmax()), (h, w))]
    described = worst if fields["descriptor"] == "worst" else descriptor(path, sample)
    return joined, oracles.highest(joined, fields["top"]), oracles.unit(described)


def expected(path: str, pool: Sequence[Sample] = POOL, new: Sample | None = None, **changes: Any) -> Expected:
    """The pool, each member against the others; with a new picture, that one last, against the whole pool."""
    fields = {**PLAIN, **changes}
    members = [groups(path, sample, fields) for sample in pool]
    found = [
        told(path, pool[i], own, members[:i] + members[i + 1 :], fields) for i, own in enumerate(members)
    ]  # fmt: skip
    if new is not None:
        found.append(told(path, new, groups(path, new, fields), members, fields))
    maps, raw, described = zip(*found, strict=True)
    return Expected(list(maps), np.array(raw), np.array(described))


def constrained(truth: Expected, count: int, windows: tuple[int, ...]) -> Array:
    """RsCon in the range of the first `count` raw scores, the pool's."""
    low, high = truth.raw[:count].min(), truth.raw[:count].max()
    return oracles.rscon((truth.raw - low) / (high - low), truth.described, windows)


# -- a pool against itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"unit_first": True}, {"grid": 4, "layers": (4,), "degrees": (3,)}, {"layers": (8, 4)}, {"degrees": (1,)},
        {"share": 0.6}, {"fuse": "scores", "degrees": (1, 3)}, {"descriptor": "token"}, {"windows": (1, 2, 50)}, {"top": 0.2},
        {"windows": (4,)},
    ],
    ids=str,
)  # fmt: skip
def test_a_member_is_judged_against_the_others_as_the_equations_say(path: str, fields: dict[str, Any]) -> None:
    pool = POOL[:6]
    truth = expected(path, pool, **fields)
    results = list(fitted(path, pool, **fields).predict(pool))
    for result, score_map in zip(results, truth.maps, strict=True):
        np.testing.assert_allclose(result.map, score_map, atol=1e-3)
        assert result.evidence["member"]
    drawn = constrained(truth, len(pool), fields.get("windows", PLAIN["windows"]))
    np.testing.assert_allclose([result.score for result in results], drawn, atol=1e-2)  # maps' errors over the raw range


@pytest.mark.parametrize("count", [2, 3, 5, 7, 9])  # 1, 1, 1, 1 and 2 of the others are averaged
def test_pools_of_any_size_from_two_on_are_scored(path: str, count: int) -> None:
    truth = expected(path, POOL[:count])
    for result, score_map in zip(fitted(path, POOL[:count]).predict(POOL[:count]), truth.maps, strict=True):
        np.testing.assert_allclose(result.map, score_map, atol=1e-3)
        assert np.isfinite(result.score)


@pytest.mark.parametrize("count", [0, 1])
def test_a_picture_alone_cannot_be_compared_and_the_error_says_so(path: str, count: int) -> None:
    with pytest.raises(TooFewSamples, match=r"musc_v2.* 2 .*met " + str(count)):
        fitted(path, POOL[:count])


def test_the_order_of_the_pool_does_not_matter(path: str) -> None:
    plain = scores(fitted(path))
    for pool in (POOL[::-1], POOL[4:] + POOL[:4]):
        np.testing.assert_allclose(scores(fitted(path, pool)), plain, rtol=1e-3, atol=1e-4)


def test_the_defective_picture_of_a_pool_stands_out_without_labels(path: str) -> None:
    pool = [picture(seed, defect=(6 * (seed % 3), 18) if seed in (2, 5, 7) else None) for seed in range(12)]
    labels = np.array([seed in (2, 5, 7) for seed in range(12)])
    assert auroc(np.array(scores(fitted(path, pool, windows=()), pool)), labels) == 1.0


def test_equal_pictures_give_equal_numbers(path: str) -> None:
    twins = [Sample(id=f"twin {index}", image=POOL[0].image) for index in range(4)]
    found = scores(fitted(path, twins), twins)
    assert np.isfinite(found).all() and len(set(found)) == 1


def test_without_windows_scores_are_the_raw_ones_in_the_pools_range(path: str) -> None:
    truth = expected(path)
    np.testing.assert_allclose(scores(fitted(path, windows=())), oracles.ranged(truth.raw), atol=1e-2)


def test_a_window_of_one_leaves_every_score_alone(path: str) -> None:
    pool = [picture(seed) for seed in range(20)]
    one, none = (scores(fitted(path, pool, windows=windows), pool) for windows in ((1,), ()))
    np.testing.assert_allclose(one, none, atol=1e-6)


def test_pictures_of_different_proportions_share_a_pool(path: str) -> None:
    shapes = [(32, 32), (32, 64), (64, 32), (32, 32), (32, 64)]  # all seen as they are with about 45 x 45 pixels of area
    pool = [picture(seed, shape=shape) for seed, shape in enumerate(shapes)]
    truth = expected(path, pool)
    results = list(fitted(path, pool, size=45, aspect="keep", windows=()).predict(pool))
    assert [np.shape(result.map) for result in results] == [(4, 4), (4, 8), (8, 4), (4, 4), (4, 8)]
    for result, score_map, raw in zip(results, truth.maps, oracles.ranged(truth.raw), strict=True):
        np.testing.assert_allclose(result.map, score_map, atol=1e-3)
        assert result.score == pytest.approx(raw, abs=1e-2)


def test_the_first_versions_aggregation_normalises_the_whole_layer_first(path: str) -> None:
    fields = {"aggregation": "mean", "fuse": "scores", "degrees": (1, 3)}
    truth = expected(path, POOL[:4], **fields)
    for result, score_map in zip(fitted(path, POOL[:4], **fields).predict(POOL[:4]), truth.maps, strict=True):
        np.testing.assert_allclose(result.map, score_map, atol=1e-3)


# -- a new picture against the pool ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields", [{}, {"unit_first": True, "layers": (8,)}, {"descriptor": "token", "windows": (4,)}], ids=str
)
def test_a_new_picture_is_judged_against_the_whole_pool(path: str, fields: dict[str, Any]) -> None:
    truth = expected(path, new=NEW, **fields)
    (result,) = fitted(path, **fields).predict([NEW])
    np.testing.assert_allclose(result.map, truth.maps[-1], atol=1e-3)
    assert not result.evidence["member"]
    drawn = constrained(truth, len(POOL), fields.get("windows", PLAIN["windows"]))[-1]
    assert result.score == pytest.approx(drawn, abs=1e-2)


def test_a_new_picture_odder_than_the_whole_pool_scores_beyond_its_range(path: str) -> None:
    black = Sample(id="black", image=np.zeros((SIDE, SIDE, 3), np.uint8))
    truth = expected(path, new=black)
    assert truth.raw[-1] > 1.1 * truth.raw[:-1].max()
    for windows in ((), (1,), (2,)):
        drawn = constrained(truth, len(POOL), windows or (1,))[-1]
        (score,) = scores(fitted(path, windows=windows), [black])
        assert score == pytest.approx(drawn, rel=2e-2) and (len(windows) > 0 or score > 1.1)


def test_a_new_picture_changes_nobodys_score(path: str) -> None:
    detector = fitted(path)
    before = scores(detector)
    first = scores(detector, [NEW])
    assert scores(detector, [NEW]) == first and scores(detector) == before


def test_a_member_is_known_by_its_content_not_its_name(path: str) -> None:
    detector = fitted(path)
    (result,) = detector.predict([Sample(id="another name", image=POOL[2].image)])
    assert result.evidence["member"] and result.score == scores(detector)[2]


def test_a_saved_pool_keeps_the_scores_of_members_and_of_new_pictures(path: str, tmp_path: Path) -> None:
    detector = fitted(path)
    Model(detector).save(tmp_path / "pool.amiss")
    loaded = Model.load(tmp_path / "pool.amiss").detector
    assert isinstance(loaded, MuScV2)
    for before, after in zip(detector.predict([*POOL, NEW]), loaded.predict([*POOL, NEW]), strict=True):
        assert after.score == pytest.approx(before.score, rel=1e-6)
        np.testing.assert_allclose(after.map, before.map, rtol=1e-6)


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", ["1B", "5KB", "12KB"])
def test_a_pool_beyond_the_budget_is_sampled_with_a_warning(path: str, memory: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "amiss"):
        first, second = (fitted(path, memory=memory) for _ in range(2))
    kept = sum(result.evidence["member"] for result in first.predict(POOL))
    assert 2 <= kept < len(POOL)
    assert f"{kept} of the {len(POOL)}" in caplog.text and "memory" in caplog.text
    assert scores(first) == scores(second) and np.isfinite(scores(first)).all()


def test_a_pool_within_the_budget_is_kept_whole_and_in_silence(path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "amiss"):
        detector = fitted(path)
    assert all(result.evidence["member"] for result in detector.predict(POOL)) and not caplog.text
