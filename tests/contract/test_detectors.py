"""What every detector in the catalog must do, with its `quick` fields, on made parts; nothing is skipped here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.clouds import bad_clouds, good_clouds

from amiss import catalog
from amiss.contract import Detector, build
from amiss.data import toys
from amiss.errors import BadField, NotFitted, TooFewSamples, WrongModality
from amiss.model import Model
from amiss.spread import PointSpread
from amiss.types import Result, Sample

Array = npt.NDArray[Any]

SIZE = (96, 96)
POINTS = 2000
KINDS = {"image": ("texture", "object"), "points": ("cloud",)}  # of made parts, by the modality they have


def make(name: str, **settings: Any) -> Detector:
    kind = catalog.resolve("detector", name)
    return build(kind, {**kind.quick, **settings})


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every detector of the catalog, with every kind of part of every modality it sees where a test asks for kinds."""
    names = sorted(catalog.DETECTORS)
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize(("name", "kind"), [(name, kind) for name in names for kind in kinds(name)])
    elif "name" in metafunc.fixturenames:
        metafunc.parametrize("name", names)


def kinds(name: str) -> list[str]:
    return [kind for modality in sorted(catalog.resolve("detector", name).sees) for kind in KINDS[modality]]


def usual(name: str) -> str:
    """The kind of part where any will do."""
    return kinds(name)[0]


def good(kind: str, count: int = 8, seed: int = 0) -> list[Sample]:
    return good_clouds(count, seed, POINTS) if kind == "cloud" else toys.samples(seed, count, kind, SIZE)


def marked(kind: str, count: int = 6, seed: int = 100) -> list[tuple[Sample, Array]]:
    """Defective parts and where they are."""
    if kind == "cloud":
        return bad_clouds(count, seed, POINTS)
    pairs = toys.defective_samples(seed, count, kind, SIZE)
    return [(sample, truth.mask) for sample, truth in pairs if truth.mask is not None]


def bad(kind: str, count: int = 6, seed: int = 100) -> list[Sample]:
    return [sample for sample, _ in marked(kind, count, seed)]


def full_map(result: Result) -> Array:
    """The map at the sample's own resolution."""
    return result.point_map() if isinstance(result.spread, PointSpread) else result.image_map()


def few(name: str) -> list[Sample]:
    """Two good parts, or as many as the method needs."""
    return good(usual(name), max(2, catalog.resolve("detector", name).least))


@cache
def fitted(name: str, kind: str, count: int = 8) -> Detector:
    """Fitted once for all tests that only judge; predict reads and changes nothing."""
    return make(name).fit(good(kind, count))


@cache
def fitted_on_few(name: str) -> Detector:
    return make(name).fit(few(name))


def enough(name: str) -> int:
    """Good parts from which a method has to tell defects apart."""
    return max(12, int(catalog.resolve("detector", name).enough))


def scores(results: Any) -> list[float]:
    return [result.score for result in results]


def test_constructs_without_arguments_and_learns_nothing_yet(name: str) -> None:
    detector = catalog.resolve("detector", name)()
    assert not detector.fitted


def test_has_a_name_a_paper_and_a_modality(name: str) -> None:
    detector = make(name)
    assert detector.name == name
    assert "http" in detector.paper
    assert detector.sees and detector.sees <= {"image", "points"}
    assert detector.needs and detector.needs <= {"normal", "unlabelled", "labelled"}


def test_fields_survive_json(name: str) -> None:
    detector = make(name, seed=3)
    again = build(type(detector), json.loads(json.dumps(detector.fields())))
    assert again == detector


def test_an_unknown_field_is_refused_with_a_hint(name: str) -> None:
    with pytest.raises(BadField, match="seed"):
        make(name, sead=1)


def test_unfitted_predict_raises_at_once_and_names_the_method(name: str) -> None:
    with pytest.raises(NotFitted, match=name):
        make(name).predict([])


def test_fit_returns_the_detector(name: str) -> None:
    detector = make(name)
    assert detector.fit(few(name)) is detector


def test_the_same_seed_gives_the_same_scores(name: str, kind: str) -> None:
    judged = good(kind, 3, seed=9) + bad(kind, 3)
    first, second = (make(name, seed=4).fit(good(kind)) for _ in range(2))
    assert scores(first.predict(judged)) == scores(second.predict(judged))


def test_the_order_of_judged_samples_does_not_matter(name: str, kind: str) -> None:
    detector = fitted(name, kind)
    judged = good(kind, 3, seed=9) + bad(kind, 3)
    forward, backward = scores(detector.predict(judged)), scores(detector.predict(judged[::-1]))
    np.testing.assert_allclose(forward, backward[::-1], rtol=1e-4)


def test_one_by_one_equals_all_at_once(name: str, kind: str) -> None:
    detector = fitted(name, kind)
    judged = good(kind, 3, seed=9) + bad(kind, 3)
    together = scores(detector.predict(judged))
    alone = [next(detector.predict([sample])).score for sample in judged]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_inputs_are_left_unchanged(name: str, kind: str) -> None:
    field = "points" if kind == "cloud" else "image"
    arrays = [np.array(getattr(sample, field)) for sample in good(kind, 3)]
    before = [array.copy() for array in arrays]
    samples = [Sample(id=str(i), **{field: array}) for i, array in enumerate(arrays)]
    list(make(name).fit(samples).predict(samples))
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_maps_have_the_shape_of_the_sample(name: str, kind: str) -> None:
    detector = fitted(name, kind)
    rng = np.random.default_rng(0)
    shapes = ((1500,), (2500,)) if kind == "cloud" else ((96, 96), (50, 131), (33, 64))
    for shape in shapes:
        if kind == "cloud":
            (sample,) = good_clouds(1, 9, shape[0])
        else:
            sample = Sample(id="x", image=rng.integers(0, 255, (*shape, 3), dtype=np.uint8))
        result = next(detector.predict([sample]))
        assert full_map(result).shape == shape
        assert np.isfinite(full_map(result)).all()


