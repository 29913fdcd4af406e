"""Point-MAE's encoder: torch and ONNX against a forward pass of its own in numpy, and the names in checkpoints."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

import amiss
from amiss.backbones.export import PARITY, Exported
from amiss.backbones.point_mae import PointMAE, Sizes, converted, exported, loaded, of_encoder
from amiss.backbones.points import Encoding, PointEncoder, Statistics
from amiss.backbones.runtime import session
from amiss.errors import BadBackbone, BadField
from amiss.kit.training import seeded
from tests.backbones.point_mae_oracle import tokens

Array = npt.NDArray[Any]

SIZES = Sizes(width=12, depth=2, heads=2)
TAPS = (1, 2)
ENCODING = Encoding(taps=TAPS, channels=1, groups=20, members=8)
BOTH: tuple[Statistics, ...] = ("running", "batch")


def shaken(statistics: Statistics = "running", seed: int = 0) -> PointMAE:
    """An encoder with every tensor away from its starting value, so that none can be left out unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    with seeded(seed):
        network = PointMAE(SIZES, TAPS, statistics).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.add_(torch.randn(value.shape, generator=generator) * 0.3)
                value.clamp_(min=0.3) if name.endswith("running_var") else None
    return network


def noise(groups: int = 7, members: int = 9, seed: int = 1) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((groups, members, 3)).astype(np.float32), rng.standard_normal((groups, 3)).astype(np.float32)


def by_torch(network: PointMAE, groups: Array, centres: Array) -> Array:
    with torch.no_grad():
        return np.asarray(network(torch.from_numpy(groups)[None], torch.from_numpy(centres)[None])[0])


def by_graph(graph: bytes, groups: Array, centres: Array) -> Array:
    return np.asarray(session(graph, "it").run(["tokens"], {"groups": groups[None], "centres": centres[None]})[0][0])


def by_oracle(network: PointMAE, groups: Array, centres: Array) -> Array:
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    batch = network.statistics == "batch"
    return tokens(weights, groups, centres, heads=SIZES.heads, taps=TAPS, batch=batch)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[Statistics, Exported]:
    """One from a checkpoint, one from a network."""
    weights = tmp_path_factory.mktemp("weights") / "pretrain.pth"
    torch.save(LAYOUTS["as pretraining writes it"](shaken().state_dict()), weights)
    return {"running": converted(weights, ENCODING, SIZES), "batch": exported(shaken("batch"), ENCODING, {"made": "here"})}


# -- the architecture --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 9), (1, 1), (30, 3)], ids=str)
@pytest.mark.parametrize("statistics", BOTH)
def test_torch_and_graph_say_what_numpy_says(
    graphs: dict[Statistics, Exported], statistics: Statistics, shape: tuple[int, int]
) -> None:
    network, given = shaken(statistics), noise(*shape)
    wanted = by_oracle(network, *given)
    assert wanted.shape == (shape[0], len(TAPS) * SIZES.width)
    for found in (by_torch(network, *given), by_graph(graphs[statistics].graph, *given)):
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    assert graphs[statistics].gap <= PARITY


def test_statistics_of_the_cloud_are_others_than_those_of_the_training() -> None:
    given = noise()
    assert np.abs(by_torch(shaken("running"), *given) - by_torch(shaken("batch"), *given)).max() > 0.1


def test_the_published_sizes_have_as_many_numbers_as_their_layers_say() -> None:
    network = PointMAE(Sizes(), (4, 8, 12))
    group = (3 * 128 + 128) + 2 * 128 + (128 * 256 + 256) + (512 * 512 + 512) + 2 * 512 + (512 * 384 + 384)
    position = (3 * 128 + 128) + (128 * 384 + 384)
    block = 3 * 384**2 + (384**2 + 384) + (4 * 384**2 + 4 * 384) + (4 * 384**2 + 384) + 4 * 384
    assert sum(value.numel() for value in network.parameters()) == group + position + 12 * block + 2 * 384


@pytest.mark.parametrize("taps", [(), (0,), (3,), (2, 1), (1, 1)], ids=str)
def test_taps_that_are_no_blocks_are_refused(taps: tuple[int, ...]) -> None:
    with pytest.raises(BadField, match="wanted rising numbers of 1 to 2"):
        PointMAE(SIZES, taps)


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(BadField, match="the heads divide"):
        Sizes(width=10, heads=3)


# -- the graph ---------------------------------------------------------------------------------------------------------


