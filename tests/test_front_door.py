from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import amiss
from amiss.errors import BadField, BadModelFile, BadSample, UnreadableFile
from amiss.model import Model
from amiss.types import Sample
from tests.clouds import good_clouds


def test_the_front_door_shows_what_is_public_and_nothing_else() -> None:
    assert sorted(amiss.__all__) == ["Result", "Sample", "Truth", "Verdict", "dataset", "detector", "load"]
    for name in amiss.__all__:
        assert getattr(amiss, name) is not None
    with pytest.raises(AttributeError):
        amiss.utils  # noqa: B018


def test_a_path_an_array_and_a_sample_get_the_same_score(model_file: Path, category: Path) -> None:
    from amiss.data.readers import read_image

    model = amiss.load(model_file)
    path = next((category / "test" / "good").iterdir())
    image = read_image(path)
    by_path, by_text = model.judge(path), model.judge(str(path))
    by_array, by_sample = model.judge(image), model.judge(Sample(id="s", image=image))
    assert by_path.score == by_text.score == by_array.score == by_sample.score
    assert by_path.verdict == by_array.verdict and by_path.verdict is not None
    assert by_path.id == str(path)


def test_a_grey_array_is_judged_as_its_colour_copy(model_file: Path) -> None:
    model = amiss.load(model_file)
    grey = np.random.default_rng(0).integers(0, 255, (80, 96), dtype=np.uint8)
    assert model.judge(grey).score == model.judge(np.repeat(grey[..., None], 3, axis=2)).score


def test_the_depth_of_the_picture_does_not_matter(model_file: Path, category: Path) -> None:
    from amiss.data.readers import read_image

    model = amiss.load(model_file)
    image = read_image(next((category / "test" / "good").iterdir()))
    eight = model.judge(image).score
    sixteen = model.judge(image.astype(np.uint16) * 257).score
    real = model.judge(image.astype(np.float32) / np.float32(255)).score
    assert sixteen == pytest.approx(eight, rel=2e-2) and real == pytest.approx(eight, rel=2e-2)


@pytest.mark.parametrize(
    "array",
    [np.zeros((8, 8, 3)), np.zeros((8, 8, 3), np.int64), np.zeros((8, 8, 2), np.uint8), np.zeros((0, 8, 3), np.uint8),
     np.full((8, 8, 3), np.nan, np.float32), np.full((8, 8, 3), 200, np.float32)],
)  # fmt: skip
def test_an_array_that_is_no_picture_is_refused_with_what_was_wanted(model_file: Path, array: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(BadSample, match=r"wanted|NaN"):
        amiss.load(model_file).judge(array)


def test_a_missing_picture_and_a_missing_model_are_named(model_file: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"nowhere\.png"):
        amiss.load(model_file).judge("nowhere.png")
    with pytest.raises(BadModelFile, match=r"nowhere\.amiss"):
        amiss.load("nowhere.amiss")


def test_a_model_without_a_reader_says_so(model_file: Path) -> None:
    with pytest.raises(BadSample, match=r"amiss\.load"):
        Model.load(model_file).judge("a.png")


def test_unknown_names_come_with_the_nearest_known_one() -> None:
    with pytest.raises(BadField, match="patchcore"):
        amiss.detector("patchkore")
    with pytest.raises(BadField, match="folder"):
        amiss.dataset("folders", ".")
    with pytest.raises(BadField, match="fast"):
        amiss.detector("patchcore", preset="fasst")
    with pytest.raises(BadField, match="size"):
        amiss.detector("patchcore", siize=3)


def test_a_preset_sets_fields_and_named_fields_override_it() -> None:
    detector = amiss.detector("patchcore", preset="fast", bank=99)
    assert detector.fields()["layers"] == [8, 16]
    assert detector.fields()["bank"] == 99


def test_every_preset_of_every_method_can_be_built_and_fitted() -> None:
    from amiss import catalog

    for name in catalog.DETECTORS:
        kind = catalog.resolve("detector", name)
        for preset, settings in kind.presets.items():
            short = {"steps": 1} if kind.trained or settings.get("steps") else {}
            for modality in kind.sees & {"image", "points"}:
                good, judged = (_made(modality, seed, max(2, kind.least)) for seed in (0, 1))
                detector = amiss.detector(name, preset=preset, **short).fit(good)
                assert np.isfinite([result.score for result in detector.predict(judged)]).all()


def _made(modality: str, seed: int, count: int) -> list[Sample]:
    from amiss.data import toys

    return good_clouds(count, seed, 2000) if modality == "points" else toys.samples(seed, count, "texture", (64, 64))


def test_the_package_runs_as_a_module() -> None:
    run = subprocess.run([sys.executable, "-m", "amiss", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == amiss.__version__


def test_goldens_of_saturated_float_pictures_and_of_a_whole_bank_verify() -> None:
    white = [Sample(id=str(i), image=np.full((1001, 777, 3), 1.0, np.float32)) for i in range(2)]
    detector = amiss.detector("patchcore", size=64, bank=None).fit(white)
    rows = Model(detector).with_goldens(white).verify()
    assert len(rows) == 3 and all(row["gap"] <= 1e-6 for row in rows)
