"""Weights that can be fetched by name: where they lie, what they must hash to, and what licence they carry.

Addresses and licences are those in timm 1.0.31's own table (torchvision's, Meta's and timm's release files; DINOv3 from
the timm organisation on Hugging Face, since Meta's own files sit behind a form). `sha256` holds what the publisher says:
torchvision and timm print the first eight hex digits into the file name, the others publish nothing. Where it is None the
digest is computed on arrival, shown, and kept in the backbone's record; no digest here was invented.
"""

from __future__ import annotations

from dataclasses import dataclass

from amiss.errors import BadField
from amiss.fields import unknown


@dataclass(frozen=True)
class Published:
    """One weights file on the net.

    name  what users call the backbone     timm  the architecture that reads the file     file  the name to keep it under
    sha256  the digest, or its first digits, that the publisher states; None where it states none
    """

    name: str
    timm: str
    url: str
    licence: str
    sha256: str | None = None

    @property
    def file(self) -> str:
        last = self.url.rsplit("/", 1)[-1]
        return f"{self.name}.safetensors" if last == "model.safetensors" else last


def _meta(name: str, timm: str, path: str) -> Published:
    return Published(name, timm, f"https://dl.fbaipublicfiles.com/{path}.pth", "Apache-2.0")


def _torchvision(name: str, digits: str) -> Published:
    url = f"https://download.pytorch.org/models/{name}-{digits}.pth"
    return Published(name, f"{name}.tv_in1k", url, "BSD-3-Clause", digits)


def _hub(name: str, timm: str, licence: str) -> Published:
    return Published(name, timm, f"https://huggingface.co/timm/{timm}/resolve/main/model.safetensors", licence)


_TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
_TABLE = (
    _torchvision("resnet18", "f37072fd"),
    _torchvision("resnet50", "0676ba61"),
    _torchvision("wide_resnet50_2", "95faca4d"),
    _meta("convnext_tiny", "convnext_tiny.fb_in1k", "convnext/convnext_tiny_1k_224_ema"),
    Published(
        "efficientnet_b0", "efficientnet_b0.ra_in1k", _TIMM + "efficientnet_b0_ra-3dd342df.pth", "Apache-2.0", "3dd342df"
    ),
    _meta("dino_vits16", "vit_small_patch16_224.dino", "dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain"),
    _meta("dino_vitb8", "vit_base_patch8_224.dino", "dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain"),
    _meta("dinov2_vits14", "vit_small_patch14_dinov2.lvd142m", "dinov2/dinov2_vits14/dinov2_vits14_pretrain"),
    _meta("dinov2_vitb14", "vit_base_patch14_dinov2.lvd142m", "dinov2/dinov2_vitb14/dinov2_vitb14_pretrain"),
    _meta("dinov2_vits14_reg", "vit_small_patch14_reg4_dinov2.lvd142m", "dinov2/dinov2_vits14/dinov2_vits14_reg4_pretrain"),
    _meta("dinov2_vitb14_reg", "vit_base_patch14_reg4_dinov2.lvd142m", "dinov2/dinov2_vitb14/dinov2_vitb14_reg4_pretrain"),
    _hub("dinov3_vits16", "vit_small_patch16_dinov3.lvd1689m", "DINOv3 License"),
    _hub("dinov3_vitb16", "vit_base_patch16_dinov3.lvd1689m", "DINOv3 License"),
)
PUBLISHED = {entry.name: entry for entry in _TABLE}


def published(name: str) -> Published:
    """The weights file behind a name.

    raises  BadField with the nearest name where there is none
    """
    if name not in PUBLISHED:
        raise BadField(
            f"{unknown(name, PUBLISHED, 'the list of backbones to get')}; any timm architecture: amiss backbones export"
        )
    return PUBLISHED[name]


def architecture(name: str) -> str:
    """The timm architecture that a name stands for; any other name is taken for timm's own."""
    return PUBLISHED[name].timm if name in PUBLISHED else name
