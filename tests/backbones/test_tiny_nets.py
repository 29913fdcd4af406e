"""A transformer and a residual network as backbones, against the same networks in plain numpy, and through every method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import amiss
from amiss.backbones.runtime import Backbone
from amiss.kit.extract import ImageExtractor
from amiss.model import Model
from amiss.types import Sample
from tests.backbones import tiny_nets


def pictures(count: int, h: int, w: int) -> Any:
    return np.random.default_rng(3).random((count, h, w, 3), np.float32)


def test_patch_tokens_come_out_row_by_row_normalised_and_without_class_and_register_tokens() -> None:
    images = pictures(2, *tiny_nets.SIDES)
    found = Backbone(tiny_nets.vit_graph(), (0, 2), name="vit", token=True)(images)
    for place, image in enumerate(images):
        taps, token = tiny_nets.vit_oracle(image)
        for layer, grid in zip((0, 2), found.grids, strict=True):
            assert grid[place].shape == (tiny_nets.WIDTH, 4, 6)
            np.testing.assert_allclose(grid[place].transpose(1, 2, 0), taps[layer], atol=1e-4)
        assert found.token is not None
        np.testing.assert_allclose(found.token[place], token, atol=1e-4)


def test_one_block_alone_is_asked_for_by_its_number_and_gives_the_same() -> None:
    images = pictures(1, *tiny_nets.SIDES)
    (alone,) = Backbone(tiny_nets.vit_graph(), (0,), name="vit")(images).grids
    np.testing.assert_allclose(alone[0].transpose(1, 2, 0), tiny_nets.vit_oracle(images[0])[0][0], atol=1e-4)


@pytest.mark.parametrize(("h", "w"), [(32, 48), (33, 41)])
def test_a_residual_network_gives_its_stages_at_any_size(h: int, w: int) -> None:
    images = pictures(2, h, w)
    found = Backbone(tiny_nets.resnet_graph(), (4, 8), name="resnet", token=True)(images)
    for place, image in enumerate(images):
        taps = tiny_nets.resnet_oracle(image)
        for stride, grid in zip((4, 8), found.grids, strict=True):
            assert grid.shape[2:] == (-(-h // stride), -(-w // stride))
            np.testing.assert_allclose(grid[place].transpose(1, 2, 0), taps[stride], atol=1e-4)
        assert found.token is not None
        np.testing.assert_allclose(found.token[place], taps[8].mean(axis=(0, 1)), atol=1e-4)


def test_a_picture_of_any_shape_is_brought_to_the_size_a_transformer_wants() -> None:
    extract = ImageExtractor("vit", (0, 2), 512, "keep", token=True, graph=tiny_nets.vit_graph())
    features = extract(Sample(id="a", image=(pictures(1, 70, 90)[0] * 255).astype(np.uint8)))
    assert features.size == tiny_nets.SIDES and features.grids == ((4, 6), (4, 6))
    assert features.token is not None and features.token.shape == (tiny_nets.WIDTH,)


METHODS: dict[str, dict[str, Any]] = {
    "patchcore": {"grid": None, "bank": None}, "spade": {},
    "padim": {"grid": None}, "rad": {"grid": None}, "musc_v2": {"grid": None},
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("graph", "layers"), [(tiny_nets.vit_graph, (0, 2)), (tiny_nets.resnet_graph, (4, 8))])
def test_every_method_finds_a_defect_through_either_and_the_model_file_carries_it(
    graph: Any, layers: tuple[int, ...], method: str, tmp_path: Path
) -> None:
    (tmp_path / "net.onnx").write_bytes(graph())
    rng = np.random.default_rng(0)
    plain = [np.clip(rng.normal(128, 6, (64, 96, 3)), 0, 255).astype(np.uint8) for _ in range(7)]
    torn = plain[-1].copy()
    torn[24:44, 40:64] = (20, 220, 40)
    good, bad = (Sample(id="good", image=plain[-1]), Sample(id="bad", image=torn))
    detector = amiss.detector(method, backbone=str(tmp_path / "net.onnx"), layers=layers, size=64, **METHODS[method])
    detector.fit([Sample(id=str(i), image=image) for i, image in enumerate(plain[:-1])])
    scores = [result.score for result in detector.predict([good, bad])]
    assert scores[1] > 1.5 * scores[0]
    Model(detector).save(tmp_path / "part.amiss")
    (tmp_path / "net.onnx").unlink()
    again = Model.load(tmp_path / "part.amiss").detector
    assert [result.score for result in again.predict([good, bad])] == pytest.approx(scores, rel=1e-4)
