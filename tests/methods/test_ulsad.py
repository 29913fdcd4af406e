"""What is ULSAD's own beside its equations, which tests/papers check: twins, fields, memory, killed fits, torch absent."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.backbones import tiny
from tests.methods.separation import bad, good, judged, separation
from tests.papers.oracles import highest, louder, picture

from amiss.contract import Detector
from amiss.data import trays
from amiss.errors import BadCheckpoint, BadField, BadModelFile, MissingExtra, TrainingFailed
from amiss.kit import training
from amiss.kit.training import Plan
from amiss.methods import ulsad
from amiss.methods.patchcore import PatchCore
from amiss.methods.ulsad import ULSAD
from amiss.metrics.ranking import auroc
from amiss.model import Model
from amiss.types import Sample

Array = npt.NDArray[Any]
GOOD = [picture(seed, shape=(64, 64)) for seed in range(8)]
JUDGED = [picture(99, defect=(20, 30), shape=(64, 64)), picture(98, shape=(64, 64))]


class Direct:
    """The torch network itself in the place of its graph: what is tested here is not the export, which takes seconds."""

    content = b""

    def __init__(self, network: Any, *_: Any) -> None:
        self._network = network

    def __call__(self, **arrays: Array) -> list[Array]:
        with torch.no_grad():
            return [found.numpy() for found in self._network(*map(torch.from_numpy, arrays.values()))]


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ulsad, "exported", Direct)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.saved(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks as small as these are trained faster by one thread, and the same on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(path: str, **fields: Any) -> ULSAD:
    plain: dict[str, Any] = {
        "layers": (4, 8),
        "grid": 8,
        "size": 64,
        "aspect": "square",
        "channels": 8,
        "width": 8,
        "inner": 4,
        "steps": 30,
    }
    return ULSAD(**{"backbone": path, "average": 0.5, "batch": 3, **plain, **fields})


@dataclasses.dataclass
class Progress:
    """Progress that keeps what it is told, and kills the fit once so many steps are trained."""

    after: int = 10**9
    said: list[tuple[str, int, int | None]] = dataclasses.field(default_factory=list)

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        self.said.append((stage, done, total))
        if stage.startswith("training") and done >= self.after:
            raise KeyboardInterrupt


# -- what training is for ----------------------------------------------------------------------------------------------


def on_loose_trays(detector: Detector, maps: str = "both") -> float:
    """Image AUROC between trays with one loose nut and trays with two."""
    if isinstance(detector, ULSAD):
        detector.maps = "global" if maps == "global" else "both"
    well, ill = trays.samples(1, 30, nuts="loose"), trays.defective_samples(2, 30, ("surplus",), nuts="loose")
    scores = judged(detector, [*well, *(sample for sample, _ in ill)])
    return auroc(np.array(scores), np.repeat([False, True], 30))


def test_the_global_map_sees_a_surplus_nut_where_the_largest_score_of_small_patches_hardly_does() -> None:
    good_trays = trays.samples(0, 60, nuts="loose")
    # stride 16 sees two nuts at once
    patches = PatchCore(**{**PatchCore.presets["fast"], "layers": (4, 8), "score": "max"}).fit(good_trays)
    fields = {**ULSAD.presets["tiny"], "size": 128, "grid": 8, "steps": 400}
    trained, twin = (ULSAD(**{**fields, "steps": steps}).fit(good_trays) for steps in (400, 0))
    alone = on_loose_trays(trained, "global")
    assert alone >= 0.8 and on_loose_trays(patches) <= alone - 0.1
    assert on_loose_trays(trained) >= on_loose_trays(twin) + 0.2


@pytest.mark.usefixtures("direct")
def test_a_trained_detector_beats_its_untrained_twin() -> None:
    trained, twin = (separation(ULSAD(**{**ULSAD.quick, "steps": steps}), seeds=(0,)) for steps in (60, 0))
    assert trained >= 0.75 and trained >= twin + 0.2


@pytest.mark.usefixtures("direct")
def test_how_the_training_went_is_kept(path: str) -> None:
    detector = small(path, steps=12).fit(GOOD)
    assert detector.trained_["steps"] == 12 and 0 < detector.trained_["loss"] < 100
    assert small(path, steps=0).fit(GOOD).trained_ == {"steps": 0, "loss": None}


@pytest.mark.usefixtures("direct")
def test_the_fields_of_the_training_reach_it(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[Plan] = []
    train = ulsad.train

    def watched(network: Any, loss: Any, samples: int, plan: Plan, **rest: Any) -> Any:
        plans.append(plan)
        return train(network, loss, samples, plan, **rest)

    monkeypatch.setattr(ulsad, "train", watched)
    fields = {"steps": 2, "minutes": 3.0, "batch": 4, "rate": 0.02, "decay": 0.01, "average": 0.3, "seed": 5}
    small(path, **fields).fit(GOOD)
    assert plans == [Plan(**fields, device="cpu")]


@pytest.mark.usefixtures("direct")
def test_a_training_ended_by_the_clock_says_so_and_keeps_its_steps(path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "amiss"):
        detector = small(path, minutes=1e-9).fit(GOOD)
    assert detector.trained_["steps"] == 1 and "after 1 of 30 steps" in caplog.text


@pytest.mark.usefixtures("direct")
def test_other_seeds_draw_other_networks(path: str) -> None:
    one, again, other = (judged(small(path, steps=0, seed=seed).fit(GOOD), JUDGED) for seed in (0, 0, 1))
    assert one == again != other


@pytest.mark.usefixtures("direct")
@pytest.mark.parametrize("top", [0.0, 0.1])
def test_cells_may_be_scored_in_place_of_pixels(path: str, top: float) -> None:
    (result,) = small(path, over="cells", top=top).fit(GOOD).predict(JUDGED[:1])
    assert result.map is not None and result.score == pytest.approx(highest(result.map, top), rel=1e-5)


@pytest.mark.usefixtures("direct")
@pytest.mark.parametrize("held_out", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("count", [3, 4])
def test_few_parts_leave_one_to_hold_out_and_two_to_train_on(path: str, held_out: float, count: int) -> None:
    detector = small(path, held_out=held_out, batch=8, steps=10).fit(GOOD[:count])
    assert np.isfinite(judged(detector, JUDGED)).all() and detector.levels_[:, 0].min() > 0


@pytest.mark.usefixtures("direct")
def test_fewer_channels_than_asked_for_are_all_taken(path: str) -> None:
    detector = small(path, channels=5000, steps=0).fit(GOOD)
    assert detector.mean_ is not None and len(detector.mean_) == 16  # 6 fine and 10 coarse ones


def test_fitting_leaves_the_global_random_states_alone(path: str) -> None:
    np.random.seed(5)
    torch.manual_seed(5)
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    small(path, steps=3).fit(GOOD)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpys)  # type: ignore[index]


# -- fields ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("last", 2), ("width", 0), ("channels", 0), ("inner", 1), ("batch", 1), ("rate", 0.0), ("decay", -1.0),
        ("average", 1.0), ("held_out", 0.0), ("held_out", 0.6), ("steps", -1), ("minutes", 0.0), ("memory", "lots"),
        ("layers", ()), ("final", "gelu"), ("maps", "neither"), ("device", "tpu"), ("top", 1.5), ("blur", -1.0), ("grid", 0),
    ],
)  # fmt: skip
def test_an_impossible_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(BadField, match=field):
        ULSAD(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("grid", [22, 64])  # 3 x 3 cells, and one
def test_too_coarse_a_grid_is_refused_with_the_way_out_before_a_picture_is_read(path: str, grid: int) -> None:
    progress = Progress()
    with pytest.raises(BadField, match=rf"(?s)grid = {grid}.*64 x 64.*lower grid or raise size"):
        small(path, grid=grid).fit(GOOD, progress=progress)
    assert progress.said == []


@pytest.mark.usefixtures("direct")
@pytest.mark.parametrize("grid", [16, 21, 11])  # 4 x 4 cells twice, and 6 x 6: neither divides the picture
def test_grids_of_four_cells_and_more_are_fitted(path: str, grid: int) -> None:
    (result,) = small(path, grid=grid, steps=2).fit(GOOD).predict(JUDGED[:1])
    assert result.map is not None and result.map.shape == (-(-64 // grid), -(-64 // grid)) and np.isfinite(result.map).all()


def test_cuda_is_refused_where_there_is_none(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadField, match="device = cuda"):
        small(path, device="cuda").fit(GOOD)


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("direct")
@pytest.mark.parametrize(("memory", "kept"), [("260KB", 5), ("1KB", 3), ("1MB", 8)])
def test_more_pictures_than_memory_holds_are_sampled_and_it_is_said(
    path: str, memory: str, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress()  # a picture takes 8 x 8 cells x (8 channels + 3 x 64 pixels) x 4 bytes = 50 KB
    with caplog.at_level(logging.WARNING, "amiss"):
        small(path, memory=memory, steps=0).fit(GOOD, progress=progress)
    assert progress.said == [("reading good parts", index + 1, kept) for index in range(kept)]
    assert (f"memory = {memory} holds {kept} of 8 pictures" in caplog.text) == (kept < 8)


@pytest.mark.usefixtures("direct")
def test_which_pictures_are_kept_is_drawn_with_the_seed(path: str) -> None:
    def kept(seed: int) -> list[str]:
        read: list[str] = []

        class Watched(ULSAD):
            def _image(self, sample: Sample, cells: tuple[int, int]) -> Array:
                read.append(sample.id)
                return super()._image(sample, cells)

        fields = small(path, memory="260KB", steps=0, seed=seed).fields()
        Watched(**{**fields, "layers": (4, 8)}).fit(GOOD)
        return read

    first, again, *others = (kept(seed) for seed in (0, 0, 1, 2, 3))
    assert first == again and len(first) == len(set(first)) == 5
    assert any(first != other for other in others)


# -- killed and resumed ------------------------------------------------------------------------------------------------


@pytest.fixture
def saving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step writes a checkpoint."""
    monkeypatch.setattr(training, "_OFTEN", -1.0)


