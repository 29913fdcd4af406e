"""Backbones as files: what they say of themselves, what is refused, and the cache of the embedded one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from amiss.backbones import efficientnet_lite
from amiss.backbones.folders import cache_folder
from amiss.backbones.runtime import Backbone, Description, Tap, load_graph
from amiss.errors import BadBackbone, BadField
from amiss.kit.extract import ImageExtractor
from amiss.methods.patchcore import PatchCore
from amiss.types import Sample
from tests.backbones import tiny


def picture(h: int = 64, w: int = 64, seed: int = 0) -> Sample:
    return Sample(id=f"{seed}", image=np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8))


def changed(**entries: Any) -> dict[str, Any]:
    return {**tiny.DESCRIPTION, **entries}


# -- a backbone from a file --------------------------------------------------------------------------------------------


def test_both_taps_of_a_file_equal_a_plain_run_of_its_graph(tmp_path: Path) -> None:
    path = tiny.saved(tmp_path)
    image = np.random.default_rng(1).random((1, 40, 56, 3), np.float32)
    coarse, fine = Backbone(load_graph(path), (8, 4), name=path)(image).grids  # in the order they are asked for
    normalised = ((image - np.array(tiny.MEAN)) / np.array(tiny.STD)).transpose(0, 3, 1, 2).astype(np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = session.run(["coarse", "fine"], {"image": normalised})
    assert fine.shape == (1, 6, 10, 14) and coarse.shape == (1, 10, 5, 7)
    np.testing.assert_allclose(coarse, expected[0], atol=1e-5)
    np.testing.assert_allclose(fine, expected[1], atol=1e-5)


def test_one_tap_alone_gives_the_same(tmp_path: Path) -> None:
    graph = load_graph(tiny.saved(tmp_path))
    image = np.random.default_rng(1).random((2, 32, 32, 3), np.float32)
    both = Backbone(graph, (4, 8), name="tiny")(image).grids
    for layer, expected in zip((4, 8), both, strict=True):
        (alone,) = Backbone(graph, (layer,), name="tiny")(image).grids
        np.testing.assert_allclose(alone, expected, atol=1e-6)


def test_a_detector_takes_a_backbone_by_path(tmp_path: Path) -> None:
    detector = PatchCore(backbone=tiny.saved(tmp_path), layers=(4, 8), grid=8, size=64, aspect="square", bank=None)
    (result,) = detector.fit([picture()]).predict([picture(seed=1)])
    assert result.map is not None and result.map.shape == (8, 8) and result.score > 0


def test_a_free_size_follows_the_extractor_and_a_fixed_one_the_graph(tmp_path: Path) -> None:
    free = ImageExtractor(tiny.saved(tmp_path), (4,), 64, "square", graph=None)
    assert free(picture(50, 90)).size == (64, 64)
    fixed = tiny.graph(changed(size=[96, 96]), side=96)
    features = ImageExtractor("tiny", (4,), 64, "keep", graph=fixed)(picture(50, 90))
    assert features.size == (96, 96) and features.grids == ((24, 24),) and features.shape == (50, 90)


def test_a_fixed_size_that_the_metadata_hides_is_explained() -> None:
    hidden = ImageExtractor("mine.onnx", (4,), 64, "square", graph=tiny.graph(side=96))
    with pytest.raises(BadBackbone, match=r"(?s)mine\.onnx: .*64 x 64.*metadata must name it"):
        hidden(picture())


def test_the_description_survives_its_text_form() -> None:
    description = Description(
        taps=(Tap("a", 4, 4), Tap("b", 16, 11)), mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0), token="t", size=(224, 320)
    )
    assert Description.from_json(description.to_json()) == description


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_graph_without_metadata_is_told_where_to_read_on() -> None:
    with pytest.raises(BadBackbone, match=r"mine\.onnx: the graph does not describe itself .*docs/backbones\.md"):
        Backbone(tiny.graph(None), (4,), name="mine.onnx")


@pytest.mark.parametrize(
    "metadata",
    [
        "", "not json", "[]", "3", "null", '"text"', "{}", '{"taps": []}', changed(mean=[0.5, 0.5]), changed(mean=0.5),
        changed(std="abc"), changed(std=None), changed(std=[1, 0, 1]), changed(std=[1, 1, -1]),
        changed(mean=[0, 0, float("nan")]), changed(taps=None), changed(taps=["fine"]), changed(taps=[{"name": "fine"}]),
        changed(taps=[{"name": "fine", "stride": "four"}]), changed(size=[]), changed(size=[224]), changed(size="big"),
        changed(size=224), changed(size=[None, 3]), changed(taps=[{"name": "fine", "stride": float("inf")}]),
    ],
)  # fmt: skip
def test_metadata_that_is_not_as_documented_is_refused(metadata: Any) -> None:
    with pytest.raises(BadBackbone, match=r"metadata entry 'amiss' is not as documented .*docs/backbones\.md"):
        Backbone(tiny.graph(metadata), (4,), name="tiny")


@pytest.mark.parametrize("output", ["elsewhere", "image", "k4", "a"])
def test_a_tap_must_be_an_output_of_the_graph(output: str) -> None:
    """ "a" is computed inside the graph but is none of its outputs."""
    graph = tiny.graph(changed(taps=[{"name": output, "stride": 4}]))
    with pytest.raises(BadBackbone, match=f"names the output '{output}', the graph has no such output"):
        Backbone(graph, (4,), name="tiny")


def test_a_tap_that_is_no_grid_is_refused() -> None:
    backbone = Backbone(tiny.graph(changed(taps=[{"name": "token", "stride": 4}])), (4,), name="tiny")
    with pytest.raises(BadBackbone, match=r"tap 'token' has shape \(1, 10\), wanted \(N, C, h, w\)"):
        backbone(np.zeros((1, 32, 32, 3), np.float32))


def test_a_stride_without_a_tap_names_those_there_are() -> None:
    with pytest.raises(BadField, match=r"tiny has no tap 16; choose layers from 4, 8"):
        Backbone(tiny.graph(), (4, 16), name="tiny")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x08\x12", bytes(range(256)) * 20, tiny.graph()[:-200]])
def test_a_file_that_is_no_backbone_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(content)
    with pytest.raises(BadBackbone, match=r"mine\.onnx"):
        Backbone(load_graph(str(path)), (4,), name=str(path))


def test_a_graph_onnx_runtime_cannot_run_is_refused() -> None:
    odd = helper.make_node("NoSuchOperator", ["image"], ["fine"])
    shape = ["n", 3, "h", "w"]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "fine")]
    model = helper.make_model(helper.make_graph([odd], "odd", ends[:1], ends[1:]))
    helper.set_model_props(model, {"amiss": json.dumps(tiny.DESCRIPTION)})
    with pytest.raises(BadBackbone, match="odd: ONNX Runtime cannot run this graph"):
        Backbone(model.SerializeToString(), (4,), name="odd")


@pytest.mark.parametrize("name", ["resnet50", "nowhere/net.onnx", ""])
def test_a_backbone_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(BadBackbone, match=f"backbone '{name}': neither embedded, nor installed, nor an ONNX file"):
        load_graph(name)


def test_a_folder_is_no_backbone(tmp_path: Path) -> None:
    with pytest.raises(BadBackbone, match="nor an ONNX file"):
        load_graph(str(tmp_path))


# -- the cache ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever the embedded backbone is built; what is built is a stand-in."""
    counted: list[int] = []

    def build() -> bytes:
        counted.append(1)
        return b"the graph"

    monkeypatch.setattr(efficientnet_lite, "build", build)
    return counted


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "made" / "on demand"
    monkeypatch.setenv("AMISS_CACHE", str(folder))
    return folder


