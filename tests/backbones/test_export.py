"""timm networks through the exporter, against torch with hooks of its own. Needs the extra timm; skipped where it is absent.

Run by hand: pip install '.[timm,dev]' and pytest tests/backbones/test_export.py
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from amiss.backbones import efficientnet_lite
from amiss.backbones.export import PARITY, Exported, export
from amiss.backbones.published import PUBLISHED
from amiss.backbones.runtime import Backbone, load_graph
from amiss.backbones.timm_taps import Wish, tapped
from amiss.backbones.weights import read_tensors
from amiss.errors import BadBackbone, BadField

timm: Any = pytest.importorskip("timm", reason="timm is not installed (extra timm)")
torch: Any = pytest.importorskip("torch", reason="torch is not installed (extra timm)")
pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra timm)")
save_file: Any = pytest.importorskip("safetensors.torch").save_file

pytestmark = [pytest.mark.filterwarnings("ignore")]

CONVOLUTIONAL = ["resnet18", "resnet50", "wide_resnet50_2", "convnext_tiny", "efficientnet_b0", "tf_efficientnet_lite0"]
TRANSFORMERS = {  # name -> (side, prefix tokens)
    "vit_small_patch16_224.dino": (64, 1),
    "vit_small_patch14_dinov2": (70, 1),
    "vit_small_patch14_reg4_dinov2": (70, 5),
    "vit_small_patch16_dinov3": (64, 5),
}


def shaken(name: str, **options: Any) -> Any:
    """A timm model with every tensor away from its starting value, so that none can be left out unnoticed."""
    torch.manual_seed(0)
    model = timm.create_model(name, **options).eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            spread = 0.2 if value.ndim < 2 or "token" in key or "pos_embed" in key else float(value.std()) * 0.5
            value.add_(torch.randn_like(value) * spread).clamp_(min=0.5 if key.endswith("running_var") else None, max=10)
    return model


def saved(model: Any, folder: Path) -> Path:
    path = folder / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return path


def seen(model: Any, modules: list[Any], image: Any) -> list[Any]:
    """What the given modules of a network put out for an image (N, 3, H, W)."""
    found: list[Any] = []
    handles = [module.register_forward_hook(lambda _m, _i, output: found.append(output)) for module in modules]
    with torch.no_grad():
        model(image)
    for handle in handles:
        handle.remove()
    return found


def judged(exported: Exported, images: Any, layers: tuple[int, ...] | None = None) -> Any:
    return Backbone(exported.graph, layers, name="exported", token=True)(images)


def normalised(exported: Exported, images: Any) -> Any:
    about = json.loads(next(p.value for p in onnx.load_from_string(exported.graph).metadata_props if p.key == "amiss"))
    return torch.from_numpy(((images - np.float32(about["mean"])) / np.float32(about["std"])).transpose(0, 3, 1, 2).copy())


def close(found: Any, expected: Any) -> None:
    expected = expected.numpy()
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 1e-3 and expected.std() > 1e-4
    assert np.abs(found - expected).max() <= PARITY * np.abs(expected).max()


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_a_convolutional_network_gives_what_torch_gives_at_every_stride_and_size(
    name: str, tmp_path: Path, record_property: Any
) -> None:
    model = shaken(name)
    exported = export(name, weights=saved(model, tmp_path))
    record_property("gap", exported.gap)
    print(f"parity {name}: {exported.gap:.1e}, {len(exported.graph) / 2**20:.0f} MB")
    stages = {info["reduction"]: info["module"] for info in model.feature_info}
    modules = [model.get_submodule(stages[stride].replace("stages_", "stages.")) for stride in (4, 8, 16, 32)]
    for height, width in ((64, 96), (75, 50)):
        images = np.random.default_rng(1).random((2, height, width, 3), np.float32)
        found = judged(exported, images)
        for grid, expected in zip(found.grids, seen(model, modules, normalised(exported, images)), strict=True):
            close(grid, expected)
        close(found.token, torch.from_numpy(found.grids[-1].mean(axis=(2, 3))))


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformer_gives_normalised_patch_tokens_in_rows_and_its_class_token(name: str, tmp_path: Path) -> None:
    side, prefix = TRANSFORMERS[name]
    model = shaken(name, img_size=side)
    exported = export(name, weights=saved(model, tmp_path), size=side)
    print(f"parity {name}: {exported.gap:.1e}, {len(exported.graph) / 2**20:.0f} MB")
    images = np.random.default_rng(1).random((2, side, side, 3), np.float32)
    blocks = seen(model, [model.blocks[block] for block in (3, 6, 9, 11)], normalised(exported, images))
    found = judged(exported, images, (3, 6, 9, 11))
    cells = side // model.patch_embed.patch_size[0]
    with torch.no_grad():
        tokens = [model.norm(block) for block in blocks]
    for grid, token in zip(found.grids, tokens, strict=True):
        assert token.shape[1] == prefix + cells * cells
        close(grid, token[:, prefix:].unflatten(1, (cells, cells)).permute(0, 3, 1, 2))
    close(found.token, tokens[-1][:, 0])


def test_chosen_blocks_the_raw_output_and_the_token_of_the_last_chosen_block(tmp_path: Path) -> None:
    model = shaken("vit_tiny_patch16_224", img_size=48)
    exported = export("vit_tiny_patch16_224", weights=saved(model, tmp_path), layers=(5, 2), size=48, norm="none")
    images = np.random.default_rng(1).random((1, 48, 48, 3), np.float32)
    second, fifth = seen(model, [model.blocks[2], model.blocks[5]], normalised(exported, images))
    found = judged(exported, images, (2, 5))
    close(found.grids[0], second[:, 1:].unflatten(1, (3, 3)).permute(0, 3, 1, 2))
    close(found.token, fifth[:, 0])
    assert len(exported.graph) < 0.6 * sum(value.numel() * 4 for value in model.state_dict().values())  # six blocks of twelve


def test_position_embeddings_are_brought_to_another_size_as_timm_does_it(tmp_path: Path) -> None:
    stored, wanted = shaken("vit_tiny_patch16_224"), 96
    exported = export("vit_tiny_patch16_224", weights=saved(stored, tmp_path), size=wanted)
    stored.set_input_size((wanted, wanted))
    images = np.random.default_rng(1).random((1, wanted, wanted, 3), np.float32)
    (last,) = seen(stored, [stored.norm], normalised(exported, images))
    close(judged(exported, images).token, last[:, 0])


def test_the_embedded_backbone_equals_timms_network_with_the_same_weights(tmp_path: Path) -> None:
    """The package's tensors under timm's names, in timm's order of layers: two implementations, one network."""
    tensors = read_tensors(efficientnet_lite.weights_path(), sha256=efficientnet_lite.SHA256)
    model = timm.create_model("tf_efficientnet_lite0")
    theirs = [key for key in model.state_dict() if not key.endswith("num_batches_tracked")]
    ours = [key for key in tensors if not key.endswith("num_batches_tracked")]
    renamed = {new: torch.from_numpy(tensors[old]) for new, old in zip(theirs, ours, strict=True)}
    counters = {key: value for key, value in model.state_dict().items() if key not in renamed}
    save_file({**renamed, **counters}, tmp_path / "w.safetensors")
    exported = export("tf_efficientnet_lite0", weights=tmp_path / "w.safetensors")
    embedded = Backbone(load_graph("efficientnet_lite0"), None, name="embedded", token=True)
    for height, width in ((64, 64), (65, 97), (50, 31)):
        images = np.random.default_rng(2).random((1, height, width, 3), np.float32)
        for found, expected in zip(judged(exported, images).grids, embedded(images).grids, strict=True):
            print(f"embedded against timm, {height} x {width}: {np.abs(found - expected).max() / np.abs(expected).max():.1e}")
            close(found, torch.from_numpy(expected))