def killed(detector: ULSAD, workdir: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        detector.fit(GOOD, progress=Progress(after=20), workdir=workdir)
    assert not detector.fitted and list(workdir.glob("*.training"))


@pytest.mark.usefixtures("direct", "saving")
def test_a_killed_fit_ends_where_it_would_have_ended(path: str, tmp_path: Path) -> None:
    killed(small(path), tmp_path)
    progress = Progress()
    resumed, whole = small(path).fit(GOOD, progress=progress, workdir=tmp_path), small(path).fit(GOOD)
    assert judged(resumed, JUDGED) == judged(whole, JUDGED)
    assert resumed.trained_ == whole.trained_
    assert [done for stage, done, _ in progress.said if stage.startswith("training")] == [20, 30]
    assert not list(tmp_path.glob("*.training"))


@pytest.mark.usefixtures("direct", "saving")
@pytest.mark.parametrize(
    "changes", [{"width": 9}, {"inner": 6}, {"scale": "none"}, {"held_out": 0.3}, {"seed": 1}, {"rate": 0.1}], ids=str
)
def test_a_training_begun_with_other_settings_is_named_and_left_alone(
    path: str, tmp_path: Path, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    killed(small(path), tmp_path)
    (left,) = tmp_path.glob("*.training")
    found = small(path, **changes).fit(GOOD, workdir=tmp_path)
    assert judged(found, JUDGED) == judged(small(path, **changes).fit(GOOD), JUDGED)
    assert left.name in caplog.text and "other settings" in caplog.text
    assert list(tmp_path.glob("*.training")) == [left]


@pytest.mark.usefixtures("direct", "saving")
def test_a_checkpoint_of_another_training_under_the_expected_name_is_refused(path: str, tmp_path: Path) -> None:
    killed(small(path), tmp_path)
    (left,) = tmp_path.glob("*.training")
    killed(small(path, width=9), tmp_path)
    (other,) = set(tmp_path.glob("*.training")) - {left}
    left.replace(other)
    with pytest.raises(BadCheckpoint, match="width was"):
        small(path, width=9).fit(GOOD, workdir=tmp_path)


@pytest.mark.usefixtures("direct", "saving")
def test_a_fit_that_fails_after_its_training_does_not_train_again(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("amiss.methods.ulsad.exported", Mock(side_effect=TrainingFailed("no graph")))
        with pytest.raises(TrainingFailed, match="no graph"):
            small(path).fit(GOOD, workdir=tmp_path)
    progress = Progress()
    found = small(path).fit(GOOD, progress=progress, workdir=tmp_path)
    assert judged(found, JUDGED) == judged(small(path).fit(GOOD), JUDGED)
    assert not [stage for stage, *_ in progress.said if stage.startswith("training")]


@pytest.mark.usefixtures("direct", "saving")
def test_what_does_not_hang_on_the_training_may_change_on_resuming(path: str, tmp_path: Path) -> None:
    killed(small(path), tmp_path)
    changes: dict[str, Any] = {"maps": "global", "blur": 1.0, "top": 0.1, "over": "cells", "memory": "2GB", "minutes": 9.0}
    resumed, whole = small(path, **changes).fit(GOOD, workdir=tmp_path), small(path, **changes).fit(GOOD)
    assert judged(resumed, JUDGED) == judged(whole, JUDGED)


@pytest.mark.usefixtures("direct", "saving")
def test_the_untrained_twin_is_not_taken_from_a_checkpoint(path: str, tmp_path: Path) -> None:
    killed(small(path), tmp_path)
    twin = small(path, steps=0).fit(GOOD, workdir=tmp_path)
    assert judged(twin, JUDGED) == judged(small(path, steps=0).fit(GOOD), JUDGED)
    assert list(tmp_path.glob("*.training"))  # the training that was killed can still go on


@pytest.mark.usefixtures("direct", "saving")
def test_other_pictures_are_another_training(path: str, tmp_path: Path) -> None:
    killed(small(path), tmp_path)
    fewer = small(path).fit(GOOD[:7], workdir=tmp_path)
    assert judged(fewer, JUDGED) == judged(small(path).fit(GOOD[:7]), JUDGED)


@pytest.mark.usefixtures("direct", "saving")
def test_another_backbone_under_the_same_name_is_another_training(path: str, tmp_path: Path) -> None:
    backbone, loud = tmp_path / "own.onnx", Path(louder(path, tmp_path, 3.0)).read_bytes()
    backbone.write_bytes(Path(path).read_bytes())
    killed(small(str(backbone), scale="none"), tmp_path)
    backbone.write_bytes(loud)
    found, fresh = (small(str(backbone), scale="none").fit(GOOD, workdir=workdir) for workdir in (tmp_path, None))
    assert judged(found, JUDGED) == judged(fresh, JUDGED)


# -- model file and torch ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(path: str) -> ULSAD:
    return small(path, steps=3).fit(GOOD)


def test_a_model_judges_where_torch_cannot_be_imported(
    exported: ULSAD, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Model(exported).save(tmp_path / "part.amiss")
    monkeypatch.setitem(sys.modules, "torch", None)
    loaded = Model.load(tmp_path / "part.amiss").detector
    assert isinstance(loaded, ULSAD) and judged(loaded, JUDGED) == judged(exported, JUDGED)
    assert loaded.trained_ == exported.trained_


@pytest.mark.parametrize("absent", ["torch", "onnxscript"])
def test_fitting_without_the_extra_says_what_to_install_before_anything_is_read(
    path: str, absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    progress = Progress()
    with pytest.raises(MissingExtra, match=rf"(?s){absent}.*pip install 'amiss\[train\]'"):
        small(path).fit(GOOD, progress=progress)
    assert progress.said == []


def test_a_model_holds_no_paths_of_the_machine_it_was_trained_on(exported: ULSAD) -> None:
    content = exported.state().graphs["networks"]
    for word in (str(Path(ulsad.__file__).parents[2]), str(Path.home()), "site-packages", "reconstruction.py"):
        assert word.encode() not in content


def test_constants_in_double_precision_are_as_good(exported: ULSAD) -> None:
    state = exported.state()
    doubled = dataclasses.replace(state, arrays={name: array.astype(np.float64) for name, array in state.arrays.items()})
    assert judged(exported.unfitted().restore(doubled), JUDGED) == judged(exported, JUDGED)


def test_constants_that_cannot_be_are_refused(exported: ULSAD) -> None:
    state = exported.state()
    for name, wrong in (
        ("deviation", -state.arrays["deviation"]), ("deviation", 0 * state.arrays["deviation"]),
        ("levels", state.arrays["levels"][:, ::-1]), ("levels", 0 * state.arrays["levels"]),
    ):  # fmt: skip
        with pytest.raises(BadModelFile, match="fit it again"):
            exported.unfitted().restore(dataclasses.replace(state, arrays={**state.arrays, name: wrong}))


@pytest.mark.parametrize("fields", [{"channels": 7}, {"grid": 16}], ids=str)
def test_networks_of_another_fit_are_refused(exported: ULSAD, path: str, fields: dict[str, Any]) -> None:
    state, other = exported.state(), small(path, steps=0, **fields).fit(GOOD).state()
    mixed = {**state.graphs, "networks": other.graphs["networks"]}
    with pytest.raises(BadModelFile, match=r"(?s)networks.*fit it again"):
        exported.unfitted().restore(dataclasses.replace(state, graphs=mixed))
    bare = {name: graph for name, graph in state.graphs.items() if name != "networks"}
    with pytest.raises(BadModelFile, match="lacks its trained networks"):
        exported.unfitted().restore(dataclasses.replace(state, graphs=bare))


def test_made_defects_score_above_good_parts_with_both_maps_and_the_local_one() -> None:
    detector = ULSAD(**{**ULSAD.quick, "steps": 40}).fit(good("texture", 12))
    for maps in ("both", "local"):
        alone = ULSAD(**{**detector.fields(), "layers": detector.layers, "maps": maps}).restore(detector.state())
        assert np.median(judged(alone, bad("texture", 8))) > np.median(judged(alone, good("texture", 8, seed=50)))


def test_copies_of_a_held_out_part_are_not_trained_on() -> None:
    detector = ULSAD(held_out=0.25)
    held, rest = detector._split(["a", "b", "c", "d", "a", "b", "c", "d"])
    assert len(held) == 2 and len(rest) == 6
    assert {index % 4 for index in held.tolist()}.isdisjoint({index % 4 for index in rest.tolist()})
    held, rest = detector._split(["a", "a", "a"])
    assert len(held) == 1 and len(rest) == 3