def test_a_graph_says_what_it_is_and_what_it_is_made_of(graphs: dict[Statistics, Exported]) -> None:
    sources = {}
    for statistics in BOTH:
        told = PointEncoder(graphs[statistics].graph, name="it").description
        assert (told.taps, told.channels, told.members, told.statistics) == (TAPS, 24, 8, statistics)
        sources[statistics] = json.loads(entries(graphs[statistics].graph)["amiss.source"])
        assert sources[statistics]["sizes"] == {"width": 12, "depth": 2, "heads": 2}
    assert sources["batch"]["made"] == "here" and sources["running"]["weights"]["file"] == "pretrain.pth"
    assert len(sources["running"]["weights"]["sha256"]) == 64


def entries(graph: bytes) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load_from_string(graph).metadata_props}


def test_a_graph_holds_no_paths_of_this_machine(graphs: dict[Statistics, Exported]) -> None:
    strange = [Path.cwd(), Path.home(), Path(torch.__file__).parents[1], Path(amiss.__file__).parents[1]]
    for word in (*map(str, strange), "site-packages", ".py", "Traceback"):
        assert word.encode() not in graphs["running"].graph, word


def test_a_graph_that_differs_from_torch_is_not_handed_out(
    graphs: dict[Statistics, Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = SimpleNamespace(model_proto=onnx.load_from_string(graphs["running"].graph))
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: written)
    exported(shaken(), ENCODING, {})
    with pytest.raises(BadBackbone, match="differs from torch"):
        exported(shaken(seed=1), ENCODING, {})


# -- checkpoints -------------------------------------------------------------------------------------------------------


def decoder() -> dict[str, torch.Tensor]:
    names = ("mask_token", "decoder_pos_embed.0.weight", "MAE_decoder.blocks.0.norm1.weight", "increase_dim.0.weight")
    return {name: torch.zeros(2) for name in names}


LAYOUTS = {
    "as pretraining writes it": lambda own: {
        "base_model": OrderedDict({f"MAE_encoder.{name}": value for name, value in own.items()} | decoder()),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.001}]}, "epoch": 300, "metrics": {}, "best_metrics": {},
    },
    "on several cards": lambda own: {"base_model": {f"module.MAE_encoder.{n}": value for n, value in own.items()}},
    "inside a finetuned network": lambda own: {"base_model": {**own, "cls_token": torch.zeros(1, 1, 12)}},
    "with the wrapper in the names": lambda own: {f"base_model.module.{name}": value for name, value in own.items()},
    "bare": lambda own: own,
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_found_in_every_layout_of_a_checkpoint(tmp_path: Path, layout: str) -> None:
    network = shaken()
    torch.save(LAYOUTS[layout](network.state_dict()), tmp_path / "weights.pth")
    given = noise()
    np.testing.assert_array_equal(by_torch(loaded(tmp_path / "weights.pth", SIZES, TAPS), *given), by_torch(network, *given))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda own: own.pop("norm.bias"), r"it lacks norm\.bias; it holds blocks\.blocks\.0"),
        (lambda own: own.clear() or own.update(decoder()), "it holds no tensor of an encoder"),
        (lambda own: own.update({"pos_embed.0.weight": torch.zeros(128, 4)}), r"pos_embed\.0\.weight \(128, 4\) in place"),
        (lambda own: own.update({"blocks.blocks.2.norm1.bias": torch.zeros(12)}), r"more blocks than .*blocks\.blocks\.2"),
        (lambda own: own.update({"MAE_encoder.norm.bias": torch.zeros(12)}), r"'norm\.bias' twice"),
    ],
    ids=["missing", "decoder alone", "shape", "blocks", "twice"],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path, change: Any, said: str) -> None:
    own = dict(shaken().state_dict())
    change(own)
    torch.save(own, tmp_path / "weights.pth")
    with pytest.raises(BadBackbone, match=said):
        loaded(tmp_path / "weights.pth", SIZES, TAPS)


class Trap:
    """Runs when a pickle of it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("trapped"),)


def test_what_is_pickled_in_a_checkpoint_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"base_model": shaken().state_dict(), "extra": Trap()}, tmp_path / "weights.pth")
    with pytest.raises(BadBackbone, match="cannot be read as plain tensors"):
        loaded(tmp_path / "weights.pth", SIZES, TAPS)
    assert not (tmp_path / "trapped").exists()


def test_names_of_a_checkpoint_lose_their_wrappers_and_the_decoder() -> None:
    names = {"module.MAE_encoder.encoder.first_conv.0.weight", "base_model.blocks.blocks.0.norm1.bias", "MAE_decoder.norm.bias"}
    assert set(of_encoder(dict.fromkeys(names))) == {"encoder.first_conv.0.weight", "blocks.blocks.0.norm1.bias"}