def test_a_torch_file_and_a_safetensors_file_give_the_same_network_and_a_fine_tuned_head_does_not_matter(
    tmp_path: Path,
) -> None:
    model = shaken("resnet18", num_classes=7)
    safe = saved(model, tmp_path)
    torch.save({"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "w.pth")
    first, second = export("resnet18", weights=safe, layers=(8,)), export("resnet18", weights=tmp_path / "w.pth", layers=(8,))
    assert first.source["tensors_sha256"] == second.source["tensors_sha256"]
    assert second.source["weights"]["sha256"] == hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()


def test_the_graph_says_what_it_is_made_of_and_names_no_path_of_this_machine(tmp_path: Path) -> None:
    exported = export("resnet18", weights=saved(shaken("resnet18"), tmp_path), layers=(4, 8))
    model = onnx.load_from_string(exported.graph)
    source = json.loads(next(p.value for p in model.metadata_props if p.key == "amiss.source"))
    assert (
        source == exported.source
        and source["timm"] == "resnet18.tv_in1k"
        and source["weights"]["file"] == "weights.safetensors"
    )
    for text in (b"site-packages", b"/src/amiss", b'.py"', str(tmp_path).encode()):
        assert text not in exported.graph


def test_a_head_less_file_is_enough_and_a_file_with_a_tensor_missing_is_not(tmp_path: Path) -> None:
    tensors = shaken("resnet18").state_dict()
    save_file({key: value for key, value in tensors.items() if not key.startswith("fc.")}, tmp_path / "headless.safetensors")
    assert export("resnet18", weights=tmp_path / "headless.safetensors", layers=(4,)).gap <= PARITY
    save_file({key: value for key, value in tensors.items() if key != "layer1.0.conv1.weight"}, tmp_path / "less.safetensors")
    with pytest.raises(BadBackbone, match=r"less\.safetensors does not hold the weights of resnet18.*layer1\.0\.conv1\.weight"):
        export("resnet18", weights=tmp_path / "less.safetensors")


class Runs:
    """Unpickling this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self.path, "run")


def test_a_torch_file_that_would_run_something_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": Runs(tmp_path / "ran")}, tmp_path / "evil.pth")
    with pytest.raises(BadBackbone, match=r"cannot be read as plain tensors.*more than tensors is not read"):
        export("resnet18", weights=tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "wishes", "text"),
    [
        ("resnet18", {"layers": (8, 12)}, "choose strides from 4, 8, 16, 32"),
        ("resnet18", {"size": 224}, "any size"),
        ("resnet81", {}, "did you mean 'resnet18'"),
        ("vit_tiny_patch16_224", {"layers": (3, 12)}, "choose blocks from 0, 1"),
        ("vit_tiny_patch16_224", {"size": 100}, "16 x 16"),
        ("vit_tiny_patch16_224", {"norm": "first"}, "--norm has no 'first'"),
    ],
)
def test_a_wish_that_cannot_be_met_says_what_can(name: str, wishes: dict[str, Any], text: str, tmp_path: Path) -> None:
    weights = saved(timm.create_model("resnet18" if name == "resnet81" else name), tmp_path)
    with pytest.raises(BadField, match=text):
        export(name, weights=weights, **wishes)


def test_without_network_the_error_names_the_file_to_bring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMISS_OFFLINE", "1")
    with pytest.raises(BadBackbone, match=r"AMISS_OFFLINE.*resnet18-f37072fd\.pth.*--weights"):
        export("resnet18")
    with pytest.raises(BadBackbone, match=r"huggingface\.co/timm/resnet26\..*--weights"):
        export("resnet26")


def test_a_graph_that_differs_from_torch_is_not_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from amiss.backbones import export as module

    monkeypatch.setattr(module, "PARITY", 1e-12)
    with pytest.raises(BadBackbone, match="differs from torch by"):
        export("resnet18", weights=saved(shaken("resnet18"), tmp_path), layers=(4,))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_table_of_published_weights_agrees_with_timms(name: str) -> None:
    entry, told = PUBLISHED[name], timm.get_pretrained_cfg(PUBLISHED[name].timm)
    assert timm.is_model(entry.timm) and timm.get_pretrained_cfg(entry.timm).tag == entry.timm.split(".", 1)[1]
    assert entry.url == (told.url or f"https://huggingface.co/{told.hf_hub_id}/resolve/main/model.safetensors")
    assert entry.licence.lower().replace(" ", "-") == told.license


def _as_meta_names_convnext(key: str) -> str:
    for pattern, name in (
        (r"^stem\.(\d)", r"downsample_layers.0.\1"), (r"^stages\.(\d)\.downsample\.(\d)", r"downsample_layers.\1.\2"),
        (r"^stages\.(\d)\.blocks\.(\d+)", r"stages.\1.\2"), ("conv_dw", "dwconv"), (r"mlp\.fc(\d)", r"pwconv\1"),
        (r"^head\.norm", "norm"), (r"^head\.fc", "head"),
    ):  # fmt: skip
        key = re.sub(pattern, name, key)
    return key


def _publishers(name: str, tensors: dict[str, Any]) -> dict[str, Any]:
    """timm's tensors under the names and in the wrapping that the publisher of the weights uses."""
    if name == "convnext_tiny":
        return {"model": {_as_meta_names_convnext(key): value for key, value in tensors.items()}}
    if not name.startswith("dinov2"):
        return tensors
    changed = dict(tensors, mask_token=torch.zeros(1, tensors["pos_embed"].shape[2]))
    if "reg_token" in tensors:  # Meta's table of places has one for the class token, timm adds it to the class token
        changed["register_tokens"] = changed.pop("reg_token")
        first = torch.full_like(tensors["pos_embed"][:, :1], 0.25)
        changed["pos_embed"] = torch.cat([first, tensors["pos_embed"]], dim=1)
        changed["cls_token"] = tensors["cls_token"] - first
    return changed


@pytest.mark.parametrize(
    "name", ["resnet18", "efficientnet_b0", "convnext_tiny", "dino_vits16", "dinov2_vits14", "dinov2_vits14_reg"]
)
def test_a_file_in_its_publishers_own_layout_is_read(name: str, tmp_path: Path) -> None:
    model = shaken(PUBLISHED[name].timm)
    torch.save(_publishers(name, model.state_dict()), tmp_path / PUBLISHED[name].file)
    found = tapped(Wish(architecture=PUBLISHED[name].timm, weights=tmp_path / PUBLISHED[name].file)).model.state_dict()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(found[key], value)
