"""GLFM on three kinds of made clouds: routes, banks, evidence, adaptation, what may not change a score, and what is refused."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.clouds import bad_clouds, good_clouds, surface, turned
from tests.methods.separation import judged

from amiss.errors import BadField, BadModelFile, MissingExtra
from amiss.kit import training
from amiss.methods.glfm import GLFM
from amiss.methods.patchcore import PatchCore
from amiss.metrics.ranking import auroc
from amiss.model import Model
from amiss.types import Result, Sample

Array = npt.NDArray[Any]
KINDS = ("egg", "ring", "pad")


def form(kind: str, rng: np.random.Generator, bump: float = 0.0, count: int = 1600) -> tuple[Array, Array]:
    """Points (N, 3) of a wavy egg, a ring of changing width or a rounded pad, and which belong to a bump of that height."""
    if kind == "egg":
        return surface(rng, count, bump)
    if kind == "ring":
        u, v = rng.uniform(0, 2 * np.pi, (2, count))
        out = np.column_stack([np.cos(v) * np.cos(u), np.cos(v) * np.sin(u), np.sin(v)])
        middle = (1.2 + 0.15 * np.cos(u))[:, None] * np.column_stack([np.cos(u), np.sin(u), 0.3 * np.sin(u)])
        points = middle + (0.4 + 0.12 * np.sin(u + 0.5))[:, None] * out
    else:
        out = rng.standard_normal((count, 3))
        out /= np.linalg.norm(out, axis=1, keepdims=True)
        points = np.sign(out) * np.abs(out) ** 0.5 * [1.5, 0.9, 0.5] + 0.1 * out[:, :1] ** 2
    points = points + rng.normal(0, 0.002, points.shape)
    far = np.linalg.norm(points - points[int(rng.integers(count))], axis=1)
    marked = far < bump
    points[marked] += (bump * (1 - (far[marked] / bump) ** 2))[:, None] * out[marked] if bump else 0.0
    return points, marked


def drawn(kind: str, count: int, seed: int = 0, bump: float = 0.0) -> list[tuple[Sample, Array]]:
    """In any pose, with which points are marked."""
    made = []
    for number in range(count):
        rng = np.random.default_rng([seed, number, KINDS.index(kind)])
        points, marked = form(kind, rng, bump)
        made.append((Sample(id=f"{kind} {seed} {number}", points=turned(points, rng).astype(np.float32)), marked))
    return made


def clouds(count: int, seed: int = 0, kinds: Sequence[str] = KINDS, bump: float = 0.0) -> list[Sample]:
    return [sample for kind in kinds for sample, _ in drawn(kind, count, seed, bump)]


def small(**fields: Any) -> GLFM:
    return GLFM(**{"bank": 800, "scales": (3.0, 5.0), **fields})


@pytest.fixture(scope="module")
def fitted() -> GLFM:
    return small().fit(clouds(3))


def routes(detector: GLFM, samples: Sequence[Sample]) -> list[int]:
    return [result.evidence["route"]["centre"] for result in detector.predict(samples)]


def one(detector: GLFM, sample: Sample) -> Result:
    return next(detector.predict([sample]))


# -- many kinds in one model -------------------------------------------------------------------------------------------


def test_clouds_of_three_kinds_go_each_to_their_own_bank_good_or_bad(fitted: GLFM) -> None:
    learned = np.array(routes(fitted, clouds(3))).reshape(3, 3)
    assert (learned == learned[:, :1]).all() and set(learned[:, 0]) == {0, 1, 2}
    new = np.array(routes(fitted, [*clouds(2, seed=1), *clouds(2, seed=2, bump=0.3)])).reshape(2, 3, 2)
    assert (new == learned[:, 0][None, :, None]).all()


def test_bumps_are_found_in_every_kind_and_in_their_place(fitted: GLFM) -> None:
    for kind in KINDS:
        bad = drawn(kind, 3, seed=2, bump=0.3)
        results = [one(fitted, sample) for sample, _ in bad]
        assert min(result.score for result in results) > max(judged(fitted, clouds(3, seed=1, kinds=[kind])))
        places = np.concatenate([result.point_map() for result in results])
        assert auroc(places, np.concatenate([marked for _, marked in bad])) > 0.95


def test_which_part_a_sample_is_said_to_be_plays_no_role(fitted: GLFM) -> None:
    named = [dataclasses.replace(sample, part=f"part {number % 2}") for number, sample in enumerate(clouds(3))]
    other = small().fit(named)
    assert judged(other, named[:3]) == judged(fitted, clouds(3)[:3])


def test_the_route_and_the_good_place_that_answered_are_in_the_evidence(fitted: GLFM) -> None:
    route = one(fitted, clouds(1, seed=1, kinds=["ring"])[0]).evidence["route"]
    assert route["by"] == "whole" and len(route["distances"]) == 3 and route["used"] == [route["centre"]]
    assert route["shares"] == [1.0] and int(np.argmin(route["distances"])) == route["centre"]
    ((sample, marked),) = drawn("ring", 1, seed=2, bump=0.3)
    result = one(fitted, sample)
    (nearest,) = result.evidence["nearest"]
    assert nearest["sample"].startswith("ring 0") and result.map is not None
    assert nearest["distance"] == pytest.approx(result.map.max())
    (good,) = (known for known in clouds(3) if known.id == nearest["sample"])
    assert good.points is not None and np.linalg.norm(good.points - nearest["point"], axis=1).min() < 0.2
    assert sample.points is not None
    assert np.linalg.norm(sample.points[marked] - result.evidence["patch"], axis=1).min() < 0.3


# -- banks -------------------------------------------------------------------------------------------------------------


def test_one_centre_is_the_single_bank_of_patchcore_exactly() -> None:
    good, bad = clouds(2), clouds(1, seed=2, bump=0.3)
    shared: dict[str, Any] = {"cells": 1.5, "scales": (3.0, 5.0), "projection": 16, "top": 0.02, "seed": 3}
    ours = GLFM(centres=1, lean=0.0, bank=600, **shared).fit(good)
    theirs = PatchCore(scale="none", places=600, **shared).fit(good)
    assert ours.banks_[0].vectors.shape == (600, 66)
    np.testing.assert_array_equal(ours.banks_[0].vectors, theirs.bank_.vectors)  # type: ignore[union-attr]
    for here, there in zip(ours.predict(bad), theirs.predict(bad), strict=True):
        assert here.score == there.score and here.map is not None and there.map is not None
        np.testing.assert_array_equal(here.map, there.map)


def slow_scores(detector: GLFM, sample: Sample, used: Sequence[int]) -> Array:
    """Distance of every place to the nearest vector of some banks, one place after another."""
    assert detector._extract is not None
    local = detector._local(detector._extract(sample)).astype(float)
    vectors = np.concatenate([detector.banks_[centre].vectors for centre in used]).astype(float)
    return np.array([np.linalg.norm(vectors - place, axis=1).min() for place in local])


@pytest.mark.parametrize("soft", [0.0, 1e6])
def test_scores_are_distances_to_the_banks_that_are_used(fitted: GLFM, soft: float) -> None:
    detector = small(soft=soft).restore(fitted.state())
    (sample,) = clouds(1, seed=3, kinds=["egg"], bump=0.3)
    result = one(detector, sample)
    used = result.evidence["route"]["used"]
    assert len(used) == (2 if soft else 1) and result.map is not None
    np.testing.assert_allclose(result.map, slow_scores(detector, sample, used), rtol=1e-3, atol=1e-4)
    shares = result.evidence["route"]["shares"]
    assert len(shares) == len(used) and sum(shares) == pytest.approx(1) and shares[0] > 0.5


@pytest.mark.parametrize(("score", "wanted"), [("max", 1.0), ("mean", None), ("top", 0.05)])
def test_the_clouds_score_is_made_by_the_rule_that_is_asked_for(fitted: GLFM, score: Any, wanted: float | None) -> None:
    detector = small(score=score, top=0.05).restore(fitted.state())
    result = one(detector, clouds(1, seed=3, kinds=["pad"], bump=0.3)[0])
    assert result.map is not None
    highest = np.sort(result.map)[::-1]
    count = {"max": 1, "mean": len(highest), "top": round(0.05 * len(highest))}[score]
    assert result.score == pytest.approx(highest[:count].mean(dtype=float))


def test_as_many_centres_as_are_asked_for_are_made() -> None:
    assert len(small(centres=2).fit(clouds(2)).banks_) == 2
    assert len(small(clustering="k-centre").fit(clouds(2)).banks_) == 3
    assert len(small().fit(clouds(3, kinds=["egg"])).banks_) == 1


def test_every_bank_keeps_no_more_than_it_may(fitted: GLFM) -> None:
    assert [len(bank) for bank in fitted.banks_] == [800] * 3
    for bank in fitted.banks_:
        kinds = {fitted.samples_[sample].split()[0] for sample in bank.rows[:, 0]}
        assert len(kinds) == 1


# -- scans from one side -----------------------------------------------------------------------------------------------


def cut(sample: Sample, share: float = 0.6) -> Sample:
    """The part of a cloud that lies on one side."""
    assert sample.points is not None
    along = sample.points @ np.array([1.0, 0.5, 0.2])
    return Sample(id=f"cut {sample.id}", points=sample.points[along > np.quantile(along, 1 - share)])


def test_a_cloud_unlike_all_good_ones_is_routed_by_its_places(fitted: GLFM, caplog: pytest.LogCaptureFixture) -> None:
    learned = dict(zip(KINDS, routes(fitted, clouds(1)), strict=True))
    for kind in KINDS:
        for sample in clouds(2, seed=4, kinds=[kind]):
            route = one(fitted, cut(sample)).evidence["route"]
            assert route["by"] == "places" and route["centre"] == learned[kind]
            assert f"cut {sample.id} is unlike every good part" in caplog.text


def test_near_a_scans_rim_a_model_of_whole_parts_says_the_middle_score() -> None:
    whole = good_clouds(2, points=9000)
    sample = cut(good_clouds(1, seed=4, points=9000)[0])
    even = small(cells=4.0)  # so that the thinned surface has no gaps inside
    wholes, halves = even.unfitted().fit(whole), even.unfitted().fit([cut(known) for known in whole])
    assert wholes._extract is not None
    rim = wholes._extract(sample).rim
    scores, judged_by_halves = one(wholes, sample).map, one(halves, sample).map
    assert scores is not None and judged_by_halves is not None and 0.05 < rim.mean() < 0.6
    assert set(scores[rim].tolist()) == {float(np.median(scores[~rim]))}
    assert len(set(judged_by_halves.tolist())) > 0.9 * len(judged_by_halves)  # who knows rims judges them


# -- what changes nothing ----------------------------------------------------------------------------------------------


def test_a_unit_a_thousand_times_smaller_changes_neither_scores_nor_routes(fitted: GLFM) -> None:
    def scaled(samples: Sequence[Sample]) -> list[Sample]:
        return [Sample(id=sample.id, points=sample.points * np.float32(1000)) for sample in samples]

    bad = clouds(1, seed=2, bump=0.3)
    large = small().fit(scaled(clouds(3)))
    np.testing.assert_allclose(judged(large, scaled(bad)), judged(fitted, bad), rtol=2e-2)
    assert routes(large, scaled(bad)) == routes(fitted, bad)


def test_order_of_points_and_pose_change_neither_scores_nor_routes(fitted: GLFM) -> None:
    rng = np.random.default_rng(0)
    points, _ = form("ring", rng, 0.3)
    moved = [points, points[rng.permutation(len(points))], *(turned(points, rng) for _ in range(2))]
    samples = [Sample(id=str(number), points=cloud.astype(np.float32)) for number, cloud in enumerate(moved)]
    scores = judged(fitted, samples)
    np.testing.assert_allclose(scores, scores[0], rtol=2e-2)
    assert len(set(routes(fitted, samples))) == 1


# -- adaptation --------------------------------------------------------------------------------------------------------


class Direct:
    """The torch network itself in the place of its graph: what is tested here is not the export, which takes seconds."""

    content = b""

    def __init__(self, network: Any, *_: Any) -> None:
        self._network = network

    def __call__(self, **arrays: Array) -> list[Array]:
        with torch.no_grad():
            return [found.numpy() for found in self._network(*map(torch.from_numpy, arrays.values()))]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amiss.methods.glfm.exported", Direct)


def taught(**fields: Any) -> GLFM:
    return small(**{"steps": 60, "lessons": 6, "rate": 3e-3, "adapted": 1.0, "cells": 2.0, **fields})


BAD = [sample for sample, _ in bad_clouds(3, bump=0.12)]


@pytest.fixture(scope="module")
def adapted() -> GLFM:
    return taught(steps=20, lessons=3).fit(good_clouds(2))


@pytest.mark.usefixtures("direct")
def test_a_trained_detector_lifts_small_bumps_higher_above_good_parts_than_its_untrained_twin() -> None:
    good = good_clouds(3, seed=1)

    def lifted(detector: GLFM) -> float:
        detector.fit(good_clouds(3))
        return float(np.mean(judged(detector, BAD)) / np.mean(judged(detector, good)))

    trained, twin = lifted(taught()), lifted(taught(steps=0))
    assert twin > 1.2 and trained > 2 * twin


@pytest.mark.usefixtures("direct")
def test_what_the_layers_say_stands_beside_the_descriptors_at_the_weight_asked_for() -> None:
    one_of, other = (taught(steps=5, lessons=2, adapted=weight).fit(good_clouds(2)) for weight in (1.0, 0.5))
    assert one_of.adapted_ is not None and other.adapted_ is not None
    assert other.adapted_.weight == pytest.approx(0.5 * one_of.adapted_.weight)
    plain = taught(steps=0).fit(good_clouds(2))
    local = one_of._local(one_of._extract(BAD[0]))  # type: ignore[misc]
    np.testing.assert_array_equal(one_of._joined(local)[:, : local.shape[1]], local)
    np.testing.assert_array_equal(plain._joined(local), local)
    assert one_of.banks_[0].vectors.shape[1] == local.shape[1] + 32


def test_how_the_training_went_is_kept(adapted: GLFM) -> None:
    assert adapted.trained_["steps"] == 20 and 0 < adapted.trained_["loss"] < 5
    assert small(steps=0).fit(good_clouds(1)).trained_ == {"steps": 0, "loss": None}


def test_only_a_detector_with_steps_trains() -> None:
    assert taught().trains and not small().trains


@pytest.mark.usefixtures("direct")
def test_a_training_ended_by_the_clock_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "amiss"):
        detector = taught(minutes=1e-9, lessons=1).fit(good_clouds(1))
    assert detector.trained_["steps"] == 1 and "after 1 of 60 steps" in caplog.text


class Stop:
    """Progress that kills the fit once so many steps are trained."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if stage == "training" and done >= self.after:
            raise KeyboardInterrupt


