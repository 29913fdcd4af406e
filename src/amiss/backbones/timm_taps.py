"""timm networks with their weights, cut down to a torch module that returns taps. Needs the extra `timm`.

Convolutional networks are tapped where a stage ends, at strides 4, 8, 16 and 32, and take pictures of any size. Transformers
are tapped after chosen blocks: each block's tokens pass the network's final LayerNorm (RAD and MuSc want it so), class and
register tokens are dropped, patch tokens are laid out row by row as (N, C, h, w), and the class token of the last chosen block
is the picture's token. They take one size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from amiss.backbones.runtime import Tap
from amiss.errors import BadBackbone, BadField

STRIDES = (4, 8, 16, 32)
TRANSFORMERS = ["vision_transformer", "eva"]  # timm's modules; DINOv3 lives in the second
Norm = Literal["final", "none"]

_WRAPPED = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "base_model",
    "model",
)  # names under which checkpoints keep their tensors


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What to export.

    architecture  timm's name     weights  a file; None for timm's own download
    layers  strides or blocks; None for the usual     size  side of the picture, transformers only
    norm  whether a transformer's taps pass its final LayerNorm
    """

    architecture: str
    weights: Path | None = None
    layers: tuple[int, ...] | None = None
    size: int | None = None
    norm: Norm = "final"


@dataclass(frozen=True)
class Tapped:
    """A torch module that returns the taps and then the token, the timm model in it, and what is to be said of it."""

    module: Any
    model: Any
    taps: tuple[Tap, ...]
    channels: tuple[int, ...]
    token: str | None = None
    size: tuple[int, int] | None = None

    @property
    def outputs(self) -> list[str]:
        return [tap.name for tap in self.taps] + ([self.token] if self.token else [])


def tapped(wish: Wish) -> Tapped:
    """The network of a wish, weights loaded, in evaluation mode.

    raises  BadBackbone where weights do not fit or the family is not known; BadField for layers or a size it cannot have
    """
    import timm

    transformer = timm.models.is_model_in_modules(wish.architecture, TRANSFORMERS)
    return _transformer(wish) if transformer else _convolutional(wish)


def _convolutional(wish: Wish) -> Tapped:
    name = wish.architecture
    if wish.size is not None:
        raise BadField(f"{name} takes pictures of any size; leave --size out here and give it to amiss fit")
    model = _loaded(wish)
    found = {info["reduction"]: place for place, info in enumerate(getattr(model, "feature_info", ()))}
    offered = [stride for stride in STRIDES if stride in found]
    if not offered or not hasattr(model, "forward_intermediates"):
        raise BadBackbone(
            f"{name}: timm does not tell where this network's stages end; choose a ResNet, ConvNeXt or EfficientNet"
        )
    strides = _chosen(wish, "strides", offered, offered)
    places = [found[stride] for stride in strides]

    def run(model: Any, image: Any) -> tuple[Any, ...]:
        return tuple(model.forward_intermediates(image, indices=places, intermediates_only=True, stop_early=True))

    taps = tuple(Tap(f"stride{stride}", stride, stride) for stride in strides)
    channels = tuple(int(model.feature_info[place]["num_chs"]) for place in places)
    return Tapped(_module(model, run), model, taps, channels)


def _transformer(wish: Wish) -> Tapped:
    import timm

    side = wish.size or int(timm.get_pretrained_cfg(wish.architecture).input_size[1])
    model = _loaded(wish, img_size=side)
    depth, (patch, other) = len(model.blocks), model.patch_embed.patch_size
    if patch != other or side % patch:
        raise BadField(
            f"{wish.architecture} cuts a picture into patches of {patch} x {other}; a --size of {side} does not divide"
        )
    quarters = [round(depth * share) for share in (0.25, 0.5, 0.75)]
    blocks = _chosen(wish, "blocks", sorted({*quarters, depth - 1}), list(range(depth)))
    cells, width = side // patch, int(model.embed_dim)
    token = None if getattr(model, "cls_token", None) is None else "class_token"

    def run(model: Any, image: Any) -> tuple[Any, ...]:
        final = _final_norm(model, wish.norm)
        found = model.forward_intermediates(
            image, indices=blocks, return_prefix_tokens=True, norm=False, stop_early=True, output_fmt="NLC",
            intermediates_only=True,
        )  # fmt: skip
        grids = [final(patches).transpose(1, 2).reshape(-1, width, cells, cells) for patches, _ in found]
        return (*grids, final(found[-1][1][:, 0])) if token else tuple(grids)

    taps = tuple(Tap(f"block{block}", patch, block) for block in blocks)
    return Tapped(_module(model, run), model, taps, (width,) * len(taps), token, (side, side))