def test_made_defects_score_above_good_parts(name: str, kind: str) -> None:
    detector = fitted(name, kind, enough(name))
    well, ill = scores(detector.predict(good(kind, 8, seed=50))), scores(detector.predict(bad(kind, 8)))
    higher = np.mean([a < b for a in well for b in ill])
    assert higher >= 0.9
    assert np.isfinite(well + ill).all()
    assert len(set(well + ill)) > 10


def test_the_map_is_higher_on_the_defect_than_beside_it(name: str, kind: str) -> None:
    detector = fitted(name, kind, enough(name))
    inside, outside = [], []
    for sample, mask in marked(kind):
        full = full_map(next(detector.predict([sample])))
        inside.append(full[mask].mean())
        outside.append(full[~mask].mean())
    assert np.mean(np.array(inside) > np.array(outside)) >= 0.8


def test_saved_and_loaded_gives_the_same_scores_and_maps(name: str, kind: str, tmp_path: Path) -> None:
    detector = fitted(name, kind)
    judged = bad(kind, 3)
    Model(detector).save(tmp_path / "part.amiss")
    loaded = Model.load(tmp_path / "part.amiss")
    assert loaded.detector.fields() == detector.fields()
    for before, after in zip(detector.predict(judged), loaded.predict(judged), strict=True):
        assert after.score == pytest.approx(before.score, rel=1e-6)
        np.testing.assert_allclose(full_map(after), full_map(before), rtol=1e-5)


def test_a_model_file_is_the_same_for_the_same_fit(name: str, kind: str, tmp_path: Path) -> None:
    for file in ("a.amiss", "b.amiss"):
        Model(make(name).fit(good(kind, 3))).save(tmp_path / file)
    assert (tmp_path / "a.amiss").read_bytes() == (tmp_path / "b.amiss").read_bytes()


def test_the_wrong_modality_is_refused_by_fit_and_predict(name: str) -> None:
    detector, refused = fitted_on_few(name), 0
    samples = {
        "points": Sample(id="cloud", points=np.zeros((4, 3), np.float32)),
        "image": Sample(id="picture", image=np.zeros((32, 32, 3), np.uint8)),
    }
    for modality, sample in samples.items():
        if modality not in detector.sees:
            with pytest.raises(WrongModality, match=sample.id):
                make(name).fit([sample])
        if modality not in detector.reads:
            refused += 1
            with pytest.raises(WrongModality, match=sample.id):
                list(detector.predict([sample]))
    assert refused == 1


def test_fitting_on_nothing_raises(name: str) -> None:
    with pytest.raises(TooFewSamples, match=name):
        make(name).fit([])


def test_one_sample_too_few_raises_whether_or_not_they_can_be_counted(name: str) -> None:
    short = good(usual(name), catalog.resolve("detector", name).least - 1)

    class Uncounted:
        def __iter__(self) -> Iterator[Sample]:
            return iter(short)

    for samples in (short, Uncounted()):
        with pytest.raises(TooFewSamples, match=f"{len(short) + 1} sample.*met {len(short)}"):
            make(name).fit(samples)


def test_as_few_samples_fit_as_the_method_says(name: str) -> None:
    detector = make(name)
    few = good(usual(name), detector.least)
    assert np.isfinite(scores(detector.fit(few).predict(bad(usual(name), 2)))).all()


def test_predict_streams(name: str) -> None:
    detector = fitted_on_few(name)
    read: list[int] = []

    def watched() -> Any:
        for index, sample in enumerate(good(usual(name), 3)):
            read.append(index)
            yield sample

    results = detector.predict(watched())
    assert read == []
    assert isinstance(next(results), Result)
    assert read == [0]


def test_fit_reads_lazily_and_reports_progress(name: str) -> None:
    calls: list[tuple[str, int, int | None]] = []
    make(name).fit(good(usual(name), 3), progress=lambda *call: calls.append(call))
    assert calls
    assert all(total is None or 0 <= done <= total for _, done, total in calls)


def test_a_single_sample_in_place_of_several_is_explained(name: str) -> None:
    with pytest.raises(BadField, match="list"):
        make(name).fit(good(usual(name), 1)[0])  # type: ignore[arg-type]


def test_seconds_are_measured(name: str) -> None:
    detector = fitted_on_few(name)
    assert next(detector.predict(good(usual(name), 1))).seconds > 0


PROBE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "timm", "sklearn", "matplotlib"}:
            raise ImportError("refused: " + name)
sys.meta_path.insert(0, Refuse())
import amiss, numpy as np
with np.load(sys.argv[2]) as stored:
    sample = amiss.Sample(id="part", **stored)
print(amiss.load(sys.argv[1]).judge(sample).score)
"""


def test_judging_needs_neither_torch_nor_scikit_learn(name: str, kind: str, tmp_path: Path) -> None:
    detector, (part,) = fitted(name, kind), bad(kind, 1)
    Model(detector).save(tmp_path / "part.amiss")
    np.savez(tmp_path / "part.npz", **({"image": part.image} if part.points is None else {"points": part.points}))
    command = [sys.executable, "-c", PROBE, str(tmp_path / "part.amiss"), str(tmp_path / "part.npz")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    here = next(detector.predict([part])).score
    assert float(run.stdout) == pytest.approx(here, rel=1e-4)


def test_every_name_in_the_catalog_resolves(name: str) -> None:
    resolved: Callable[..., Any] = catalog.resolve("detector", name)
    assert resolved.__module__.startswith("amiss.methods.")