def test_the_embedded_backbone_is_built_once_and_read_afterwards(cache: Path, builds: list[int]) -> None:
    assert [load_graph("efficientnet_lite0") for _ in range(3)] == [b"the graph"] * 3
    assert len(builds) == 1
    assert sorted(path.suffix for path in cache.iterdir()) == [".onnx", ".sha256"]


@pytest.mark.parametrize("suffix", [".onnx", ".sha256"])
@pytest.mark.parametrize("content", [b"", b"the grap", b"\xff\xfe\x00", None])
def test_a_damaged_cache_is_built_anew(cache: Path, builds: list[int], suffix: str, content: bytes | None) -> None:
    load_graph("efficientnet_lite0")
    (path,) = cache.glob(f"*{suffix}")
    path.unlink() if content is None else path.write_bytes(content)
    assert load_graph("efficientnet_lite0") == b"the graph" and len(builds) == 2
    assert load_graph("efficientnet_lite0") == b"the graph" and len(builds) == 2


def test_a_new_build_of_the_graph_does_not_read_the_old_one(
    cache: Path, builds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_graph("efficientnet_lite0")
    monkeypatch.setattr(efficientnet_lite, "BUILD", 10_000)
    load_graph("efficientnet_lite0")
    assert len(builds) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, builds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("AMISS_CACHE", str(place))
        assert load_graph("efficientnet_lite0") == b"the graph"
    assert len(builds) == 2 and (tmp_path / "file").read_text() == "in the way"


def test_a_disk_that_fills_up_leaves_no_half_file(cache: Path, builds: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert load_graph("efficientnet_lite0") == b"the graph"
    assert list(cache.iterdir()) == []


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMISS_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for unset in ("", None):
        monkeypatch.setenv("AMISS_CACHE", unset) if unset is not None else monkeypatch.delenv("AMISS_CACHE")
        assert cache_folder() == tmp_path / "xdg" / "amiss"