@pytest.mark.usefixtures("direct")
def test_a_killed_fit_ends_where_it_would_have_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_OFTEN", -1.0)
    make: Callable[[], GLFM] = lambda: taught(steps=20, lessons=2)  # noqa: E731
    with pytest.raises(KeyboardInterrupt):
        make().fit(good_clouds(2), progress=Stop(10), workdir=tmp_path)
    assert len(list(tmp_path.glob("*.training"))) == 1
    resumed, whole = make().fit(good_clouds(2), workdir=tmp_path), make().fit(good_clouds(2))
    assert judged(resumed, BAD) == judged(whole, BAD)
    assert not list(tmp_path.glob("*.training"))


@pytest.mark.parametrize("absent", ["torch", "onnxscript"])
def test_adapting_without_the_extra_says_what_to_install_before_anything_is_read(
    absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    said: list[str] = []
    with pytest.raises(MissingExtra, match=rf"(?s){absent}.*pip install 'amiss\[train\]'"):
        taught().fit(good_clouds(1), progress=lambda stage, *_: said.append(stage))
    assert said == []
    assert small().fit(good_clouds(1)).fitted  # without steps nothing is needed


def test_an_adapted_model_judges_where_torch_cannot_be_imported(
    adapted: GLFM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Model(adapted).save(tmp_path / "parts.amiss")
    monkeypatch.setitem(sys.modules, "torch", None)
    loaded = Model.load(tmp_path / "parts.amiss").detector
    assert isinstance(loaded, GLFM) and judged(loaded, BAD) == judged(adapted, BAD)
    assert loaded.trained_ == adapted.trained_


# -- model file, memory and fields -------------------------------------------------------------------------------------


def test_saved_and_loaded_routes_scores_and_evidence_are_the_same(fitted: GLFM, tmp_path: Path) -> None:
    Model(fitted).save(tmp_path / "parts.amiss")
    loaded = Model.load(tmp_path / "parts.amiss").detector
    for before, after in zip(fitted.predict(clouds(1)), loaded.predict(clouds(1)), strict=True):
        assert before.score == after.score and before.evidence == after.evidence


def damages(detector: GLFM) -> Iterator[tuple[str, Any]]:
    """States that differ from a fitted one in one thing."""
    state = detector.state()

    def other(**parts: dict[str, Any]) -> Any:
        changed = {part: {**getattr(state, part), **values} for part, values in parts.items()}
        kept = {part: {key: value for key, value in each.items() if value is not None} for part, each in changed.items()}
        return dataclasses.replace(state, **kept)

    for key, array in state.arrays.items():
        for what, wrong in (("none", None), ("short", array[:-1]), ("wrapped", array[None])):
            yield f"{key} {what}", other(arrays={key: wrong})
        yield f"{key} of another type", other(arrays={key: array.astype(np.int64 if array.dtype.kind == "f" else np.float32)})
    rows = state.arrays["rows"]
    yield "rows of no bank", other(arrays={"rows": np.where([False, False, True], rows + 1, rows)})
    yield "rows of no sample", other(arrays={"rows": np.where([True, False, False], rows + 100, rows)})
    if len(detector.banks_) > 1:
        yield "rows mixed", other(arrays={"rows": rows[::-1]})
    yield "scales", other(arrays={"scales": -state.arrays["scales"]})
    yield "reaches", other(arrays={"reaches": -1 - state.arrays["reaches"]})
    for key in state.facts:
        yield f"{key} none", other(facts={key: None})
        yield f"{key} of another type", other(facts={key: 7 if key != "weight" else "7"})
    yield "weight", other(facts={"weight": -1.0})
    for key in state.graphs:
        yield f"{key} none", other(graphs={key: None})
        yield f"{key} cut", other(graphs={key: state.graphs[key][: len(state.graphs[key]) // 2]})


def test_a_damaged_state_is_refused_when_it_is_read(fitted: GLFM, adapted: GLFM) -> None:
    for detector in (fitted, adapted):
        assert judged(detector.unfitted().restore(detector.state()), BAD) == judged(detector, BAD)
        for what, state in damages(detector):
            with pytest.raises(BadModelFile):
                detector.unfitted().restore(state)
                pytest.fail(what)


def test_the_state_of_another_width_is_refused(fitted: GLFM) -> None:
    for fields in ({"lean": 0.0}, {"scales": (3.0,)}, {"steps": 5}):
        with pytest.raises(BadModelFile, match="fit it again"):
            small(**fields).restore(fitted.state())


def test_more_places_than_memory_holds_are_sampled_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "amiss"):
        detector = small(memory="1MB").fit(clouds(2))
    assert "memory = 1MB holds" in caplog.text and len(detector.banks_) == 3


def test_too_little_memory_for_every_kind_is_refused() -> None:
    with pytest.raises(BadField, match="memory = 2KB holds no place"):
        small(memory="2KB").fit(clouds(2))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cells", 0.0), ("most", 10), ("scales", ()), ("scales", (0.0,)), ("averaged", -1.0), ("lean", -0.5), ("centres", 0),
        ("clustering", "mean"), ("soft", -0.1), ("bank", 0), ("projection", 0), ("score", "paper"), ("top", 0.0), ("top", 1.5),
        ("steps", -1), ("minutes", 0.0), ("lessons", 0), ("hidden", ()), ("hidden", (0,)), ("adapted", 0.0), ("rate", 0.0),
        ("memory", "lots"), ("device", "tpu"), ("threads", 0),
    ],
)  # fmt: skip
def test_an_impossible_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(BadField, match=field):
        GLFM(**{field: value})  # type: ignore[arg-type]