def _chosen(wish: Wish, what: str, usual: list[int], offered: list[int]) -> list[int]:
    """The layers of a wish, finest or earliest first."""
    asked = usual if wish.layers is None else sorted(set(wish.layers))
    if not asked or not set(asked) <= set(offered):
        numbers = ",".join(map(str, asked))
        raise BadField(f"{wish.architecture}: --layers {numbers!r}; choose {what} from {', '.join(map(str, offered))}")
    return asked


def _final_norm(model: Any, norm: Norm) -> Any:
    """The LayerNorm behind the last block, under either of timm's names for it."""
    import torch

    if norm == "none":
        return torch.nn.Identity()
    places = (getattr(model, place, None) for place in ("norm", "fc_norm"))
    return next(place for place in places if place is not None and not isinstance(place, torch.nn.Identity))


def _module(model: Any, run: Callable[[Any, Any], tuple[Any, ...]]) -> Any:
    import torch

    class Taps(torch.nn.Module):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Any) -> tuple[Any, ...]:
            return run(self.model, image)

    return Taps().eval()


# -- weights -----------------------------------------------------------------------------------------------------------


def _loaded(wish: Wish, **options: Any) -> Any:
    """The timm model with every one of its tensors filled from the file, or by timm's own download."""
    import timm

    if wish.weights is None:
        return timm.create_model(wish.architecture, pretrained=True, **options).eval()
    tensors = read_checkpoint(wish.weights)
    usual = timm.get_pretrained_cfg(wish.architecture)
    refusals = []
    for classes in _class_counts(tensors, usual):
        told = {"state_dict": dict(tensors), "num_classes": classes}  # the counts must agree, or timm stops being strict
        try:
            model = timm.create_model(
                wish.architecture, pretrained=True, num_classes=classes, pretrained_cfg_overlay=told, **options
            )
            return model.eval()
        except (RuntimeError, KeyError) as error:
            refusals.append(" ".join(str(error).split())[:400])
    raise BadBackbone(f"{wish.weights} does not hold the weights of {wish.architecture}: {refusals[0]}")


def _class_counts(tensors: dict[str, Any], usual: Any) -> list[int]:
    """How many classes the file's head may have: as its tensors say, else as timm knows it, else no head."""
    heads = [usual.classifier] if isinstance(usual.classifier, str) else list(usual.classifier or ())
    for head in heads:
        if f"{head}.weight" in tensors:
            return [int(tensors[f"{head}.weight"].shape[0])]
    return list(dict.fromkeys([int(usual.num_classes), 0]))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The tensors of a .safetensors file, or of a torch file that holds tensors and nothing else.

    raises  BadBackbone where the file cannot be read without running what is pickled in it
    """
    if not path.is_file():
        raise BadBackbone(f"{path}: there is no such weights file; bring a .safetensors or .pth file")
    try:
        found = _read(path)
    except Exception as error:  # safetensors, torch and its restricted unpickler raise their own, undocumented kinds
        raise BadBackbone(
            f"{path}: cannot be read as plain tensors ({' '.join(str(error).split())[:300]}). A file that holds more than "
            "tensors is not read, nothing pickled in it is run; bring the weights as .safetensors"
        ) from error
    for key in _WRAPPED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
            break
    tensors = {str(key).removeprefix("module."): value for key, value in found.items() if hasattr(value, "shape")}
    if not tensors:
        raise BadBackbone(f"{path}: no tensors in it; bring a .safetensors or .pth file of named tensors")
    return tensors


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)
